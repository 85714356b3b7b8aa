"""Name what leaks in a split: events, ties, statistics, vocabularies and texts that training has from the future."""

from llmrec.data_prep.lint.evidence import Finding
from llmrec.data_prep.lint.rules import lint_split

__all__ = ["Finding", "lint_split"]
