"""Factors of ratings by alternating least squares: r(u, i) = centre + b(u) + b(i) + p(u)·q(i)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from llmrec.classic.recall.base.history import history_matrix, row_blocks, seen_matrix
from llmrec.classic.recall.factors.ridge import Floats, solve_rows
from llmrec.data import Dataset, Queries
from llmrec.errors import DataError
from llmrec.protocols import FloatArray


@dataclass(frozen=True)
class Loss:
    """What is minimised: the squared error of each cell (user, item) and the norms of what its prediction is made of.

    The sum over all cells of w (r - r(u, i))² + w regularization (|p(u)|² + b(u)² + |q(i)|² + b(i)²), where a rated
    cell has the weight w = 1, and any other has w = ``unseen_weight`` and r = 0.

    Attributes:
        regularization: weight of the squared norms.
        unseen_weight: weight of a cell without a rating.
        biased: whether there are a centre and biases.
    """

    regularization: float
    unseen_weight: float
    biased: bool

    def centre(self, ratings: csr_matrix) -> float:
        """Return the weighted mean of all cells; 0 without biases."""
        if not self.biased:
            return 0.0
        unseen = ratings.shape[0] * ratings.shape[1] - ratings.nnz
        return float(ratings.data.sum(dtype=np.float64) / (ratings.nnz + self.unseen_weight * unseen))

    def half_step(self, others: Floats, centre: float, ratings: csr_matrix) -> Floats:
        """Return the best factors (q, d) for the rows of ratings (q, n), those of its columns (n, d) held fixed.

        Factors are p or q, then the bias where there are biases. A row without ratings gets zeros.
        """
        design, offsets = others, np.zeros(len(others))
        if self.biased:
            design = np.hstack([others[:, :-1], np.ones((len(others), 1))])
            offsets = centre + others[:, -1]
        # Unseen cells are all cells less the rated ones: w (o + a·z)² over all, and the same taken off for each rating.
        unseen, lengths = self.unseen_weight, np.diff(ratings.indptr)
        targets = ratings.data - (1 - unseen) * offsets[ratings.indices]
        return solve_rows(
            design,
            csr_matrix((targets, ratings.indices, ratings.indptr), shape=ratings.shape),
            weight=1 - unseen,
            left=unseen * design.T @ design,
            right=-unseen * offsets @ design,
            penalty=self.regularization * (lengths + unseen * (len(others) - lengths)),
        )


@dataclass(frozen=True, eq=False)
class RatingFactors:
    """Learned item factors that predict ratings from rated histories.

    Attributes:
        loss: what they minimise.
        factors: (n_items, d), q and then the bias where there are biases; zeros where nothing was learned.
        servable: bool (n_items,), items with training events.
        scale: float64 (4,), the centre, then the mean, least and greatest training value.
    """

    loss: Loss
    factors: NDArray[np.floating]
    servable: NDArray[np.bool_]
    scale: Floats

    @cached_property
    def item_vectors(self) -> FloatArray:
        """(n_items, ·): q; with biases q, b(i), 1."""
        ones = np.ones((len(self.factors), int(self.loss.biased)))
        return np.hstack([self.factors, ones]).astype(np.float32)

    def query_vectors(self, queries: Queries) -> FloatArray:
        """Return (q, 1, ·): p; with biases p, 1, centre + b(u); NaN where no item of the history is known."""
        vectors, informed = self._users(queries)
        vectors[~informed] = np.nan
        return vectors[:, None, :].astype(np.float32)

    def predict(self, queries: Queries, items: NDArray[np.integer]) -> FloatArray:
        """Return the predicted values (q, c) of items (q, c), within those of training; NaN where an item is -1.

        A user or item of which nothing is known has no factors: biases alone then, without biases the mean.

        Raises:
            DataError: items of another shape, or beyond the catalogue.
        """
        check_items(items, len(queries), len(self.factors))
        (users, informed), vectors = self._users(queries), self.item_vectors.astype(np.float64)
        found = np.empty(items.shape)
        for rows in row_blocks(len(items), items.shape[1] * vectors.shape[1]):
            found[rows] = np.einsum("qd,qcd->qc", users[rows], vectors[items[rows]])
        _, mean, low, high = self.scale
        if not self.loss.biased:
            found[~(informed[:, None] & self.servable[items])] = mean
        found = found.clip(min(low, 0) if self.loss.unseen_weight else low, high)
        return np.where(items < 0, np.nan, found).astype(np.float32)

    def _users(self, queries: Queries) -> tuple[Floats, NDArray[np.bool_]]:
        """Return user vectors (q, ·) that fit ``item_vectors``, and for which of them something is known (q,)."""
        centre, mean, *_ = self.scale
        histories = rated_histories(queries, len(self.factors), stand_in=mean)[:, np.flatnonzero(self.servable)]
        folded = self.loss.half_step(self.factors[self.servable].astype(np.float64), centre, histories)
        informed = np.diff(histories.indptr) > 0
        if not self.loss.biased:
            return folded, informed
        return np.column_stack([folded[:, :-1], np.ones(len(folded)), centre + folded[:, -1]]), informed


def factorize(ratings: csr_matrix, loss: Loss, factors: int, iterations: int, seed: int) -> tuple[Floats, float]:
    """Return the factors of items (n_items, d) and the centre, of ratings (n_users, n_items).

    Users and items without ratings are left out of every sum; such items get zeros.
    """
    users, items = (np.flatnonzero(np.diff(each.indptr)) for each in (ratings, ratings.tocsc()))
    rated = ratings[users][:, items].astype(np.float64)
    by_item, centre = rated.T.tocsr(), loss.centre(rated)
    learned = np.random.default_rng(seed).normal(scale=0.1, size=(len(items), factors))
    if loss.biased:
        learned = np.hstack([learned, np.zeros((len(items), 1))])
    for _ in range(iterations):
        learned = loss.half_step(loss.half_step(learned, centre, rated), centre, by_item)
    full = np.zeros((ratings.shape[1], learned.shape[1]))
    full[items] = learned
    return full, centre


def rating_matrix(data: Dataset) -> csr_matrix:
    """Return the newest value of each user and item, float32 (n_users, n_items)."""
    events = data.interactions
    return _newest(seen_matrix(data), events.users, events.items, events.values)


def rated_histories(queries: Queries, n_items: int, stand_in: float) -> csr_matrix:
    """Return the newest value of each item in each history, float32 (q, n_items).

    Args:
        queries: q queries.
        n_items: size of the catalogue; a DataError for an item beyond.
        stand_in: the value of every item where ``queries.values`` is None.
    """
    histories = history_matrix(queries, n_items)
    if queries.values is None:
        histories.data[:] = stand_in
        return histories
    rows, places = np.nonzero(queries.history >= 0)
    return _newest(histories, rows, queries.history[rows, places], queries.values[rows, places])


def _newest(
    cells: csr_matrix, rows: NDArray[np.integer], columns: NDArray[np.integer], values: NDArray[np.float32]
) -> csr_matrix:
    """Return ``cells``, which are sorted and each there once, with the last of the values that each has."""
    keys = rows.astype(np.int64) * cells.shape[1] + columns
    _, from_end = np.unique(keys[::-1], return_index=True)
    cells.data[:] = values[len(values) - 1 - from_end]
    return cells


def check_items(items: NDArray[np.integer], n_queries: int, n_items: int) -> None:
    """Raise a DataError unless items are (n_queries, ·) with numbers from -1 to n_items - 1."""
    if items.ndim != 2 or len(items) != n_queries:
        raise DataError(
            f"items of shape {items.shape} for {n_queries} queries",
            expected="one row for each query",
            cure="pass items as (q, c), padded with -1",
        )
    if items.size and (items.min() < -1 or items.max() >= n_items):
        raise DataError(
            f"item number {int(items.min() if items.min() < -1 else items.max())} to predict",
            expected=f"numbers from 0 to {n_items - 1}, the model's catalogue, or -1",
            cure="use the data set that the model was fitted on",
        )
