"""What a ranker favours besides relevance: places in the list that it was given, and popular items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import rankdata

from llmrec.data import Candidates, Dataset, Targets
from llmrec.errors import DataError

BY_PLACE = pl.Schema(
    {
        "place": pl.Int32(),
        "candidates": pl.Int64(),
        "mean_rank": pl.Float64(),
        "mean_score": pl.Float64(),
        "relevant": pl.Int64(),
        "relevant_rank": pl.Float64(),
        "relevant_ndcg": pl.Float64(),
    }
)
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PositionBias:
    """How a ranking depends on the order in which the candidates came.

    Attributes:
        by_place: a row for each incoming place (from 1): how many ``candidates`` came there, the ``mean_rank`` (from 1)
            that they were given and their ``mean_score`` less the mean of their query; how many of them were
            ``relevant``, and the mean rank and NDCG (``1 / log2(rank + 1)``) of these. Null: there were none.
        kept: (q,) Spearman correlation of incoming places and ranks of each query's candidates: 1 is the order as it
            came, -1 the reverse, NaN a query with a single candidate. Where candidates come in random order, all that
            is not 0 in the mean is bias.
    """

    by_place: pl.DataFrame
    kept: Floats


@dataclass(frozen=True, eq=False)
class PopularityBias:
    """How popular the items are that a ranking puts first: mean percentiles (0 to 100) of each query, all (q,).

    Attributes:
        top: of the first ``k`` items.
        candidates: of all candidates.
        relevant: of the relevant items among the candidates, NaN where none is.
    """

    top: Floats
    candidates: Floats
    relevant: Floats

    @property
    def shift(self) -> Floats:
        """By how many percentiles the first items are more popular than the candidates, (q,)."""
        return self.top - self.candidates


def position_bias(before: Candidates, after: Candidates, targets: Targets) -> PositionBias:
    """Compare the ranks that candidates were given with the places where they came.

    Args:
        before: (q, n) candidates as they came in.
        after: (q, n) the same items in each row as a ranker ordered them, with its scores.
        targets: the same q queries with their relevant items.

    Raises:
        DataError: a row of ``after`` is no permutation of the row of ``before``.
    """
    order, real = _ranks(before, after), before.items >= 0
    scores = np.take_along_axis(after.scores, order, axis=1).astype(np.float64)
    usable = real & np.isfinite(scores)
    counts = np.maximum(usable.sum(axis=1, keepdims=True), 1)
    centred = scores - np.where(usable, scores, 0).sum(axis=1, keepdims=True) / counts
    relevant = real & _is_relevant(before, targets)
    ranks = order + 1.0
    rows = [
        {
            "place": place + 1,
            "candidates": int(real[:, place].sum()),
            "mean_rank": _mean(ranks[real[:, place], place]),
            "mean_score": _mean(centred[usable[:, place], place]),
            "relevant": int(relevant[:, place].sum()),
            "relevant_rank": _mean(ranks[relevant[:, place], place]),
            "relevant_ndcg": _mean(1 / np.log2(ranks[relevant[:, place], place] + 1)),
        }
        for place in range(before.items.shape[1])
    ]
    return PositionBias(pl.DataFrame(rows, schema=BY_PLACE), _spearman(order, real.sum(axis=1)))


def popularity_bias(
    train: Dataset, before: Candidates, after: Candidates, targets: Targets, *, k: int
) -> PopularityBias:
    """Compare the popularity of the first ``k`` items with that of all candidates.

    An item's percentile is the share of the catalogue with fewer training events, and half of that with as many.

    Args:
        train: whose events are counted.
        before: (q, n) candidates as they came in.
        after: (q, n) as a ranker ordered them.
        targets: the same q queries with their relevant items.
        k: how many items count as the first.
    """
    percentiles = popularity_percentiles(train)
    relevant = np.where(_is_relevant(before, targets), before.items, -1)
    first, candidates, chosen = (
        _row_means(percentiles, items) for items in (after.items[:, :k], before.items, relevant)
    )
    return PopularityBias(first, candidates, chosen)


def popularity_percentiles(train: Dataset) -> Floats:
    """Return each item's percentile (0 to 100) by training events; equal counts share one, (n_items,)."""
    counts = np.bincount(train.interactions.items, minlength=len(train.items))
    return np.asarray((rankdata(counts) - 0.5) / max(len(counts), 1) * 100, np.float64)


def _ranks(before: Candidates, after: Candidates) -> NDArray[np.int64]:
    """Return where in ``after`` each candidate of ``before`` stands, from 0, (q, n)."""
    same = before.items.shape == after.items.shape
    if not same or not np.array_equal(np.sort(before.items, axis=1), np.sort(after.items, axis=1)):
        raise DataError(
            f"candidates of shape {before.items.shape} ranked as {after.items.shape} other ones",
            expected="the same candidates in another order",
            cure="compare a ranking with the candidates that it was made from",
        )
    came, left = (np.argsort(each.items, axis=1, kind="stable") for each in (before, after))
    found = np.empty_like(came)
    np.put_along_axis(found, came, left, axis=1)
    return found.astype(np.int64)


def _spearman(order: NDArray[np.int64], lengths: NDArray[np.int64]) -> Floats:
    """Return 1 - 6 sum d^2 / (n^3 - n) of each row; padding stays where it is and adds nothing to d."""
    squares = ((order - np.arange(order.shape[1])) ** 2).sum(axis=1)
    n = lengths.astype(np.float64)
    return np.where(n > 1, 1 - 6 * squares / np.maximum(n**3 - n, 1), np.nan)


def _is_relevant(candidates: Candidates, targets: Targets) -> NDArray[np.bool_]:
    if len(candidates) != len(targets):
        raise DataError(
            f"{len(candidates)} rows of candidates for {len(targets)} targets",
            expected="one row for each query",
            cure="pass the targets that the candidates were made for",
        )
    items = np.where(candidates.items >= 0, candidates.items, -2)
    return np.array(
        [np.isin(row, wanted) for row, wanted in zip(items, targets.relevant, strict=True)], np.bool_
    ).reshape(items.shape)


def _row_means(values: Floats, items: NDArray[np.int32]) -> Floats:
    """Return the mean value of each row's items, padding left out; NaN of none."""
    real = items >= 0
    sums = np.where(real, values[np.where(real, items, 0)], 0).sum(axis=1)
    counts = real.sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _mean(values: NDArray[np.floating]) -> float | None:
    return float(values.mean()) if len(values) else None
