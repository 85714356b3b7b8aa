"""The exact prompts of one user, as a strategy asks them; no model runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from llmrec.classic.recall.popular import Popular
from llmrec.config import Config, Part
from llmrec.data import Candidates, Dataset, Queries, Split, Targets
from llmrec.data.files import cache_folder, read_parquet
from llmrec.errors import ConfigError, DataError
from llmrec.llm.cache import CachedEngine
from llmrec.llm.make import make_engine
from llmrec.prompts.template import load_template
from llmrec.rank.compare.recipe import with_setting
from llmrec.rank.compare.recording import Exchange, RecordingEngine
from llmrec.rank.compare.trial import serving_strategies
from llmrec.rank.make import make_ranker


class RenderRecipe(Config):
    """Whose prompts are rendered, and how."""

    template: str
    """A built-in name or the path of a YAML file."""
    dataset: Path
    """Data set folder from ``llmrec prepare``."""
    candidates: Path | None = None
    """Parquet file of candidates; without one, what the user was shown, else the most popular items."""
    part: str = "valid"
    """``valid`` or ``test``."""
    user: str | None = None
    """Id of the user; the first of the part if none is given."""
    strategy: Part = Part(name="")
    """Ranking strategy with its parameters; the first that the template serves if none is named."""
    engine: Part | None = None
    """Whose tokens are counted and whose context bounds prompts; known answers are read from its cache."""
    top: int = Field(default=20, ge=1)
    """How many candidates the model ranks."""
    cache: Path | None = None
    """SQLite file of answers, by default one for all runs."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """The prompts of one user.

    Attributes:
        user: id.
        strategy: what asks them.
        exchanges: prompts with their answers, scores NaN and texts empty where the cache has none.
    """

    user: str
    strategy: str
    exchanges: tuple[Exchange, ...]


def render_prompts(recipe: RenderRecipe) -> Rendered:
    """Return all prompts of one user.

    A strategy that sorts asks what depends on answers: where the cache has none, the incoming order stands in.

    Raises:
        LlmrecError: an input cannot be used, the part has no such user, or the template serves no strategy.
    """
    strategy = _strategy(recipe)
    split = Split.load(recipe.dataset / "split")
    targets = split.part(recipe.part)
    row = _row(recipe, split.train, targets)
    queries = targets.queries.select(slice(row, row + 1))
    candidates = _candidates(recipe, split.train, targets, row)
    cache = recipe.cache or cache_folder() / "answers.sqlite"
    engine = CachedEngine(make_engine(recipe.engine or Part(name="fake")), cache, dry_run=True)
    with closing(engine):
        recorder = RecordingEngine(engine, keep=True)
        ranker = make_ranker(strategy, recorder, split.train.titles(), split.train)
        recorder.exchanges = []
        ranker.rank(queries, candidates.top(recipe.top))
    user = split.train.users.decode(queries.users)[0]
    return Rendered("unseen" if user is None else str(user), strategy.name, tuple(recorder.exchanges))


def _strategy(recipe: RenderRecipe) -> Part:
    load_template(recipe.template)
    if recipe.strategy.name:
        return with_setting(recipe.strategy, "template", recipe.template)
    serves = serving_strategies(recipe.template)
    if not serves:
        raise ConfigError(
            f"template {recipe.template!r} serves no ranking strategy",
            expected="one that llmrec prompts list names strategies for",
            cure="choose another template, or name a strategy to see why not",
        )
    return Part(name=serves[0], parameters={**recipe.strategy.parameters, "template": recipe.template})


def _row(recipe: RenderRecipe, train: Dataset, targets: Targets) -> int:
    asked: Sequence[str] = [] if recipe.user is None else [recipe.user]
    number = train.users.numbers(asked)
    rows = np.flatnonzero(targets.queries.users == number[0]) if len(number) else np.arange(min(1, len(targets)))
    if not len(rows) or (len(number) and number[0] < 0):
        raise DataError(
            f"user {recipe.user!r}" if recipe.user is not None else "no user",
            expected=f"a user of part {recipe.part!r}, which has {len(targets):,}",
            cure="choose another user or part",
        )
    return int(rows[0])


def _candidates(recipe: RenderRecipe, train: Dataset, targets: Targets, row: int) -> Candidates:
    one = slice(row, row + 1)
    if recipe.candidates is not None:
        frame = read_parquet(recipe.candidates)
        return Candidates.from_frame(frame, train, targets.queries, where=str(recipe.candidates)).select(one)
    if targets.shown is not None:
        return targets.select(one).candidates()
    return _popular(train, targets.queries.select(one), recipe.top)


def _popular(train: Dataset, queries: Queries, top: int) -> Candidates:
    return Popular().fit(train).recommend(queries, min(top, len(train.items)))
