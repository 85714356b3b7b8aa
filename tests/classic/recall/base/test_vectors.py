"""Models whose score is an inner product: what an index serves is what they recommend."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.classic.recall.base.vectors import vector_scores
from llmrec.classic.recall.bpr import BPR, BPRConfig
from llmrec.classic.recall.factorization import ALS, ALSConfig
from llmrec.classic.recall.svd import BiasSVD, FunkSVD, SVDConfig
from llmrec.data import Queries
from llmrec.protocols import VectorModel
from llmrec.testing import TOY_HISTORIES, toy

MODELS = [
    ALS(ALSConfig(factors=4)),
    BPR(BPRConfig(factors=4, epochs=5)),
    FunkSVD(SVDConfig(factors=4)),
    BiasSVD(SVDConfig(factors=4)),
]


def test_the_largest_product_counts_nan_vectors_do_not_and_unlearned_items_come_last():
    items = np.array([[1, 0], [0, 1], [5, 5], [-1, -1]], np.float32)
    nothing = [np.nan, np.nan]
    vectors = np.array([[[2, 0], [0, 3]], [[-1, -2], nothing], [nothing, nothing]], np.float32)
    scores = vector_scores(vectors, items, np.array([True, True, False, True]))
    assert scores.tolist() == [[2, 3, -3, -2], [-1, -2, -3, 3], [0, 0, 0, 0]]
    assert scores.dtype == np.float32


def test_one_vector_is_a_plain_product():
    items = np.array([[1, 2], [3, 4]], np.float32)
    scores = vector_scores(np.array([[[1, 1]], [[np.nan, np.nan]]], np.float32), items, np.array([True, True]))
    assert scores.tolist() == [[3, 7], [0, 0]]


def test_without_any_learned_item_all_are_equal():
    scores = vector_scores(np.ones((1, 1, 2), np.float32), np.ones((3, 2), np.float32), np.zeros(3, np.bool_))
    assert scores.tolist() == [[-1, -1, -1]]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_recommendations_are_ordered_by_inner_products(model):
    model.fit(toy())
    assert isinstance(model, VectorModel)
    assert model.servable.tolist() == [True] * 6 + [False]
    queries = Queries.from_histories([*TOY_HISTORIES, (0, 6)])
    vectors = model.query_vectors(queries)
    assert vectors.shape == (6, 1, model.item_vectors.shape[1])
    assert vectors.dtype == model.item_vectors.dtype == np.float32
    products = (vectors[:, 0].astype(np.float64) @ model.item_vectors.T)[:, :6]
    found = model.recommend(queries, 7, exclude_seen=False)
    assert (found.items[:, -1] == 6).all()  # nobody had it
    np.testing.assert_allclose(found.scores[:, :6], -np.sort(-products, axis=1), atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(products, found.items[:, :6], 1), found.scores[:, :6], atol=1e-5)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_history_that_says_nothing_has_no_vector_and_gets_popularity(model):
    model.fit(toy())
    queries = Queries.from_histories([(), (6,), (0, 6), (0,)])
    vectors = model.query_vectors(queries)
    assert np.isnan(vectors).all(axis=(1, 2)).tolist() == [True, True, False, False]
    np.testing.assert_allclose(vectors[2], vectors[3], rtol=1e-6)  # an item that nobody had says nothing
    assert model.recommend(queries, 3).scores[:2].tolist() == [[4, 3, 3], [4, 3, 3]]
    assert model.query_vectors(queries.select(slice(0, 0))).shape == (0, 1, model.item_vectors.shape[1])
