"""Items as texts, for all language-model rankers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmrec.errors import ConfigError
from llmrec.prompts.template import Template


def rows_of_titles(items: NDArray[np.int32], titles: Sequence[str]) -> list[list[str]]:
    """Return the titles of each row of item numbers (q, n), padding left out."""
    return [[titles[item] for item in row if item >= 0] for row in items.tolist()]


def require_answer(template: Template, answer: str, *, strategy: str) -> None:
    """Raise a ConfigError unless the template's answer is read in the way that a strategy needs."""
    if template.answer != answer:
        raise ConfigError(
            f"template {template.name!r} has the answer {template.answer!r}",
            expected=f"answer {answer!r} for strategy {strategy!r}",
            cure="choose another template: llmrec rank --help names them",
        )
