"""The first places of a list, explored one after the other; what is drawn depends on who asks, not on the batch."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import shake_128

import numpy as np

from llmrec.classic.exploration.chances import Floats, Mask, draw
from llmrec.classic.reranking.choosing import Choice
from llmrec.data import Candidates, Queries
from llmrec.errors import DataError

Chances = Callable[[Mask], Floats]
"""From the candidates that are left (q, n) to how probable each is to come next; 0 throughout where none is left."""


def explore(queries: Queries, candidates: Candidates, slots: int, chances: Chances, seed: int) -> Candidates:
    """Return candidates (q, n) whose first places are drawn by ``chances``; the others follow as they came.

    A query gets the same draws whenever it comes, as long as its user, history and ``seed`` are the same: a page that
    is loaded again shows the same, and a batch that is cut elsewhere too. Scores count down.
    """
    choice, slots = Choice(candidates), min(slots, candidates.items.shape[1])
    uniforms = query_uniforms(queries, slots, seed)
    for slot in range(slots):
        places = draw(chances(choice.left), uniforms[:, slot])
        choice.take((np.arange(candidates.items.shape[1]) == places[:, None]).astype(np.float64))
    return choice.ordered()


def propensities(candidates: Candidates, ranked: Candidates, slots: int, chances: Chances) -> Floats:
    """Return how probable each of the first ``slots`` places of ``ranked`` was, given those before it, (q, slots).

    Args:
        candidates: (q, n) as they came.
        ranked: the same candidates, in any order; NaN where a place is empty.
        slots: places.
        chances: what places are drawn by.

    Raises:
        DataError: an item is not among the candidates.
    """
    slots, rows = min(slots, candidates.items.shape[1]), np.arange(len(candidates))
    left, found = candidates.items >= 0, np.full((len(candidates), slots), np.nan)
    for slot in range(min(slots, ranked.items.shape[1])):
        item = ranked.items[:, slot]
        same, real = left & (candidates.items == item[:, None]), item >= 0
        if not same.any(axis=1)[real].all():
            row = int(np.flatnonzero(real & ~same.any(axis=1))[0])
            raise DataError(
                f"item number {item[row]} in row {row} of the ranking",
                expected="a candidate of that row, each once",
                cure="pass the candidates that the ranking was made from",
            )
        places = np.argmax(same, axis=1)
        found[real, slot] = chances(left)[rows, places][real]
        left = left & ~same
    return found


def query_uniforms(queries: Queries, n: int, seed: int) -> Floats:
    """Return n uniform draws in [0, 1) for each query, (q, n): by its user, its history's items and the seed."""
    found = np.empty((len(queries), n), "<u8")
    for row, (user, history) in enumerate(zip(queries.users, queries.history, strict=True)):
        key = np.concatenate([[seed, user], history[history >= 0]]).astype("<i8")
        found[row] = np.frombuffer(shake_128(key.tobytes()).digest(8 * n), "<u8")
    return (found >> np.uint64(11)).astype(np.float64) * 2.0**-53
