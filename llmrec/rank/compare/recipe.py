"""What is compared: named variants, or lists of templates, strategies, engines and histories that are multiplied."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field

from llmrec.config import Config, Part, make_config
from llmrec.errors import ConfigError
from llmrec.registry import ENGINES, RANKERS

INCOMING = "incoming order"
"""The candidates as they came: what every variant starts from, compared like one of them."""


class Variant(Config):
    """One way to rank."""

    name: str = Field("", max_length=120)
    """What reports call it; made of what differs where none is given."""
    strategy: Part = Part(name="likelihood")
    """Ranking strategy with its parameters, the template among them."""
    engine: Part = Part(name="transformers")
    """Engine with its parameters."""


class Grid(Config):
    """Lists that are multiplied."""

    templates: tuple[str, ...] = ()
    """Built-in names or paths of YAML files; none: each strategy's own."""
    strategies: tuple[Part, ...] = Field((Part(name="likelihood"),), min_length=1)
    """Strategies with their parameters."""
    engines: tuple[Part, ...] = Field((Part(name="transformers"),), min_length=1)
    """Engines with their parameters."""
    histories: tuple[int, ...] = ()
    """How many of the newest items are read; none: each strategy's own."""


class Price(Config):
    """What an engine costs."""

    input: float = Field(0.0, ge=0)
    """Money per million tokens read."""
    output: float = Field(0.0, ge=0)
    """Money per million tokens written or scored."""


class CompareRecipe(Config):
    """One experiment: variants on the same users and candidates."""

    dataset: Path
    """Data set folder from ``llmrec prepare``."""
    candidates: Path
    """Parquet file with the columns query, user, rank, item, score."""
    out: Path
    """Folder to write: leaderboard, metrics and report.html."""
    part: str = "valid"
    """``valid`` or ``test``; choose prompts on ``valid``."""
    users: int = Field(200, ge=1)
    """Queries drawn from the part, the same for all variants."""
    seed: int = 0
    """Of the draw of users, the bootstrap and the paired test."""
    top: int = Field(20, ge=1)
    """How many candidates of each row the model ranks; the others stay behind them in their order."""
    variants: tuple[Variant, ...] = ()
    """Named variants, in front of those of the grid."""
    grid: Grid | None = None
    """Lists that are multiplied."""
    baseline: str | None = None
    """The variant that all others are compared with, or ``incoming order``; the first one if none is named."""
    metrics: tuple[str, ...] = Field(("ndcg@10", "hr@10", "mrr@10"), min_length=1)
    """Such as ndcg@10; the first one orders the leaderboard."""
    examples: int = Field(6, ge=0)
    """Users shown in full, those whom two prompts rank most differently."""
    prices: dict[str, Price] = Field(default_factory=dict)
    """By name of engine; those not named cost nothing."""
    cache: Path | None = None
    """SQLite file of answers, by default one for all runs; what is in it is not computed again."""
    commit_every: int = Field(default=64, ge=1)
    """Prompts between two commits to the cache."""


def list_variants(recipe: CompareRecipe) -> list[Variant]:
    """Return the variants of a recipe, each with a name of its own.

    Raises:
        ConfigError: there is none, two are the same or have one name, or a parameter does not fit.
        UnknownNameError: no such strategy or engine.
    """
    grid = [] if recipe.grid is None else _multiply(recipe.grid)
    found = [each if each.name else _named(each, label(each.strategy)) for each in recipe.variants] + grid
    if not found:
        raise ConfigError(
            "no variant",
            expected="variants or a grid",
            cure="write for example grid.histories=[5, 20]",
        )
    seen: dict[str, str] = {INCOMING: INCOMING}
    for variant in found:
        for key in (variant.name, resolved(variant)):
            if key in seen:
                raise ConfigError(
                    f"variant {variant.name!r} is {seen[key]!r} again",
                    expected="variants that differ, each with a name of its own",
                    cure="drop one of them, or name it otherwise",
                )
        seen |= {variant.name: variant.name, resolved(variant): variant.name}
    return found


def resolved(variant: Variant) -> str:
    """Return strategy and engine with all their parameters as text: equal texts are the same experiment."""
    parts = ((RANKERS, variant.strategy), (ENGINES, variant.engine))
    values = [[part.name, _full(registry.get(part.name).config_class, part.parameters)] for registry, part in parts]
    return json.dumps(values, sort_keys=True)


def setting(part: Part, name: str) -> Any:  # noqa: ANN401 - whatever the parameter holds
    """Return a parameter of a strategy, or of the one inside it: what is given, else its default."""
    config = make_config(RANKERS.get(part.name).config_class, part.parameters)
    fields = type(config).model_fields
    if name in fields:
        return getattr(config, name)
    return setting(_inner(part), name) if "inner" in fields else None


def with_setting(part: Part, name: str, value: object) -> Part:
    """Return a strategy with a parameter, given to the one inside it where it has none of that name.

    Raises:
        ConfigError: the strategy has no such parameter.
    """
    fields = RANKERS.get(part.name).config_class.model_fields
    if name not in fields and "inner" in fields:
        inner = with_setting(_inner(part), name, value)
        return Part(name=part.name, parameters={**part.parameters, "inner": inner.model_dump()})
    return Part(name=part.name, parameters={**part.parameters, name: value})


def label(part: Part) -> str:
    """Return a short name: a strategy's or engine's own, then the parameters given."""
    return " ".join([part.name, *_words(part.parameters)])


def _words(parameters: Mapping[str, Any]) -> list[str]:
    words = []
    for name, value in parameters.items():
        if name in {"inner", "strategy", "engine"}:
            words.append(f"({label(Part.model_validate(value))})")
        else:
            words.append(f"{name}={Path(value).name if isinstance(value, str) else value}")
    return words


def _inner(part: Part) -> Part:
    config = make_config(RANKERS.get(part.name).config_class, part.parameters)
    return Part.model_validate(config.model_dump()["inner"])


def _full(kind: type[Config], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return all parameters, those of an inner strategy too."""
    values = make_config(kind, parameters).model_dump(mode="json")
    if "inner" in values:
        inner = Part.model_validate(values["inner"])
        values["inner"] = {"name": inner.name, **_full(RANKERS.get(inner.name).config_class, inner.parameters)}
    return values


def _multiply(grid: Grid) -> list[Variant]:
    """Return all combinations, the templates varying fastest; a name holds what differs."""
    histories, templates = grid.histories or (None,), grid.templates or (None,)
    found = []
    for engine, strategy, history, template in product(grid.engines, grid.strategies, histories, templates):
        part = strategy
        for name, value in (("template", template), ("history", history)):
            part = part if value is None else with_setting(part, name, value)
        words = [
            Path(template).stem if template and template.endswith((".yaml", ".yml")) else template,
            label(strategy),
            None if history is None else f"history {history}",
            label(engine),
        ]
        several = [len(each) > 1 for each in (grid.templates, grid.strategies, grid.histories, grid.engines)]
        parts = [word for word, differs in zip(words, several, strict=True) if word and differs]
        found.append(Variant(name=", ".join(parts) or label(strategy), strategy=part, engine=engine))
    return found


def _named(variant: Variant, name: str) -> Variant:
    return Variant(name=name, strategy=variant.strategy, engine=variant.engine)
