"""Who asks, and what they did before: the input of every recommender and ranker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from llmrec.data.events import frozen_array
from llmrec.errors import DataError

LARGEST = 8 << 30  # bytes of one padded array
N = TypeVar("N", bound=np.number)


@dataclass(frozen=True, eq=False)
class Queries:
    """A batch of requests.

    Attributes:
        users: int32 (q,), user numbers; -1 is a user nobody has seen.
        history: int32 (q, h), item numbers from oldest to newest, left-padded with -1.
        values: float32 (q, h), ratings of the history's items, 0 in the padding; None where they are not known.
        times: int64 (q, h), Unix seconds of the history's events, 0 in the padding; None where they are not known.
    """

    users: NDArray[np.int32]
    history: NDArray[np.int32]
    values: NDArray[np.float32] | None = None
    times: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "users", frozen_array(self.users, np.int32))
        object.__setattr__(self, "history", frozen_array(self.history, np.int32))
        if self.history.ndim != 2 or len(self.history) != len(self.users):
            raise DataError(
                f"{len(self.users)} users with a history of shape {self.history.shape}",
                expected="one row of history for each user",
                cure="pass history as (q, h), left-padded with -1",
            )
        for name, dtype in (("values", np.float32), ("times", np.int64)):
            given = getattr(self, name)
            if given is None:
                continue
            object.__setattr__(self, name, frozen_array(given, dtype))
            if np.shape(given) != self.history.shape:
                raise DataError(
                    f"{name} of shape {np.shape(given)} for a history of shape {self.history.shape}",
                    expected="one for each place of the history",
                    cure=f"pass {name} as (q, h), or None where they are not known",
                )

    @classmethod
    def from_histories(cls, histories: Sequence[Sequence[int]], users: Sequence[int] | None = None) -> Queries:
        """Return queries from ragged histories (item numbers, oldest first); ``users`` default to unseen."""
        width = max((len(row) for row in histories), default=0)
        padded = np.full((len(histories), width), -1, np.int32)
        for row, items in enumerate(histories):
            padded[row, width - len(items) :] = items
        return cls(np.full(len(histories), -1, np.int32) if users is None else np.asarray(users, np.int32), padded)

    def last(self, history: int) -> Queries:
        """Return the queries with at most the ``history`` newest items each."""
        first = self.history.shape[1] - history
        return self if first <= 0 else self._map(self.users, (slice(None), slice(first, None)))

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Queries:
        """Return the queries of some rows."""
        return self._map(self.users[rows], rows)

    @cached_property
    def entries(self) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """Row and item number of each event of the histories, row after row."""
        rows, places = np.nonzero(self.history >= 0)
        return rows, self.history[rows, places]

    def _map(self, users: NDArray[np.int32], places: Any) -> Queries:  # noqa: ANN401 - whatever NumPy indexes with
        values, times = (None if each is None else each[places] for each in (self.values, self.times))
        return Queries(users, self.history[places], values, times)

    def lists(self) -> list[list[int]]:
        """Return each history as a plain list without its padding."""
        return [row[row >= 0].tolist() for row in self.history]

    def __len__(self) -> int:
        return len(self.users)


def pad_ragged(
    rows: NDArray[np.integer], values: NDArray[N], n_rows: int, *, last: int | None = None, fill: int = -1
) -> NDArray[N]:
    """Return (n_rows, width) with the values of each row in input order, left-padded with ``fill``.

    Args:
        rows: (n,) row number of each value, in any order.
        values: (n,), of any type of numbers.
        n_rows: number of rows.
        last: keep only so many newest values of a row.
        fill: what stands in the padding.

    Raises:
        DataError: the array would take more than ``LARGEST`` bytes.
    """
    order = np.argsort(rows, kind="stable")
    rows, values = np.asarray(rows)[order], values[order]
    counts = np.bincount(rows, minlength=n_rows) if n_rows else np.zeros(0, np.int64)
    ends = np.cumsum(counts)
    from_end = ends[rows] - 1 - np.arange(len(rows)) if len(rows) else np.zeros(0, np.int64)
    width = int(counts.max(initial=0)) if last is None else min(last, int(counts.max(initial=0)))
    size = n_rows * width * values.dtype.itemsize
    if size > LARGEST:
        raise DataError(
            f"{n_rows:,} rows as wide as the longest ({width:,}) take {size / 2**30:,.0f} GiB",
            expected=f"at most {LARGEST >> 30} GiB",
            cure="keep fewer of the newest items: history=50, for example",
        )
    keep = from_end < width
    padded = np.full((n_rows, width), fill, values.dtype)
    padded[rows[keep], width - 1 - from_end[keep]] = values[keep]
    return padded
