"""LinUCB and linear Thompson sampling: by hand, against scikit-learn, and how their regret grows."""

from __future__ import annotations

import numpy as np
import pytest
from bandits import LinearWorld, growth, regrets
from scipy.special import ndtr
from sklearn.linear_model import Ridge

from llmrec.classic.exploration.counts import EpsilonGreedy, EpsilonGreedyConfig
from llmrec.classic.exploration.linear import LinearThompson, LinearThompsonConfig, LinUCB, LinUCBConfig
from llmrec.classic.exploration.regressions import Regressions, prior


def test_lin_ucb_by_hand():
    """One number: after x = 2, r = 3 and x = 1, r = 1 of arm 0, A = 1 + 4 + 1 = 6 and b = 7; arm 1 knows nothing."""
    policy = LinUCB(LinUCBConfig(arms=2, dimension=1, alpha=0.5))
    policy.update([[2.0], [1.0]], [0, 0], [3.0, 1.0])
    np.testing.assert_allclose(policy.expected([[3.0]], [0, 1]), [[3.5, 0]])
    assert policy.chances([[3.0]], [0, 1]).tolist() == [[1, 0]]  # 3.5 + 0.5 * 3 / sqrt(6) against 0 + 0.5 * 3
    assert policy.chances([[-3.0]], [0, 1]).tolist() == [[0, 1]]
    # Bounds 3.5 + alpha 3 / sqrt(6) and alpha 3 are even where alpha = 7 / (6 - sqrt(6)).
    even = 7 / (6 - np.sqrt(6))
    for alpha, best in ((even - 0.01, 0), (even + 0.01, 1)):
        wide = LinUCB(LinUCBConfig(arms=2, dimension=1, alpha=alpha))
        wide.update([[2.0], [1.0]], [0, 0], [3.0, 1.0])
        assert wide.choose([[3.0]], [0, 1]).arms.tolist() == [best]


def test_linear_thompson_by_hand():
    """As above: 3.5 with a deviation of v 3 / sqrt(6) against 0 with v 3."""
    policy = LinearThompson(LinearThompsonConfig(arms=2, dimension=1, scale=2))
    policy.update([[2.0], [1.0]], [0, 0], [3.0, 1.0])
    expected = ndtr(3.5 / np.hypot(6 / np.sqrt(6), 6))
    np.testing.assert_allclose(policy.chances([[3.0]], [0, 1]), [[expected, 1 - expected]], atol=2e-4)
    # What says nothing is a tie.
    np.testing.assert_allclose(policy.chances([[0.0]], [0, 1]), [[0.5, 0.5]], atol=1e-6)


@pytest.fixture
def events():
    rng = np.random.default_rng(2)
    return rng.normal(size=(300, 5)), rng.integers(0, 4, 300), rng.normal(size=300)


def test_weights_and_deviations_are_scikit_learn_s(events):
    contexts, arms, rewards = events
    models = Regressions(*prior(5, 5, 0.7))
    models.add(contexts, arms, rewards)
    asked = np.random.default_rng(3).normal(size=(10, 5))
    for arm in range(4):
        mine = arms == arm
        ridge = Ridge(alpha=0.7, fit_intercept=False).fit(contexts[mine], rewards[mine])
        np.testing.assert_allclose(models.means(asked, np.full((10, 1), arm))[:, 0], ridge.predict(asked), rtol=1e-9)
        inverse = np.linalg.inv(contexts[mine].T @ contexts[mine] + 0.7 * np.eye(5))
        expected = np.sqrt(np.einsum("qd,de,qe->q", asked, inverse, asked))
        np.testing.assert_allclose(models.deviations(asked, np.full((10, 1), arm))[:, 0], expected, rtol=1e-9)
    np.testing.assert_allclose(
        models.deviations(asked, np.full((10, 1), 4))[:, 0], np.linalg.norm(asked, axis=1) / 0.7**0.5
    )


def test_a_batch_teaches_what_its_rows_teach_one_by_one(events):
    contexts, arms, rewards = events
    config = LinUCBConfig(arms=4, dimension=5)
    whole, single = LinUCB(config), LinUCB(config)
    whole.update(contexts, arms, rewards)
    for row in range(len(arms)):
        single.update(contexts[row : row + 1], arms[row : row + 1], rewards[row : row + 1])
    np.testing.assert_allclose(
        whole.expected(contexts, range(4)), single.expected(contexts, range(4)), rtol=1e-9, atol=1e-12
    )


def test_small_blocks_change_nothing(events, monkeypatch):
    contexts, arms, rewards = events

    def deviations():
        models = Regressions(*prior(4, 5, 1.0))
        models.add(contexts, arms, rewards)
        return models.deviations(contexts, np.tile(np.arange(4), (300, 1)))

    whole = deviations()
    monkeypatch.setattr("llmrec.classic.exploration.regressions.BLOCK_FLOATS", 60)
    np.testing.assert_allclose(deviations(), whole, rtol=1e-12)


@pytest.mark.parametrize("sets", [np.array([[0, 1, 2, 3]] * 6), np.array([[3, -1, 1, -1]] * 6)])
def test_each_row_has_arms_of_its_own(events, sets):
    contexts, arms, rewards = events
    policy = LinearThompson(LinearThompsonConfig(arms=4, dimension=5))
    policy.update(contexts, arms, rewards)
    found, every = policy.chances(contexts[:6], sets), policy.expected(contexts[:6], range(4))
    assert (found[sets < 0] == 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)
    expected = policy.expected(contexts[:6], sets)
    np.testing.assert_allclose(expected[sets >= 0], np.take_along_axis(every, np.maximum(sets, 0), 1)[sets >= 0])
    assert np.isnan(expected[sets < 0]).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: LinUCB(LinUCBConfig(arms=5, dimension=4, alpha=0.3), seed=seed),
        lambda seed: LinearThompson(LinearThompsonConfig(arms=5, dimension=4, scale=0.1), seed=seed),
    ],
    ids=["lin-ucb", "linear-thompson"],
)
def test_regret_in_a_linear_world_grows_sub_linearly(make):
    """Three worlds; what never learns loses the same at every step."""
    for seed in range(3):
        lost = regrets(LinearWorld(seed=seed), make(seed), 800)
        assert growth(lost, 40) < 0.8
        world = LinearWorld(seed=seed)
        means = world.means(world.contexts(800))
        assert lost[-1] < 0.2 * (means.max(axis=1) - means.mean(axis=1)).sum()


def test_regret_of_uniform_choices_grows_linearly():
    for seed in range(3):
        uniform = EpsilonGreedy(EpsilonGreedyConfig(arms=5, epsilon=1), seed=seed)
        assert 0.9 < growth(regrets(LinearWorld(seed=seed), uniform, 800), 40) < 1.1
