"""Item-kNN: items whose users are those of the history's items."""

from __future__ import annotations

from typing import ClassVar, Literal

from implicit.nearest_neighbours import ItemItemRecommender, bm25_weight, normalize, tfidf_weight
from pydantic import Field
from scipy.sparse import csr_matrix

from llmrec.classic.recall.base.history import HistoryRecommender, seen_matrix
from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.neighbourhood.nearest import Similarities, similarity_arrays
from llmrec.config import Config
from llmrec.data import Dataset, Queries
from llmrec.protocols import FloatArray, Watch


class ItemKNNConfig(Config):
    """Hyper-parameters of item-kNN."""

    neighbours: int = Field(100, ge=1)
    """Most similar items kept for each item, itself among them (``implicit``'s K)."""
    weighting: Literal["cosine", "tfidf", "bm25"] = "bm25"
    """How an item's users are weighted before items are compared; tfidf and bm25 discount users who had much."""
    bm25_k1: float = Field(1.2, gt=0)
    """BM25's saturation; only read with weighting=bm25."""
    bm25_b: float = Field(0.5, ge=0, le=1)
    """BM25's discount of popular items, 0 (none) to 1; only read with weighting=bm25."""


class ItemKNN(HistoryRecommender[ItemKNNConfig]):
    """Scores an item by its similarity to the history's items, summed; the similarities are those of ``implicit``.

    An item that is no neighbour of the history would score 0 with all others of its kind. Such items come after all
    neighbours, most popular first, with scores from -1 to 0.

    Paper: Sarwar, Karypis, Konstan, Riedl, Item-Based Collaborative Filtering Recommendation Algorithms, WWW 2001.
    Values are ignored here: the paper's are ratings.
    """

    name: ClassVar[str] = "item-knn"
    config_class: ClassVar[type[Config]] = ItemKNNConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:  # noqa: ARG002 - solved in closed form
        items = seen_matrix(data).T
        if self.config.weighting == "cosine":
            weighted = normalize(items)
        elif self.config.weighting == "tfidf":
            weighted = tfidf_weight(items)
            # A user who had nearly everything weighs nothing, and an item with only such users has no length.
            weighted.eliminate_zeros()
            weighted = normalize(weighted)
        else:
            weighted = bm25_weight(items, self.config.bm25_k1, self.config.bm25_b)
        model = ItemItemRecommender(K=self.config.neighbours)
        model.fit(weighted.T.tocsr(), show_progress=False)
        return similarity_arrays(model.similarity)

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        self._similarities = Similarities(arrays, n_items)

    def _score(self, queries: Queries) -> FloatArray:
        return self._similarities.scores(queries)

    @property
    def similarity(self) -> csr_matrix:
        """What was learned, (n_items, n_items): row i has the neighbours of item i."""
        return self._similarities.matrix
