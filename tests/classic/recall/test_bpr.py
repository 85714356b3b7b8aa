"""BPR: trained as ``implicit`` does, and folded in by the Newton step that automatic differentiation finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from implicit.cpu.bpr import BayesianPersonalizedRanking
from scipy.sparse import csr_matrix
from torch.autograd.functional import hessian, jacobian

from llmrec.classic.recall.base import history
from llmrec.classic.recall.base.history import seen_matrix
from llmrec.classic.recall.bpr import BPR, BPRConfig, fold_in
from llmrec.classic.recall.popular import Popular
from llmrec.data import Queries
from llmrec.data.files import save_arrays
from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.split import leave_last_out
from llmrec.errors import ModelError
from llmrec.eval.metrics import compute
from llmrec.testing import RecommenderContract, assert_same, expect_error, toy

SMALL = BPRConfig(factors=4, epochs=20)


class TestBPR(RecommenderContract):
    def make(self) -> BPR:
        return BPR(SMALL)


def peer(seen: csr_matrix, config: BPRConfig, seed: int) -> BayesianPersonalizedRanking:
    """Return implicit's own model, fitted on one thread."""
    model = BayesianPersonalizedRanking(
        factors=config.factors,
        learning_rate=config.learning_rate,
        regularization=config.regularization,
        iterations=config.epochs,
        num_threads=1,
        random_state=seed,
    )
    model.fit(seen, show_progress=False)
    return model


def test_it_learns_the_vectors_of_implicit(random_data):
    expected = peer(seen_matrix(random_data), SMALL, seed=7).item_factors
    np.testing.assert_array_equal(BPR(SMALL).fit(random_data, seed=7).item_vectors, expected)
    assert not np.allclose(BPR(SMALL).fit(random_data, seed=8).item_vectors, expected)


def pairwise_loss(user: torch.Tensor, vectors: torch.Tensor, own: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return the mean of -log sigmoid(difference of scores): items weighed by ``own``, negatives by ``others``."""
    scores = vectors[:, :-1] @ user + vectors[:, -1]
    losses = torch.nn.functional.softplus(scores[None, :] - scores[:, None])
    return own @ losses @ others


def test_folding_in_is_a_newton_step_of_the_pairwise_loss(monkeypatch):
    """Of a user with items 0 and 2. Shares of popularity are eighths: the sample of negatives has them exactly."""
    vectors = torch.from_numpy(np.random.default_rng(3).normal(size=(4, 4)).astype(np.float32)).double()
    shares = torch.tensor([1, 1, 2, 4], dtype=torch.float64) / 8
    own = torch.tensor([0.5, 0, 0.5, 0], dtype=torch.float64)
    start = torch.zeros(3, dtype=torch.float64)
    gradient = jacobian(lambda user: pairwise_loss(user, vectors, own, shares), start)
    curvature = hessian(lambda user: pairwise_loss(user, vectors, shares, shares), start) + 0.3 * torch.eye(3)
    expected = torch.linalg.solve(curvature, -gradient).numpy()
    item_vectors = vectors.numpy().astype(np.float32)
    added = fold_in(item_vectors, np.array([1, 1, 2, 4]), 0.3)
    np.testing.assert_allclose(added[[0, 2]].mean(axis=0), expected, rtol=1e-6)
    monkeypatch.setattr(history, "BLOCK_ROWS", 1)
    monkeypatch.setattr(history, "BLOCK_FLOATS", 1)  # an item a block
    np.testing.assert_allclose(fold_in(item_vectors, np.array([1, 1, 2, 4]), 0.3), added, rtol=1e-9)


def test_a_query_vector_is_the_mean_over_the_distinct_known_items_and_a_one_for_the_bias():
    model = BPR(SMALL).fit(toy())
    found = model.query_vectors(Queries.from_histories([(0, 3, 0, 6)]))[0, 0]
    np.testing.assert_allclose(found[:-1], (model.history_vectors[0] + model.history_vectors[3]) / 2, rtol=1e-6)
    assert found[-1] == 1
    assert not model.history_vectors[6].any()
    assert_same(
        model.recommend(Queries.from_histories([(0, 3, 0, 6)]), 3), model.recommend(Queries.from_histories([(0, 3)]), 3)
    )


def test_users_of_two_kinds_are_told_apart(make_data):
    """Ten users have five of items 0 to 5, ten have five of 6 to 11: who has three of a kind gets the others of it."""
    halves = [[6 * kind + item for item in range(6) if item != out % 6] for kind in (0, 1) for out in range(10)]
    model = BPR(BPRConfig(factors=4, epochs=200)).fit(make_data(halves, 12))
    found = model.recommend(Queries.from_histories([(0, 1, 2), (6, 7, 8)]), 3).items
    assert [sorted(row) for row in found.tolist()] == [[3, 4, 5], [9, 10, 11]]


@pytest.mark.parametrize("name", ["item_vectors", "history_vectors"])
def test_weights_of_another_shape_are_refused(tmp_path, name):
    model = BPR(SMALL).fit(toy())
    folder = model.save(tmp_path / "model")
    whole = {
        "popularity": model.popularity,
        "item_vectors": model.item_vectors,
        "history_vectors": model.history_vectors,
    }
    save_arrays(folder / "weights.npz", **{**whole, name: whole[name][:-1]})
    expect_error(ModelError, lambda: BPR.load(folder), "vectors of shape (6,", "fit and save")


@pytest.mark.data
def test_folded_in_users_lose_nothing_against_trained_ones_and_beat_popularity(data_folder):
    split = leave_last_out(load_movielens(data_folder / "movielens-latest-small"), ties="order")
    model, valid = BPR().fit(split.train), split.valid
    seen = seen_matrix(split.train)
    trained = peer(seen, model.config, seed=0)
    ids, _ = trained.recommend(valid.queries.users, seen[valid.queries.users], N=100)
    hits = {
        "trained": (ids == valid.relevant[:, :1]).any(axis=1).mean(),
        "folded in": compute(model.recommend(valid.queries, 100), valid, ["hr@100"])["hr@100"].mean(),
        "popular": compute(Popular().fit(split.train).recommend(valid.queries, 100), valid, ["hr@100"])[
            "hr@100"
        ].mean(),
    }
    assert hits["folded in"] > 0.95 * hits["trained"], hits
    assert hits["folded in"] > 1.3 * hits["popular"], hits
