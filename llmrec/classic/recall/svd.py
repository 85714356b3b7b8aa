"""FunkSVD and BiasSVD: ratings predicted from factors, and what makes such predictions fit to propose items."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmrec.classic.recall.base.history import HistoryRecommender
from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.base.vectors import AnswersByVectors
from llmrec.classic.recall.factors.rating_factors import Loss, RatingFactors, factorize, rating_matrix
from llmrec.config import Config
from llmrec.data import Dataset, Queries
from llmrec.errors import DataError
from llmrec.protocols import FloatArray, Watch


class SVDConfig(Config):
    """Hyper-parameters of FunkSVD and BiasSVD."""

    factors: int = Field(64, ge=1)
    """Length of the item and user vectors, biases not counted."""
    regularization: float = Field(0.003, gt=0)
    """Weight of the squared norms, which count once for each rating; about 0.1 where unseen_weight = 0."""
    iterations: int = Field(10, ge=1)
    """Passes over users and items."""
    unseen_weight: float = Field(0.3, ge=0, le=1)
    """Weight of an unseen item, as if rated 0, where a rating has 1; with 0 only ratings count."""


class FunkSVD(AnswersByVectors, HistoryRecommender[SVDConfig]):
    """Predicts the rating p(u)·q(i); a user's p is folded in from the rated history.

    What is learned from is the newest value of each user and item. Two uses want two settings:

    - To propose items (the default), unseen items count as rated 0 with a small weight. Predictions are then no
      ratings but rank what a user will have and like. Ratings alone would put obscure items first: nothing says that
      few have them. It works without ratings too: all values are equal, and this becomes ALS with another penalty.
    - To predict ratings, ``unseen_weight=0``. A data set without ratings is refused then.

    In a query without values every item of the history counts as rated the mean of training.

    Paper: Funk, Netflix Update: Try This at Home, 2006. There, stochastic gradient descent learns a factor after the
    other and stops early; here, alternating least squares solves for all, of the same squared error with the same
    penalty for each rating (Zhou et al., AAIM 2008). The unseen items are those of Hu, Koren, Volinsky, ICDM 2008.
    """

    name: ClassVar[str] = "funk-svd"
    config_class: ClassVar[type[Config]] = SVDConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:  # noqa: ARG002 - few sweeps
        return _learn(data, self.config, seed, biased=False)

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        self._vectors: RatingFactors = _adopt(arrays, n_items, self.config, biased=False)

    def predict(self, queries: Queries, items: NDArray[np.integer]) -> FloatArray:
        """Return the predicted values (q, c) of items (q, c), within those of training; NaN where an item is -1.

        Where nothing is known of the user or the item, it is the mean of training.

        Raises:
            DataError: items of another shape, or beyond the catalogue.
        """
        return self._vectors.predict(queries, items)


class BiasSVD(AnswersByVectors, HistoryRecommender[SVDConfig]):
    """Predicts the rating centre + b(u) + b(i) + p(u)·q(i); a user's b and p are folded in from the rated history.

    ``FunkSVD`` says how values, unseen items and data without ratings are dealt with. The centre is the mean of all
    that counts, by its weight.

    Paper: Koren, Bell, Volinsky, Matrix Factorization Techniques for Recommender Systems, IEEE Computer 2009, equation
    5. Solved by alternating least squares, a bias and its vector together, where the paper describes stochastic
    gradient descent first; the unseen items are an addition.
    """

    name: ClassVar[str] = "bias-svd"
    config_class: ClassVar[type[Config]] = SVDConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:  # noqa: ARG002 - few sweeps
        return _learn(data, self.config, seed, biased=True)

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        self._vectors: RatingFactors = _adopt(arrays, n_items, self.config, biased=True)

    def predict(self, queries: Queries, items: NDArray[np.integer]) -> FloatArray:
        """Return the predicted values (q, c) of items (q, c), within those of training; NaN where an item is -1.

        Of an unknown user or item there are no factors and no bias: the others remain.

        Raises:
            DataError: items of another shape, or beyond the catalogue.
        """
        return self._vectors.predict(queries, items)


def _loss(config: SVDConfig, *, biased: bool) -> Loss:
    return Loss(config.regularization, config.unseen_weight, biased)


def _learn(data: Dataset, config: SVDConfig, seed: int, *, biased: bool) -> Arrays:
    values = data.interactions.values
    if not (config.unseen_weight or data.interactions.rated):
        raise DataError(
            f"the value {values[0]:g} for all interactions of {data.name!r}",
            expected="ratings that differ, where unseen_weight = 0",
            cure="raise unseen_weight, so that unseen items count as 0, or use data with ratings",
        )
    factors, centre = factorize(
        rating_matrix(data), _loss(config, biased=biased), config.factors, config.iterations, seed
    )
    scale = np.array([centre, values.mean(dtype=np.float64), values.min(), values.max()])
    return {"factors": factors.astype(np.float32), "scale": scale}


def _adopt(arrays: Arrays, n_items: int, config: SVDConfig, *, biased: bool) -> RatingFactors:
    factors, scale = arrays["factors"], arrays["scale"]
    if factors.shape != (n_items, config.factors + biased) or scale.shape != (4,):
        raise ValueError(f"factors of shape {factors.shape} and a scale of shape {scale.shape}")
    return RatingFactors(_loss(config, biased=biased), factors, arrays["popularity"] > 0, scale)
