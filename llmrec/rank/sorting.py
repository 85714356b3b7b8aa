"""From places in order to scored candidates."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from llmrec.data import Candidates


def ordered(
    candidates: Candidates, orders: Sequence[Sequence[int]], k: int, failed: Collection[int] = ()
) -> Candidates:
    """Return each row in the order of the places given; the first k are scored from their number down, others not.

    Args:
        candidates: (q, n).
        orders: for each row, the places of its candidates (padding does not count), best first.
        k: how many of them are ranked; the others keep their incoming order.
        failed: rows that the engine left a question of unanswered: they stay as they are, without scores.
    """
    scores = np.full(candidates.items.shape, np.nan, np.float32)
    for row, order in enumerate(orders):
        places = np.flatnonzero(candidates.items[row] >= 0)
        best = [] if row in failed else list(order[:k])
        scores[row, places[best]] = len(places) - np.arange(len(best))
    return candidates.with_scores(scores)
