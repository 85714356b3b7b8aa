"""Training rows from timelines: one window a user, or one row for each event with what came before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec.classic.training import Batch
from llmrec.data import Dataset
from llmrec.errors import DataError

POOL = 16  # batches that are sorted by length together, so that short rows are not padded to long ones


@dataclass(frozen=True)
class Timelines:
    """All events, user after user, each user's from oldest to newest.

    Attributes:
        items: int32 (n,).
        times: int64 (n,), Unix seconds; 0 throughout where the data has no clock.
        values: float32 (n,).
        users: int32 (n,).
        starts: int64 (n_users + 1,), user u has the rows from ``starts[u]`` to ``starts[u + 1]``.
    """

    items: NDArray[np.int32]
    times: NDArray[np.int64]
    values: NDArray[np.float32]
    users: NDArray[np.int32]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, data: Dataset) -> Timelines:
        """Return the timelines of a data set."""
        order, starts = data.by_user
        events = data.interactions
        times = events.times[order] if data.clock else np.zeros(len(order), np.int64)
        return cls(events.items[order], times, events.values[order], events.users[order], starts)

    def before(self, rows: NDArray[np.int64], width: int) -> NDArray[np.int64]:
        """Return which rows (b, width) precede the given ones (b,) on their user's timeline, left-padded with -1."""
        wanted = rows[:, None] - width + np.arange(width)
        return np.where(wanted >= self.starts[self.users[rows]][:, None], wanted, -1)


def take(values: NDArray[np.generic], rows: NDArray[np.int64], fill: int) -> NDArray[np.generic]:
    """Return ``values[rows]`` with ``fill`` where a row is -1."""
    return np.where(rows >= 0, values[rows], values.dtype.type(fill))


class Windows:
    """Each user's newest ``length`` + 1 events as one row: at every place, the item to come is the target.

    A batch has ``history`` (b, h) and ``target`` (b, h), int64, left-padded with -1, and the ``times`` (b, h) of the
    history, int64, left-padded with 0; all 0 where the data has no clock. Users with one event have nothing to predict
    and are left out.

    Args:
        data: what to learn from.
        length: places of the longest row.
        batch_size: rows of a batch.

    Raises:
        DataError: nobody has two events.
    """

    def __init__(self, data: Dataset, length: int, batch_size: int) -> None:
        self.timelines = Timelines.of(data)
        counts = np.diff(self.timelines.starts)
        self.users = np.flatnonzero(counts >= 2)
        self.lengths = np.minimum(counts[self.users] - 1, length)
        self.batch_size = batch_size
        check_rows(data, len(self.users))

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.users) // self.batch_size)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield every user once, those of like length together, in random order."""
        order = rng.permutation(len(self.users))
        pools = np.arange(len(order)) // (POOL * self.batch_size)
        order = order[np.lexsort((self.lengths[order], pools))]
        for step in rng.permutation(self.steps):
            yield self.batch(order[step * self.batch_size : (step + 1) * self.batch_size])

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """Return some users' rows, as wide as the longest of them."""
        width = int(self.lengths[rows].max())
        last = self.timelines.starts[self.users[rows] + 1] - 1
        places = np.column_stack([self.timelines.before(last, width), last])
        items = take(self.timelines.items, places, -1).astype(np.int64)
        # A place is used where both it and the next hold an event.
        target = np.where(items[:, :-1] >= 0, items[:, 1:], -1)
        return {"history": items[:, :-1], "target": target, "times": take(self.timelines.times, places[:, :-1], 0)}


class Pairs:
    """One row for each event but a user's first: the ``history`` before it, and the event's item as ``target``.

    A batch has ``history`` (b, h) int64, left-padded with -1; ``target`` (b,) int64; ``times`` (b, h) int64 of the
    history, padded with 0; ``time`` (b,) int64 of the target; ``row`` (b,) int64, the target's place on the timelines.

    Args:
        data: what to learn from.
        history: newest items that are read.
        batch_size: rows of a batch.
        per_user: at most so many targets of each user in an epoch, drawn anew each time; None for all.

    Raises:
        DataError: nobody has two events.
    """

    def __init__(self, data: Dataset, history: int, batch_size: int, per_user: int | None = None) -> None:
        self.timelines = Timelines.of(data)
        first = np.zeros(len(self.timelines.items), np.bool_)
        first[self.timelines.starts[:-1][np.diff(self.timelines.starts) > 0]] = True
        self.targets = np.flatnonzero(~first)
        self.history, self.batch_size, self.per_user = history, batch_size, per_user
        check_rows(data, len(self.targets))
        counts = np.bincount(self.timelines.users[self.targets])
        self._rows = int(counts.sum() if per_user is None else np.minimum(counts, per_user).sum())

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-self._rows // self.batch_size)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield the rows in random order."""
        rows = rng.permutation(self.targets)
        if self.per_user is not None:
            rows = rows[_place_in_group(self.timelines.users[rows]) < self.per_user]
        for start in range(0, len(rows), self.batch_size):
            yield self.batch(rows[start : start + self.batch_size])

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """Return the training rows of some targets, given by their places on the timelines."""
        before = self.timelines.before(rows, self.history)
        return {
            "history": take(self.timelines.items, before, -1).astype(np.int64),
            "target": self.timelines.items[rows].astype(np.int64),
            "times": take(self.timelines.times, before, 0),
            "time": self.timelines.times[rows],
            "row": rows,
        }


def check_rows(data: Dataset, n_rows: int) -> None:
    """Raise a DataError unless there is something to learn from."""
    if not n_rows:
        raise DataError(
            f"no user of {data.name!r} has two training events",
            expected="histories with something after them",
            cure="keep more events for training, or use popular",
        )


def _place_in_group(groups: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return how many earlier entries of ``groups`` (n,) are equal to each one."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(groups) else np.zeros(0, np.int64)
    places = np.empty(len(groups), np.int64)
    places[order] = np.arange(len(groups)) - np.repeat(starts, np.diff(np.r_[starts, len(groups)]))
    return places
