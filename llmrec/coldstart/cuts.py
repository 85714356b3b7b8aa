"""The two cuts of an evaluation: that of the test, and one inside training on which choices are made."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmrec.coldstart.items import ColdStart
from llmrec.coldstart.recipe import EvaluateRecipe
from llmrec.data import Dataset, Interactions, Split, Targets, Vocabulary
from llmrec.data_prep.split import global_time_cut
from llmrec.errors import ConfigError, DataError
from llmrec.eval.evaluate import item_groups

TEST, VALIDATION = "test", "validation"


@dataclass(frozen=True, eq=False)
class Cut:
    """A moment, what is known at it, and what is asked after it.

    Attributes:
        name: ``test`` or ``validation``.
        folder: where the split lies, under ``split``.
        split: training events, ``valid`` to stop training by, ``test`` to measure on: queries with a history, since to
            one without all methods recommend what is popular.
        without_history: queries that were left out for want of one.
        world: what a simulation may know.
        digest: of events, items and targets: equal digests, equal numbers.
    """

    name: str
    folder: Path
    split: Split
    world: ColdStart
    digest: str
    without_history: int

    @classmethod
    def of(cls, name: str, folder: Path, split: Split) -> Cut:
        """Return a split as a cut.

        Raises:
            DataError: nothing is cold, nobody takes what is, or see ``ColdStart.of``.
        """
        world = ColdStart.of(split)
        known = np.asarray((split.test.queries.history >= 0).any(axis=1))
        if not known.any():
            raise DataError(
                f"none of the {len(known):,} users of the test of {split.train.name!r} has a history",
                expected="users who come back",
                cure="train on a larger fraction",
            )
        split = replace(split, test=split.test.select(known))
        if not item_groups(split.train, split.test)["cold items"].any():
            raise DataError(
                f"nobody takes one of the {len(world.items):,} cold items of {split.train.name!r} in its test",
                expected="cold items that can be found",
                cure="train on a smaller fraction",
            )
        return cls(name, folder, split, world, _digest(split), int((~known).sum()))


def test_cut(recipe: EvaluateRecipe) -> Cut:
    """Return the data set's own cut.

    Raises:
        DataError: the split cannot be read, or see ``Cut.of``.
    """
    return Cut.of(TEST, recipe.dataset, Split.load(recipe.dataset / "split"))


def validation_cut(recipe: EvaluateRecipe, train: Dataset) -> Cut:
    """Cut the training events a second time, write the split into the run's folder, and return it.

    Its catalogue ends with the training events: what came later was not there yet.

    Raises:
        ConfigError: the recipe's ``train`` and ``valid`` leave nothing over.
        DataError: a part of the cut is empty, or see ``Cut.of``.
    """
    if recipe.train + recipe.valid >= 1:
        raise ConfigError(
            f"train = {recipe.train:g} and valid = {recipe.valid:g} of the validation cut",
            expected="a sum below 1: on the rest weight and number of pairs are chosen",
            cure="use for example train=0.7 valid=0.1",
        )
    folder = recipe.out / VALIDATION
    try:
        split = global_time_cut(catalogue_then(train), train=recipe.train, valid=recipe.valid)
        cut = Cut.of(VALIDATION, folder, split)
    except DataError as error:
        raise DataError(
            f"cut a second time, for validation: {error.found}",
            expected=error.expected,
            cure=f"change train = {recipe.train:g} and valid = {recipe.valid:g} of the recipe, or take more data",
        ) from None
    split.save(folder / "split")
    return cut


def catalogue_then(train: Dataset) -> Dataset:
    """Return a data set whose catalogue are the items that have an event, numbered anew in the same order."""
    events = train.interactions
    kept = np.unique(events.items)
    items = np.searchsorted(kept, events.items).astype(np.int32)
    return replace(
        train,
        interactions=Interactions(events.users, items, events.times, events.values),
        items=Vocabulary(train.items.ids.gather(kept)),
        item_table=train.item_table[kept],
        impressions=None,
    )


def _digest(split: Split) -> str:
    train, found = split.train, hashlib.sha256(repr(sorted(split.rule.items())).encode())
    for ids in (train.users.ids, train.items.ids):
        found.update(json.dumps(ids.to_list(), default=str).encode())
    found.update(json.dumps(train.item_table.to_dicts(), default=str).encode())
    events = train.interactions
    columns: tuple[NDArray[np.generic], ...] = (events.users, events.items, events.times, events.values)
    for array in (*columns, *_arrays(split.valid), *_arrays(split.test)):
        found.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _arrays(targets: Targets) -> tuple[NDArray[np.generic], ...]:
    return (targets.queries.users, targets.queries.history, targets.relevant)
