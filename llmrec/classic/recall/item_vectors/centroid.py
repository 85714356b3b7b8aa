"""Centroids: the mean of the newest items' vectors asks for the items nearest to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from llmrec.classic.recall.base.vectors import known_history
from llmrec.data import Queries
from llmrec.protocols import FloatArray


@dataclass(frozen=True, eq=False)
class Centroids:
    """Item vectors that answer queries.

    Attributes:
        vectors: float32 (n_items, d), of length 1: what a history's items stand for.
        item_vectors: float32 (n_items, d): what they are compared with by inner product; ``vectors`` gives cosines.
        servable: bool (n_items,), items with a vector; the others come last in scores, and histories skip them.
        history: newest servable items of a history that are read.
        decay: what an item of the history weighs against the next newer one.
    """

    vectors: FloatArray
    item_vectors: FloatArray
    servable: NDArray[np.bool_]
    history: int
    decay: float

    def __post_init__(self) -> None:
        shape = (len(self.servable), *self.item_vectors.shape[1:])
        if self.vectors.ndim != 2 or not self.vectors.shape == self.item_vectors.shape == shape:
            raise ValueError(f"vectors of shapes {self.vectors.shape} and {self.item_vectors.shape}")

    def query_vectors(self, queries: Queries) -> FloatArray:
        """Return (q, 1, d): the weighted mean of the newest items' vectors, of length 1; NaN where there is none.

        An item that occurs twice counts twice.
        """
        newest, _ = known_history(queries, self.servable, self.history)
        rows, places = np.nonzero(newest >= 0)
        weights = np.float32(self.decay) ** (newest.shape[1] - 1 - places).astype(np.float32)
        shape = (len(queries), len(self.vectors))
        sums = csr_matrix((weights, (rows, newest[rows, places])), shape) @ self.vectors
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        means: FloatArray = (sums / np.where(lengths > 0, lengths, np.nan)).astype(np.float32)
        return means[:, None]


def unit(vectors: FloatArray) -> FloatArray:
    """Return rows (n, d) scaled to length 1; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: FloatArray = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return scaled
