"""Epsilon-greedy, UCB1 and Thompson sampling: by hand, and what they lose."""

from __future__ import annotations

import numpy as np
import pytest
from bandits import ClickWorld, growth, regrets
from scipy.integrate import dblquad
from scipy.stats import beta

from llmrec.classic.exploration.counts import (
    UCB1,
    EpsilonGreedy,
    EpsilonGreedyConfig,
    ThompsonConfig,
    ThompsonSampling,
    UCB1Config,
)
from llmrec.errors import DataError
from llmrec.testing import expect_error

NOTHING = np.zeros((1, 0))


def taught(policy, arms, rewards):
    policy.update(np.zeros((len(arms), 0)), arms, rewards)
    return policy


def test_epsilon_greedy_by_hand():
    policy = taught(EpsilonGreedy(EpsilonGreedyConfig(arms=4, epsilon=0.2)), [0, 0, 1, 2], [1, 0, 1, 0.5])
    np.testing.assert_allclose(policy.expected(NOTHING, [0, 1, 2, 3]), [[0.5, 1, 0.5, 0]])
    np.testing.assert_allclose(policy.chances(NOTHING, [0, 1, 2, 3]), [[0.05, 0.85, 0.05, 0.05]])
    np.testing.assert_allclose(policy.chances(NOTHING, [[0, 2, 3, -1]]), [[0.2 / 3 + 0.4, 0.2 / 3 + 0.4, 0.2 / 3, 0]])


def test_ucb1_by_hand():
    """Eight plays: means 1/2, 2/3 and 0; the bounds are 1.520, 1.844 and 2.039."""
    config = UCB1Config(arms=4)
    policy = taught(UCB1(config), [0] * 4 + [1] * 3 + [2], [1, 1, 0, 0, 1, 1, 0, 0])
    assert policy.chances(NOTHING, [0, 1, 2, 3]).tolist() == [[0, 0, 0, 1]]  # what was never tried comes first
    assert policy.chances(NOTHING, [0, 1, 2]).tolist() == [[0, 0, 1]]
    assert policy.chances(NOTHING, [0, 1]).tolist() == [[0, 1]]
    # With a narrower bound, sqrt(0.01 ln 8 / n): 0.572, 0.750, 0.144.
    narrow = taught(UCB1(UCB1Config(arms=3, alpha=0.01)), [0] * 4 + [1] * 3 + [2], [1, 1, 0, 0, 1, 1, 0, 0])
    assert narrow.chances(NOTHING, [0, 1, 2]).tolist() == [[0, 1, 0]]
    # Of equal means the one tried less; the fewer plays there are in all, the less that counts.
    even = taught(UCB1(UCB1Config(arms=2)), [0, 0, 1, 1, 1], [1, 0, 1, 0, 0.5])
    assert even.chances(NOTHING, [0, 1]).tolist() == [[1, 0]]


def test_untried_arms_are_tried_in_random_order_by_a_batch():
    chosen = UCB1(UCB1Config(arms=5)).choose(np.zeros((400, 0)), range(5))
    assert (np.bincount(chosen.arms, minlength=5) > 50).all()
    assert (chosen.propensities == 0.2).all()


def test_thompson_by_hand():
    """Beta(2, 1), whose density is 2x, is above a uniform one with probability 2/3, and above Beta(1, 2) with 5/6."""
    policy = taught(ThompsonSampling(ThompsonConfig(arms=3)), [0, 2], [1, 0])
    np.testing.assert_allclose(policy.expected(NOTHING, [0, 1, 2]), [[2 / 3, 1 / 2, 1 / 3]])
    np.testing.assert_allclose(policy.chances(NOTHING, [0, 1]), [[2 / 3, 1 / 3]], atol=2e-4)
    np.testing.assert_allclose(policy.chances(NOTHING, [0, 2]), [[5 / 6, 1 / 6]], atol=2e-4)


def test_thompson_of_many_clicks_is_scipy_s_integral():
    policy = ThompsonSampling(ThompsonConfig(arms=2, prior_yes=0.5, prior_no=2))
    taught(policy, [0] * 200 + [1] * 20, [1] * 30 + [0] * 170 + [1] * 4 + [0] * 16)
    one, two = beta(30.5, 172), beta(4.5, 18)
    expected, _ = dblquad(lambda y, x: one.pdf(x) * two.pdf(y), 0, 1, 0, lambda x: x)
    np.testing.assert_allclose(policy.chances(NOTHING, [0, 1])[0, 0], expected, atol=2e-4)


def test_rewards_that_they_do_not_understand():
    ucb, thompson = UCB1(UCB1Config(arms=2)), ThompsonSampling(ThompsonConfig(arms=2))
    expect_error(DataError, lambda: taught(ucb, [0, 1], [1, 1.5]), "a reward of 1.5", "0 to 1", "scale")
    expect_error(DataError, lambda: taught(ucb, [0], [-0.5]), "a reward of -0.5")
    expect_error(DataError, lambda: taught(thompson, [0, 1], [1, 0.5]), "a reward of 0.5", "0 or 1", "ucb1")
    assert thompson.chances(NOTHING, [0, 1]).tolist() == [[0.5, 0.5]]  # nothing was learned of the others either


@pytest.mark.parametrize(
    "make",
    [
        lambda: UCB1(UCB1Config(arms=4, alpha=0.5), seed=1),
        lambda: ThompsonSampling(ThompsonConfig(arms=4), seed=1),
        lambda: EpsilonGreedy(EpsilonGreedyConfig(arms=4), seed=1),
    ],
    ids=["ucb1", "thompson", "epsilon-greedy"],
)
def test_they_lose_less_than_uniform_choices(make):
    rates = [0.2, 0.3, 0.4, 0.7]
    lost = regrets(ClickWorld(rates), make(), 1000)
    uniform = 0.7 - np.mean(rates)  # a step
    assert lost[-1] < 0.4 * uniform * 1000
    assert growth(lost, 100) < 0.8 or make().name == "epsilon-greedy"  # whose regret is linear: a tenth is lost
