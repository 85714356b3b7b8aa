"""Sessions: a user's timeline, cut where nothing happened for a while."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Dataset
from llmrec.errors import DataError


@dataclass(frozen=True, eq=False)
class Sessions:
    """Events user after user, each user's from oldest to newest, and which session each belongs to.

    Attributes:
        items: int32 (n,), item numbers.
        values: float32 (n,), the events' values.
        starts: int64 (s + 1,), session i has the events from ``starts[i]`` to ``starts[i + 1]``.
    """

    items: NDArray[np.int32]
    values: NDArray[np.float32]
    starts: NDArray[np.int64]

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The session of each event, rising, (n,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @property
    def ends(self) -> NDArray[np.bool_]:
        """Whether an event is the last of its session, (n,)."""
        last = np.zeros(len(self.items), np.bool_)
        last[self.starts[1:] - 1] = True
        return last

    @property
    def joined(self) -> NDArray[np.bool_]:
        """Whether an event and the one after it are two items of one session, (n - 1,)."""
        other: NDArray[np.bool_] = self.items[1:] != self.items[:-1]
        return other & ~self.ends[:-1]

    def frequency(self, n_items: int) -> NDArray[np.int64]:
        """Return how many events each item has, (n_items,), in sessions with another item; the others teach nothing."""
        several = np.zeros(len(self), np.bool_)
        several[self.numbers[:-1][self.joined]] = True
        return np.bincount(self.items[several[self.numbers]], minlength=n_items)

    def __len__(self) -> int:
        return len(self.starts) - 1


def cut_sessions(data: Dataset, gap: float | None) -> Sessions:
    """Return the sessions of a data set.

    A session ends where more than ``gap`` seconds pass before the user's next event. With ``gap`` None, and where times
    are no Unix seconds (``clock`` is False), a user's whole timeline is one session.

    Raises:
        DataError: no session holds two items, so that nothing is near anything.
    """
    order, bounds = data.by_user
    events = data.interactions
    first = np.zeros(len(order), np.bool_)
    first[bounds[:-1][np.diff(bounds) > 0]] = True
    if gap is not None and data.clock and len(order):
        first[1:] |= np.diff(events.times[order]) > gap
    starts = np.append(np.flatnonzero(first), len(order))
    sessions = Sessions(events.items[order], events.values[order], starts)
    if not len(order) or not sessions.joined.any():
        raise DataError(
            f"no session of {data.name!r} has two items" + ("" if gap is None else f" (gap = {gap:g} seconds)"),
            expected="items that are used together",
            cure="allow a longer gap, keep more events for training, or use popular",
        )
    return sessions
