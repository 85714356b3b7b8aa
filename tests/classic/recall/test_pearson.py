"""Rating prediction: FunRec's worked examples, NumPy's correlations, and plain loops on random ratings."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from llmrec.classic.recall.neighbourhood import correlation
from llmrec.classic.recall.pearson import ItemPearson, PearsonConfig, UserPearson
from llmrec.data import Dataset, Interactions, Queries, Vocabulary
from llmrec.errors import DataError, ModelError
from llmrec.testing import RecommenderContract, expect_error, toy

BARE = PearsonConfig(neighbours=2, min_common=2, shrinkage=0)
STARS = (5, 3, 4, 1, 2, 4, 5, 3, 1, 5, 2, 4, 3, 5, 2, 1)
EXAMPLE = ((5, 3, 4, 4, 0), (3, 1, 2, 3, 3), (4, 3, 4, 3, 5), (3, 3, 1, 5, 4), (1, 5, 5, 2, 1))


def rated(table, name: str = "rated") -> Dataset:
    """Return a data set of ratings (users, items), 0 where there is none."""
    users, items = np.nonzero(table)
    values = np.asarray(table, np.float32)[users, items]
    n_users, n_items = np.shape(table)
    titles = pl.DataFrame({"title": [f"item {item}" for item in range(n_items)]})
    events = Interactions.sort(users, items, np.arange(len(users)), values)
    return Dataset(name, events, Vocabulary(range(n_users)), Vocabulary(range(n_items)), titles)


def rated_toy() -> Dataset:
    events = toy().interactions
    return toy().with_interactions(Interactions(events.users, events.items, events.times, STARS))


class TestItemPearson(RecommenderContract):
    def make(self) -> ItemPearson:
        return ItemPearson(BARE)

    def fitted(self) -> ItemPearson:
        return self.make().fit(rated_toy())


class TestItemPearsonByRating(TestItemPearson):
    def make(self) -> ItemPearson:
        return ItemPearson(BARE.model_copy(update={"ranking": "rating"}))


class TestUserPearson(RecommenderContract):
    def make(self) -> UserPearson:
        return UserPearson(BARE)

    def fitted(self) -> UserPearson:
        return self.make().fit(rated_toy())


class TestUserPearsonByRating(TestUserPearson):
    def make(self) -> UserPearson:
        return UserPearson(BARE.model_copy(update={"ranking": "rating"}))


def test_the_worked_example_of_items():
    """Items 1 to 5, the columns, have 5 3 4 3 1, 3 1 3 3 5, 4 2 4 1 5, 4 3 3 5 2 and ? 3 5 4 1."""
    data = rated(EXAMPLE)
    model = ItemPearson(BARE).fit(data)
    assert model.similarity[4, 0] == pytest.approx(0.969458, abs=1e-6)
    assert model.similarity[4, 3] == pytest.approx(0.581675, abs=1e-6)
    assert model.predict(data.queries([0]), [[4]])[0, 0] == pytest.approx(4.6, abs=1e-6)


def test_the_worked_example_of_users():
    data = rated(EXAMPLE)
    model = UserPearson(BARE).fit(data)
    np.testing.assert_allclose(model.similarity(data.queries([0]))[0, 1:3], [0.852803, 0.707107], atol=1e-6)
    assert model.predict(data.queries([0]), [[4]])[0, 0] == pytest.approx(4.872, abs=1e-3)


@pytest.fixture
def table() -> np.ndarray:
    """Return 50 users' ratings of 24 items, half of them missing; item 5 always got 3, item 6 has two ratings."""
    rng = np.random.default_rng(8)
    taste = rng.normal(size=(50, 2)) @ rng.normal(size=(2, 24)) + 0.5 * rng.normal(size=(50, 24))
    stars = np.clip(np.round(2 * (3 + taste)) / 2, 0.5, 5) * (rng.random((50, 24)) < 0.5)
    stars[:, 5] = 3 * (stars[:, 5] > 0)
    stars[2:, 6], stars[:2, 6] = 0, (2, 4)
    return stars


def correlations(rows: np.ndarray, others: np.ndarray, config: PearsonConfig) -> np.ndarray:
    found = np.zeros((len(rows), len(others)))
    for a, one in enumerate(rows):
        for b, two in enumerate(others):
            both = (one > 0) & (two > 0)
            if both.sum() >= config.min_common and np.ptp(one[both]) and np.ptp(two[both]):
                found[a, b] = np.corrcoef(one[both], two[both])[0, 1] * both.sum() / (both.sum() + config.shrinkage)
    return found


def nearest_sums(weights, deviations, neighbours: int) -> tuple[float, float]:
    """Return the sums over the nearest of the similarities above 0."""
    near = sorted((-weight, place) for place, weight in enumerate(weights) if weight > 0)[:neighbours]
    return sum(-weight * deviations[place] for weight, place in near), sum(-weight for weight, _ in near)


CONFIGS = [BARE, PearsonConfig(neighbours=4, min_common=4, shrinkage=10), PearsonConfig(min_common=3, shrinkage=1)]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("paths", [1 << 22, 50], ids=["one block", "blocks"])
def test_item_pearson_equals_plain_loops(table, monkeypatch, config, paths):
    monkeypatch.setattr(correlation, "PATHS", paths)
    data = rated(table)
    model = ItemPearson(config).fit(data)
    expected = np.maximum(correlations(table.T, table.T, config), 0) * ~np.eye(24, dtype=bool)
    np.testing.assert_allclose(model.similarity.toarray(), expected, atol=1e-6)
    means = table.sum(axis=0) / (table > 0).sum(axis=0)
    ratings, scores = np.empty((50, 24)), np.empty((50, 24))
    for user, row in enumerate(table):
        for item in range(24):
            top, total = nearest_sums(expected[item] * (row > 0), row - means, config.neighbours)
            ratings[user, item] = means[item] + (top / total if total else 0)
            scores[user, item] = top + table[table > 0].std() * total
    queries = data.queries(np.arange(50), history=None)
    found = model.predict(queries, np.tile(np.arange(24), (50, 1)))
    np.testing.assert_allclose(found, ratings.clip(0.5, 5), atol=1e-5)
    best = model.recommend(queries, 3, exclude_seen=False).scores
    np.testing.assert_allclose(best, -np.sort(-scores, axis=1)[:, :3], rtol=1e-4)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_user_pearson_equals_plain_loops(table, config):
    data = rated(table[:40])
    model = UserPearson(config).fit(data)
    asked = rated(table[40:])
    queries = asked.queries(np.arange(10), history=None)
    expected = correlations(table[40:], table[:40], config)
    np.testing.assert_allclose(model.similarity(queries), expected, atol=1e-6)
    means = table.sum(axis=1) / (table > 0).sum(axis=1)
    ratings = np.empty((10, 24))
    for query in range(10):
        for item in range(24):
            weights = expected[query] * (table[:40, item] > 0)
            top, total = nearest_sums(weights, table[:40, item] - means[:40], config.neighbours)
            ratings[query, item] = means[40 + query] + (top / total if total else 0)
    found = model.predict(queries, np.tile(np.arange(24), (10, 1)))
    np.testing.assert_allclose(found, ratings.clip(0.5, 5), atol=1e-5)


def test_only_the_kept_nearest_are_looked_at(table):
    model = ItemPearson(BARE.model_copy(update={"kept": 3})).fit(rated(table))
    whole = np.maximum(correlations(table.T, table.T, BARE), 0) * ~np.eye(24, dtype=bool)
    for item in range(24):
        kept = model.similarity[item]
        np.testing.assert_allclose(np.sort(kept.data)[::-1], np.sort(whole[item])[::-1][: kept.nnz], atol=1e-6)
    assert np.diff(model.similarity.indptr).max() == 3


@pytest.mark.parametrize("kind", [ItemPearson, UserPearson])
def test_by_rating_the_highest_predictions_come_first_and_the_rest_behind(table, kind):
    model = kind(PearsonConfig(ranking="rating", neighbours=3, min_common=3, shrinkage=0)).fit(rated(table))
    queries = rated(table).queries(np.arange(50), history=4)
    found = model.recommend(queries, 24, exclude_seen=False)
    ratings = model.predict(queries, found.items)
    informed = np.tile(found.scores[:, :1] < 10, 24)  # else popularity: no neighbour at all
    assert informed.mean() > 0.9
    predicted = informed & (found.scores > 0)
    assert predicted.any()
    assert not predicted.all()
    np.testing.assert_allclose(found.scores.clip(0.5, 5)[predicted], ratings[predicted], atol=1e-5)
    assert (found.scores[informed & ~predicted] < 0.5).all()


def test_of_two_ratings_the_later_one_counts():
    events = Interactions.sort([0, 0, 1, 1, 0], [0, 1, 0, 1, 0], range(5), [1, 4, 2, 5, 3])
    data = rated(EXAMPLE).with_interactions(events)
    model = ItemPearson(BARE).fit(data)
    assert model.similarity[0, 1] == pytest.approx(-0.0)  # 3, 2 against 4, 5: opposite, so not kept
    once = Queries(np.array([-1]), np.array([[1]]), np.array([[5.0]]))
    twice = Queries(np.array([-1]), np.array([[1, 1]]), np.array([[1.0, 5.0]]))
    user = UserPearson(BARE).fit(rated(EXAMPLE))
    np.testing.assert_array_equal(user.predict(once, [[4]]), user.predict(twice, [[4]]))


def test_a_history_without_values_counts_as_liked():
    data = rated(EXAMPLE)
    stars = np.asarray(EXAMPLE, np.float64)
    liked = stars.sum(axis=0) / (stars > 0).sum(axis=0) + stars[stars > 0].std()
    history = np.array([[0, 1, 3]])
    valued = Queries(np.array([-1]), history, liked[history])
    for kind in (ItemPearson, UserPearson):
        model = kind(BARE).fit(data)
        expected = model.recommend(valued, 2)
        found = model.recommend(Queries(np.array([-1]), history), 2)
        np.testing.assert_array_equal(found.items, expected.items)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


def test_where_no_neighbour_speaks_means_are_predicted():
    """Item 2 was rated by one user; the last one by nobody, and the mean of all ratings is 3."""
    data = rated([(5, 1, 2, 0), (4, 2, 0, 0), (5, 2, 0, 0)])
    nobody = Queries.from_histories([()])
    items = ItemPearson(BARE).fit(data).predict(nobody, [[0, 2, 3, -1]])
    np.testing.assert_allclose(items, [[14 / 3, 2, 3, np.nan]], rtol=1e-6)
    users = UserPearson(BARE).fit(data)
    np.testing.assert_allclose(users.predict(nobody, [[0, 2, -1]]), [[3, 3, np.nan]], rtol=1e-6)
    one = Queries(np.array([-1]), np.array([[2]]), np.array([[4.0]]))
    np.testing.assert_allclose(users.predict(one, [[0]]), [[4]], rtol=1e-6)


@pytest.mark.parametrize("kind", [ItemPearson, UserPearson])
def test_bad_input_is_refused(kind):
    expect_error(DataError, lambda: kind().fit(toy()), "16 values of 'toy' are all equal", kind.name, "item-knn")
    queries = Queries.from_histories([(0, 1)])
    expect_error(ModelError, lambda: kind().predict(queries, [[0]]), f"{kind.name} without weights", "fit or load")
    model = kind(BARE).fit(rated(EXAMPLE))
    expect_error(DataError, lambda: model.predict(queries, [0]), "items of shape (1,)", "(q, c)")
    expect_error(DataError, lambda: model.predict(queries, [[5]]), "item number 5", "0 to 4")
    expect_error(DataError, lambda: model.recommend(Queries.from_histories([(7,)]), 1), "item number 7", "0 to 4")


def test_similarities_of_an_unfitted_model_are_refused():
    expect_error(ModelError, lambda: UserPearson().similarity(toy().queries([0])), "user-pearson without weights")


@pytest.mark.parametrize("kind", [ItemPearson, UserPearson])
def test_weights_of_another_shape_are_refused(kind, tmp_path):
    folder = kind(BARE).fit(rated(EXAMPLE)).save(tmp_path / "model")
    with np.load(folder / "weights.npz") as file:
        arrays = dict(file)
    np.savez(folder / "weights.npz", **{**arrays, "scale": arrays["scale"][:2]})
    expect_error(ModelError, lambda: kind.load(folder), "does not fit", "scale of shape (2,)")
