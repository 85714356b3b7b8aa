"""Swing: the worked example, and the published loops over pairs of users as an oracle."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from llmrec.classic.recall import swing
from llmrec.classic.recall.swing import Swing, SwingConfig
from llmrec.config import make_config
from llmrec.data import Dataset, Queries
from llmrec.errors import ConfigError, ModelError
from llmrec.testing import RecommenderContract, assert_same, expect_error, toy

H, T, R, P = 0, 1, 2, 3
PLAIN = SwingConfig(alpha=1, weight_users=False, discount=0)


class TestSwing(RecommenderContract):
    def make(self) -> Swing:
        return Swing()


class TestSwingOfASample(RecommenderContract):
    def make(self) -> Swing:
        return Swing(SwingConfig(max_users=2, neighbours=2, weight_users=False))


def loops(data: Dataset, config: SwingConfig) -> np.ndarray:
    """Return all similarities (n_items, n_items) by the definition: loops over items, and over their users."""
    had: dict[int, set[int]] = {}
    for user, item in zip(data.interactions.users.tolist(), data.interactions.items.tolist(), strict=True):
        had.setdefault(user, set()).add(item)
    counts = np.array([sum(item in items for items in had.values()) for item in range(len(data.items))])
    found = np.zeros((len(data.items),) * 2)
    for i, j in combinations(range(len(data.items)), 2):
        both = [user for user, items in had.items() if i in items and j in items]
        for u, v in combinations(both, 2):
            weight = (len(had[u]) * len(had[v])) ** -0.5 if config.weight_users else 1
            found[i, j] += weight / (config.alpha + len(had[u] & had[v]))
        found[i, j] /= max(counts[i] * counts[j], 1) ** config.discount
    return found + found.T


def test_the_worked_example(make_data):
    """A and B share h, t, r, p; C has h and p in common with each: 1/(1+4) for A and B, 1/(1+2) for the other pairs."""
    data = make_data([(H, T, R, P), (H, T, R, P), (H, P, 4)], 5)
    found = Swing(PLAIN).fit(data).similarity.toarray()
    np.testing.assert_allclose(found[H], [0, 1 / 5, 1 / 5, 13 / 15, 0], rtol=1e-6)
    np.testing.assert_allclose(found[T], [1 / 5, 0, 1 / 5, 1 / 5, 0], rtol=1e-6)


def test_user_weights_and_discount_by_hand(make_data):
    """The pairs weigh 1/4, 1/sqrt(12), 1/sqrt(12); h and p had three users each."""
    data = make_data([(H, T, R, P), (H, T, R, P), (H, P, 4)], 5)
    found = Swing(SwingConfig(alpha=1, discount=0.5)).fit(data).similarity
    assert found[H, P] == pytest.approx((1 / 4 / 5 + 2 / np.sqrt(12) / 3) / 3, rel=1e-6)
    assert found[H, T] == pytest.approx(1 / 4 / 5 / np.sqrt(3 * 2), rel=1e-6)


@pytest.mark.parametrize("few", [64, 22, 2], ids=["lists", "both", "matrices"])
@pytest.mark.parametrize("pairs", [1 << 22, 300], ids=["one block", "blocks"])
@pytest.mark.parametrize(
    "config",
    [PLAIN, SwingConfig(alpha=0, discount=0), SwingConfig(alpha=2.5, discount=1), SwingConfig(alpha=0.5, discount=0.3)],
    ids=str,
)
def test_it_equals_the_loops(random_data, monkeypatch, few, pairs, config):
    monkeypatch.setattr(swing, "FEW", few)
    monkeypatch.setattr(swing, "PAIRS", pairs)
    np.testing.assert_allclose(
        Swing(config).fit(random_data).similarity.toarray(), loops(random_data, config), rtol=1e-5
    )


def test_each_item_keeps_its_nearest_and_equal_ones_by_number(make_data):
    data = make_data([(H, T, R, P), (H, T, R, P), (H, P, 4)], 5)
    config = PLAIN.model_copy(update={"neighbours": 2})
    found = Swing(config).fit(data).similarity
    assert [found[item].indices.tolist() for item in range(5)] == [[P, T], [H, R], [H, T], [H, T], []]


def test_similarities_add_up_and_the_rest_follows_by_popularity(make_data):
    data = make_data([(H, T, R, P), (H, T, R, P), (H, P, 4)], 6)
    found = Swing(PLAIN).fit(data).recommend(Queries.from_histories([(T, R, T)]), 4)
    assert found.items.tolist() == [[H, P, 4, 5]]
    np.testing.assert_allclose(found.scores, [[2 / 5, 2 / 5, 1 / 4 - 1, -1]], rtol=1e-6)


def test_items_that_no_two_users_share_leave_popularity(make_data):
    found = Swing().fit(make_data([(0, 1), (1, 2), (1, 3)], 5)).recommend(Queries.from_histories([(0,)]), 2)
    assert found.items.tolist() == [[1, 2]]
    assert found.scores.tolist() == [[3, 1]]


def test_a_sample_of_the_users_is_unbiased_and_seeded(random_data):
    """Item rows from 8 of their some 24 users: the mean over many seeds comes near the whole."""
    config = PLAIN.model_copy(update={"max_users": 8})
    whole = loops(random_data, PLAIN)
    drawn = [Swing(config).fit(random_data, seed=seed).similarity.toarray() for seed in range(150)]
    assert np.abs(drawn[0] - whole).max() > 0.5
    assert not np.array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(Swing(config).fit(random_data, seed=3).similarity.toarray(), drawn[3])
    mean, near = np.mean(drawn, axis=0), whole > 2
    assert near.mean() > 0.2
    assert mean.sum() == pytest.approx(whole.sum(), rel=0.03)
    assert np.abs(mean[near] / whole[near] - 1).mean() < 0.2


def test_repeated_events_and_values_change_nothing(make_data):
    once, twice = make_data([(0, 1, 2), (0, 1)], 3), make_data([(0, 1, 1, 2, 0), (1, 0, 1)], 3)
    queries = Queries.from_histories([(0,), (2,)])
    assert_same(Swing().fit(twice).recommend(queries, 2), Swing().fit(once).recommend(queries, 2))


def test_a_matrix_of_another_shape_is_refused(tmp_path):
    folder = Swing().fit(toy()).save(tmp_path / "model")
    with np.load(folder / "weights.npz") as file:
        arrays = dict(file)
    arrays["indptr"] = arrays["indptr"][:-1]
    np.savez(folder / "weights.npz", **arrays)
    expect_error(ModelError, lambda: Swing.load(folder), "does not fit", "swing", "save the model again")


@pytest.mark.parametrize(("key", "value"), [("alpha", -1), ("max_users", 1), ("discount", 3), ("neighbours", 0)])
def test_settings_out_of_range_are_refused(key, value):
    expect_error(ConfigError, lambda: make_config(SwingConfig, {key: value}), f"{key} = {value}")


def test_the_similarities_are_float32_with_int_places():
    found = Swing().fit(toy()).similarity
    assert isinstance(found, csr_matrix)
    assert found.dtype == np.float32
    assert found.data.min() > 0
