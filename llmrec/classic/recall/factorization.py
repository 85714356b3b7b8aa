"""Factorisations: ALS, whose user vectors are folded in from histories, and EASE, a linear model in closed form."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_matrix, diags
from threadpoolctl import threadpool_limits

from llmrec.classic.recall.base.history import HistoryRecommender, history_matrix, seen_matrix
from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.base.taught import TAUGHT, read_taught
from llmrec.classic.recall.base.vectors import vector_scores
from llmrec.classic.recall.factors.ridge import solve_rows
from llmrec.config import Config
from llmrec.data import Dataset, Queries
from llmrec.errors import ModelError
from llmrec.protocols import FloatArray, Watch


class ALSConfig(Config):
    """Hyper-parameters of ALS."""

    factors: int = Field(128, ge=1)
    """Length of the item and user vectors."""
    alpha: float = Field(2.0, gt=0)
    """Confidence of a seen item, where an unseen one has 1 (``implicit``'s meaning; the paper's is 1 + alpha)."""
    regularization: float = Field(0.1, gt=0)
    """Weight of the squared norm of the vectors."""
    iterations: int = Field(15, ge=1)
    """Passes over users and items."""


class ALS(HistoryRecommender[ALSConfig]):
    """Matrix factorisation of who had what, by ``implicit``; each query's user vector is solved from its history.

    A known user gets the same closed-form half step as an unseen one, not the vector that training left.

    Paper: Hu, Koren, Volinsky, Collaborative Filtering for Implicit Feedback Datasets, ICDM 2008. Values are ignored
    here: each item that was seen has the same confidence.
    """

    name: ClassVar[str] = "als"
    config_class: ClassVar[type[Config]] = ALSConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:  # noqa: ARG002 - few sweeps
        seen = seen_matrix(data)
        # implicit runs its own threads, and warns (rightly: it is ten times slower) where BLAS has some as well.
        with threadpool_limits(1, "blas"):
            model = AlternatingLeastSquares(**self.config.model_dump(), random_state=seed)
            model.fit(seen, show_progress=False)
        return {"item_factors": model.item_factors}

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        self.item_factors: FloatArray = arrays["item_factors"]
        if self.item_factors.shape != (n_items, self.config.factors):
            raise ValueError(f"item_factors of shape {self.item_factors.shape}")
        self._read, self._taught = arrays["popularity"] > 0, read_taught(arrays, n_items)
        exact = np.where(self._taught[:, None], 0, self.item_factors.astype(np.float64))
        self._gram = exact.T @ exact + self.config.regularization * np.eye(self.config.factors)

    @property
    def item_vectors(self) -> FloatArray:
        """The vectors of all items, (n_items, factors)."""
        return self.item_factors

    @property
    def servable(self) -> NDArray[np.bool_]:
        """Which items have training events or were placed, (n_items,); the others come last."""
        return self._read | self._taught

    def query_vectors(self, queries: Queries) -> FloatArray:
        """Return the user vectors (q, 1, factors), NaN where the history says nothing; placed items say nothing."""
        histories = history_matrix(queries, self.catalogue.n_items)
        if self._taught.any():
            histories = histories @ diags(self._read.astype(np.float32))
            histories.eliminate_zeros()
        vectors = self.user_factors(histories)
        vectors[~vectors.any(axis=1)] = np.nan
        return vectors[:, None, :]

    def with_takers(self, taken: csr_matrix, users: FloatArray) -> Self:
        """Return a model that serves the rows of ``taken`` too; see ``TakesItems``.

        A vector is the half step of the paper, of the expected loss: with X the users' vectors and p how probable each
        takes the item, it solves (XtX + (alpha - 1) Xt diag(p) X + rI) y = alpha Xtp.
        """
        config, exact, factors = self.config, users.astype(np.float64), self.item_factors.copy()
        items = np.diff(taken.indptr) > 0
        left = exact.T @ exact + config.regularization * np.eye(config.factors)
        for item in np.flatnonzero(items):
            row = slice(taken.indptr[item], taken.indptr[item + 1])
            takers, weighted = exact[taken.indices[row]], exact[taken.indices[row]] * taken.data[row, None]
            matrix = left + (config.alpha - 1) * takers.T @ weighted
            factors[item] = np.linalg.solve(matrix, config.alpha * weighted.sum(axis=0))
        return self._replaced({"item_factors": factors, TAUGHT: self._taught | items})

    def user_factors(self, histories: csr_matrix) -> FloatArray:
        """Return user vectors (q, factors) of histories: ones (q, n_items); zeros for an empty one.

        With Y the item vectors, p a history, C its confidences and r the regularization, solves
        (YtY + Yt(C - I)Y + rI) x = YtCp.
        """
        alpha = self.config.alpha
        found = solve_rows(self.item_factors, alpha * histories, weight=alpha - 1, left=self._gram)
        return found.astype(np.float32)

    def _score(self, queries: Queries) -> FloatArray:
        return vector_scores(self.query_vectors(queries), self.item_factors, self.servable)


class EASEConfig(Config):
    """Hyper-parameters of EASE."""

    regularization: float = Field(200.0, gt=0)
    """Weight of the squared norm of the weights (the paper's lambda); more for sparser data."""
    max_items: int = Field(20_000, ge=1)
    """Refuse more items with events: n of them take 4 n² bytes (1.5 GiB at 20,000), up to 28 n² while fitting."""


class EASE(HistoryRecommender[EASEConfig]):
    """A linear model in which an item's score is a weighted sum of the history's items, itself excluded.

    Only items with training events get weights; the others score 0, as they would in the full matrix.

    Paper: Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019. Values are ignored, as there.
    """

    name: ClassVar[str] = "ease"
    config_class: ClassVar[type[Config]] = EASEConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:  # noqa: ARG002 - solved in closed form
        seen = seen_matrix(data)
        items = np.unique(seen.indices).astype(np.int32)
        if len(items) > self.config.max_items:
            raise ModelError(
                f"{len(items)} items with events",
                expected=f"at most max_items = {self.config.max_items} for EASE",
                cure="drop rare items, use item-knn, or raise max_items if the memory is there",
            )
        weights = _inverse_gram(seen[:, items].astype(np.float64), self.config.regularization)
        weights /= -np.diag(weights).copy()
        np.fill_diagonal(weights, 0)
        return {"items": items, "weights": weights.astype(np.float32, order="C")}

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        self.items: NDArray[np.int32] = arrays["items"]
        self.weights: FloatArray = arrays["weights"]
        if self.weights.shape != (len(self.items), len(self.items)) or self.items.max(initial=0) >= n_items:
            raise ValueError(f"weights of shape {self.weights.shape} for {len(self.items)} items")

    def _score(self, queries: Queries) -> FloatArray:
        histories = history_matrix(queries, self.catalogue.n_items)
        scores = np.zeros(histories.shape, np.float32)
        scores[:, self.items] = histories[:, self.items] @ self.weights
        return scores


def _inverse_gram(seen: csr_matrix, regularization: float) -> NDArray[np.float64]:
    """Return the inverse (n, n) of XtX + regularization I, where X = seen (u, n).

    With fewer users than items it goes through a (u, u) matrix (Woodbury's identity): u n² steps instead of n³.
    """
    if seen.shape[0] >= seen.shape[1]:
        return np.linalg.inv((seen.T @ seen).toarray() + regularization * np.eye(seen.shape[1]))
    dense = seen.toarray()
    explained = np.linalg.solve((seen @ seen.T).toarray() + regularization * np.eye(len(dense)), dense)
    inverse: NDArray[np.float64] = dense.T @ (explained / -regularization)
    np.fill_diagonal(inverse, np.diag(inverse) + 1 / regularization)
    return inverse
