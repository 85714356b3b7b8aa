"""Places filled from the first on, in all lists at once, with the best candidate that breaks no rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmrec.eval.vectors import Floats

Mask = NDArray[np.bool_]
Items = NDArray[np.int32]
Numbers = NDArray[np.int64]


class Tally:
    """How many of the first places have something, in b lists.

    Args:
        at_least: how many should have it.
        at_most: how many may have it; None for any number.
        of: how many places count.
        pool: which candidates have it, (b, n).
        grid: which places are taken by an item that has it, (b, g).
    """

    def __init__(self, at_least: int, at_most: int | None, of: int, pool: Mask, grid: Mask) -> None:
        self.at_least, self.of, self.pool = at_least, of, pool
        self.at_most = of if at_most is None else at_most
        self.have: Numbers = grid[:, :of].sum(axis=1)

    def full(self, place: int) -> Mask:
        """Return which candidates would be one too many at a place, (b, n)."""
        return self.pool & ((self.have >= self.at_most) & (place < self.of))[:, None]

    def lacking(self, left: Mask) -> Numbers:
        """Return how many are still wanted and to be had among what is left, (b,)."""
        there: Numbers = (self.pool & left).sum(axis=1)
        wanted: Numbers = np.minimum(np.maximum(self.at_least - self.have, 0), there)
        return wanted

    def count(self, rows: Numbers, chosen: Numbers, place: int) -> None:
        """Take note of the candidates that were put at a place."""
        self.have[rows] += self.pool[rows, chosen] & (place < self.of)

    def broken(self) -> int:
        """Return in how many lists there are too few or too many."""
        return int(((self.have < self.at_least) | (self.have > self.at_most)).sum())


class Apart:
    """Which candidates share something with an item near a place, in b lists.

    Args:
        apart: places from one to the next that shares something with it.
        of: how many first places this is asked of.
        pool: what each candidate has, (b, n, c), not negative.
        grid: what the items at the places have, (b, g, c), zeros where a place is free; it is changed.
    """

    def __init__(self, apart: int, of: int, pool: Floats, grid: Floats) -> None:
        self.apart, self.of, self.pool, self.grid = apart, of, pool, grid

    def near(self, place: int) -> Mask:
        """Return which candidates would stand too near to another item, (b, n)."""
        if place >= self.of:
            return np.zeros(self.pool.shape[:2], np.bool_)
        around = self.grid[:, max(place - self.apart + 1, 0) : min(place + self.apart, self.of)].sum(axis=1)
        return np.asarray((self.pool @ around[:, :, None])[:, :, 0] > 0)

    def count(self, rows: Numbers, chosen: Numbers, place: int) -> None:
        """Take note of the candidates that were put at a place."""
        self.grid[rows, place] = self.pool[rows, chosen]


class Filling:
    """Candidates in their order, and the places that they fill.

    Args:
        pool: item numbers (b, n) in the order wanted, -1 for none.
        grid: item numbers (b, g) that have their places, -1 where one is free.
        tallies: how much of a kind there should be.
        spaces: what should stand apart.

    Attributes:
        too_near: places where an item stands too near to another.
    """

    def __init__(self, pool: Items, grid: Items, tallies: Sequence[Tally], spaces: Sequence[Apart]) -> None:
        self.pool, self.grid, self.tallies, self.spaces = pool, grid.copy(), tallies, spaces
        self.left = pool >= 0
        self.too_near = 0

    def fill(self) -> Items:
        """Return the lists (b, g), right-padded with -1."""
        ruled = [*(tally.of for tally in self.tallies), *(space.of for space in self.spaces)]
        for place in range(min(max(ruled, default=0), self.grid.shape[1])):
            self._fill(place)
        rest = np.take_along_axis(np.where(self.left, self.pool, -1), np.argsort(~self.left, axis=1, kind="stable"), 1)
        free = self.grid < 0
        turn = np.minimum(np.cumsum(free, axis=1) - 1, rest.shape[1] - 1)
        there = free & (np.cumsum(free, axis=1) <= self.left.sum(axis=1, keepdims=True))
        grid = np.where(there, np.take_along_axis(rest, np.maximum(turn, 0), axis=1), self.grid)
        return np.take_along_axis(grid, np.argsort(grid < 0, axis=1, kind="stable"), axis=1)

    def _fill(self, place: int) -> None:
        """Fill a free place: what is asked at least goes before what is allowed, that before what is apart."""
        level = 8 * self.left + 4 * self._wanted(place)
        near = np.zeros(self.left.shape, np.bool_)
        for space in self.spaces:
            near |= space.near(place)
        full = np.zeros(self.left.shape, np.bool_)
        for tally in self.tallies:
            full |= tally.full(place)
        chosen = np.argmax(level + 2 * ~full + ~near, axis=1)
        rows = np.flatnonzero((self.grid[:, place] < 0) & self.left.any(axis=1))
        chosen = chosen[rows]
        self.too_near += int(near[rows, chosen].sum())
        self.grid[rows, place] = self.pool[rows, chosen]
        self.left[rows, chosen] = False
        for tally in self.tallies:
            tally.count(rows, chosen, place)
        for space in self.spaces:
            space.count(rows, chosen, place)

    def _wanted(self, place: int) -> Mask:
        """Return which candidates keep every ``at_least`` within reach, (b, n).

        That is all of them while there are more free places than wanted items before each end of a quota, and
        afterwards those that a quota lacks.
        """
        wanted = np.ones(self.left.shape, np.bool_)
        decided = np.zeros(len(self.left), np.bool_)
        for end in sorted({tally.of for tally in self.tallies if tally.of > place}):
            lacking = [(tally, tally.lacking(self.left)) for tally in self.tallies if place < tally.of <= end]
            need = np.sum([lack for _, lack in lacking], axis=0)
            tight = (need >= (self.grid[:, place:end] < 0).sum(axis=1)) & (need > 0) & ~decided
            some = np.any([tally.pool & (lack > 0)[:, None] for tally, lack in lacking], axis=0)
            wanted = np.where(tight[:, None], some, wanted)
            decided |= tight
        return wanted
