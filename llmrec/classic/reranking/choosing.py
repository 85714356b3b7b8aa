"""One candidate after the other, in all lists at once: how relevant each is, and which were chosen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Candidates
from llmrec.eval.vectors import Floats

TIE = 1e-9  # values as near as that are equal, so that rounding cannot reorder what a batch was cut from


def relevance(candidates: Candidates) -> Floats:
    """Return how relevant each candidate is, from 0 to 1 in each list and never rising, (q, n).

    Scores are scaled so that a list's best has 1 and its worst 0; where they contradict the order, the order holds. A
    candidate without a finite score has that of the one before it. A list without any score falls in even steps, and
    one whose scores are all equal has 1 throughout.
    """
    real, scores = candidates.items >= 0, candidates.scores.astype(np.float64)
    scored = real & np.isfinite(scores)
    low = np.where(scored, scores, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    high = np.where(scored, scores, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    some = np.isfinite(low)
    span = np.where(high > low, high - low, 1)
    scaled = np.where(scored, 1 - (np.where(some, high, 0) - scores) / span, np.nan)
    lengths = real.sum(axis=1, keepdims=True)
    even = 1 - np.arange(real.shape[1]) / np.maximum(lengths - 1, 1)
    falling = np.fmin.accumulate(np.where(some, scaled, even), axis=1)
    return np.where(real, np.nan_to_num(falling, nan=1.0), 0)  # NaN is left where the first ones have no score


class Choice:
    """Which candidates were chosen so far, in b lists.

    Args:
        candidates: (b, n).

    Attributes:
        left: which are not chosen yet, (b, n).
    """

    def __init__(self, candidates: Candidates) -> None:
        self.candidates = candidates
        self.left = candidates.items >= 0
        self.rows = np.arange(len(candidates))
        self._rank = np.arange(candidates.items.shape[1]) + np.full((len(candidates), 1), candidates.items.shape[1])
        self._step = 0

    def take(self, values: Floats) -> NDArray[np.intp]:
        """Choose in each list what has the highest value (b, n), of equal ones the first; return its place (b,)."""
        open_ = np.where(self.left, values, -np.inf)
        places: NDArray[np.intp] = np.argmax(open_ >= open_.max(axis=1, keepdims=True) - TIE, axis=1)
        chosen = self.left[self.rows, places]  # a list with nothing left has none
        self._rank[self.rows[chosen], places[chosen]] = self._step
        self.left[self.rows, places] = False
        self._step += 1
        return places

    def ordered(self) -> Candidates:
        """Return what was chosen, in that order, and the others as they came; scores count down to 1."""
        return counted_down(np.take_along_axis(self.candidates.items, np.argsort(self._rank, axis=1), axis=1))


def counted_down(items: NDArray[np.integer]) -> Candidates:
    """Return items (b, n) as candidates whose scores count down from a list's length to 1."""
    lengths = (items >= 0).sum(axis=1, keepdims=True)
    return Candidates(
        items.astype(np.int32), np.where(items >= 0, lengths - np.arange(items.shape[1]), np.nan).astype(np.float32)
    )
