"""Centroids by hand: two dimensions, four items."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.classic.recall.base.vectors import answer
from llmrec.classic.recall.item_vectors.centroid import Centroids, unit
from llmrec.data import Queries

VECTORS = np.array([[1, 0], [0, 1], [0.6, 0.8], [0, 0]], np.float32)
ITEMS = np.array([[2, 0], [0, 3], [1, 1], [9, 9]], np.float32)
LEARNED = np.array([True, True, True, False])


def centroids(history: int = 2, decay: float = 1.0) -> Centroids:
    return Centroids(VECTORS, ITEMS, LEARNED, history, decay)


def test_the_newest_vectors_ask_together():
    asked = centroids().query_vectors(Queries.from_histories([(2, 0, 1), (2,), ()]))
    assert asked.shape == (3, 1, 2)
    np.testing.assert_allclose(asked[:2, 0], [[0.5**0.5, 0.5**0.5], [0.6, 0.8]], rtol=1e-6)
    assert np.isnan(asked[2]).all()


def test_items_without_a_vector_are_skipped_not_counted():
    np.testing.assert_allclose(
        centroids().query_vectors(Queries.from_histories([(2, 0, 1, 3)])),
        centroids().query_vectors(Queries.from_histories([(0, 1)])),
    )
    assert np.isnan(centroids().query_vectors(Queries.from_histories([(3,)]))).all()


def test_older_items_weigh_less_and_a_repeat_counts_twice():
    queries = Queries.from_histories([(0, 1), (0, 1, 1)])
    asked = centroids(3, 0.5).query_vectors(queries)[:, 0]
    np.testing.assert_allclose(asked[:, 0] / asked[:, 1], [0.5, 0.25 / 1.5], rtol=1e-6)


def test_scores_are_inner_products_and_items_without_a_vector_come_last():
    scores = answer(centroids(1), Queries.from_histories([(2,), ()]))
    np.testing.assert_allclose(scores[0, :3], [1.2, 2.4, 1.4], rtol=1e-6)
    assert scores[0, 3] < 1.2
    assert not scores[1].any()


def test_vectors_that_cancel_out_say_nothing():
    opposite = np.array([[1, 0], [-1, 0]], np.float32)
    model = Centroids(opposite, opposite, np.array([True, True]), 2, 1.0)
    assert np.isnan(model.query_vectors(Queries.from_histories([(0, 1)]))).all()


def test_unit_length():
    np.testing.assert_allclose(unit(np.array([[3, 4], [0, 0]], np.float32)), [[0.6, 0.8], [0, 0]])


def test_shapes_that_do_not_fit_are_refused():
    for vectors, items in ((VECTORS[:3], ITEMS), (VECTORS, ITEMS[:, :1]), (VECTORS[:, 0], ITEMS[:, 0])):
        with pytest.raises(ValueError, match="vectors of shapes"):
            Centroids(vectors, items, LEARNED, 2, 1.0)
