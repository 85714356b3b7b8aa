"""From names to parts: ranking strategies by their recipes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from llmrec.config import Part, make_config
from llmrec.data import Dataset
from llmrec.protocols import Engine, Ranker
from llmrec.registry import RANKERS


class LanguageRanker(Ranker, Protocol):
    """A ranker that asks a language model.

    Attributes:
        counts: how prompts had to be changed and how answers could be read so far, by name.
    """

    counts: Counter[str]


def make_ranker(part: Part, engine: Engine, titles: Sequence[str], train: Dataset | None = None) -> LanguageRanker:
    """Return the ranking strategy that a part names, on an engine.

    Args:
        part: name and parameters.
        engine: the model to ask.
        titles: the title of each item, in number order.
        train: training data, whose users give solved examples.

    Raises:
        UnknownNameError: no such strategy.
        ConfigError: a parameter that it does not have, or a value that does not fit.
    """
    kind: Any = RANKERS.get(part.name)
    ranker: LanguageRanker = kind(engine, titles, make_config(kind.config_class, part.parameters), train)
    return ranker
