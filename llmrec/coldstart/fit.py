"""Fit a recommender on a data set and on what was simulated for its cold items, and keep it like any other."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from llmrec.classic.recall.base.store import RecallModel
from llmrec.classic.recall.neural.curves import write_curves
from llmrec.coldstart.funnel import SimulatedInteractions
from llmrec.coldstart.lessons import Lesson, Pairwise, Taken, learn
from llmrec.config import Config, Part, write_run
from llmrec.data import Split
from llmrec.data.files import require_replaceable
from llmrec.data.preferences import Preferences
from llmrec.errors import ConfigError
from llmrec.llm.make import Report
from llmrec.protocols import Watch


class FitRecipe(Config):
    """A recommender that learns simulated behaviour beside its events."""

    dataset: Path
    """Data set folder that the simulation was made for."""
    out: Path
    """Model folder to write."""
    model: Part = Part(name="bpr")
    """Recommender with its parameters."""
    pairs: Path | None = None
    """Preferences from ``llmrec coldstart simulate pairs``."""
    interactions: Path | None = None
    """Or interactions from ``llmrec coldstart simulate interactions``."""
    weight: float = Field(0.1, ge=0)
    """Of pairs: what one of mean weight counts against an event (lambda)."""
    seed: int = 0
    """Of everything random."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted recommender.

    Attributes:
        model: what was written.
        events: how many it learned from.
        simulated: how many pairs or interactions beside them.
        cold: how many items without an event it learned of.
        seconds: wall time.
    """

    model: RecallModel
    events: int
    simulated: int
    cold: int
    seconds: float


def fit(recipe: FitRecipe, *, report: Report | None = None) -> Fitted:
    """Fit on the training events and the simulated behaviour, and write ``recipe.out``.

    Training stops early by the validation part, as ``llmrec recall fit``; killed, the same call goes on.

    Args:
        recipe: what to fit.
        report: told of epochs done.

    Raises:
        LlmrecError: an input cannot be used, or the folder is somebody else's.
    """
    start, out = time.perf_counter(), recipe.out
    lesson, simulated = _lesson(recipe)
    require_replaceable(out)
    split = Split.load(recipe.dataset / "split")
    valid = split.valid if split.valid.labelled else None
    checkpoint = out.resolve().with_name(f".{out.resolve().name}.checkpoint")
    watch = Watch(valid, checkpoint, report)
    model = learn(recipe.model, split.train, lesson, seed=recipe.seed, watch=watch)
    events, named = split.train.interactions, _items(lesson)
    cold = int((~np.isin(named, events.items)).sum())
    found = Fitted(model, len(events), simulated, cold, time.perf_counter() - start)
    if not int(os.environ.get("RANK", "0")):  # of several processes that learned together one writes
        model.save(out)
        facts = {"events": found.events, "simulated": simulated, "cold_items": cold, "seconds": found.seconds}
        write_run(out / "run.json", recipe, **facts)
        write_curves(out)
        shutil.rmtree(checkpoint, ignore_errors=True)
    return found


def _lesson(recipe: FitRecipe) -> tuple[Lesson, int]:
    if recipe.pairs is not None and recipe.interactions is None:
        preferences = Preferences.load(recipe.pairs)
        return Pairwise(preferences, recipe.weight), len(preferences)
    if recipe.interactions is not None and recipe.pairs is None:
        simulated = SimulatedInteractions.load(recipe.interactions)
        return Taken(simulated), len(simulated)
    raise ConfigError(
        f"pairs = {recipe.pairs and str(recipe.pairs)!r} and interactions = {str(recipe.interactions)!r}"
        if recipe.pairs is not None
        else "neither pairs nor interactions",
        expected="a file of one of the two",
        cure="fit one model on each, or the plain one with 'llmrec recall fit'",
    )


def _items(lesson: Lesson) -> np.ndarray:
    """Return the items that a lesson names, each once."""
    if isinstance(lesson, Taken):
        return np.unique(lesson.simulated.items)
    return np.unique(np.concatenate([lesson.preferences.chosen, lesson.preferences.rejected]))
