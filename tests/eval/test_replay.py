"""Replay: by hand, unbiased on a uniform log, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.classic.exploration.counts import EpsilonGreedy, EpsilonGreedyConfig
from llmrec.classic.exploration.linear import LinUCB, LinUCBConfig
from llmrec.errors import ConfigError, DataError
from llmrec.eval.logged import Logged
from llmrec.eval.replay import Choices, replay
from llmrec.testing import expect_error


class Fixed:
    """Chooses by a table: from the first number of a context to chances of all arms; remembers what it was taught."""

    def __init__(self, table, seed=0):
        self.table, self.rng, self.taught = np.array(table), np.random.default_rng(seed), []

    def choose(self, contexts, arms):
        chances = self.table[contexts[:, 0].astype(int)]
        places = (self.rng.random(len(chances))[:, None] > chances.cumsum(axis=1)).sum(axis=1)
        rows = np.arange(len(places))
        return Choices(np.asarray(arms)[rows, places], chances[rows, places])

    def update(self, contexts, arms, rewards):
        self.taught += list(zip(contexts[:, 0].tolist(), arms.tolist(), rewards.tolist(), strict=True))


def uniform_log(n, means, seed=0):
    """Return rows whose context is a kind, and whose arm was drawn uniformly; means (kinds, arms)."""
    rng = np.random.default_rng(seed)
    kinds, arms = means.shape
    kind, chosen = rng.integers(0, kinds, n), rng.integers(0, arms, n)
    rewards = (rng.random(n) < means[kind, chosen]).astype(float)
    return Logged(kind[:, None], np.arange(arms), chosen, rewards, np.full(n, 1 / arms))


@pytest.mark.parametrize("batch_size", [1, 2, 10])
def test_by_hand(batch_size):
    log = Logged([[0], [1], [0], [1], [0]], [3, 5], [3, 3, 5, 5, 3], [1, 2, 4, 8, 16], np.full(5, 0.5))
    policy = Fixed([[1, 0], [0, 1]])  # arm 3 in context 0, arm 5 in context 1
    found = replay(log, policy, batch_size=batch_size)
    assert found.rows.tolist() == [0, 3, 4]
    assert found.rewards.tolist() == [1, 8, 16]
    assert found.value == pytest.approx(25 / 3)
    assert 1 <= found.low <= found.value <= found.high <= 16
    assert policy.taught == [(0, 3, 1), (1, 5, 8), (0, 3, 16)]


@given(st.integers(0, 10_000), st.integers(2, 5))
@settings(max_examples=30)
def test_it_is_unbiased_on_a_uniform_log(seed, arms):
    """Whatever a policy prefers: the mean lies within 4.5 standard errors of the truth, with one row in k kept."""
    rng = np.random.default_rng(seed)
    means, table, n = rng.random((3, arms)), rng.dirichlet(np.ones(arms) / 2, 3), 3000
    found = replay(uniform_log(n, means, seed), Fixed(table, seed), batch_size=n)
    truth, kept = (table * means).sum(axis=1).mean(), len(found.rows)
    assert abs(found.value - truth) <= 4.5 * np.sqrt(truth * (1 - truth) / kept)
    assert abs(kept - n / arms) <= 4.5 * np.sqrt(n / arms)


def test_its_mean_over_many_logs_is_the_truth():
    """A finer test of bias: 400 logs of 200 rows, where the policy prefers what is rewarded little."""
    means, table = np.array([[0.9, 0.2, 0.1]]), np.array([[0.05, 0.25, 0.7]])
    truth = float((means * table).sum())
    values = [replay(uniform_log(200, means, seed), Fixed(table, seed), batch_size=200).value for seed in range(400)]
    assert abs(np.mean(values) - truth) <= 4 * np.std(values) / 20


def test_a_policy_that_learns_is_rewarded_more_and_context_helps():
    means = np.array([[0.1, 0.5, 0.2], [0.2, 0.1, 0.6], [0.7, 0.2, 0.1]])
    log = uniform_log(4000, means, seed=3)
    contexts = np.eye(3)[log.contexts[:, 0].astype(int)]
    log = Logged(contexts, log.arms, log.chosen, log.rewards, log.propensities)
    lin_ucb = replay(log, LinUCB(LinUCBConfig(arms=3, dimension=3, alpha=0.3)))
    plain = replay(log, EpsilonGreedy(EpsilonGreedyConfig(arms=3)))
    assert lin_ucb.rewards[-300:].mean() > 0.52  # the best arm of each context: 0.6
    assert plain.high < lin_ucb.low
    late = replay(log, LinUCB(LinUCBConfig(arms=3, dimension=3, alpha=0.3)), batch_size=4000)
    assert late.value < 0.4  # it never learns: about the mean of all arms, 0.3


def test_what_it_refuses():
    even = Logged([[0], [0]], [3, 5], [3, 5], [1, 2], [0.5, 0.5])
    uneven = Logged([[0], [0]], [3, 5], [3, 5], [1, 2], [0.5, 0.4])
    expect_error(DataError, lambda: replay(uneven, Fixed([[1, 0]])), "row 1", "0.4", "0.5", "snips")
    ragged = Logged([[0], [0]], [[3, 5], [3, -1]], [3, 3], [1, 2], [0.5, 1.0])
    assert len(replay(ragged, Fixed([[1, 0]])).rows) == 2
    expect_error(ConfigError, lambda: replay(even, Fixed([[1, 0]]), batch_size=0), "batch_size = 0")
    other = Logged([[0], [0]], [3, 5], [3, 3], [1, 2], [0.5, 0.5])
    expect_error(DataError, lambda: replay(other, Fixed([[0, 1]])), "none of 2 logged choices")
