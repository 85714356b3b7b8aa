"""Interaction simulation: a filter picks the likeliest users of each cold item, a model says which would take it.

Huang et al., Large Language Model Simulator for Cold-Start Recommendation (ColdLLM), WSDM 2025 (arXiv 2402.09176).
There a tuned model writes yes or no; here log-odds are read off, so that the surest are kept.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit

from llmrec.coldstart.asking import ItemTaste
from llmrec.coldstart.budget import BudgetedEngine
from llmrec.coldstart.items import ColdStart, Numbers
from llmrec.coldstart.simulate import Progress
from llmrec.data import Dataset, Interactions
from llmrec.data.events import frozen_array
from llmrec.data.files import atomic_file, read_parquet
from llmrec.errors import DataError

COLUMNS = {"user": pl.Int32, "item": pl.Int32, "odds": pl.Float32}
_BAND = 16
"""Users of each item that are asked before the next ones: of a budget that ends early every item has its share."""


@dataclass(frozen=True, eq=False)
class SimulatedInteractions:
    """Interactions that a simulation brings.

    Attributes:
        users: int32 (n,), user numbers.
        items: int32 (n,), item numbers.
        odds: float32 (n,), finite: natural log-odds that the user takes the item.

    Raises:
        DataError: the arrays differ in length, a number is negative, or odds are not finite.
    """

    users: Numbers
    items: Numbers
    odds: NDArray[np.float32]

    def __post_init__(self) -> None:
        for name, dtype in (("users", np.int32), ("items", np.int32), ("odds", np.float32)):
            object.__setattr__(self, name, frozen_array(getattr(self, name), dtype))
        shapes = [each.shape for each in (self.users, self.items, self.odds)]
        if len(set(shapes)) > 1 or len(shapes[0]) != 1:
            raise DataError(
                f"users, items and odds of shapes {', '.join(map(str, shapes))}",
                expected="three arrays (n,)",
                cure="pass one user, item and log-odds for each interaction",
            )
        wrong = (self.users < 0) | (self.items < 0) | ~np.isfinite(self.odds)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                f"interaction {row} of user {self.users[row]} and item {self.items[row]} with odds {self.odds[row]:g}",
                expected="numbers from 0 and finite odds",
                cure="leave it out",
            )

    def save(self, path: Path) -> Path:
        """Write one Parquet file (user, item: numbers; odds), whole or not at all."""
        columns = (self.users, self.items, self.odds)
        with atomic_file(path) as temporary:
            pl.DataFrame(dict(zip(COLUMNS, columns, strict=True)), schema=COLUMNS).write_parquet(temporary)
        return path

    @classmethod
    def load(cls, path: Path) -> SimulatedInteractions:
        """Read a file that ``save`` wrote.

        Raises:
            DataError: it is missing, damaged, or holds something else.
        """
        frame = read_parquet(path, COLUMNS).select(*COLUMNS)
        if dict(frame.schema) != COLUMNS or frame.null_count().sum_horizontal().item():
            raise DataError(
                f"{str(path)!r} has columns of {', '.join(map(str, frame.dtypes))}, some perhaps with nulls",
                expected="Int32 user and item, Float32 odds, none of them null",
                cure="write it with SimulatedInteractions.save",
            )
        return cls(*(frame[name].to_numpy() for name in COLUMNS))

    def events(self, time: int) -> Interactions:
        """Return them as events of one second, whose values are probabilities: above 0, at most 1."""
        values = np.maximum(expit(self.odds.astype(np.float64)), np.finfo(np.float32).tiny)
        return Interactions(self.users, self.items, np.full(len(self), time), values.astype(np.float32))

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True, eq=False)
class Funnelled:
    """What a model said of the users that a filter picked.

    Attributes:
        users: int32 (n,), who was asked.
        items: int32 (n,), about which cold item.
        odds: float64 (n,), natural log-odds of a yes; NaN where the engine gave no number.
        counts: ``asked`` questions; of them ``failed``; ``not_asked`` further ones for want of budget; prompts
            ``shortened`` to fit.
        share: questions asked, of all pairs of a cold item and a user with a history.
        exhausted: whether the budget ended it.
    """

    users: Numbers
    items: Numbers
    odds: NDArray[np.float64]
    counts: Counter[str]
    share: float
    exhausted: bool = False

    def to_frame(self, data: Dataset) -> pl.DataFrame:
        """Return a row for each question: ids of user and item, and the log-odds, null where it failed."""
        users, items = data.users.decode(self.users), data.items.decode(self.items)
        odds = pl.Series(self.odds, dtype=pl.Float64).fill_nan(None)
        return pl.DataFrame({"user": users, "item": items, "odds": odds})

    def interactions(self, keep: int | None = None, threshold: float | None = None) -> SimulatedInteractions:
        """Return what is kept, by item, the surest first.

        Args:
            keep: most interactions of an item; None for all. Equal odds: the lower user number.
            threshold: log-odds above which one is kept; None for any.
        """
        fine = np.isfinite(self.odds)
        if threshold is not None:
            fine &= self.odds > threshold
        rows = np.flatnonzero(fine)
        rows = rows[np.lexsort((self.users[rows], -self.odds[rows], self.items[rows]))]
        if keep is not None:
            starts = np.searchsorted(self.items[rows], self.items[rows])
            rows = rows[np.arange(len(rows)) - starts < keep]
        return SimulatedInteractions(self.users[rows], self.items[rows], self.odds[rows].astype(np.float32))


def in_bands(items: Numbers, near: NDArray[np.int32]) -> tuple[Numbers, Numbers]:
    """Return users and items in the order in which they are asked.

    The nearest users of all items come before the next ones; among those, questions of one user stand together.

    Args:
        items: int32 (c,).
        near: int32 (c, k), users near each of them, nearest first, padded with -1.
    """
    rows, places = np.nonzero(near >= 0)
    users = near[rows, places]
    order = np.lexsort((rows, users, places // _BAND))
    return users[order], items[rows[order]]


def simulate_interactions(
    taste: ItemTaste,
    world: ColdStart,
    near: NDArray[np.int32],
    *,
    engine: BudgetedEngine | None = None,
    block: int = 2048,
    progress: Progress | None = None,
) -> Funnelled:
    """Return what a taste says of each cold item's nearest users, of as many as the budget allows.

    Args:
        taste: a language model asked in one way, or a control.
        world: users, cold items.
        near: int32 (c, k), users near each cold item (``nearest_users``).
        engine: what ``taste`` asks, one prompt a question; None for a control.
        block: questions that are held in memory and asked together.
        progress: told of questions done before each block.
    """
    users, items = in_bands(world.items, near)
    parts, asked = [np.zeros(0)], 0
    for start in range(0, len(users), block):
        if progress is not None:
            progress(start, len(users))
        rows, before = slice(start, start + block), 0 if engine is None else engine.refused
        odds = taste.odds(users[rows], items[rows])
        n = len(odds) - (0 if engine is None else min(len(odds), engine.refused - before))
        parts.append(odds[:n])
        asked += n
        if n < len(odds):
            break
    odds = np.concatenate(parts)
    counts = Counter(
        asked=asked,
        failed=int((~np.isfinite(odds)).sum()),
        not_asked=len(users) - asked,
        shortened=taste.counts["shortened"],
    )
    share = asked / (len(world.items) * len(world.users))
    return Funnelled(users[:asked], items[:asked], odds, counts, share, exhausted=asked < len(users))
