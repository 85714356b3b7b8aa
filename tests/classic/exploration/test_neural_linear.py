"""Neural-linear: its posterior by formula, the network learning on, and a world that no linear model fits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import t as student

from llmrec.classic.exploration.linear import LinearThompson, LinearThompsonConfig
from llmrec.classic.exploration.neural_linear import NeuralLinear, NeuralLinearConfig

CONFIG = NeuralLinearConfig(arms=2, dimension=3, hidden=(6, 4), refit_every=40, epochs=3)


def events(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)), rng.integers(0, 2, n), rng.normal(1, 0.3, n)


def posterior(policy, contexts, arms, rewards, asked, arm):
    """Return Student's distribution of the reward expected at ``asked``, from the paper's formulas.

    mu = S^-1 X'r with S = X'X + 0.25 I, a = 6 + n / 2, b = 6 + (r'r - mu'S mu) / 2.
    """
    features, rewards = policy._net.features(contexts[arms == arm]), rewards[arms == arm]
    precision = features.T @ features + 0.25 * np.eye(features.shape[1])
    mean = np.linalg.solve(precision, features.T @ rewards)
    shape, scale = 6 + len(rewards) / 2, 6 + (rewards @ rewards - mean @ precision @ mean) / 2
    x = policy._net.features(asked)[0]
    return student(2 * shape, x @ mean, np.sqrt(scale / shape * x @ np.linalg.solve(precision, x)))


@pytest.mark.parametrize("n", [30, 100])
def test_the_posterior_is_the_paper_s_before_and_after_the_network_learned(n):
    policy, (contexts, arms, rewards) = NeuralLinear(CONFIG), events(n)
    for start in range(0, n, 10):
        part = slice(start, start + 10)
        policy.update(contexts[part], arms[part], rewards[part])
    asked = np.array([[0.5, -1.0, 0.2]])
    one, two = (posterior(policy, contexts, arms, rewards, asked, arm) for arm in (0, 1))
    np.testing.assert_allclose(policy.expected(asked, [0, 1]), [[one.mean(), two.mean()]], rtol=1e-6)
    places = np.linspace(-30, 30, 200_001)
    expected = np.trapezoid(one.pdf(places) * two.cdf(places), places)
    np.testing.assert_allclose(policy.chances(asked, [0, 1])[0, 0], expected, atol=3e-4)


def test_the_network_learns_when_it_is_due():
    policy, (contexts, arms, rewards) = NeuralLinear(CONFIG), events(90)
    asked = events(5, seed=1)[0]
    features = [policy._net.features(asked)]
    for start, end in ((0, 39), (39, 41), (41, 79), (79, 90)):
        policy.update(contexts[start:end], arms[start:end], rewards[start:end])
        features.append(policy._net.features(asked))
    changed = [not np.array_equal(one, two) for one, two in pairwise(features)]
    assert changed == [False, True, False, True]


@pytest.mark.slow
def test_it_earns_what_no_linear_model_can():
    """Arm 0 pays inside a ring, arm 1 outside it: linear models of the context see no difference."""
    rng = np.random.default_rng(5)
    contexts = rng.normal(size=(4000, 2))
    inside = (np.abs((contexts**2).sum(axis=1) - 1.4) < 0.9).astype(int)

    def earned(policy):
        won = 0
        for start in range(0, 4000, 50):
            part = slice(start, start + 50)
            arms = policy.choose(contexts[part], [0, 1]).arms
            rewards = (arms != inside[part]).astype(float)
            policy.update(contexts[part], arms, rewards)
            won += rewards.sum() if start >= 2000 else 0
        return won / 2000

    config = NeuralLinearConfig(arms=2, dimension=2, hidden=(32, 32), refit_every=500, epochs=30, learning_rate=0.01)
    linear = LinearThompson(LinearThompsonConfig(arms=2, dimension=2))
    assert earned(NeuralLinear(config)) > 0.85
    assert earned(linear) < 0.65
