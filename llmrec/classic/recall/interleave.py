"""Fusion by places: each list is promised a share of them, or the lists take turns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmrec.classic.recall.fuse import reciprocal_rank_fusion
from llmrec.classic.recall.fusion.union import Columns, check_lists, pad, union
from llmrec.data import Candidates
from llmrec.errors import DataError


def quota_fusion(
    lists: Sequence[Candidates],
    quotas: Sequence[int],
    k: int,
    *,
    weights: Sequence[float] | None = None,
    constant: float = 60,
) -> Candidates:
    """Return k candidates a query, of which each list has chosen as many as its quota.

    The lists choose one after the other, each its best items that no list before it chose. Places that are left, as
    the quotas add up to less than k or a list is too short for its own, go to the best others by reciprocal rank. The
    result is ordered by reciprocal rank, so that a list with a small quota does not wait behind one with a large one.

    Args:
        lists: candidates of the same q queries, each (q, its own k).
        quotas: places for each list, 0 or more, at most k together.
        k: items wanted.
        weights: of the reciprocal ranks, one for each list; None for 1 each.
        constant: as in ``reciprocal_rank_fusion``.

    Raises:
        DataError: no list, lists of different queries, quotas or weights that do not fit, or k below 1.
    """
    check_lists(lists, k)
    if len(quotas) != len(lists) or min(quotas) < 0 or sum(quotas) > k:
        raise DataError(
            f"quotas {list(quotas)}",
            expected=f"{len(lists)} numbers from 0 on that add up to k = {k} at most",
            cure="give one for each list, or ask for more candidates",
        )
    longest = max(1, sum(one.items.shape[1] for one in lists))
    everything = reciprocal_rank_fusion(lists, longest, weights=weights, constant=constant)
    items, columns = union([*lists, everything])
    chosen = np.zeros((len(items), items.shape[1] + 1), np.bool_)
    chosen[:, -1] = True  # padding: nobody chooses it
    for column, quota in zip(columns, quotas, strict=False):  # the last columns are of everything
        free = ~np.take_along_axis(chosen, column, axis=1)
        rows, places = np.nonzero(free & (np.cumsum(free, axis=1) <= quota))
        chosen[rows, column[rows, places]] = True
    kept = np.take_along_axis(chosen, columns[-1], axis=1) & (everything.items >= 0)
    left = k - kept.sum(axis=1, keepdims=True)
    kept |= (np.cumsum(~kept, axis=1) <= left) & (everything.items >= 0)
    order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
    there = np.take_along_axis(kept, order, axis=1)
    best = np.where(there, np.take_along_axis(everything.items, order, axis=1), -1)
    scores = np.where(there, np.take_along_axis(everything.scores, order, axis=1), np.nan)
    return pad(Candidates(best, scores), k)


def snake_merge(lists: Sequence[Candidates], k: int) -> Candidates:
    """Return k candidates a query, which the lists give in turns: 1 to m, then m to 1, then 1 to m, and so on.

    At its turn a list gives its best item that none has given before; one that has nothing left is passed over. An
    order has no scale: the score is 1 / place.

    Args:
        lists: candidates of the same q queries, each (q, its own k).
        k: items wanted.

    Raises:
        DataError: no list, lists of different queries, or k below 1.
    """
    check_lists(lists, k)
    items, columns = union(lists)
    given = _take_turns(columns, (items >= 0).sum(axis=1), items.shape[1], k)
    padded = np.pad(items, ((0, 0), (0, 1)), constant_values=-1)
    merged = np.take_along_axis(padded, given, axis=1)
    return Candidates(merged, np.where(merged < 0, np.nan, 1 / np.arange(1, k + 1, dtype=np.float32)))


def _take_turns(columns: Sequence[Columns], available: NDArray[np.int64], n_items: int, k: int) -> Columns:
    """Return which of the row's items is given at each place, (q, k), -1 where there are none left.

    Args:
        columns: for each list, the row's item (0 to n_items - 1) at each of its places, -1 in the padding.
        available: (q,), how many items the row has.
        n_items: the most items of a row.
        k: places.
    """
    n_rows = len(available)
    # Two columns more: n_items stands for the end of a list and is never taken, the last for padding and always is.
    taken = np.zeros((n_rows, n_items + 2), np.bool_)
    taken[:, -1] = True
    ended = [np.pad(column, ((0, 0), (0, 1)), constant_values=n_items) for column in columns]
    places = [np.zeros(n_rows, np.intp) for _ in columns]
    given = np.full((n_rows, k), -1, np.intp)
    counts, wanted, turn = np.zeros(n_rows, np.intp), np.minimum(available, k), 0
    while len(rows := np.flatnonzero(counts < wanted)):
        lap, number = divmod(turn, len(columns))
        number = number if lap % 2 == 0 else len(columns) - 1 - number
        found = _next_free(ended[number], places[number], taken, rows)
        rows, found = rows[found < n_items], found[found < n_items]
        given[rows, counts[rows]] = found
        taken[rows, found] = True
        counts[rows] += 1
        turn += 1
    return given


def _next_free(column: Columns, places: Columns, taken: NDArray[np.bool_], rows: Columns) -> Columns:
    """Move each row's place in the list to its next item that is not taken, and return those items."""
    waiting = rows
    while len(waiting):
        waiting = waiting[taken[waiting, column[waiting, places[waiting]]]]
        places[waiting] += 1
    return column[rows, places[rows]]
