"""Controls: what simulated preferences must beat, in the same form and without a language model."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from llmrec.coldstart.items import ColdStart, Numbers
from llmrec.coldstart.near import affinities
from llmrec.coldstart.pairs import Pairs
from llmrec.prompts.votes import Floats, Votes
from llmrec.protocols import VectorModel

_ROWS = 256
"""Users whose affinities with all items asked about are held at once."""
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


class RandomTaste:
    """Takes either item of a pair by a coin, always with the weight 1.

    The coin is drawn from seed, user and items: a pair is decided alike in any company and in either order.

    Args:
        seed: of the coin.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed % (1 << 64)
        self.counts: Counter[str] = Counter()

    def compare(self, pairs: Pairs) -> Votes:
        """Return 1 or -1 for each pair."""
        digest = np.full(len(pairs), self.seed, np.uint64)
        for numbers in (pairs.users, np.minimum(pairs.first, pairs.second), np.maximum(pairs.first, pairs.second)):
            digest = _mix(digest ^ numbers.astype(np.uint64))
        heads = (digest >> np.uint64(63)) == 1
        odds = np.where(heads == (pairs.first < pairs.second), 1.0, -1.0)
        return Votes(odds, odds)


class ContentTaste:
    """Takes the item that is nearer to the user's history; how much nearer is the weight.

    Args:
        world: histories.
        model: makes vectors of histories and items: ``TextRecommender`` with ``decay=1`` compares the mean of the
            history's texts.
        history: newest training events of a user that are read.
    """

    def __init__(self, world: ColdStart, model: VectorModel, *, history: int = 50) -> None:
        self.world, self.model, self.history = world, model, history
        self.counts: Counter[str] = Counter()

    def odds(self, users: Numbers, items: Numbers) -> Floats:
        """Return the affinity of each user with the item, NaN without a vector; a user's vector is made once."""
        every, rows = np.unique(users, return_inverse=True)
        asked, columns = np.unique(items, return_inverse=True)
        found = np.full(len(users), np.nan)
        order = np.argsort(rows, kind="stable")
        queries = self.world.queries(every, self.history)
        for start in range(0, len(every), _ROWS):
            begin, end = np.searchsorted(rows[order], [start, start + _ROWS])
            some = order[begin:end]
            scores = affinities(self.model, queries.select(slice(start, start + _ROWS)), asked)
            found[some] = scores[rows[some] - start, columns[some]]
        return found

    def compare(self, pairs: Pairs) -> Votes:
        """Return by how much nearer the first item is."""
        items = np.concatenate([pairs.first, pairs.second])
        first, second = np.split(self.odds(np.tile(pairs.users, 2), items), 2)
        return Votes(first - second, first - second)


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return 64-bit digests (SplitMix64: Steele, Lea, Flood, OOPSLA 2014)."""
    mixed = values + np.uint64(_GOLDEN)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(_FIRST)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_SECOND)
    return mixed ^ (mixed >> np.uint64(31))
