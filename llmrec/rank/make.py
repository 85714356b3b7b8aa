"""From names to parts: engines and ranking strategies by their recipes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from llmrec.config import Part, make_config
from llmrec.data import Dataset
from llmrec.errors import ConfigError
from llmrec.protocols import Engine, Ranker
from llmrec.registry import ENGINES, RANKERS


class LanguageRanker(Ranker, Protocol):
    """A ranker that asks a language model.

    Attributes:
        counts: how prompts had to be changed and how answers could be read so far, by name.
    """

    counts: Counter[str]


def make_engine(part: Part) -> Engine:
    """Return the engine that a part names.

    Raises:
        UnknownNameError: no such engine.
        ConfigError: a parameter that it does not have (an adapter, say), or a value that does not fit.
        MissingPackageError: its package is not installed.
        ModelError: the model cannot be found.
    """
    kind: Any = ENGINES.get(part.name)
    adapter = part.parameters.get("adapter")
    if adapter is not None and "adapter" not in kind.config_class.model_fields:
        raise ConfigError(
            f"adapter = {str(adapter)!r} with the {part.name} engine",
            expected="an engine that loads the model itself, transformers or vllm",
            cure="leave it out; a server is started with its adapters (vLLM: --enable-lora --lora-modules NAME=FOLDER) "
            "and asked for one by engine.model=NAME",
        )
    engine: Engine = kind(make_config(kind.config_class, part.parameters))
    return engine


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
