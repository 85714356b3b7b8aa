"""What is said of pairs that are asked about in both orders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WON, TIED, LOST = 1.0, 0.5, 0.0
"""What a pair counts for its first member; NaN where nobody knows."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Votes:
    """What is said of n pairs, as log-odds of the first member; NaN where nobody was asked, or it failed.

    Attributes:
        first: (n,) where the first member stands first.
        second: (n,) where it stands second.
    """

    first: Floats
    second: Floats

    @property
    def margins(self) -> Floats:
        """Mean log-odds of both orders, (n,): what a model adds for a place cancels out."""
        return (self.first + self.second) / 2

    def scores(self) -> Floats:
        """Return what each pair counts for its first member, (n,): a tie where the orders disagree, or one is even."""
        known = np.isfinite(self.first) & np.isfinite(self.second)
        won, lost = (self.first > 0) & (self.second > 0), (self.first < 0) & (self.second < 0)
        return np.where(known, np.select([won, lost], [WON, LOST], TIED), np.nan)

    def first_place(self) -> float | None:
        """Return the share of answers that prefer what stands first, an even one counting half."""
        odds = np.concatenate([self.first, -self.second])
        odds = odds[np.isfinite(odds)]
        return float(((np.sign(odds) + 1) / 2).mean()) if len(odds) else None

    def swayed(self) -> float | None:
        """Return the share of pairs in which both orders prefer the same place: that decides, not what stands there."""
        known = np.isfinite(self.first) & np.isfinite(self.second)
        return float((self.first * self.second < 0)[known].mean()) if known.any() else None
