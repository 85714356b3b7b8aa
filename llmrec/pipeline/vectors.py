"""A light ranker: the inner products of a two-tower or factor model that was fitted for recall."""

from __future__ import annotations

import numpy as np

from llmrec.classic.recall.base.history import row_blocks
from llmrec.data import Candidates, Queries
from llmrec.errors import DataError
from llmrec.protocols import VectorModel


class VectorRanker:
    """Orders candidates by the largest inner product of a query's vectors with theirs.

    What it cannot judge keeps its order: items without a vector go behind the others, and a query whose history says
    nothing stays as it was.

    Args:
        model: a fitted model, such as ALS, DSSM or SASRec.
    """

    def __init__(self, model: VectorModel) -> None:
        self.model = model
        self._vectors, self._servable = np.asarray(model.item_vectors, np.float32), model.servable

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return each row ordered by its inner products, best first.

        Raises:
            DataError: a row has no candidate, or an item is outside the catalogue.
        """
        candidates.require_filled()
        if candidates.items.max(initial=-1) >= len(self._vectors):
            raise DataError(
                f"candidate number {candidates.items.max()}",
                expected=f"items from 0 to {len(self._vectors) - 1}",
                cure="use the data set that the model was fitted on",
            )
        scores = np.full(candidates.items.shape, np.nan, np.float32)
        asked, width = self.model.query_vectors(queries), candidates.items.shape[1]
        for rows in row_blocks(len(candidates), max(width, 1) * (self._vectors.shape[1] + asked.shape[1])):
            items = candidates.items[rows]
            products = np.einsum("qmd,qkd->qkm", asked[rows], self._vectors[items])
            best = np.fmax.reduce(products, axis=2, initial=-np.inf)  # fmax: a vector that is not there counts as none
            scores[rows] = np.where(self._servable[items] & np.isfinite(best), best, np.nan)
        return candidates.with_scores(scores)
