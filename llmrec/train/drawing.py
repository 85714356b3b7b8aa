"""A few rows out of many, at random: as many yes as no, and another one for each that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.errors import DataError
from llmrec.train.rows import ROW, TokenRows
from llmrec.train.tables import Numbers


def draw(
    numbers: Numbers, labels: pl.Series | None, wanted: int, seed: int, read: Callable[[Numbers], TokenRows]
) -> list[TokenRows]:
    """Return rows drawn at random, as parts in the order in which they were read.

    Args:
        numbers: (n,) of the rows.
        labels: (n,) of them; where there are any as many yes as no are drawn (one more no if odd), and none without.
        wanted: how many.
        seed: of the draw.
        read: returns those of some rows that can be used; the others are replaced by further draws.

    Raises:
        DataError: there are not so many, in all or of a label.
    """
    rng = np.random.default_rng(seed)
    if labels is None:
        lots = [_Lot.of(numbers, wanted, "", rng)]
    else:
        no, yes = ((labels == value).fill_null(False).to_numpy() for value in (False, True))
        lots = [
            _Lot.of(numbers[no], wanted - wanted // 2, " that say no", rng),
            _Lot.of(numbers[yes], wanted // 2, " that say yes", rng),
        ]
    parts = []
    while any(lot.missing for lot in lots):
        drawn = [lot.next(wanted) for lot in lots]
        part = read(np.sort(np.concatenate(drawn)))
        for lot, those in zip(lots, drawn, strict=True):
            lot.missing -= int(np.isin(those, part.frame[ROW].to_numpy()).sum())
        parts.append(part)
    return parts


@dataclass
class _Lot:
    """Rows of one label, in the order in which they are drawn.

    Attributes:
        order: (n,) their numbers.
        count: how many are to be drawn.
        which: rows they are, for a message.
        missing: how many are still to be drawn.
        begin: how many were read.
    """

    order: Numbers
    count: int
    which: str
    missing: int
    begin: int = 0

    @classmethod
    def of(cls, numbers: Numbers, count: int, which: str, rng: np.random.Generator) -> _Lot:
        first = rng.choice(numbers, min(count, len(numbers)), replace=False)
        return cls(np.concatenate([first, rng.permutation(np.setdiff1d(numbers, first))]), count, which, count)

    def next(self, wanted: int) -> NDArray[np.int64]:
        """Return as many of the rows that were not read as are missing.

        Raises:
            DataError: all were read.
        """
        if self.missing and self.begin == len(self.order):
            raise _too_few(len(self.order), self.count - self.missing, self.which, wanted, self.count)
        found = self.order[self.begin : self.begin + self.missing]
        self.begin += len(found)
        return found


def _too_few(there: int, usable: int, which: str, wanted: int, count: int) -> DataError:
    left_out = f", {there - usable:,} of them too long, leaking or without an answer" if usable < there else ""
    return DataError(
        f"{there:,} rows{which}{left_out}",
        expected=f"at least {count:,} to draw from (rows = {wanted:,})",
        cure="lower rows, or give more data",
    )
