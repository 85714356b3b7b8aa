"""What neighbourhood models share: ragged gathers, the nearest of each row, and what comes behind all neighbours."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from llmrec.classic.recall.base.history import history_matrix
from llmrec.classic.recall.base.store import Arrays
from llmrec.data import Queries
from llmrec.protocols import FloatArray

Numbers = NDArray[np.int64]


def ranges(starts: NDArray[np.integer], lengths: NDArray[np.integer]) -> Numbers:
    """Return the numbers from each start on, as many as its length says, one run behind the other."""
    ends = np.cumsum(lengths, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total, dtype=np.int64) + np.repeat(starts - (ends - lengths), lengths)


def best_of_rows(rows: NDArray[Any], columns: NDArray[Any], values: FloatArray, k: int) -> Numbers:
    """Return which entries are among the k largest of their row, ordered by row, then best first.

    Args:
        rows: (n,) numbers below 2**31, in any order.
        columns: (n,) numbers below 2**32; among equal values of a row the lower one comes first.
        values: float32 (n,), above 0.
        k: entries kept of a row.
    """
    # The bits of positive floats order as they do: two sorts of integers, none of which are equal, do the work.
    falling = np.uint32(0xFFFFFFFF) - np.asarray(values, np.float32).view(np.uint32)
    order = np.argsort((falling.astype(np.uint64) << np.uint64(32)) | np.asarray(columns, np.uint64))
    keys = (np.asarray(rows, np.int64)[order] << 32) | np.arange(len(order))
    keys.sort()
    row, order = keys >> 32, order[keys & 0xFFFFFFFF]
    first = np.searchsorted(row, row)
    kept: Numbers = order[np.arange(len(order)) - first < k]
    return kept


def nearest_matrix(
    rows: NDArray[Any], columns: NDArray[Any], values: NDArray[Any], shape: tuple[int, int], k: int
) -> csr_matrix:
    """Return float32 ``shape`` with the k largest of each row's positive values, from entries in any order."""
    values = np.asarray(values, np.float32)
    kept = best_of_rows(rows, columns, values, k)
    counts = np.bincount(np.asarray(rows)[kept], minlength=shape[0])
    starts = np.concatenate([[0], np.cumsum(counts)])
    return csr_matrix((values[kept], np.asarray(columns)[kept], starts), shape=shape)


def popularity_tail(counts: NDArray[np.floating]) -> FloatArray:
    """Return a score from -1 to 0 for each item, the most popular one's the highest, float32 (n_items,)."""
    exact = counts.astype(np.float64)
    # Above every count by one, so that the most popular item stays below 0.
    return np.asarray(exact / (exact.max(initial=0) + 1) - 1, np.float32)


def put_tail(scores: FloatArray, tail: FloatArray) -> FloatArray:
    """Put items without a neighbour (0) behind those with one, by popularity, in place; return scores (q, n_items).

    What the history speaks against (below 0) comes behind both. A row of zeros says nothing and stays as it is.
    """
    silent = ~scores.any(axis=1)
    if scores.min(initial=0) < 0:
        np.subtract(scores, 1, out=scores, where=scores < 0)
    np.copyto(scores, tail, where=scores == 0)
    scores[silent] = 0
    return scores


def similarity_arrays(similarity: csr_matrix) -> Arrays:
    """Return a sparse matrix as the arrays that a model of item similarities keeps."""
    return {
        "similarity": similarity.data.astype(np.float32, copy=False),
        "indices": similarity.indices,
        "indptr": similarity.indptr,
    }


class Similarities:
    """What an item-to-item model has learned, and how it scores: similarities summed over the history.

    Args:
        arrays: what ``similarity_arrays`` returned, with ``popularity``; a ValueError where they do not fit.
        n_items: size of the catalogue.
    """

    def __init__(self, arrays: Arrays, n_items: int) -> None:
        parts = (arrays["similarity"], arrays["indices"], arrays["indptr"])
        self.matrix = csr_matrix(parts, shape=(n_items, n_items))
        self.matrix.check_format(full_check=True)
        self._tail = popularity_tail(arrays["popularity"])

    def scores(self, queries: Queries) -> FloatArray:
        """Return (q, n_items); items without a neighbour in the history come last, by popularity."""
        histories = history_matrix(queries, self.matrix.shape[0])
        return put_tail(cast("FloatArray", (histories @ self.matrix).toarray()), self._tail)
