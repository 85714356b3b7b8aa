"""What items are compared by: vectors of texts or of a model, or the categories that they share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from llmrec.protocols import FloatArray

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ItemVectors:
    """A vector for each item; two are as alike as the cosine of theirs, and one of zeros is like nothing.

    Attributes:
        table: (n_items, d) numbers, or a sparse matrix with a column for each category.
    """

    table: FloatArray | csr_matrix

    def __len__(self) -> int:
        return int(self.table.shape[0])

    def widest(self, n: int) -> int:
        """Return how many numbers a vector of ``gather`` has at most, for lists of n items."""
        width = int(self.table.shape[1])
        if isinstance(self.table, np.ndarray):
            return max(width, 1)
        return max(1, min(width, n * int(np.diff(self.table.indptr).max(initial=1))))

    def gather(self, items: NDArray[np.integer]) -> Floats:
        """Return vectors (b, n, w) of length 1 for item numbers (b, n); zeros for -1 and where nothing is known.

        Only products within one list mean anything: of sparse vectors each list keeps the columns that it has.
        """
        if isinstance(self.table, np.ndarray):
            vectors = np.where(items[:, :, None] >= 0, self.table[items], 0).astype(np.float64)
        else:
            place, column, values, width = self.entries(items)
            vectors = np.zeros((items.size, width))
            vectors[place, column] = values
            vectors = vectors.reshape(*items.shape, width)
        lengths = np.linalg.norm(vectors, axis=2, keepdims=True)
        return np.asarray(vectors / np.where(lengths > 0, lengths, 1))

    def entries(self, items: NDArray[np.integer]) -> tuple[Numbers, Numbers, Floats, int]:
        """Return the entries of a sparse table for item numbers (b, n): place, column, value, number of columns.

        A place is a number from 0 to b n - 1, list after list. Each list numbers the columns that it has from 0.
        """
        table, flat = csr_matrix(self.table), items.ravel()
        first, end = (np.where(flat >= 0, table.indptr[flat + shift], 0).astype(np.int64) for shift in (0, 1))
        counts = end - first
        place = np.repeat(np.arange(len(flat)), counts)
        within = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
        entry = np.repeat(first, counts) + within
        wide = max(int(table.shape[1]), 1)
        row = place // max(items.shape[1], 1)
        keys: Numbers = row * wide + table.indices[entry]
        distinct, number = np.unique(keys, return_inverse=True)
        start = np.searchsorted(distinct // wide, np.arange(len(items) + 1))
        column = number - start[row]
        return place, column, table.data[entry].astype(np.float64), max(int(np.diff(start).max(initial=0)), 1)
