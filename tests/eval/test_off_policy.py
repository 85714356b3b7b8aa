"""IPS, SNIPS, direct and doubly robust estimates: by hand, in worlds of closed form, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.errors import ConfigError, DataError
from llmrec.eval.logged import Logged
from llmrec.eval.off_policy import direct, doubly_robust, ips, snips
from llmrec.testing import expect_error

ARMS = [[0, 1], [0, 1], [2, -1], [1, 2]]
LOG = Logged(np.zeros((4, 0)), ARMS, [0, 1, 2, 1], [1, 0, 2, 4], [0.5, 0.25, 1, 0.8])
WANTED = [[0.25, 0.75], [0.5, 0.5], [1, 0], [0.8, 0.2]]
"""Weights 0.5, 2, 1, 1."""
EXPECTED = [[1, 2], [2, 1], [2, np.nan], [3, 1]]


def test_each_by_hand():
    found = ips(LOG, WANTED)
    assert found.value == pytest.approx((0.5 * 1 + 2 * 0 + 1 * 2 + 1 * 4) / 4)
    assert (found.effective, found.mean_weight, found.clipped) == pytest.approx((4.5**2 / 6.25, 4.5 / 4, 0))
    assert snips(LOG, WANTED).value == pytest.approx(6.5 / 4.5)
    # 0.25 + 1.5, 1 + 0.5, 2, 2.4 + 0.2; the errors 1 - 1, 0 - 1, 2 - 2, 4 - 3.
    assert direct(LOG, WANTED, EXPECTED).value == pytest.approx((1.75 + 1.5 + 2 + 2.6) / 4)
    assert doubly_robust(LOG, WANTED, EXPECTED).value == pytest.approx((1.75 + 1.5 - 2 + 2 + 2.6 + 1) / 4)


def test_clipping_by_hand():
    found = ips(LOG, WANTED, clip=0.8)
    assert found.value == pytest.approx((0.5 + 1.6 + 3.2) / 4)
    assert (found.effective, found.mean_weight, found.clipped) == pytest.approx((2.9**2 / 2.17, 4.5 / 4, 0.75))
    assert snips(LOG, WANTED, clip=0.8).value == pytest.approx(5.3 / 2.9)
    assert doubly_robust(LOG, WANTED, EXPECTED, clip=0.8).value == pytest.approx((7.85 - 0.8 + 0.8) / 4)


def test_whole_distributions_say_what_those_of_the_choices_say():
    whole = Logged(LOG.contexts, ARMS, LOG.chosen, LOG.rewards, [[0.5, 0.5], [0.75, 0.25], [1, 0], [0.8, 0.2]])
    assert ips(whole, WANTED) == ips(LOG, WANTED)
    part = whole.select(np.array([True, False, False, True]))
    assert ips(part, np.array(WANTED)[[0, 3]]).value == pytest.approx((0.5 + 4) / 2)


class World:
    """Contexts of three kinds, three arms, known mean rewards, and a logging policy that prefers some."""

    kinds = np.array([0.5, 0.3, 0.2])
    means = np.array([[0.2, 0.5, 0.9], [0.8, 0.1, 0.4], [0.3, 0.3, 0.6]])
    logging = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    target = np.array([[0.1, 0.2, 0.7], [0.9, 0.1, 0.0], [0.4, 0.5, 0.1]])

    @property
    def truth(self):
        return float(self.kinds @ (self.target * self.means).sum(axis=1))

    def log(self, n, seed=0, noise=True):
        rng = np.random.default_rng(seed)
        kind = rng.choice(3, n, p=self.kinds)
        chosen = (rng.random(n)[:, None] > self.logging[kind].cumsum(axis=1)).sum(axis=1)
        rewards = self.means[kind, chosen]
        if noise:
            rewards = (rng.random(n) < rewards).astype(float)
        return kind, Logged(np.eye(3)[kind], [0, 1, 2], chosen, rewards, self.logging[kind, chosen])


def test_they_find_the_truth_of_a_world_that_the_log_s_mean_misses():
    """Each within four standard errors, which for IPS follow from the world: E[w² r] - truth²."""
    world, n = World(), 40_000
    kind, log = world.log(n)
    wanted, exact = world.target[kind], world.means[kind]
    second = world.kinds @ (world.target**2 / world.logging * world.means).sum(axis=1)
    error = np.sqrt((second - world.truth**2) / n)
    plain = ips(log, wanted)
    assert abs(plain.value - world.truth) < 4 * error
    assert (plain.high - plain.low) == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert plain.mean_weight == pytest.approx(1, abs=0.05)
    for found in (snips(log, wanted), doubly_robust(log, wanted, exact)):
        assert abs(found.value - world.truth) < 4 * error
        assert found.high - found.low < plain.high - plain.low
    assert abs(log.rewards.mean() - world.truth) > 20 * error
    # A model that is wrong by far, of which the direct method believes all.
    wrong = 1 - exact
    assert abs(direct(log, wanted, wrong).value - world.truth) > 20 * error
    assert abs(doubly_robust(log, wanted, wrong).value - world.truth) < 6 * error


def test_intervals_hold_the_truth_as_often_as_they_say():
    world, covered = World(), np.zeros(3)
    for seed in range(150):
        kind, log = world.log(400, seed=seed)
        wanted = world.target[kind]
        model = np.full((400, 3), 0.5)
        for number, found in enumerate(
            (
                ips(log, wanted, samples=400),
                snips(log, wanted, samples=400),
                doubly_robust(log, wanted, model, samples=400),
            )
        ):
            covered[number] += found.low <= world.truth <= found.high
    assert (covered >= 150 * 0.95 - 4 * np.sqrt(150 * 0.95 * 0.05)).all()
    assert (covered < 150).all()


@given(st.integers(0, 10_000), st.integers(2, 40))
def test_doubly_robust_is_direct_for_an_exact_model_and_ips_without_one(seed, n):
    world = World()
    kind, log = world.log(n, seed, noise=False)
    wanted, exact = world.target[kind], world.means[kind]
    if not (world.target[kind, log.chosen] > 0).any():
        return
    one, two = doubly_robust(log, wanted, exact, samples=50), direct(log, wanted, exact, samples=50)
    assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high), abs=1e-12)
    none, plain = doubly_robust(log, wanted, np.zeros((n, 3)), samples=50), ips(log, wanted, samples=50)
    assert none == plain


@given(st.integers(0, 10_000), st.integers(2, 40), st.floats(-5, 5))
def test_snips_moves_with_the_rewards_and_stays_within_them(seed, n, added):
    kind, log = World().log(n, seed)
    wanted = World.target[kind]
    if not (wanted[np.arange(n), log.chosen] > 0).any():
        return
    found = snips(log, wanted, samples=50)
    moved = snips(Logged(log.contexts, log.arms, log.chosen, log.rewards + added, log.propensities), wanted, samples=50)
    assert (moved.value, moved.low, moved.high) == pytest.approx(
        (found.value + added, found.low + added, found.high + added), abs=1e-9
    )
    assert 0 <= found.low <= found.high <= 1


@given(st.integers(0, 10_000))
def test_the_logging_policy_itself_earned_the_mean(seed):
    kind, log = World().log(30, seed)
    for estimate in (ips, snips):
        found = estimate(log, World.logging[kind], samples=50)
        assert (found.value, found.effective, found.mean_weight) == pytest.approx((log.rewards.mean(), 30, 1))


def test_the_same_seed_gives_the_same_interval():
    kind, log = World().log(300)
    for estimate in (ips, snips):
        first = estimate(log, World.target[kind], seed=1)
        assert first == estimate(log, World.target[kind], seed=1) != estimate(log, World.target[kind], seed=2)


def logged(**changed):
    whole = {
        "contexts": np.zeros((2, 1)),
        "arms": [0, 1],
        "chosen": [0, 1],
        "rewards": [1, 0],
        "propensities": [0.5, 0.5],
    }
    return Logged(**whole | changed)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"propensities": [0, 0.5]}, ["propensity 0 in row 0", "above 0", "1 such rows"]),
        ({"propensities": [0.5, 1.2]}, ["propensity 1.2 in row 1", "at most 1"]),
        ({"propensities": [0.5, np.nan]}, ["propensity nan in row 1"]),
        ({"propensities": [[0.5, 0.5], [1, 0]]}, ["propensity 0 in row 1"]),
        ({"propensities": [[0.5, 0.6], [0.5, 0.5]]}, ["propensities 0.5, 0.6 in row 0", "sum to 1"]),
        ({"propensities": [0.5]}, ["propensities of shape (1,)", "(2,)"]),
        ({"chosen": [0, 2]}, ["arm 2 was chosen in row 1", "one of the arms"]),
        ({"chosen": [0, -1], "arms": [[0, 1], [0, -1]]}, ["arm -1 was chosen in row 1"]),
        ({"arms": [[0, 1], [1, 1]]}, ["twice in row 1", "each arm once"]),
        ({"chosen": [0]}, ["chosen of shape (1,)"]),
        ({"arms": [[0, 1]]}, ["arms of shape (1, 2)", "(2, 2)"]),
        ({"contexts": np.zeros(2)}, ["contexts of shape (2,)"]),
        ({"contexts": [[0], [np.inf]]}, ["1 of 2 contexts are not finite"]),
        ({"rewards": [1, np.nan]}, ["1 of 2 rewards are not finite"]),
        ({"rewards": [], "chosen": [], "contexts": np.zeros((0, 1)), "propensities": []}, ["at least one row"]),
    ],
)
def test_logs_that_are_none(changed, words):
    expect_error(DataError, lambda: logged(**changed), *words)


def test_policies_that_are_none():
    for wanted, words in (
        ([[0.5, 0.5]], ["(1, 2)", "(4, 2)"]),
        ([[0.5, 0.4], *WANTED[1:]], ["0.5, 0.4 in row 0", "sum to 1"]),
        ([[1.5, -0.5], *WANTED[1:]], ["1.5, -0.5 in row 0"]),
        ([[np.nan, 1], *WANTED[1:]], ["nan, 1 in row 0"]),
        ([*WANTED[:2], [0.5, 0.5], WANTED[3]], ["0.5, 0.5 in row 2", "padding"]),
    ):
        for estimate in (ips, snips):
            expect_error(DataError, lambda: estimate(LOG, wanted), *words)  # noqa: B023 - called at once
        expect_error(DataError, lambda: direct(LOG, wanted, EXPECTED), *words)  # noqa: B023
    expect_error(DataError, lambda: direct(LOG, WANTED, [[1, 2]]), "expected rewards of shape (1, 2)")
    expect_error(DataError, lambda: doubly_robust(LOG, WANTED, np.full((4, 2), np.nan)), "7 of 8 expected rewards")
    expect_error(ConfigError, lambda: ips(LOG, WANTED, clip=0), "clip = 0")


def test_what_the_log_could_never_choose_is_found():
    """A log that never shows arm 1 says nothing of a policy that does: IPS would call it 0 there."""
    rows = [[1.0, 0.0], [0.5, 0.5]]
    log = logged(propensities=rows, chosen=[0, 0])
    for estimate in (ips, snips, lambda log, wanted: doubly_robust(log, wanted, np.zeros((2, 2)))):
        expect_error(DataError, lambda: estimate(log, [[0.9, 0.1], [0, 1]]), "arm 1 in row 0", "0.1", "exploration")  # noqa: B023
        with_one = logged(chosen=[0, 0])
        expect_error(DataError, lambda: estimate(with_one, [[0, 1], [0, 1]]), "none of the 2 logged choices")  # noqa: B023
    assert direct(log, [[0.9, 0.1], [0, 1]], [[1, 0], [1, 0]]).value == pytest.approx(0.45)
    assert ips(log, [[1, 0], [1, 0]]).mean_weight == 1.5
