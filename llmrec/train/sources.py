"""From the sources of a recipe to rows, all checked before a model is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from llmrec.data import Split
from llmrec.data_prep.examples import Examples, make_examples
from llmrec.errors import ConfigError
from llmrec.llm.tokens import PromptTokenizer
from llmrec.train.leaks import without_leaks
from llmrec.train.recipe import Source
from llmrec.train.rows import ROW, TokenRows, encode_rows

_SPECIAL = 64
"""Tokens that a chat template and special tokens may add."""


def load_rows(source: Source, tokens: PromptTokenizer, max_length: int, seed: int) -> TokenRows:
    """Return the rows of one source.

    Raises:
        ConfigError: it names neither a file nor a data set with examples, or both.
        DataError: a file cannot be read, there are too few rows, one has no answer, or its target leaks.
    """
    examples = _read(source, tokens, max_length)
    examples = Examples(examples.frame.with_row_index(ROW), examples.counts)
    if not source.repeats and "completion" in examples.frame.columns:
        examples = without_leaks(examples)
    name = (source.file or source.dataset or Path()).name
    return encode_rows(examples, tokens, max_length, wanted=source.rows, seed=seed, source=name)


def join_rows(parts: Sequence[TokenRows]) -> TokenRows:
    """Return the rows of several sources one after the other."""
    if len(parts) == 1:
        return parts[0]
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part.counts)
    return TokenRows(
        [ids for part in parts for ids in part.prompts],
        [ids for part in parts for ids in part.answers],
        pl.concat([part.frame for part in parts], how="diagonal_relaxed"),
        counts,
    )


def _read(source: Source, tokens: PromptTokenizer, max_length: int) -> Examples:
    if source.file is not None and source.dataset is None and source.examples is None:
        return Examples.load(source.file)
    if source.file is None and source.dataset is not None and source.examples is not None:
        recipe = source.examples
        if recipe.max_tokens is None:
            recipe = recipe.model_copy(update={"max_tokens": max(1, max_length - _SPECIAL)})
        return make_examples(Split.load(source.dataset / "split"), recipe, tokens.count)
    given = [name for name in ("file", "dataset", "examples") if getattr(source, name) is not None]
    raise ConfigError(
        f"a source with {', '.join(given) or 'nothing'}",
        expected="a file, or a data set with examples",
        cure="write file: …, or dataset: … and examples: {kind: …}",
    )
