"""Rows to rank or to learn from: would this user take this item after this history? Point-in-time by construction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec.classic.ranking.base.search import Mask, Numbers, places
from llmrec.data import Candidates, Dataset, Queries
from llmrec.protocols import FloatArray


@dataclass(frozen=True, eq=False)
class Timeline:
    """Histories one behind the other, each from oldest to newest.

    Attributes:
        items: int32 (e,).
        likes: bool (e,), whether the event's value was above ``like_above``; None where values are not known.
    """

    items: NDArray[np.int32]
    likes: Mask | None = None


@dataclass(frozen=True, eq=False)
class Rows:
    """n pairs of a query and an item. What is read of the query are its events before the row, and nothing else.

    Attributes:
        timeline: where histories are.
        first: int64 (n,), where a row's history begins.
        last: int64 (n,), where it ends: event ``last`` is not part of it.
        users: int32 (n,), -1 is an unseen user.
        items: int32 (n,).
        times: int64 (n,), the row's moment in Unix seconds, from which on nothing counts; None: after all events.
        labels: float32 (n,), 1 for yes and 0 for no; None where it is asked.
        lists: int64 (n,), ascending: rows of one number were shown, or are to be ordered, together.
        values: float32 (n,), what the row's event was given, NaN where it is none; None where values are not known.
    """

    timeline: Timeline
    first: Numbers
    last: Numbers
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    times: Numbers | None
    labels: FloatArray | None
    lists: Numbers
    values: FloatArray | None = None

    def select(self, rows: Numbers | slice) -> Rows:
        """Return some rows."""
        return Rows(
            self.timeline,
            self.first[rows],
            self.last[rows],
            self.users[rows],
            self.items[rows],
            None if self.times is None else self.times[rows],
            None if self.labels is None else self.labels[rows],
            self.lists[rows],
            None if self.values is None else self.values[rows],
        )

    def history(self, width: int) -> NDArray[np.int32]:
        """Return the newest ``width`` items of each row's history, int32 (n, width), left-padded with -1."""
        events = self.last[:, None] - width + np.arange(width)
        real = events >= self.first[:, None]
        found = np.full(events.shape, -1, np.int32)
        found[real] = self.timeline.items[events[real]]
        return found

    def __len__(self) -> int:
        return len(self.items)


class Histories:
    """All events of a data set, user after user, and what of them lies before a moment.

    Args:
        data: a data set.
        like_above: values above it are likes; None where values say nothing.
    """

    def __init__(self, data: Dataset, like_above: float | None) -> None:
        order, self.starts = data.by_user
        events = data.interactions
        likes = None if like_above is None else events.values[order] > like_above
        self.timeline = Timeline(events.items[order], likes)
        self._origin = int(events.times.min(initial=0))
        self._span = int(events.times.max(initial=0)) - self._origin + 2
        self._keys = events.users[order] * np.int64(self._span) + (events.times[order] - self._origin)

    def before(self, users: NDArray[np.integer], times: Numbers) -> tuple[Numbers, Numbers]:
        """Return where the events of users (n,) begin, and where those in seconds earlier than times (n,) end."""
        moments = np.clip(times - self._origin, 0, self._span - 1)
        return self.starts[users], places(self._keys, users * np.int64(self._span) + moments)


def candidate_rows(queries: Queries, candidates: Candidates, like_above: float | None = None) -> Rows:
    """Return a row for each candidate that is no padding, query after query, without times and labels.

    Args:
        queries: q queries.
        candidates: q rows of candidates.
        like_above: values above it are likes; None where they are not read.
    """
    lists, ranks = np.nonzero(candidates.items >= 0)
    timeline, starts, ends = flatten(queries, like_above)
    return Rows(
        timeline, starts[lists], ends[lists], queries.users[lists], candidates.items[lists, ranks], None, None, lists
    )


def flatten(queries: Queries, like_above: float | None) -> tuple[Timeline, Numbers, Numbers]:
    """Return the histories of q queries as one timeline, and where each begins (q,) and ends (q,)."""
    owners, items = queries.entries
    likes = None if like_above is None or queries.values is None else queries.values[queries.history >= 0] > like_above
    ends = np.cumsum(np.bincount(owners, minlength=len(queries)), dtype=np.int64)
    return Timeline(items, likes), np.concatenate([np.zeros(1, np.int64), ends[:-1]])[: len(queries)], ends
