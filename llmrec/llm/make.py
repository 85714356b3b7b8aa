"""From a recipe to an engine: by its name, and behind a cache of answers that tells how it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field

from llmrec.config import Config, Part, make_config
from llmrec.data.files import cache_folder
from llmrec.errors import ConfigError
from llmrec.llm.cache import CachedEngine
from llmrec.protocols import Engine
from llmrec.registry import ENGINES

Report = Callable[[int, int, str], None]
"""Called with what is done, how much there is, and a text on how it goes."""


class EngineRecipe(Config):
    """What every batch that asks an engine is told."""

    engine: Part = Part(name="transformers")
    """Engine with its parameters."""
    cache: Path | None = None
    """SQLite file of answers, by default one for all runs; what is in it is not computed again."""
    commit_every: int | None = Field(default=None, ge=1)
    """Prompts between two commits to the cache; null for as many as take some ten seconds."""
    input_price: float = 0.0
    """Money per million tokens read."""
    output_price: float = 0.0
    """Money per million tokens written or scored."""


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


@contextmanager
def open_engine(recipe: EngineRecipe, *, dry_run: bool = False) -> Iterator[CachedEngine]:
    """Yield the engine of a recipe behind its cache of answers, which is closed at the end.

    Args:
        recipe: engine and cache.
        dry_run: compute and store nothing.
    """
    path = recipe.cache or cache_folder() / "answers.sqlite"
    engine = CachedEngine(make_engine(recipe.engine), path, commit_every=recipe.commit_every, dry_run=dry_run)
    with closing(engine):
        yield engine


def tell_pace(engine: CachedEngine, report: Report) -> Callable[[int, int], None]:
    """Return what an engine tells prompts done to, so that tokens a second are told with them."""

    def show(done: int, total: int) -> None:
        usage = engine.usage
        tokens = usage.prompt_tokens + usage.output_tokens
        report(done, total, f"{tokens / usage.seconds:,.0f} tokens/s" if usage.seconds else "")

    return show
