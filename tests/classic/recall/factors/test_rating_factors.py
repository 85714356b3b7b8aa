"""The least squares behind FunkSVD and BiasSVD, by hand and against the loss written out over all cells."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from llmrec.classic.recall.factors import ridge
from llmrec.classic.recall.factors.rating_factors import Loss, RatingFactors, factorize
from llmrec.data import Queries

LOSSES = [Loss(0.2, unseen, biased) for unseen in (0, 0.3, 1) for biased in (False, True)]


def queries(items: list[list[int]], values: list[list[float]]) -> Queries:
    return Queries(np.full(len(items), -1), np.array(items), np.array(values, np.float32))


def two_items(loss: Loss) -> RatingFactors:
    """Return q = 1, 2, 3 (the third is not known), after training on values from 1 to 5 with mean 3."""
    return RatingFactors(loss, np.array([[1.0], [2.0], [3.0]]), np.array([True, True, False]), np.array([0, 3, 1, 5.0]))


def test_a_user_of_two_ratings_by_hand():
    """Rated 4 and 2 with penalty 1 a rating: p = (4 + 2·2) / (1 + 4 + 2) = 8/7; the second is predicted 16/7."""
    found = two_items(Loss(1, 0, biased=False)).predict(queries([[0, 1]], [[4, 2]]), np.array([[1, 0]]))
    np.testing.assert_allclose(found, [[16 / 7, 8 / 7]], rtol=1e-6)


def test_an_unseen_item_by_hand():
    """Half a weight of (0 - 2 p)² and half a penalty: p = 4 / (1 + 4/2 + 1 + 1/2) = 8/9."""
    found = two_items(Loss(1, 0.5, biased=False)).predict(queries([[0]], [[4]]), np.array([[1, 0]]))
    np.testing.assert_allclose(found, [[16 / 9, 8 / 9]], rtol=1e-6)


def test_biases_and_the_error_by_hand():
    """q = 1, -1; b = 1/2, -1/2; centre 3; rated 4 and 3: 1/2 is left of each, so p = 0 and b(u) = 1 / (2 + 1/2) = 0.4.

    Predicted are 3.9 and 2.9: the root of the mean squared error is 0.1.
    """
    model = RatingFactors(
        Loss(0.25, 0, biased=True),
        np.array([[1, 0.5], [-1, -0.5]]),
        np.array([True, True]),
        np.array([3, 3, 1, 5.0]),
    )
    asked = queries([[0, 1]], [[4, 3]])
    found = model.predict(asked, np.array([[0, 1]]))
    np.testing.assert_allclose(found, [[3.9, 2.9]], rtol=1e-6)
    assert np.sqrt(np.mean((found - [[4, 3]]) ** 2)) == pytest.approx(0.1)
    np.testing.assert_allclose(model.query_vectors(asked), [[[0, 1, 3.4]]], atol=1e-6)
    np.testing.assert_allclose(model.item_vectors, [[1, 0.5, 1], [-1, -0.5, 1]])


def test_what_is_not_known_gets_biases_or_the_mean():
    asked = queries([[-1, -1], [-1, 2], [0, 1]], [[0, 0], [0, 5], [4, 2]])
    items = np.array([[0, 2, -1]] * 3)
    plain = two_items(Loss(1, 0, biased=False)).predict(asked, items)
    np.testing.assert_allclose(plain, [[3, 3, np.nan], [3, 3, np.nan], [8 / 7, 3, np.nan]], rtol=1e-6)
    model = RatingFactors(
        Loss(0.25, 0, biased=True),
        np.array([[1, 0.5], [-1, -0.5], [0, 0]]),
        np.array([True, True, False]),
        np.array([3, 3, 1, 5.0]),
    )
    biased = model.predict(queries([[-1, -1], [-1, 2], [0, 1]], [[0, 0], [0, 5], [4, 3]]), items)
    np.testing.assert_allclose(biased, [[3.5, 3, np.nan], [3.5, 3, np.nan], [3.9, 3.4, np.nan]], rtol=1e-6)


def test_predictions_keep_to_the_values_of_training():
    high, low = queries([[0]], [[50]]), queries([[0]], [[-50]])
    only = two_items(Loss(0.1, 0, biased=False))
    assert [only.predict(each, np.array([[1]])).item() for each in (high, low)] == [5, 1]
    unseen = two_items(Loss(0.1, 0.1, biased=False))  # that count as 0
    assert [unseen.predict(each, np.array([[1]])).item() for each in (high, low)] == [5, 0]


def test_the_centre_is_the_mean_of_cells_by_their_weight():
    """Ratings 4 and 2 and four unseen cells of weight 1/4: 6 / (2 + 1)."""
    ratings = csr_matrix(([4.0, 2.0], ([0, 1], [0, 2])), shape=(2, 3))
    assert Loss(1, 0.25, biased=True).centre(ratings) == pytest.approx(2)
    assert Loss(1, 0, biased=True).centre(ratings) == pytest.approx(3)
    assert Loss(1, 0.25, biased=False).centre(ratings) == 0


def parts(loss: Loss, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors and biases."""
    return (factors[:, :-1], factors[:, -1]) if loss.biased else (factors, np.zeros(len(factors)))


def total(loss: Loss, users: np.ndarray, items: np.ndarray, centre: float, ratings: csr_matrix) -> float:
    """Return the loss as its docstring has it, cell by cell."""
    known = ratings.copy()
    known.data = np.ones_like(known.data)
    weights = np.where(known.toarray() > 0, 1, loss.unseen_weight)
    (p, user_bias), (q, item_bias) = parts(loss, users), parts(loss, items)
    error = ratings.toarray() - (centre + user_bias[:, None] + item_bias + p @ q.T)
    norms = (users**2).sum(axis=1)[:, None] + (items**2).sum(axis=1)
    return float((weights * (error**2 + loss.regularization * norms)).sum())


def some_ratings() -> csr_matrix:
    rng = np.random.default_rng(8)
    return csr_matrix(np.where(rng.random((12, 9)) < 0.4, rng.integers(1, 6, (12, 9)), 0).astype(float))


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_the_gradient_is_zero_at_what_is_folded_in(loss, monkeypatch):
    ratings, rng = some_ratings(), np.random.default_rng(9)
    items = rng.normal(size=(9, 3 + loss.biased))
    users = loss.half_step(items, 2.0 * loss.biased, ratings)
    for place in np.ndindex(users.shape):
        step = np.zeros_like(users)
        step[place] = 1e-4
        slope = [total(loss, users + way * step, items, 2.0 * loss.biased, ratings) for way in (1, -1)]
        assert abs(slope[0] - slope[1]) / 2e-4 < 1e-6
    monkeypatch.setattr(ridge, "BLOCK_FLOATS", 1)  # a row a block
    np.testing.assert_allclose(loss.half_step(items, 2.0 * loss.biased, ratings), users, rtol=1e-9)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_each_iteration_lowers_the_loss(loss):
    ratings, losses = some_ratings(), []
    for iterations in (1, 2, 5, 20):
        items, centre = factorize(ratings, loss, 2, iterations, seed=0)
        losses.append(total(loss, loss.half_step(items, centre, ratings), items, centre, ratings))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_users_and_items_without_ratings_change_nothing():
    ratings = some_ratings()
    wide = csr_matrix((ratings.data, ratings.indices + 1, np.append([0], ratings.indptr)), shape=(13, 11))
    for loss in LOSSES:
        (plain, centre), (found, other) = (factorize(each, loss, 2, 3, seed=0) for each in (ratings, wide))
        np.testing.assert_allclose(found[1:10], plain, rtol=1e-9)
        assert not found[[0, 10]].any()
        assert other == centre
