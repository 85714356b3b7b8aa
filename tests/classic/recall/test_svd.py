"""FunkSVD and BiasSVD as models: ratings recovered, what has no rating, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from llmrec.classic.recall.popular import Popular
from llmrec.classic.recall.svd import BiasSVD, FunkSVD, SVDConfig
from llmrec.data import Dataset, Interactions, Queries, Vocabulary
from llmrec.data.files import save_arrays
from llmrec.data.queries import pad_ragged
from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.split import leave_last_out
from llmrec.errors import DataError, ModelError
from llmrec.eval.metrics import compute
from llmrec.testing import RecommenderContract, assert_same, expect_error, toy

SMALL = SVDConfig(factors=2, iterations=3)
RATINGS_ONLY = SVDConfig(factors=2, iterations=3, unseen_weight=0, regularization=0.1)
KINDS = pytest.mark.parametrize("kind", [FunkSVD, BiasSVD])


class TestFunkSVD(RecommenderContract):
    def make(self) -> FunkSVD:
        return FunkSVD(SMALL)


class TestBiasSVD(RecommenderContract):
    def make(self) -> BiasSVD:
        return BiasSVD(SMALL)


def rated(values: np.ndarray, known: np.ndarray) -> Dataset:
    """Return the data set of a table of ratings (n_users, n_items) where ``known``."""
    users, items = np.nonzero(known)
    return Dataset(
        "rated",
        Interactions.sort(users, items, np.arange(len(users)), values[users, items]),
        Vocabulary(range(len(values))),
        Vocabulary(range(values.shape[1])),
        pl.DataFrame({"title": [f"item {item}" for item in range(values.shape[1])]}),
    )


def predicted(model: FunkSVD | BiasSVD, data: Dataset) -> np.ndarray:
    """Return what the model predicts for all users and items."""
    users, items = len(data.users), len(data.items)
    queries = data.queries(np.arange(users), history=None)
    return model.predict(queries, np.tile(np.arange(items), (users, 1)))


def test_ratings_of_rank_two_are_recovered():
    """Without noise, what was left out follows from the rest."""
    rng = np.random.default_rng(5)
    values = 3 + rng.normal(size=(60, 2)) @ rng.normal(size=(2, 40))
    known = rng.random(values.shape) < 0.6
    model = FunkSVD(SVDConfig(factors=3, regularization=1e-7, iterations=60, unseen_weight=0))
    found = predicted(model.fit(rated(values, known)), rated(values, known))
    limits = values[known].min(), values[known].max()
    np.testing.assert_allclose(found[~known], values[~known].clip(*limits), atol=1e-2)


def test_biases_add_up():
    """Ratings that are a sum of what a user and an item bring: one product cannot say so, biases can."""
    rng = np.random.default_rng(6)
    values = 3 + rng.normal(size=(30, 1)) + rng.normal(size=20)
    known = rng.random(values.shape) < 0.5
    config = SVDConfig(factors=1, regularization=1e-7, iterations=60, unseen_weight=0)
    limits = values[known].min(), values[known].max()
    found = predicted(BiasSVD(config).fit(rated(values, known)), rated(values, known))
    np.testing.assert_allclose(found[~known], values[~known].clip(*limits), atol=1e-2)
    plain = predicted(FunkSVD(config).fit(rated(values, known)), rated(values, known))
    assert np.abs(plain - values)[~known].max() > 0.1


@KINDS
def test_unseen_items_count_as_zero(kind):
    """Two kinds of users: with the weight, items of the other kind are predicted low though nobody rated them so."""
    values = np.full((8, 8), 4.0)
    values[0, 0] = 5  # so that they differ
    known = np.kron(np.eye(2), np.ones((4, 4))).astype(bool)
    config = SVDConfig(factors=2, iterations=20, unseen_weight=0.1, regularization=0.05)
    found = predicted(kind(config).fit(rated(values, known)), rated(values, known))
    assert found[known].min() > 3
    assert found[~known].max() < 1
    alone = kind(config.model_copy(update={"unseen_weight": 0})).fit(rated(values, known))
    assert predicted(alone, rated(values, known)).min() > 3


@KINDS
def test_the_newest_rating_counts_in_training_and_in_a_history(kind):
    data = rated(np.array([[5, 1, 3], [4, 2, 3], [1, 5, 0]]), np.array([[1, 1, 1], [1, 1, 1], [1, 1, 0]]))
    events = data.interactions
    before = Interactions(
        np.append([0], events.users),
        np.append([0], events.items),
        np.append([-1], events.times),
        np.append([2], events.values),
    )
    model = kind(RATINGS_ONLY).fit(data, seed=1)
    np.testing.assert_array_equal(
        kind(RATINGS_ONLY).fit(data.with_interactions(before), seed=1).item_vectors, model.item_vectors
    )
    changed, newest = (
        Queries(np.array([-1]), np.array([items]), np.array([values], np.float32))
        for items, values in (([0, 1, 0], [1, 2, 5]), ([1, 0], [2, 5]))
    )
    assert_same(model.recommend(changed, 3, exclude_seen=False), model.recommend(newest, 3, exclude_seen=False))


@KINDS
def test_a_history_without_values_counts_as_rated_the_mean(kind):
    data = rated(np.array([[5, 1, 3], [4, 2, 3], [1, 5, 0]]), np.array([[1, 1, 1], [1, 1, 1], [1, 1, 0]]))
    model = kind(RATINGS_ONLY).fit(data)
    items = np.array([[0, 2]])
    plain = Queries(np.array([-1]), np.array([[-1, 1, 2]]))
    mean = replace(plain, values=np.array([[0, 3, 3]], np.float32))  # 24 / 8
    np.testing.assert_allclose(model.predict(plain, items), model.predict(mean, items), rtol=1e-6)
    other = replace(plain, values=np.array([[0, 5, 1]], np.float32))
    assert not np.allclose(model.predict(other, items), model.predict(mean, items), atol=0.1)


@KINDS
def test_data_without_ratings_need_the_weight_of_unseen_items(kind):
    expect_error(DataError, lambda: kind(RATINGS_ONLY).fit(toy()), "the value 1", "'toy'", "raise unseen_weight")


@KINDS
def test_it_refuses_what_it_cannot_predict(kind):
    model, queries = kind(SMALL).fit(toy()), toy().queries([0, 1])
    expect_error(DataError, lambda: model.predict(queries, np.array([[1]])), "shape (1, 1) for 2 queries", "(q, c)")
    expect_error(DataError, lambda: model.predict(queries, np.array([1, 2])), "shape (2,)")
    expect_error(DataError, lambda: model.predict(queries, np.array([[0], [7]])), "item number 7", "0 to 6")
    expect_error(DataError, lambda: model.predict(queries, np.array([[0], [-2]])), "item number -2")
    expect_error(DataError, lambda: model.predict(Queries.from_histories([(9,)]), np.array([[1]])), "item number 9")


@KINDS
@pytest.mark.parametrize(("name", "shape"), [("factors", (7, 9)), ("scale", (3,))])
def test_weights_of_another_shape_are_refused(tmp_path, kind, name, shape):
    model = kind(SMALL).fit(toy())
    folder = model.save(tmp_path / "model")
    with np.load(folder / "weights.npz") as stored:
        arrays = dict(stored)
    save_arrays(folder / "weights.npz", **{**arrays, name: np.zeros(shape)})
    expect_error(ModelError, lambda: kind.load(folder), f"shape {shape}", "fit and save")


@KINDS
def test_the_seed_decides(kind, random_data):
    one, same, two = (kind(SMALL).fit(random_data, seed=seed).item_vectors for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, two)


@pytest.mark.data
def test_factors_predict_ratings_better_than_biases(data_folder):
    """The baseline of Koren (KDD 2008, section 2.1): damped means of items, then of users; a tenth is held out."""
    data = load_movielens(data_folder / "movielens-latest-small")
    held = np.random.default_rng(0).random(len(data.interactions)) < 0.1
    train, test = (data.interactions.select(rows) for rows in (~held, held))
    mean = train.values.mean()
    per_item = [np.bincount(train.items, weights, len(data.items)) for weights in (train.values - mean, None)]
    items = per_item[0] / (25 + per_item[1])
    rest = train.values - mean - items[train.items]
    per_user = [np.bincount(train.users, weights, len(data.users)) for weights in (rest, None)]
    users = per_user[0] / (10 + per_user[1])
    baseline = np.sqrt(np.mean((test.values - mean - items[test.items] - users[test.users]) ** 2))

    config = SVDConfig(factors=16, regularization=0.1, unseen_weight=0)
    model = BiasSVD(config).fit(data.with_interactions(train))
    wanted = pad_ragged(test.users, test.items, len(data.users))
    queries = data.with_interactions(train).queries(np.arange(len(data.users)), history=None)
    found = model.predict(queries, wanted)[wanted >= 0]
    values = pad_ragged(test.users, test.values, len(data.users), fill=0)[wanted >= 0]
    error = np.sqrt(np.mean((found - values) ** 2))
    assert error < 0.98 * baseline, (error, baseline)


@pytest.mark.data
@KINDS
def test_unseen_items_make_it_beat_popularity(data_folder, kind):
    split = leave_last_out(load_movielens(data_folder / "movielens-latest-small"), ties="order")
    hits = [
        compute(model.fit(split.train).recommend(split.valid.queries, 100), split.valid, ["hr@100"])["hr@100"].mean()
        for model in (kind(SVDConfig(factors=16, iterations=5)), Popular())
    ]
    assert hits[0] > 1.5 * hits[1], hits
