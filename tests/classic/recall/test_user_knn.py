"""User-kNN: similarities by hand on the toy data, and a plain loop on random data."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.classic.recall.base import history
from llmrec.classic.recall.user_knn import UserKNN, UserKNNConfig
from llmrec.config import make_config
from llmrec.data import Queries
from llmrec.errors import ConfigError, DataError, ModelError
from llmrec.testing import TOY_HISTORIES, RecommenderContract, assert_same, expect_error, toy

COSINE = UserKNNConfig(amplification=1)
JACCARD = UserKNNConfig(similarity="jaccard", amplification=1)


class TestUserKNN(RecommenderContract):
    def make(self) -> UserKNN:
        return UserKNN()


class TestUserKNNByJaccardWithFewNeighbours(RecommenderContract):
    def make(self) -> UserKNN:
        return UserKNN(UserKNNConfig(similarity="jaccard", neighbours=2))


def test_similarities_by_hand():
    """Alien, Brazil against u0 (four films), u1 (three), u2 (Brazil of three), u3 (Alien of three), u4 (none)."""
    asked = Queries.from_histories([(0, 1)])
    cosine = [2 / np.sqrt(8), 2 / np.sqrt(6), 1 / np.sqrt(6), 1 / np.sqrt(6), 0]
    np.testing.assert_allclose(UserKNN(COSINE).fit(toy()).similarity(asked), [cosine], rtol=1e-6)
    jaccard = [2 / 4, 2 / 3, 1 / 4, 1 / 4, 0]
    np.testing.assert_allclose(UserKNN(JACCARD).fit(toy()).similarity(asked), [jaccard], rtol=1e-6)


def test_scores_add_up_the_similarities_of_who_had_the_item():
    """Casablanca: u0, u1, u2; Dune: u0, u3; Heat: u2, u3; nobody near had Fargo (1 user) or Gattaca (none)."""
    found = UserKNN(JACCARD).fit(toy()).recommend(Queries.from_histories([(0, 1)]), 5)
    assert found.items.tolist() == [[2, 3, 4, 5, 6]]
    by_hand = [2 / 4 + 2 / 3 + 1 / 4, 2 / 4 + 1 / 4, 1 / 4 + 1 / 4, 1 / 5 - 1, -1]
    np.testing.assert_allclose(found.scores, [by_hand], rtol=1e-6)


def test_only_the_nearest_are_asked_and_amplified():
    config = UserKNNConfig(similarity="jaccard", neighbours=2, amplification=2)
    found = UserKNN(config).fit(toy()).recommend(Queries.from_histories([(0, 1)]), 2)
    assert found.items.tolist() == [[2, 3]]
    np.testing.assert_allclose(found.scores, [[1 / 4 + 4 / 9, 1 / 4]], rtol=1e-6)


def test_a_user_who_had_nothing_else_takes_no_place():
    """The nearest to the films of u1 is u1, then u0: with one neighbour it is u0 who proposes Dune."""
    model = UserKNN(UserKNNConfig(neighbours=1, amplification=1)).fit(toy())
    for user in (1, -1):
        found = model.recommend(Queries.from_histories([TOY_HISTORIES[1]], [user]), 1)
        assert found.items.tolist() == [[3]]
        np.testing.assert_allclose(found.scores, [[3 / np.sqrt(12)]], rtol=1e-6)


@pytest.mark.parametrize("similarity", ["cosine", "jaccard"])
@pytest.mark.parametrize("neighbours", [5, 60])
def test_it_equals_a_plain_loop(random_data, monkeypatch, similarity, neighbours):
    config = UserKNNConfig(similarity=similarity, neighbours=neighbours, amplification=1.5)
    model = UserKNN(config).fit(random_data)
    rows = random_data.queries(np.arange(60), history=None).lists()
    asked = [row[:9] for row in rows]
    expected = np.zeros((60, 40))
    for query, items in enumerate(asked):
        near = []
        for user, other in enumerate(rows):
            both = len(set(items) & set(other))
            size = (len(items) * len(other)) ** 0.5 if similarity == "cosine" else len(set(items) | set(other))
            if both and set(other) - set(items):
                near.append(((both / size) ** 1.5, -user))
        for value, user in sorted(near, reverse=True)[:neighbours]:
            expected[query, rows[-user]] += value
    monkeypatch.setattr(history, "BLOCK_ROWS", 1)
    monkeypatch.setattr(history, "BLOCK_FLOATS", 1000)  # several blocks of queries
    found = model.recommend(Queries.from_histories(asked), 8, exclude_seen=False)
    np.testing.assert_allclose(found.scores, -np.sort(-expected, axis=1)[:, :8], rtol=1e-4)


def test_a_repeat_in_the_history_counts_once():
    model = UserKNN().fit(toy())
    one, two = (Queries.from_histories([items]) for items in ((0, 1), (0, 1, 0, 0)))
    assert_same(model.recommend(two, 3), model.recommend(one, 3))


def test_a_history_without_training_events_gets_popularity():
    found = UserKNN().fit(toy()).recommend(Queries.from_histories([(6,)]), 2)
    assert found.scores.tolist() == [[4, 3]]


def test_a_model_that_is_not_fitted_and_an_item_beyond_are_refused():
    expect_error(ModelError, lambda: UserKNN().similarity(toy().queries([0])), "user-knn without weights")
    model = UserKNN().fit(toy())
    expect_error(DataError, lambda: model.similarity(Queries.from_histories([(9,)])), "item number 9", "0 to 6")


def test_settings_out_of_range_are_refused():
    expect_error(ConfigError, lambda: make_config(UserKNNConfig, {"amplification": 0}), "amplification = 0")
    expect_error(ConfigError, lambda: make_config(UserKNNConfig, {"similarity": "dice"}), "similarity = 'dice'")
