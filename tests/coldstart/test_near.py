"""Which users are near: brute force on made-up vectors, ridge regression against scikit-learn, what cannot be used."""

from dataclasses import dataclass

import numpy as np
import pytest
from cold import numbers, pair_rows, world
from sklearn.linear_model import Ridge

from llmrec.classic.recall.popular import Popular
from llmrec.classic.recall.text import TextConfig, TextRecommender
from llmrec.coldstart.controls import ContentTaste, RandomTaste
from llmrec.coldstart.near import NearConfig, affinities, carry, near_model, nearest_users
from llmrec.coldstart.pairs import Pairs
from llmrec.config import Part
from llmrec.errors import ConfigError, DataError, ModelError
from llmrec.testing import expect_error, toy

WORLD = world()
FAKE = TextConfig(embedder=Part(name="fake"), columns=("title",), decay=1.0)


@dataclass
class Vectors:
    """A model whose query vector is the mean of its items' vectors; NaN where the history holds none."""

    item_vectors: np.ndarray
    servable: np.ndarray

    def query_vectors(self, queries):
        found = []
        for items in queries.lists():
            known = [item for item in items if self.servable[item]]
            found.append(
                self.item_vectors[known].mean(axis=0) if known else np.full(self.item_vectors.shape[1], np.nan)
            )
        return np.array(found, np.float32)[:, None]


def made(*, unknown=(), seed=0, dim=3):
    rng = np.random.default_rng(seed)
    servable = np.ones(10, np.bool_)
    servable[list(unknown)] = False
    return Vectors(rng.normal(size=(10, dim)).astype(np.float32), servable)


@pytest.mark.parametrize("k", [1, 2, 9])
@pytest.mark.parametrize("unknown", [(), (5,), (3, 9)])
def test_nearest_users_by_brute_force(k, unknown):
    model = made(unknown=unknown)
    found = nearest_users(WORLD, model, k, history=2)
    assert found.shape == (5, min(k, 3))
    for row, item in zip(found.tolist(), WORLD.items.tolist(), strict=True):
        scores = {}
        for user in (0, 1, 2):
            known = [each for each in WORLD.queries([user], 2).lists()[0] if each not in unknown]
            if known and item not in unknown:
                scores[user] = float(model.item_vectors[known].mean(axis=0) @ model.item_vectors[item])
        best = sorted(scores, key=lambda user, of=scores: -of[user])[:k]
        assert row == best + [-1] * (min(k, 3) - len(best))


def test_equally_near_users_come_by_number():
    model = Vectors(np.ones((10, 2), np.float32), np.ones(10, np.bool_))
    assert nearest_users(WORLD, model, 2).tolist() == [[0, 1]] * 5


def test_texts_are_compared_by_default():
    known = world(titles=("red ship", "blue car", "blue sky", "tree", "ship", "car", "sky", "x", "y", "z"))
    model = near_model(known, NearConfig(text=FAKE))
    assert isinstance(model, TextRecommender)
    near = dict(zip(known.items.tolist(), nearest_users(known, model, 1)[:, 0].tolist(), strict=True))
    # By hand: user 1 had "blue car" and "red ship", half of all their words; user 0 these and two more.
    assert (near[4], near[5]) == (1, 1)
    assert near[6] == 0  # who alone had "blue sky"


def test_vectors_carried_over_are_a_ridge_regressions():
    model, texts = made(unknown=(4, 5, 6, 7, 9)), made(unknown=(5,), seed=1, dim=4)
    both = carry(model, texts, 0.7)
    warm, new = [0, 1, 2, 3, 8], [4, 6, 7, 9]
    ridge = Ridge(alpha=0.7).fit(texts.item_vectors[warm], model.item_vectors[warm])
    np.testing.assert_allclose(both.item_vectors[new], ridge.predict(texts.item_vectors[new]), atol=1e-5)
    np.testing.assert_array_equal(both.item_vectors[warm], model.item_vectors[warm])
    assert both.servable.tolist() == [item != 5 for item in range(10)]
    queries = WORLD.queries([0, 2], 5)
    np.testing.assert_array_equal(both.query_vectors(queries), model.query_vectors(queries))


def test_nothing_to_carry_by():
    expect_error(DataError, lambda: carry(made(unknown=range(4)), made(unknown=range(4, 10)), 1), "no item in common")


def test_a_fitted_model_is_loaded_and_checked(tmp_path):
    text = TextRecommender(FAKE).fit(WORLD.train).save(tmp_path / "text")
    model = near_model(WORLD, NearConfig(model=text))
    assert nearest_users(WORLD, model, 2).shape == (5, 2)
    popular = Popular().fit(WORLD.train).save(tmp_path / "popular")
    expect_error(ConfigError, lambda: near_model(WORLD, NearConfig(model=popular)), "no vectors", "dssm")
    other = TextRecommender(FAKE).fit(toy()).save(tmp_path / "other")
    expect_error(ModelError, lambda: near_model(WORLD, NearConfig(model=other)), "was fitted on 7 items of 'toy'")


def test_the_content_control_by_hand():
    model = made(unknown=(9,))
    pairs = Pairs(numbers(2, 0, 1, 2), numbers(4, 6, 5, 4), numbers(6, 5, 9, 7))
    votes = ContentTaste(WORLD, model, history=2).compare(pairs)
    assert votes.first.tolist() == pytest.approx(votes.second.tolist(), nan_ok=True)
    for found, (user, first, second) in zip(votes.first.tolist(), pair_rows(pairs), strict=True):
        mean = model.item_vectors[WORLD.queries([user], 2).lists()[0]].mean(axis=0)
        expected = float(mean @ model.item_vectors[first]) - float(mean @ model.item_vectors[second])
        assert found == pytest.approx(expected, abs=1e-5) if 9 not in (first, second) else np.isnan(found)


def test_affinities_without_a_vector_are_unknown():
    scores = affinities(made(unknown=(3, 7)), WORLD.queries([2, 0], 1), numbers(4, 7))
    assert np.isnan(scores).tolist() == [[True, True], [True, True]]  # both had item 3 last
    assert np.isnan(affinities(made(unknown=(7,)), WORLD.queries([2], 1), numbers(4, 7))).tolist() == [[False, True]]


def test_the_random_control_is_a_coin_of_user_and_items():
    rng = np.random.default_rng(0)
    pairs = Pairs(rng.integers(50, size=4000), rng.integers(60, size=4000), 60 + rng.integers(60, size=4000))
    votes = RandomTaste(seed=5).compare(pairs)
    assert set(votes.first.tolist()) == {1.0, -1.0}
    assert abs(votes.first.mean()) < 0.05
    by_user = np.bincount(pairs.users, votes.first) / np.bincount(pairs.users)
    assert np.abs(by_user).max() < 0.45
    turned = RandomTaste(seed=5).compare(Pairs(pairs.users, pairs.second, pairs.first))
    assert (turned.first == -votes.first).all()
    alone = RandomTaste(seed=5).compare(pairs.select(slice(17, 18)))
    assert alone.first[0] == votes.first[17]
    assert abs((RandomTaste(seed=6).compare(pairs).first * votes.first).mean()) < 0.05
