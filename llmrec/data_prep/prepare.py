"""From raw files to a data set folder with its split: what ``llmrec prepare`` runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from llmrec.config import Config, write_run
from llmrec.data import Dataset, Split
from llmrec.data.files import atomic_folder
from llmrec.data_prep.raw.reading import Progress, Reading
from llmrec.data_prep.split import by_user, global_time_cut, impression_time_cut, leave_last_out, per_user_ratio

Rule = Literal["leave-last-out", "per-user-ratio", "global-time-cut", "impression-time", "by-user", "none"]


class PrepareRecipe(Config, ABC):
    """What every data set is asked: where to write it, which rows may be bad, how it is cut."""

    out: Path
    """Folder to write: the data set, with its split in the sub-folder ``split``."""
    skip_bad_rows: int = Field(default=0, ge=0)
    """How many bad rows may be left out; they are written to ``rejected.jsonl``."""
    split: Rule = "leave-last-out"
    """How it is cut: each user's last two events, each user's newest share, one moment for all, impressions by time,
    whole users."""
    short_users: Literal["error", "train"] = "error"
    """leave-last-out, per-user-ratio: what becomes of a user with too few events."""
    ties: Literal["strict", "order"] = "strict"
    """The same: keep events of one second on one side, or go by their order in the file."""
    train: float | None = None
    """Share of the events (per-user-ratio: 0.8 of each user's, global-time-cut: 0.7 of all; by-user: 0.7 of the users)
    to train on."""
    valid: float = 0.1
    """Share of the events, impressions or users to validate on."""
    test: float = 0.1
    """impression-time: share of the impressions to test on; where some have no labels, they are the test."""
    seed: int = 0
    """by-user: who is in which part."""
    history: int | None = Field(default=None, ge=1)
    """At most so many newest items in a query; all by default (impression-time: 50)."""

    @abstractmethod
    def load(self, reading: Reading) -> Dataset:
        """Read the raw files."""


@dataclass(frozen=True)
class Prepared:
    """A data set that was written.

    Attributes:
        data: the whole data set.
        split: its split, or None.
        rejected: how many bad rows were left out.
    """

    data: Dataset
    split: Split | None
    rejected: int


def prepare(recipe: PrepareRecipe, *, progress: Progress | None = None) -> Prepared:
    """Read raw files, cut the data set and write both, whole or not at all.

    Args:
        recipe: which files, and how.
        progress: called with bytes read and bytes in all, for each file.

    Raises:
        LlmrecError: a file cannot be used; nothing is written then.
    """
    reading = Reading(recipe.skip_bad_rows, progress)
    data = recipe.load(reading)
    split = cut(data, recipe)
    save_prepared(data, split, recipe, reading)
    return Prepared(data, split, len(reading.rejected))


def save_prepared(data: Dataset, split: Split | None, recipe: PrepareRecipe, reading: Reading | None = None) -> None:
    """Write a data set with its split in the sub-folder ``split`` to ``recipe.out``, whole or not at all."""
    rejected = reading.rejected if reading else []
    with atomic_folder(recipe.out) as temporary:
        data.save(temporary / "all")
        for path in (temporary / "all").iterdir():
            path.rename(temporary / path.name)
        (temporary / "all").rmdir()
        if split is not None:
            split.save(temporary / "split")
        if reading is not None:
            reading.write(temporary)
        rule = dict(split.rule) if split else {}
        write_run(temporary / "run.json", recipe, counts=data.counts(), rule=rule, rejected=len(rejected))


def cut(data: Dataset, recipe: PrepareRecipe) -> Split | None:
    """Return the split that a recipe asks for, or None."""
    history = recipe.history
    if recipe.split == "leave-last-out":
        return leave_last_out(data, short_users=recipe.short_users, ties=recipe.ties, history=history)
    if recipe.split == "per-user-ratio":
        return per_user_ratio(
            data,
            train=0.8 if recipe.train is None else recipe.train,
            valid=recipe.valid,
            short_users=recipe.short_users,
            ties=recipe.ties,
            history=history,
        )
    if recipe.split == "global-time-cut":
        return global_time_cut(
            data, train=0.7 if recipe.train is None else recipe.train, valid=recipe.valid, history=history
        )
    if recipe.split == "by-user":
        return by_user(data, train=0.7 if recipe.train is None else recipe.train, valid=recipe.valid, seed=recipe.seed)
    if recipe.split == "impression-time":
        return impression_time_cut(data, valid=recipe.valid, test=recipe.test, history=history or 50)
    return None
