"""BPR: factors learned from pairs of items, one had and one not; histories are folded in by a Newton step."""

from __future__ import annotations

from typing import ClassVar, Self, cast

import numpy as np
from implicit.cpu.bpr import BayesianPersonalizedRanking
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_matrix
from scipy.special import expit

from llmrec.classic.recall.base.auxiliary import Auxiliary
from llmrec.classic.recall.base.history import HistoryRecommender, history_matrix, row_blocks, seen_matrix
from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.base.taught import TAUGHT, read_taught, written_taught
from llmrec.classic.recall.base.vectors import vector_scores
from llmrec.classic.recall.factors.pairwise import pair_epochs
from llmrec.config import Config
from llmrec.data import Dataset, Queries
from llmrec.protocols import UNWATCHED, FloatArray, Watch

NEGATIVES = 2048  # items that stand for all, at equal steps of cumulated popularity
Floats = NDArray[np.float64]


class BPRConfig(Config):
    """Hyper-parameters of BPR."""

    factors: int = Field(64, ge=1)
    """Length of the item and user vectors, the item's bias not counted."""
    learning_rate: float = Field(0.05, gt=0)
    """Step of stochastic gradient descent."""
    regularization: float = Field(0.01, ge=0)
    """Weight of the squared norm of vectors and biases in training."""
    epochs: int = Field(60, ge=1)
    """Passes, each over as many sampled pairs as there are events."""
    fold_in_regularization: float = Field(0.3, gt=0)
    """Weight of the squared norm of a user vector that is folded in; more than in training, where steps are few."""


class BPR(HistoryRecommender[BPRConfig]):
    """Matrix factorisation that ranks what a user had above what not, by ``implicit``, with a bias for each item.

    User vectors are folded in from histories, for known users too: they predict better than the overfitted ones that
    training leaves, which are dropped. With items y and biases b fixed, the loss of a user x is the mean, over items i
    of the history and negatives j, of -log sigmoid(x·(y_i - y_j) + b_i - b_j), plus r/2 |x|². x is one Newton step from
    0, with the curvature of the average user. The gradient at 0 is a mean of one vector for each item of the history,
    and so the step is the mean of their ``history_vectors``. Negatives are weighed by popularity, as in training; the
    history's own items are not taken out of them.

    With preferences (``fit_with``), each pass over the events is followed by one over the pairs, with the vectors that
    users have in training. Items without events then have vectors too; histories skip them still.

    Paper: Rendle, Freudenthaler, Gantner, Schmidt-Thieme, BPR: Bayesian Personalized Ranking from Implicit Feedback,
    UAI 2009. There, negatives are drawn uniformly, and users keep what training left. It trains on one thread: with
    more, ``implicit`` writes over its own updates in an order that no seed fixes. Values are ignored here.
    """

    name: ClassVar[str] = "bpr"
    config_class: ClassVar[type[Config]] = BPRConfig

    def fit_with(self, data: Dataset, auxiliary: Auxiliary, *, seed: int = 0, watch: Watch = UNWATCHED) -> Self:
        """Learn from ``data`` and from preferences, and return itself; see ``LearnsPreferences``."""
        auxiliary.check(data)
        return self._fit(data, lambda: self._learn(data, seed, watch, auxiliary))

    def with_takers(self, taken: csr_matrix, users: FloatArray) -> Self:
        """Return a model that serves the rows of ``taken`` too; see ``TakesItems``.

        A vector points from the mean user to the weighted mean of its takers, and is as long as the median item's; the
        bias is such that the mean user scores the item like the median one.
        """
        items, mean, vectors = np.diff(taken.indptr) > 0, users[:, :-1].mean(axis=0), self._vectors.copy()
        totals = np.asarray(taken[items].sum(axis=1))
        towards = taken[items] @ users[:, :-1] / totals - mean
        lengths = np.linalg.norm(towards, axis=1, keepdims=True)
        learned = vectors[self._read]
        usual, level = np.median(np.linalg.norm(learned[:, :-1], axis=1)), np.median(learned @ np.append(mean, 1))
        towards *= usual / np.where(lengths > 0, lengths, 1)
        vectors[items] = np.column_stack([towards, level - towards @ mean])
        return self._replaced({"item_vectors": vectors, TAUGHT: self._taught | items})

    def _learn(
        self,
        data: Dataset,
        seed: int,
        watch: Watch,  # noqa: ARG002 - it reports nothing
        auxiliary: Auxiliary | None = None,
    ) -> Arrays:
        seen, config = seen_matrix(data), self.config
        popularity = np.bincount(seen.indices, minlength=len(data.items))
        model = BayesianPersonalizedRanking(
            factors=config.factors,
            learning_rate=config.learning_rate,
            regularization=config.regularization,
            iterations=config.epochs,
            num_threads=1,
            random_state=seed,
        )
        taught = np.zeros(len(data.items), np.bool_)
        if auxiliary is None:
            model.fit(seen, show_progress=False)
        else:
            taught = auxiliary.taught(popularity > 0)
            step = pair_epochs(
                auxiliary.preferences,
                auxiliary.weight,
                learning_rate=config.learning_rate,
                regularization=config.regularization,
                seed=seed,
            )
            model.fit(seen, show_progress=False, callback=lambda *_: step(model.user_factors, model.item_factors))
        added = fold_in(model.item_factors, popularity, config.fold_in_regularization)
        return {
            "item_vectors": model.item_factors,
            "history_vectors": added.astype(np.float32),
            **written_taught(taught),
        }

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        self._vectors: FloatArray = arrays["item_vectors"]
        self.history_vectors: FloatArray = arrays["history_vectors"]
        self._read, self._taught = arrays["popularity"] > 0, read_taught(arrays, n_items)
        for vectors, width in ((self._vectors, self.config.factors + 1), (self.history_vectors, self.config.factors)):
            if vectors.shape != (n_items, width):
                raise ValueError(f"vectors of shape {vectors.shape}")

    @property
    def item_vectors(self) -> FloatArray:
        """The vectors of all items, the bias last, (n_items, factors + 1)."""
        return self._vectors

    @property
    def servable(self) -> NDArray[np.bool_]:
        """Which items have training events or were taught, (n_items,); the others come last."""
        return self._read | self._taught

    def query_vectors(self, queries: Queries) -> FloatArray:
        """Return (q, 1, factors + 1), the last of each 1; NaN where the history says nothing."""
        histories = history_matrix(queries, self.catalogue.n_items)
        known = histories @ self._read.astype(np.float32)
        vectors = np.ones((len(queries), 1, self.config.factors + 1), np.float32)
        vectors[:, 0, :-1] = (histories @ self.history_vectors) / np.maximum(known, 1)[:, None]
        vectors[known == 0] = np.nan
        return vectors

    def _score(self, queries: Queries) -> FloatArray:
        return vector_scores(self.query_vectors(queries), self._vectors, self.servable)


def fold_in(item_vectors: FloatArray, popularity: NDArray[np.integer], regularization: float) -> Floats:
    """Return what each item of a history adds to the user's vector, (n_items, d); zeros for an item nobody had.

    For an item i it is inverse(H + r I) g_i, where g_i is the mean over negatives j of sigmoid(b_j - b_i) (y_i - y_j),
    and H the mean over items i by popularity and negatives j of the logistic's slope times (y_i - y_j)(y_i - y_j)'.

    Args:
        item_vectors: (n_items, d + 1), the bias last.
        popularity: (n_items,), how many users had each item.
        regularization: r.
    """
    vectors, biases = item_vectors[:, :-1].astype(np.float64), item_vectors[:, -1].astype(np.float64)
    shares = np.cumsum(popularity / popularity.sum())
    steps = (np.arange(NEGATIVES) + 0.5) / NEGATIVES
    drawn, counts = np.unique(np.searchsorted(shares, steps * shares[-1]), return_counts=True)
    negatives, weights = vectors[drawn], counts / NEGATIVES
    gradients, curvature = np.zeros_like(vectors), regularization * np.eye(vectors.shape[1])
    for rows in row_blocks(len(vectors), 2 * len(drawn)):
        own = vectors[rows]
        wrong = expit(biases[drawn] - biases[rows, None])  # 0 where a pair is ranked right for sure, 1 where wrong
        gradients[rows] = own * (wrong @ weights)[:, None] - (wrong * weights) @ negatives
        slope = wrong * (1 - wrong) * weights * (popularity[rows] / popularity.sum())[:, None]
        across = own.T @ slope @ negatives
        curvature += own.T @ (own * slope.sum(axis=1)[:, None]) - across - across.T
        curvature += negatives.T @ (negatives * slope.sum(axis=0)[:, None])
    gradients[popularity == 0] = 0
    return cast("Floats", np.linalg.solve(curvature, gradients.T).T)
