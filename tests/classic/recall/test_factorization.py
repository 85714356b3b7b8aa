"""ALS against ``implicit``, EASE against the paper's formula."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from llmrec.classic.recall.base.history import seen_matrix
from llmrec.classic.recall.factorization import ALS, EASE, ALSConfig, EASEConfig
from llmrec.classic.recall.factors import ridge
from llmrec.data import Queries, Vocabulary
from llmrec.errors import ModelError
from llmrec.testing import TOY_HISTORIES, RecommenderContract, assert_same, expect_error, toy

SMALL = ALSConfig(factors=4, alpha=3.0, regularization=0.5, iterations=5)


class TestALS(RecommenderContract):
    def make(self) -> ALS:
        return ALS(SMALL)


class TestEASE(RecommenderContract):
    def make(self) -> EASE:
        return EASE(EASEConfig(regularization=2.0))


def peer(data, seed: int, threads: int) -> tuple[AlternatingLeastSquares, csr_matrix]:
    """Return implicit's own model, fitted, and what it was fitted on."""
    events = data.interactions
    seen = csr_matrix(
        (np.ones(len(events), np.float32), (events.users, events.items)), shape=(len(data.users), len(data.items))
    )
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=4, alpha=3.0, regularization=0.5, iterations=5, random_state=seed, num_threads=threads
        )
        model.fit(seen, show_progress=False)
    return model, seen


@pytest.mark.parametrize("threads", [1, 2])
def test_als_learns_the_factors_of_implicit_on_any_number_of_threads(random_data, threads):
    expected, _ = peer(random_data, seed=7, threads=threads)
    np.testing.assert_array_equal(ALS(SMALL).fit(random_data, seed=7).item_factors, expected.item_factors)


def test_als_depends_on_its_seed(random_data):
    one, two = (ALS(SMALL).fit(random_data, seed=seed).item_factors for seed in (1, 2))
    assert not np.allclose(one, two)


def test_als_folds_users_in_as_implicit_recalculates_them(random_data, monkeypatch):
    expected, seen = peer(random_data, seed=7, threads=1)
    model = ALS(SMALL).fit(random_data, seed=7)
    vectors = expected.recalculate_user(np.arange(60), seen)
    np.testing.assert_allclose(model.user_factors(seen), vectors, atol=1e-4)
    monkeypatch.setattr(ridge, "BLOCK_FLOATS", 3000)  # several blocks
    np.testing.assert_allclose(model.user_factors(seen), vectors, atol=1e-4)
    found = model.recommend(random_data.queries(np.arange(60)), 1)
    best = np.where(seen.toarray() > 0, -np.inf, vectors @ expected.item_factors.T)
    np.testing.assert_allclose(found.scores[:, 0], best.max(axis=1), atol=1e-4)


def test_als_solves_the_normal_equations():
    """The gradient of the confidence-weighted loss is zero at the folded-in vector."""
    model = ALS(SMALL).fit(toy())
    history = np.array([[1, 0, 0, 1, 0, 0, 0]])
    user = model.user_factors(csr_matrix(history, dtype=np.float32))[0].astype(np.float64)
    items = model.item_factors.astype(np.float64)
    confidence = np.where(history[0] > 0, 3.0, 1.0)
    gradient = items.T @ (confidence * (items @ user - history[0])) + 0.5 * user
    np.testing.assert_allclose(gradient, 0, atol=1e-5)


def test_als_gives_an_item_without_events_the_score_zero():
    model = ALS(SMALL).fit(toy())
    np.testing.assert_array_equal(model.item_factors[6], np.zeros(4))


def test_ease_equals_the_closed_form_of_the_paper():
    """B = I - P diag(1 / diag(P)) with P = inverse(XtX + lambda I), equation 8."""
    seen = np.zeros((5, 7))
    for user, items in enumerate(TOY_HISTORIES):
        seen[user, list(items)] = 1
    precision = np.linalg.inv(seen.T @ seen + 2.0 * np.eye(7))
    weights = np.eye(7) - precision / np.diag(precision)
    np.testing.assert_allclose(np.diag(weights), 0, atol=1e-12)
    found = EASE(EASEConfig(regularization=2.0)).fit(toy()).recommend(toy().queries(range(5)), 7, exclude_seen=False)
    scores = np.empty((5, 7))
    np.put_along_axis(scores, found.items.astype(np.int64), found.scores.astype(np.float64), axis=1)
    np.testing.assert_allclose(scores, seen @ weights, atol=1e-6)


@pytest.mark.parametrize("n_users", [3, 60])
def test_ease_is_the_same_with_fewer_users_than_items_and_with_more(random_data, n_users):
    """The first takes the shortcut through a matrix of users, the second the paper's."""
    events = random_data.interactions
    data = random_data.with_interactions(events.select(events.users < n_users))
    seen = seen_matrix(data).toarray().astype(np.float64)[:n_users]
    precision = np.linalg.inv(seen.T @ seen + 5.0 * np.eye(40))
    expected = np.eye(40) - precision / np.diag(precision)
    data = replace(data, users=Vocabulary(range(n_users)))
    model = EASE(EASEConfig(regularization=5.0)).fit(data)
    np.testing.assert_allclose(model.weights, expected[np.ix_(model.items, model.items)], atol=1e-6)


def test_ease_of_two_items_by_hand(make_data):
    """Two users had both items, one the first only: G = [[3, 2], [2, 2]], lambda = 1, so B12 = 2 / 4, B21 = 2 / 3."""
    model = EASE(EASEConfig(regularization=1.0)).fit(make_data([(0, 1), (0, 1), (0,)], 3))
    np.testing.assert_allclose(model.weights, [[0, 1 / 2], [2 / 3, 0]], rtol=1e-6)
    assert model.items.tolist() == [0, 1]


@pytest.mark.parametrize("model", [ALS(SMALL), EASE(EASEConfig(regularization=2.0))], ids=["als", "ease"])
def test_a_repeated_item_counts_once_and_an_unknown_history_gets_popularity(model):
    model.fit(toy())
    assert_same(
        model.recommend(Queries.from_histories([(0, 1, 0, 0)]), 3), model.recommend(Queries.from_histories([(0, 1)]), 3)
    )
    found = model.recommend(Queries.from_histories([(), (6,)]), 3)
    assert found.items.tolist() == [[2, 0, 1], [2, 0, 1]]
    assert found.scores.tolist() == [[4, 3, 3], [4, 3, 3]]


def test_ease_refuses_a_catalogue_that_would_fill_the_memory():
    expect_error(
        ModelError, lambda: EASE(EASEConfig(max_items=5)).fit(toy()), "6 items with events", "max_items = 5", "item-knn"
    )


def test_als_learns_from_who_had_what_only(make_data):
    twice = make_data([(0, 1, 1, 1), (1, 2, 2), (0, 2)], 3)
    once = make_data([(0, 1), (1, 2), (0, 2)], 3)
    np.testing.assert_array_equal(seen_matrix(twice).toarray(), seen_matrix(once).toarray())
    np.testing.assert_array_equal(ALS(SMALL).fit(twice).item_factors, ALS(SMALL).fit(once).item_factors)
