"""Which of two items a user would take: what a simulation of behaviour brings, and a pairwise loss learns from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data.dataset import Dataset
from llmrec.data.events import frozen_array
from llmrec.data.files import atomic_file, read_parquet
from llmrec.errors import DataError

COLUMNS = {"user": pl.Int32, "chosen": pl.Int32, "rejected": pl.Int32, "weight": pl.Float32}


@dataclass(frozen=True, eq=False)
class Preferences:
    """Pairs of items that a user was asked about, the one taken first.

    Attributes:
        users: int32 (n,), user numbers.
        chosen: int32 (n,), numbers of the items that were taken.
        rejected: int32 (n,), numbers of the items that were not.
        weights: float32 (n,), finite, 0 or more: how sure that is, for example the margin of log-odds.

    Raises:
        DataError: the arrays differ in length, a number is negative, a weight is negative or not finite, or an item is
            preferred to itself.
    """

    users: NDArray[np.int32]
    chosen: NDArray[np.int32]
    rejected: NDArray[np.int32]
    weights: NDArray[np.float32]

    def __post_init__(self) -> None:
        for name in ("users", "chosen", "rejected"):
            object.__setattr__(self, name, frozen_array(getattr(self, name), np.int32))
        object.__setattr__(self, "weights", frozen_array(self.weights, np.float32))
        shapes = [each.shape for each in (self.users, self.chosen, self.rejected, self.weights)]
        if len(set(shapes)) > 1 or len(shapes[0]) != 1:
            raise DataError(
                f"users, chosen, rejected and weights of shapes {', '.join(map(str, shapes))}",
                expected="four arrays (n,)",
                cure="pass one user, one item taken, one not taken and one weight for each pair",
            )
        self._check_pairs()

    def _check_pairs(self) -> None:
        negative = (self.users < 0) | (self.chosen < 0) | (self.rejected < 0)
        wrong = ~(np.isfinite(self.weights) & (self.weights >= 0))
        for rows, found, expected, cure in (
            (negative, "a number below 0", "numbers from 0", "leave out pairs of an unknown user or item"),
            (wrong, "the weight {weight:g}", "a finite weight of 0 or more", "leave that pair out, or clip its weight"),
            (self.chosen == self.rejected, "item number {chosen} twice", "two items", "leave that pair out"),
        ):
            if rows.any():
                row = int(np.argmax(rows))
                seen = found.format(weight=self.weights[row], chosen=self.chosen[row])
                raise DataError(f"pair {row} has {seen} ({int(rows.sum())} pairs do)", expected=expected, cure=cure)

    def require_known(self, data: Dataset) -> None:
        """Raise a DataError unless all users and items are numbers of ``data``."""
        for kind, numbers, size in (
            ("user", self.users, len(data.users)),
            ("item", self.chosen, len(data.items)),
            ("item", self.rejected, len(data.items)),
        ):
            if numbers.max(initial=-1) >= size:
                raise DataError(
                    f"a preference with {kind} number {numbers.max()}",
                    expected=f"{kind} numbers from 0 to {size - 1}, those of {data.name!r}",
                    cure="use the data set that the preferences were made for",
                )

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Preferences:
        """Return some pairs."""
        return Preferences(self.users[rows], self.chosen[rows], self.rejected[rows], self.weights[rows])

    def scaled(self) -> Preferences:
        """Return the same pairs with weights of mean 1; all 0 stay so."""
        mean = self.weights.mean(dtype=np.float64) if self.weights.any() else 1.0
        return Preferences(self.users, self.chosen, self.rejected, (self.weights / mean).astype(np.float32))

    def save(self, path: Path) -> Path:
        """Write one Parquet file (user, chosen, rejected, weight; all but the last numbers), whole or not at all."""
        columns = (self.users, self.chosen, self.rejected, self.weights)
        with atomic_file(path) as temporary:
            pl.DataFrame(dict(zip(COLUMNS, columns, strict=True)), schema=COLUMNS).write_parquet(temporary)
        return path

    @classmethod
    def load(cls, path: Path) -> Preferences:
        """Read a file that ``save`` wrote.

        Raises:
            DataError: it is missing, damaged, or holds something else.
        """
        frame = read_parquet(path, COLUMNS).select(*COLUMNS)
        if dict(frame.schema) != COLUMNS or frame.null_count().sum_horizontal().item():
            raise DataError(
                f"{str(path)!r} has columns of {', '.join(map(str, frame.dtypes))}, some perhaps with nulls",
                expected="Int32 user, chosen and rejected, Float32 weight, none of them null",
                cure="write it with Preferences.save",
            )
        return cls(*(frame[name].to_numpy() for name in COLUMNS))

    def __len__(self) -> int:
        return len(self.users)
