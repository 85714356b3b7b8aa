"""Fusion by sums: several lists of candidates become one, by rank or by normalised score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmrec.classic.recall.fusion.union import check_lists, pad, union
from llmrec.data import Candidates
from llmrec.errors import DataError

Normalise = Literal["minmax", "zscore", "none"]
Scores = NDArray[np.float64]


def reciprocal_rank_fusion(
    lists: Sequence[Candidates], k: int, *, weights: Sequence[float] | None = None, constant: float = 60
) -> Candidates:
    """Return k candidates a query by the sum of weight / (constant + rank) over the lists that hold an item.

    Equal sums keep the order of the first list, then items that it lacks by item number. Rows with fewer than k
    items in all lists together are padded with -1.

    Args:
        lists: candidates of the same q queries, each (q, its own k).
        k: items wanted.
        weights: one for each list; None for 1 each.
        constant: the larger, the less the first ranks stand out.

    Raises:
        DataError: no list, lists of different queries, not one finite weight a list, or k below 1.

    Paper: Cormack, Clarke, Büttcher, Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
    Methods, SIGIR 2009; its weights are all 1.
    """
    weights = _check(lists, weights, k)
    if constant < 0:
        raise DataError(f"constant = {constant}", expected="0 or more", cure="the paper's is 60")
    ranks = [1 + np.arange(one.items.shape[1], dtype=np.float64) for one in lists]
    parts = [
        np.broadcast_to(weight / (constant + rank), one.items.shape)
        for one, weight, rank in zip(lists, weights, ranks, strict=True)
    ]
    return _merge(lists, parts, k)


def weighted_fusion(
    lists: Sequence[Candidates], weights: Sequence[float], k: int, *, normalise: Normalise = "minmax"
) -> Candidates:
    """Return k candidates a query by the weighted sum of their normalised scores.

    Each row of each list is normalised by itself, over its items with a finite score. An item that a list lacks, or
    holds without a score, gets the least normalised score of that row; 0 where the row has none. Ties and
    padding are as in ``reciprocal_rank_fusion``.

    Args:
        lists: candidates of the same q queries, each (q, its own k).
        weights: one for each list.
        k: items wanted.
        normalise: ``minmax`` maps a row to 0..1 (a row of equal scores to 1, items that it lacks still to 0);
            ``zscore`` to mean 0 and population standard deviation 1 (a row of equal scores to 0); ``none`` leaves it.

    Raises:
        DataError: no list, lists of different queries, not one finite weight a list, or k below 1.
    """
    weights = _check(lists, weights, k)
    base = np.zeros((len(lists[0]), 1))
    parts = []
    for one, weight in zip(lists, weights, strict=True):
        scores, floor = _normalised(one, normalise)
        parts.append(weight * (scores - floor))
        base += weight * floor
    return _merge(lists, parts, k, base)


def _check(lists: Sequence[Candidates], weights: Sequence[float] | None, k: int) -> Sequence[float]:
    """Return one weight for each list; a DataError where lists, weights or k do not fit."""
    check_lists(lists, k)
    weights = [1.0] * len(lists) if weights is None else weights
    if len(weights) != len(lists) or not np.isfinite(weights).all():
        raise DataError(
            f"weights {list(weights)}", expected=f"{len(lists)} finite numbers", cure="give one for each list"
        )
    return weights


def _normalised(one: Candidates, how: Normalise) -> tuple[Scores, Scores]:
    """Return normalised scores (q, k) with gaps filled, and what an absent item gets (q, 1)."""
    scored = (one.items >= 0) & np.isfinite(one.scores)
    counts = np.maximum(scored.sum(axis=1, keepdims=True), 1)
    values = np.where(scored, one.scores.astype(np.float64), 0)
    low = np.min(values, axis=1, keepdims=True, where=scored, initial=np.inf)
    low = np.where(np.isfinite(low), low, 0)
    high = np.max(values, axis=1, keepdims=True, where=scored, initial=-np.inf)
    flat = ~(high > low)
    if how == "minmax":
        shift, scale, floor = low, np.where(flat, 1, high - low), np.zeros_like(low)
    elif how == "zscore":
        shift = values.sum(axis=1, keepdims=True) / counts
        spread = np.sqrt((np.where(scored, values - shift, 0) ** 2).sum(axis=1, keepdims=True) / counts)
        scale = np.where(flat, 1, spread)
        shift = np.where(flat, low, shift)  # a mean of equal numbers can be off by a rounding
        floor = (low - shift) / scale
    else:
        shift, scale, floor = np.zeros_like(low), np.ones_like(low), low
    normalised = (values - shift) / scale + (flat if how == "minmax" else 0)
    return np.where(scored, normalised, floor), floor


def _merge(lists: Sequence[Candidates], parts: Sequence[Scores], k: int, base: Scores | float = 0.0) -> Candidates:
    """Return the k best items by the sum of their parts over the lists, plus base (q, 1)."""
    items, columns = union(lists)
    sums = np.zeros((len(items), items.shape[1] + 1))  # the last column takes the padding
    for column, part in zip(columns, parts, strict=True):
        np.put_along_axis(sums, column, np.take_along_axis(sums, column, axis=1) + part, axis=1)
    # Ordered as float32, as they are returned: sums that differ by the order of addition only are ties.
    scores = np.where(items < 0, np.nan, sums[:, :-1] + base).astype(np.float32)
    width = lists[0].items.shape[1]
    place = np.full(sums.shape, width)
    np.put_along_axis(place, columns[0], np.broadcast_to(np.arange(width), columns[0].shape), axis=1)
    best = np.lexsort((place[:, :-1], np.where(items < 0, np.inf, -scores)), axis=1)[:, :k]  # columns are by item
    return pad(Candidates(np.take_along_axis(items, best, axis=1), np.take_along_axis(scores, best, axis=1)), k)
