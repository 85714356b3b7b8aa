"""Rating prediction by neighbours: from the user's ratings of similar items, or from similar users' of the item."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from scipy.sparse import csr_matrix, vstack

from llmrec.classic.recall.base.history import HistoryRecommender, row_blocks
from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.factors.rating_factors import check_items, rated_histories, rating_matrix
from llmrec.classic.recall.neighbourhood.correlation import (
    Correlation,
    Exact,
    centred,
    nearest,
    row_means,
    similar_rows,
    sums_over_nearest,
    with_data,
)
from llmrec.classic.recall.neighbourhood.nearest import popularity_tail, put_tail
from llmrec.config import Config
from llmrec.data import Dataset, Queries
from llmrec.errors import DataError
from llmrec.protocols import FloatArray, Watch

Parts = tuple[Exact, Exact, Exact]  # sums over neighbours (q, n_items) twice, and the rating without them, broadcast


class PearsonConfig(Config):
    """Hyper-parameters of item-pearson and user-pearson."""

    neighbours: int = Field(50, ge=1)
    """Nearest items that the user rated, or nearest users who rated the item, behind a prediction."""
    kept: int = Field(500, ge=1)
    """Nearest items of each item, or nearest users of each query, among which those are looked for."""
    min_common: int = Field(5, ge=2)
    """Ratings that two items (or users) must share to be compared: two points always lie on a line."""
    shrinkage: float = Field(100.0, ge=0)
    """A correlation over n shared ratings counts n / (n + shrinkage) of itself."""
    ranking: Literal["sum", "rating"] = "sum"
    """Recommend by what the neighbours say in sum, as top-k needs; or by predicted rating."""


class ItemPearson(HistoryRecommender[PearsonConfig]):
    """Predicts a user's rating of an item from the user's ratings of the items most similar to it.

    r(u, i) = mean_i + sum of sim(i, j) (r(u, j) - mean_j) / sum of sim(i, j), over the nearest j that u rated with
    sim > 0. sim is Pearson's correlation over the users who rated both, with their means over those users; mean_i is
    over all ratings of i. Of several ratings of an item by a user the last one counts.

    Items with few ratings are predicted at both ends, so the highest predictions are of obscure items: a list of them
    is no good recall. By default items are therefore ranked by the sum of sim(i, j) (r(u, j) - mean_j + s), without a
    divisor, so that it grows with the neighbours that speak for an item (Cremonesi, Koren, Turrin, RecSys 2010). The
    standard deviation s of all ratings, which is ours, has a reason too: whoever rated j chose it. ``min_common`` and
    ``shrinkage`` keep chance similarities out. Items without a neighbour follow by popularity, those that the ratings
    speak against come last.

    A history without values counts as liked: each item s above its mean.

    Paper: Sarwar et al., Item-Based Collaborative Filtering Recommendation Algorithms, WWW 2001; the shrinkage is of
    Bell, Koren, ICDM 2007.
    """

    name: ClassVar[str] = "item-pearson"
    config_class: ClassVar[type[Config]] = PearsonConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:  # noqa: ARG002 - solved in closed form
        ratings = _ratings_of(data, self.name).T.tocsr()
        means, scale = row_means(ratings), _scale(ratings)
        means[np.diff(ratings.indptr) == 0] = scale[0]
        deviations, config = centred(ratings, means), self.config
        correlation = Correlation(deviations, min_common=config.min_common, shrinkage=config.shrinkage)
        found = similar_rows(deviations, correlation, min_common=config.min_common, kept=config.kept)
        arrays = {"similarity": found.data, "indices": found.indices, "indptr": found.indptr}
        return {**arrays, "means": means, "scale": scale}

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        parts = (arrays["similarity"], arrays["indices"], arrays["indptr"])
        self.similarity = csr_matrix(parts, shape=(n_items, n_items))
        self.similarity.check_format(full_check=True)
        self._near = self.similarity.T.tocsr()
        self._means, self._scale = arrays["means"], arrays["scale"]
        if self._means.shape != (n_items,) or self._scale.shape != (4,):
            raise ValueError(f"means of shape {self._means.shape}, scale of shape {self._scale.shape}")
        self._tail = popularity_tail(arrays["popularity"])

    def predict(self, queries: Queries, items: ArrayLike) -> FloatArray:
        """Return predicted ratings (q, c), within the range of the training ratings.

        Without a neighbour that is the item's mean, and the mean of all ratings for an item that nobody rated.

        Args:
            queries: q queries; history and values are read.
            items: (q, c) item numbers; -1 is predicted as NaN.

        Raises:
            DataError: ``items`` are not (q, c), or an item is outside the catalogue.
            ModelError: the model is not fitted.
        """
        n_items = self.catalogue.n_items  # first of all, since it says so where nothing is fitted
        return _predict(self._parts, queries, np.asarray(items), self._scale, n_items)

    def _score(self, queries: Queries) -> FloatArray:
        return _rank(self.config.ranking, self._parts(queries), self._tail, self._scale)

    def _parts(self, queries: Queries) -> Parts:
        ratings = _ratings_asked(queries, self._means + self._scale[1])
        deviations = with_data(ratings, ratings.data - self._means[ratings.indices])
        sums = sums_over_nearest(deviations, self._near, self.config.neighbours, rated_first=True)
        return (*sums, self._means[None, :])


class UserPearson(HistoryRecommender[PearsonConfig]):
    """Predicts a user's rating of an item from the ratings by the most similar users who rated it.

    r(u, i) = mean_u + sum of sim(u, v) (r(v, i) - mean_v) / sum of sim(u, v), over the nearest v who rated i with
    sim > 0. sim is Pearson's correlation over the items that both rated, with the means over those items; mean_u is
    over all ratings of u. The difference to mean_v takes out that some users rate higher than others (bias).

    Neighbours of a query are training users near its history. A known user's own row is among them and changes nothing
    for items outside the history: that user has not rated them. What the class ``ItemPearson`` says of ranking, of
    repeated ratings and of histories without values holds here too.

    Paper: Resnick et al., GroupLens: An Open Architecture for Collaborative Filtering of Netnews, CSCW 1994; the
    shrinkage is a smooth form of the significance weighting of Herlocker et al., SIGIR 1999.
    """

    name: ClassVar[str] = "user-pearson"
    config_class: ClassVar[type[Config]] = PearsonConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:  # noqa: ARG002 - kept as they are
        ratings = _ratings_of(data, self.name)
        values = ratings.data.astype(np.float32)
        return {"ratings": values, "indices": ratings.indices, "indptr": ratings.indptr, "scale": _scale(ratings)}

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        parts = (arrays["ratings"].astype(np.float64), arrays["indices"], arrays["indptr"])
        ratings = csr_matrix(parts, shape=(len(arrays["indptr"]) - 1, n_items))
        ratings.check_format(full_check=True)
        self._deviations = centred(ratings, row_means(ratings))
        self._correlation = Correlation(
            self._deviations, min_common=self.config.min_common, shrinkage=self.config.shrinkage
        )
        self._scale = arrays["scale"]
        if self._scale.shape != (4,):
            raise ValueError(f"scale of shape {self._scale.shape}")
        means = row_means(ratings.T.tocsr())
        self._liked = np.where(arrays["popularity"] > 0, means, self._scale[0]) + self._scale[1]
        self._tail = popularity_tail(arrays["popularity"])

    def similarity(self, queries: Queries) -> Exact:
        """Return how each query's ratings correlate with those of each training user, (q, n_users), from -1 to 1.

        Raises:
            DataError: an item of a history is outside the catalogue.
            ModelError: the model is not fitted.
        """
        self.catalogue  # noqa: B018 - says so where nothing is fitted
        ratings = _ratings_asked(queries, self._liked)
        return self._correlation(centred(ratings, row_means(ratings)))

    def predict(self, queries: Queries, items: ArrayLike) -> FloatArray:
        """Return predicted ratings (q, c), within the range of the training ratings.

        Without a neighbour that is the mean of the query's ratings, and the mean of all ratings without any.

        Args:
            queries: q queries; history and values are read.
            items: (q, c) item numbers; -1 is predicted as NaN.

        Raises:
            DataError: ``items`` are not (q, c), or an item is outside the catalogue.
            ModelError: the model is not fitted.
        """
        n_items = self.catalogue.n_items  # first of all, since it says so where nothing is fitted
        return _predict(self._parts, queries, np.asarray(items), self._scale, n_items)

    def _score(self, queries: Queries) -> FloatArray:
        return _rank(self.config.ranking, self._parts(queries), self._tail, self._scale)

    def _parts(self, queries: Queries) -> Parts:
        ratings = _ratings_asked(queries, self._liked)
        means = np.where(np.diff(ratings.indptr) > 0, row_means(ratings), self._scale[0])
        # A row of correlations, and what it takes to find them, may be longer than the row of scores.
        blocks = row_blocks(len(queries), 8 * self._deviations.shape[0])
        near = vstack([nearest(self.similarity(queries.select(rows)), self.config.kept) for rows in blocks], "csr")
        sums = sums_over_nearest(near, self._deviations, self.config.neighbours, rated_first=False)
        return (*sums, means[:, None])


def _ratings_of(data: Dataset, name: str) -> csr_matrix:
    """Return the ratings (n_users, n_items) in a data set; a DataError where it has none."""
    if not data.interactions.rated:
        raise DataError(
            f"the {len(data.interactions)} values of {data.name!r} are all equal",
            expected=f"ratings for {name}",
            cure="use a data set with ratings, or a model of who had what: item-knn, user-knn, swing",
        )
    ratings = rating_matrix(data)
    return with_data(ratings, ratings.data.astype(np.float64))


def _ratings_asked(queries: Queries, stand_in: Exact) -> csr_matrix:
    """Return the histories' ratings (q, n_items); without values each is the item's number in ``stand_in``."""
    ratings = rated_histories(queries, len(stand_in), 0)
    return with_data(
        ratings, ratings.data.astype(np.float64) if queries.values is not None else stand_in[ratings.indices]
    )


def _scale(ratings: csr_matrix) -> Exact:
    """Return the mean, standard deviation, least and greatest of all ratings."""
    values = ratings.data
    return np.array([values.mean(), values.std(), values.min(), values.max()])


def _predict(
    parts: Callable[[Queries], Parts], queries: Queries, items: NDArray[np.integer], scale: Exact, n_items: int
) -> FloatArray:
    """Return ratings (q, c): the base, plus the mean deviation of the neighbours where there are some."""
    check_items(items, len(queries), n_items)
    found = np.empty(items.shape, np.float32)
    for rows in row_blocks(len(queries), 4 * n_items):
        tops, totals, base = parts(queries.select(rows))
        ratings = base + np.divide(tops, totals, out=np.zeros_like(tops), where=totals > 0)
        found[rows] = np.take_along_axis(ratings, np.maximum(items[rows], 0), axis=1)
    return np.where(items < 0, np.nan, found.clip(scale[2], scale[3]))


def _rank(ranking: str, parts: Parts, tail: FloatArray, scale: Exact) -> FloatArray:
    """Return scores (q, n_items); those of ``rating`` are predictions, items without one follow below the lowest."""
    tops, totals, base = parts
    if ranking == "sum":
        return put_tail((tops + scale[1] * totals).astype(np.float32), tail)
    known = totals > 0
    ratings = np.maximum(base + np.divide(tops, totals, out=np.zeros_like(tops), where=known), scale[2])
    scores = np.where(known, ratings, scale[2] - 1 + tail)
    return np.where(known.any(axis=1, keepdims=True), scores, 0).astype(np.float32)
