"""What happened: interactions sorted by time, and impressions (shown-and-clicked lists)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmrec.errors import DataError


def frozen_array(values: ArrayLike, dtype: type[np.generic]) -> NDArray[np.generic]:
    """Return ``values`` as a read-only array of ``dtype``; the caller's own array stays writable."""
    array = np.asarray(values, dtype)
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False)
class Interactions:
    """Events sorted by time, ties in input order.

    Attributes:
        users: int32 (n,), user numbers.
        items: int32 (n,), item numbers.
        times: int64 (n,), Unix seconds, never decreasing.
        values: float32 (n,), ratings or weights; 1 where the data has none.

    Raises:
        DataError: the arrays differ in length or the times decrease; ``Interactions.sort`` sorts.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    times: NDArray[np.int64]
    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        for name, dtype in (("users", np.int32), ("items", np.int32), ("times", np.int64), ("values", np.float32)):
            object.__setattr__(self, name, frozen_array(getattr(self, name), dtype))
        lengths = {len(self.users), len(self.items), len(self.times), len(self.values)}
        if len(lengths) > 1:
            raise DataError(
                f"interaction arrays of lengths {sorted(lengths)}",
                expected="four arrays of one length",
                cure="pass one user, item, time and value for each event",
            )
        if len(self) and np.any(np.diff(self.times) < 0):
            raise DataError(
                "interactions out of time order", expected="sorted times", cure="use Interactions.sort(...)"
            )

    @classmethod
    def sort(
        cls, users: ArrayLike, items: ArrayLike, times: ArrayLike, values: ArrayLike | None = None
    ) -> Interactions:
        """Return the events sorted by time with a stable sort: an unstable one would change targets."""
        times = np.asarray(times, np.int64)
        order = np.argsort(times, kind="stable")
        weights = np.ones(len(times), np.float32) if values is None else np.asarray(values, np.float32)
        return cls(np.asarray(users, np.int32)[order], np.asarray(items, np.int32)[order], times[order], weights[order])

    @cached_property
    def rated(self) -> bool:
        """Whether the values differ, as ratings do; where all are equal they say nothing."""
        return bool(len(self) and (self.values != self.values[0]).any())

    def select(self, rows: NDArray[np.bool_] | NDArray[np.integer]) -> Interactions:
        """Return the events of a boolean mask (n,) or of ascending row numbers."""
        return Interactions(self.users[rows], self.items[rows], self.times[rows], self.values[rows])

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True, eq=False)
class Impressions:
    """Lists of items that were shown together, with which of them were clicked.

    Attributes:
        users: int32 (m,), user numbers.
        times: int64 (m,), Unix seconds.
        offsets: int64 (m + 1,), list i is ``items[offsets[i]:offsets[i + 1]]``.
        items: int32 (total,), item numbers in the order shown.
        clicked: bool (total,); False throughout a list that is not labelled.
        labelled: bool (m,), whether it is known what was clicked; by default it is.

    Raises:
        DataError: the arrays do not fit together.
    """

    users: NDArray[np.int32]
    times: NDArray[np.int64]
    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    clicked: NDArray[np.bool_]
    labelled: NDArray[np.bool_] = field(default_factory=lambda: np.asarray(True))

    def __post_init__(self) -> None:
        if np.ndim(self.labelled) == 0:  # one answer for all lists
            object.__setattr__(self, "labelled", np.full(len(self.users), self.labelled))
        for name, dtype in (
            ("users", np.int32),
            ("times", np.int64),
            ("offsets", np.int64),
            ("items", np.int32),
            ("clicked", np.bool_),
            ("labelled", np.bool_),
        ):
            object.__setattr__(self, name, frozen_array(getattr(self, name), dtype))
        consistent = (
            len(self.users) == len(self.times) == len(self.labelled) == len(self.offsets) - 1
            and len(self.items) == len(self.clicked) == self.offsets[-1]
            and not np.any(np.diff(self.offsets) < 0)
        )
        if not consistent:
            raise DataError(
                f"impressions of {len(self.users)} users, {len(self.offsets)} offsets and {len(self.items)} items",
                expected="m users and times, m + 1 rising offsets, as many click flags as items",
                cure="rebuild the offsets from the list lengths",
            )

    def select(self, rows: NDArray[np.bool_] | NDArray[np.integer]) -> Impressions:
        """Return the lists of a boolean mask (m,) or of row numbers, in that order."""
        chosen = np.flatnonzero(rows) if np.asarray(rows).dtype == np.bool_ else np.asarray(rows)
        lengths = np.diff(self.offsets)[chosen]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        flat = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][chosen] - offsets[:-1], lengths)
        return Impressions(
            self.users[chosen], self.times[chosen], offsets, self.items[flat], self.clicked[flat], self.labelled[chosen]
        )

    def __len__(self) -> int:
        return len(self.users)
