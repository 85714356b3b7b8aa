"""Pearson's correlation between the rows of rating matrices, and sums over the most correlated."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from llmrec.classic.recall.base.history import row_blocks
from llmrec.classic.recall.neighbourhood.nearest import best_of_rows, nearest_matrix, ranges

PATHS = 1 << 22  # ways from a query over a neighbour to an item that are listed at once: about 400 MiB
Exact = NDArray[np.float64]


def row_means(ratings: csr_matrix) -> Exact:
    """Return the mean of what each row holds, (rows,); 0 for an empty one."""
    rows = np.repeat(np.arange(ratings.shape[0]), np.diff(ratings.indptr))
    sums = np.bincount(rows, weights=ratings.data, minlength=ratings.shape[0])
    return np.asarray(sums / np.maximum(np.diff(ratings.indptr), 1))


def with_data(matrix: csr_matrix, data: NDArray[Any]) -> csr_matrix:
    """Return other numbers in the same places."""
    return csr_matrix((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def centred(ratings: csr_matrix, means: Exact) -> csr_matrix:
    """Return the ratings less their row's mean."""
    return with_data(ratings, ratings.data - np.repeat(means, np.diff(ratings.indptr)))


class Correlation:
    """Pearson's correlation of any rows with the rows of one matrix, each over the columns that both rows have.

    Sums over the shared columns are products of sparse matrices, so that no pair of rows is looked at by itself.

    Args:
        right: ratings (b, n), best centred by row (nothing but rounding depends on it).
        min_common: pairs with fewer shared columns get 0.
        shrinkage: times n / (n + shrinkage) where n columns are shared.
    """

    def __init__(self, right: csr_matrix, *, min_common: int, shrinkage: float) -> None:
        self._values = right.T.tocsr()
        self._ones = with_data(self._values, np.ones_like(self._values.data))
        self._squares = with_data(self._values, self._values.data**2)
        self._min_common, self._shrinkage = min_common, shrinkage

    def __call__(self, left: csr_matrix) -> Exact:
        """Return correlations (a, b) from -1 to 1 with the rows of ``left`` (a, n).

        0 where too few columns are shared, or where one of the two rows does not vary over them.
        """
        ones = with_data(left, np.ones_like(left.data))
        n = (ones @ self._ones).toarray()
        shared = np.maximum(n, 1)
        x, y = (left @ self._ones).toarray(), (ones @ self._values).toarray()
        covariance = (left @ self._values).toarray() - x * y / shared
        spread = _spread((with_data(left, left.data**2) @ self._ones).toarray(), x, shared)
        spread *= _spread((ones @ self._squares).toarray(), y, shared)
        known = (spread > 0) & (n >= self._min_common)
        correlation = np.divide(covariance, np.sqrt(spread), out=np.zeros_like(n), where=known)
        return np.asarray(correlation.clip(-1, 1) * n / np.maximum(n + self._shrinkage, 1))


def _spread(squares: Exact, sums: Exact, n: Exact) -> Exact:
    """Return the sum of squared deviations from the mean; 0 where there is nothing but rounding."""
    spread = squares - sums**2 / n
    return np.where(spread > 1e-10 * squares, spread, 0)


def similar_rows(ratings: csr_matrix, correlation: Correlation, *, min_common: int, kept: int) -> csr_matrix:
    """Return, for each row of ratings (n, ·), its ``kept`` most correlated other rows: float32 (n, n), above 0 only.

    Args:
        ratings: what ``correlation`` was made of.
        correlation: with these rows.
        min_common: rows that hold less are left out at once.
        kept: see above.
    """
    active = np.flatnonzero(np.diff(ratings.indptr) >= min_common)
    entries = []
    for block in row_blocks(len(active), 8 * ratings.shape[0]):
        found = correlation(ratings[active[block]])
        found[np.arange(len(found)), active[block]] = 0
        near = nearest(found, kept).tocoo()
        entries.append((active[block][near.row], near.col, near.data))
    rows, columns, values = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    return nearest_matrix(rows, columns, values, (ratings.shape[0], ratings.shape[0]), kept)


def nearest(correlations: Exact, kept: int) -> csr_matrix:
    """Return the ``kept`` largest of each row that are above 0, float32 of the same shape."""
    rows, columns = np.nonzero(correlations > 0)
    return nearest_matrix(rows, columns, correlations[rows, columns], correlations.shape, kept)


def sums_over_nearest(
    left: csr_matrix, right: csr_matrix, neighbours: int, *, rated_first: bool
) -> tuple[Exact, Exact]:
    """Return, for each cell (query, item), sums over the most similar of its neighbours, each (q, n_items).

    A neighbour is a column of ``left`` (q, m) and a row of ``right`` (m, n_items) that holds the item: an item that the
    query rated, or a user near it.

    Args:
        left: deviations of ratings from their mean where ``rated_first``, else similarities.
        right: the other of the two.
        neighbours: so many count for a cell; of equal ones those of the lower number.
        rated_first: see above; similarities are above 0.

    Returns:
        The sums of similarity times deviation, and those of the similarities.
    """
    paths = np.concatenate([[0], np.cumsum(np.diff(right.indptr)[left.indices])])[left.indptr]
    ends = np.flatnonzero(np.diff(paths[1:] // PATHS)) + 1
    blocks = [slice(*pair) for pair in pairwise([0, *ends.tolist(), left.shape[0]])]
    found = [_sums(left[rows], right, neighbours, rated_first=rated_first) for rows in blocks]
    tops, totals = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return tops, totals


def _sums(left: csr_matrix, right: csr_matrix, neighbours: int, *, rated_first: bool) -> tuple[Exact, Exact]:
    lengths = np.diff(right.indptr)[left.indices]
    places = ranges(right.indptr[left.indices], lengths)
    similarity, deviation = np.repeat(left.data, lengths).astype(np.float64), right.data[places].astype(np.float64)
    if rated_first:
        similarity, deviation = deviation, similarity
    shape = (left.shape[0], right.shape[1])
    size = shape[0] * shape[1]
    rows = np.repeat(np.arange(shape[0]), np.diff(left.indptr))
    cells = np.repeat(rows, lengths) * shape[1] + right.indices[places]
    crowded = np.bincount(cells, minlength=size)[cells] > neighbours
    some = np.flatnonzero(crowded)
    middle = np.repeat(left.indices, lengths)[some]
    best = some[best_of_rows(cells[some], middle, similarity[some].astype(np.float32), neighbours)]
    kept = np.concatenate([np.flatnonzero(~crowded), best])
    cells, similarity, deviation = cells[kept], similarity[kept], deviation[kept]
    tops, totals = (np.bincount(cells, each, size) for each in (similarity * deviation, similarity))
    # Counts of nothing are integers.
    return tops.astype(np.float64).reshape(shape), totals.astype(np.float64).reshape(shape)
