"""Vectors of histories and items: which items are read, scores by inner product, and models that answer by them."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Queries
from llmrec.protocols import FloatArray, VectorModel

Numbers = NDArray[np.int64]


def vector_scores(vectors: FloatArray, items: FloatArray, servable: NDArray[np.bool_]) -> FloatArray:
    """Return (q, n_items): the largest inner product of query vectors (q, m, d) with item vectors (n_items, d).

    NaN vectors do not count; a query with nothing else gets zeros. Items that are not servable come after all others.
    """
    there = cast("NDArray[np.bool_]", ~np.isnan(vectors).any(axis=2))
    scores: FloatArray = np.where(there[:, :, None], vectors, 0).reshape(-1, items.shape[1]) @ items.T
    if vectors.shape[1] > 1:
        scores[~there.ravel()] = -np.inf
        scores = scores.reshape(*vectors.shape[:2], len(items)).max(axis=1)
    if not servable.all():
        lowest = scores[:, servable].min(axis=1, keepdims=True, initial=np.inf)
        scores[:, ~servable] = np.where(np.isfinite(lowest), lowest, 0) - 1
    scores[~there.any(axis=1)] = 0
    return scores


def known_history(queries: Queries, servable: NDArray[np.bool_], history: int) -> tuple[Numbers, Numbers]:
    """Return the newest ``history`` servable items of each query and their times, both int64 (q, h).

    Items are left-padded with -1, times with 0; times that are not known are 0.
    """
    items = queries.history.astype(np.int64)
    known = (items >= 0) & servable[items]
    order = np.argsort(known, axis=1, kind="stable")  # padding first, the others in their order
    order = order[:, max(0, order.shape[1] - history) :]
    times = np.zeros_like(items) if queries.times is None else np.where(known, queries.times, 0)
    return np.take_along_axis(np.where(known, items, -1), order, 1), np.take_along_axis(times, order, 1)


def answer(model: VectorModel, queries: Queries) -> FloatArray:
    """Return the scores (q, n_items) of a model of vectors; zeros where the history says nothing."""
    return vector_scores(model.query_vectors(queries), model.item_vectors, model.servable)


class AnswersByVectors:
    """Mixed into a ``HistoryRecommender`` whose ``_adopt`` sets ``_vectors``: answers as these do."""

    _vectors: VectorModel

    @property
    def item_vectors(self) -> FloatArray:
        """The vectors of all items, (n_items, d); only rows of ``servable`` items mean anything."""
        return self._vectors.item_vectors

    @property
    def servable(self) -> NDArray[np.bool_]:
        """Which items have a vector that was learned, (n_items,); the others come last, and histories skip them."""
        return self._vectors.servable

    def query_vectors(self, queries: Queries) -> FloatArray:
        """Return (q, m, d), NaN where a query has fewer than m vectors or a history that says nothing."""
        return self._vectors.query_vectors(queries)

    def _score(self, queries: Queries) -> FloatArray:
        return answer(self, queries)
