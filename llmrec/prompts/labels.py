"""Answers that are told by their first token: the labels among which a model chooses at one position."""

from __future__ import annotations

import string
from collections.abc import Sequence

from llmrec.errors import ConfigError
from llmrec.protocols import Engine

_ANCHOR = 8
"""Characters of a prompt that answers are counted behind."""
_AFTER_THE_TOKEN = string.punctuation + string.whitespace


def first_tokens(engine: Engine, completions: Sequence[str], prompt: str, *, chat: bool = False) -> list[str]:
    """Return what stands before the punctuation at the end of each completion, checked to be one token.

    Args:
        engine: whose tokens are counted.
        completions: two or more that differ.
        prompt: one that they follow; some tokenizers give an answer that begins with a space one token behind a text
            and two alone.
        chat: take the answers without the space before them.

    Raises:
        ConfigError: an answer is several tokens, or two are the same.
    """
    answers = [each.rstrip(_AFTER_THE_TOKEN) or each for each in completions]
    answers = [each.strip() for each in answers] if chat else answers
    end = prompt[-_ANCHOR:]
    before, *counts = engine.count_tokens([end, *(end + each for each in answers), *answers])
    behind, alone = counts[: len(answers)], counts[len(answers) :]
    for completion, answer, together, length in zip(completions, answers, behind, alone, strict=True):
        if (length != 1 and together - before != 1) or answers.count(answer) > 1:
            same = "the same as another one" if answers.count(answer) > 1 else f"{length} tokens"
            raise ConfigError(
                f"answer {answer!r} of completion {completion!r} is {same} for {engine.identity}",
                expected="answers that differ in their first token, and are one token each before their punctuation",
                cure="take a template of other labels, such as Yes and No",
            )
    return answers
