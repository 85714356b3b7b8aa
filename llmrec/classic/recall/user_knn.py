"""User-kNN: what users with a similar history had."""

from __future__ import annotations

from typing import ClassVar, Literal, cast

import numpy as np
from pydantic import Field
from scipy.sparse import csr_matrix

from llmrec.classic.recall.base.history import HistoryRecommender, history_matrix, row_blocks, seen_matrix
from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.neighbourhood.nearest import nearest_matrix, popularity_tail, put_tail
from llmrec.config import Config
from llmrec.data import Dataset, Queries
from llmrec.protocols import FloatArray, Watch


class UserKNNConfig(Config):
    """Hyper-parameters of user-kNN."""

    similarity: Literal["cosine", "jaccard"] = "cosine"
    """Items in common over the geometric mean of both numbers of items, or over the items of either."""
    neighbours: int = Field(50, ge=1)
    """Most similar users who are asked."""
    amplification: float = Field(2.0, gt=0)
    """Power of the similarity: above 1 the nearest users count for more (Breese et al.'s case amplification)."""


class UserKNN(HistoryRecommender[UserKNNConfig]):
    """Scores an item by the similarities of the nearest training users who had it, summed.

    A training user who had nothing but items of the history can propose nothing and takes no neighbour's place. This
    is how a known user's own row is left out, without a look at who asks: an unseen user with that history gets the
    same. A history cut short does not cover its user's row, which then proposes what came before the cut: ask with
    whole histories (``history=None``). Items that no neighbour had follow by popularity, as in item-kNN.

    Papers: Breese, Heckerman, Kadie, Empirical Analysis of Predictive Algorithms for Collaborative Filtering, UAI 1998
    (its votes are ratings; for those see ``user-pearson``); Jaccard as in Su, Khoshgoftaar, A Survey of Collaborative
    Filtering Techniques, 2009.
    """

    name: ClassVar[str] = "user-knn"
    config_class: ClassVar[type[Config]] = UserKNNConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:  # noqa: ARG002 - kept as it is
        seen = seen_matrix(data)
        return {"indices": seen.indices, "indptr": seen.indptr}

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        indices, indptr = arrays["indices"], arrays["indptr"]
        shape = (len(indptr) - 1, n_items)
        self.seen = csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=shape)
        self.seen.check_format(full_check=True)
        self._users_of = self.seen.T.tocsr()
        self._had = np.diff(indptr).astype(np.float32)
        self._tail = popularity_tail(arrays["popularity"])

    def similarity(self, queries: Queries) -> FloatArray:
        """Return how similar each query's history is to what each training user had, (q, n_users), from 0 to 1.

        Raises:
            DataError: an item of a history is outside the catalogue.
            ModelError: the model is not fitted.
        """
        histories = history_matrix(queries, self.catalogue.n_items)
        return self._similarity(histories, self._common(histories))

    def _common(self, histories: csr_matrix) -> FloatArray:
        return cast("FloatArray", (histories @ self._users_of).toarray())

    def _similarity(self, histories: csr_matrix, common: FloatArray) -> FloatArray:
        asked = np.diff(histories.indptr).astype(np.float32)[:, None]
        if self.config.similarity == "cosine":
            return np.asarray(common / np.sqrt(np.maximum(asked * self._had, 1)))
        return np.asarray(common / np.maximum(asked + self._had - common, 1))

    def _score(self, queries: Queries) -> FloatArray:
        histories = history_matrix(queries, self.catalogue.n_items)
        # A row of similarities may be longer than a row of scores, by which the queries were cut into blocks.
        blocks = list(row_blocks(len(queries), 4 * len(self._had)))
        scores = [self._ask(histories[rows]) for rows in blocks]
        return put_tail(np.concatenate(scores), self._tail)

    def _ask(self, histories: csr_matrix) -> FloatArray:
        common = self._common(histories)
        near = self._similarity(histories, common) ** self.config.amplification
        near[common == self._had] = 0
        rows, users = np.nonzero(near)
        nearest = nearest_matrix(rows, users, near[rows, users], near.shape, self.config.neighbours)
        return cast("FloatArray", (nearest @ self.seen).toarray())
