"""What a simulation may know: events before the cut, the users who have some, and texts of items nobody has touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmrec.classic.recall.text import item_texts
from llmrec.data import Dataset, Queries, Split
from llmrec.errors import DataError
from llmrec.prompts.template import clean_text

Numbers = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class ColdStart:
    """A split seen from the moment of its cut; nothing later, and no target, can be got from it.

    Which items are cold is told by the catalogue and the training events alone: that an item is a target of the test
    says that somebody will take it.

    Attributes:
        train: the training events whose items have a title; users and items are the whole vocabularies.
        items: int32 (c,), cold items: in the catalogue, without a training event, with a title; ascending.
        users: int32 (u,), users with such a training event; ascending.
        titles: of each item; "" where it has none.
        untitled: cold items that were left out since they have no title.
    """

    train: Dataset
    items: Numbers
    users: Numbers
    titles: Sequence[str]
    untitled: int

    @classmethod
    def of(cls, split: Split) -> ColdStart:
        """Return what is known at the cut of a split.

        Raises:
            DataError: the split has no single moment that cuts, or training events after it; no event is before it; no
                item is cold, or none of those has a title; no user has a history.
        """
        train = split.train
        _check_cut(split)
        titles = [clean_text(title) for title in item_texts(train, ("title",))]
        titled = np.array([bool(title) for title in titles])
        touched = np.zeros(len(titles), np.bool_)
        touched[train.interactions.items] = True
        cold = np.flatnonzero(~touched & titled).astype(np.int32)
        untitled = int((~touched & ~titled).sum())
        if not len(cold):
            raise _no_items(train, untitled)
        events = train.interactions
        readable = train.with_interactions(events.select(titled[events.items]))
        users = np.unique(readable.interactions.users)
        if not len(users):
            raise DataError(
                f"no user of {train.name!r} has a history before the cut ({len(events):,} events of untitled items)",
                expected="training events of items with a title",
                cure="fill the titles in",
            )
        return cls(readable, cold, users, titles, untitled)

    @property
    def activity(self) -> NDArray[np.int64]:
        """How many training events each of ``users`` has, (u,)."""
        return np.bincount(self.train.interactions.users, minlength=len(self.train.users))[self.users]

    def queries(self, users: ArrayLike, history: int | None) -> Queries:
        """Return a query for each user number with the newest ``history`` of its training events."""
        return self.train.queries(users, history=history)

    def texts(self, columns: Sequence[str]) -> list[str]:
        """Return how each item is told: a cold one by those of ``columns`` that are there, others by their title."""
        told, there = list(self.titles), [name for name in columns if name in self.train.item_table.columns]
        every = item_texts(self.train, there or ("title",))
        for item in self.items.tolist():
            told[item] = every[item] or told[item]
        return told


def _check_cut(split: Split) -> None:
    """Raise a DataError unless one moment cuts everybody's events, and training lies before it."""
    train, cut = split.train, split.rule.get("valid_from")
    if not isinstance(cut, int):
        raise DataError(
            f"a split by {split.rule.get('name', 'an unknown rule')!r}, which cuts each user at another time",
            expected="one moment for all: what is cold, and what is later, depends on it",
            cure="split by global-time-cut",
        )
    times = train.interactions.times
    if not len(times):
        raise DataError(
            f"no event of {train.name!r} lies before the cut at {cut}",
            expected="a cut within the data's time",
            cure="train on a larger fraction",
        )
    if times[-1] >= cut:
        raise DataError(
            f"{train.name!r} has a training event at {times[-1]}, the cut is at {cut}",
            expected="training events before the cut",
            cure="split the data again",
        )


def _no_items(train: Dataset, untitled: int) -> DataError:
    if untitled:
        return DataError(
            f"none of the {untitled:,} cold items of {train.name!r} has a title",
            expected="a text to know them by",
            cure="fill the titles in",
        )
    return DataError(
        f"no cold items: each of the {len(train.items):,} items of {train.name!r} has a training event",
        expected="items that nobody has touched before the cut",
        cure="train on a smaller fraction, or keep new items in the catalogue",
    )
