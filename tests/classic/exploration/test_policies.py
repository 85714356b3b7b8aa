"""What every policy keeps: distributions, draws from them, a folder to come back from, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest

from llmrec.classic.exploration.bandit import load_policy, make_policy
from llmrec.config import Part
from llmrec.errors import ConfigError, DataError, ModelError, UnknownNameError
from llmrec.eval.replay import Policy
from llmrec.registry.exploration import POLICIES
from llmrec.testing import expect_error

SIZES = {"arms": 4}
MORE = {
    "lin-ucb": {"dimension": 3},
    "linear-thompson": {"dimension": 3},
    "neural-linear": {"dimension": 3, "hidden": [5], "refit_every": 30, "epochs": 2},
}
CONTEXTS = np.column_stack([np.ones(50), np.random.default_rng(0).normal(size=(50, 2))])
ARMS, REWARDS = np.random.default_rng(1).integers(0, 4, 50), np.random.default_rng(2).integers(0, 2, 50)
SETS = np.array([[0, 1, 2, 3], [3, 1, -1, -1], [2, -1, 0, -1]])


@pytest.fixture(params=POLICIES.rows)
def make(request):
    """A function from a seed to a new policy."""
    part = Part(name=request.param, parameters=SIZES | MORE.get(request.param, {}))
    return lambda seed=0: make_policy(part, seed=seed)


@pytest.fixture
def policy(make):
    made = make()
    made.update(CONTEXTS, ARMS, REWARDS)
    return made


def test_it_is_a_policy_of_its_name(make):
    assert isinstance(make(), Policy)
    assert make().name in POLICIES.rows


def test_chances_are_distributions_over_each_row_s_arms(policy):
    for contexts, sets in ((CONTEXTS[:3], SETS), (CONTEXTS[:3], SETS[:1].repeat(3, 0)), (CONTEXTS, SETS[0])):
        found = policy.chances(contexts, sets)
        asked = np.broadcast_to(sets, found.shape)
        assert (found >= 0).all()
        assert (found[asked < 0] == 0).all()
        np.testing.assert_allclose(found.sum(axis=1), 1)
        assert np.isfinite(policy.expected(contexts, sets)[asked >= 0]).all()


def test_a_row_has_the_chances_that_it_has_alone_and_in_another_order_of_arms(policy):
    whole = policy.chances(CONTEXTS[:3], SETS)
    for row in range(3):
        alone = policy.chances(CONTEXTS[row : row + 1], SETS[row : row + 1])
        np.testing.assert_allclose(alone, whole[row : row + 1], atol=1e-5)  # a network computes in float32
        turned = policy.chances(CONTEXTS[row : row + 1], SETS[row : row + 1, ::-1])
        np.testing.assert_allclose(turned[:, ::-1], whole[row : row + 1], atol=1e-5)


def test_choices_are_drawn_from_the_chances_and_say_how_probable_they_were(policy):
    one = np.tile(CONTEXTS[:1], (2000, 1))
    chances, chosen = policy.chances(one[:1], SETS[0])[0], policy.choose(one, SETS[0])
    np.testing.assert_allclose(chosen.propensities, chances[chosen.arms], atol=1e-5)
    found = np.bincount(chosen.arms, minlength=4) / 2000
    assert (np.abs(found - chances) <= 4 * np.sqrt(chances * (1 - chances) / 2000)).all()
    assert not (policy.choose(CONTEXTS[:3], SETS).arms < 0).any()


def test_the_same_seed_gives_the_same_choices_and_draws_go_on(make):
    one, two, other = make(1), make(1), make(2)
    first, second = (one.choose(CONTEXTS, SETS[0]).arms for _ in range(2))
    np.testing.assert_array_equal(two.choose(CONTEXTS, SETS[0]).arms, first)
    np.testing.assert_array_equal(two.choose(CONTEXTS, SETS[0]).arms, second)
    assert (first != second).any() or one.chances(CONTEXTS, SETS[0]).max() == 1
    assert (other.choose(CONTEXTS, SETS[0]).arms != first).any()


def test_a_saved_policy_chooses_and_learns_on_as_if_nothing_had_been(make, policy, tmp_path):
    policy.choose(CONTEXTS, SETS[0])
    folder = policy.save(tmp_path / "policy")
    back = load_policy(folder)
    assert type(back) is type(policy)
    assert not list(folder.rglob("*.pkl"))
    for _ in range(2):
        mine, its = policy.choose(CONTEXTS, SETS[0]), back.choose(CONTEXTS, SETS[0])
        np.testing.assert_array_equal(mine.arms, its.arms)
        np.testing.assert_array_equal(mine.propensities, its.propensities)
        for each in (policy, back):  # the second time past a refit of the network
            each.update(CONTEXTS, mine.arms, REWARDS)
    np.testing.assert_array_equal(policy.expected(CONTEXTS, SETS[0]), back.expected(CONTEXTS, SETS[0]))
    assert (policy.expected(CONTEXTS, SETS[0]) != make().expected(CONTEXTS, SETS[0])).any()


def test_it_learns_which_arm_is_rewarded(make):
    policy = make()
    for _ in range(40):
        policy.update(CONTEXTS, ARMS, ARMS == 2)
    assert (policy.expected(CONTEXTS, SETS[0]).argmax(axis=1) == 2).all()
    assert policy.chances(CONTEXTS, SETS[0])[:, 2].mean() > 0.85


def test_no_row_is_no_error(policy):
    assert len(policy.choose(CONTEXTS[:0], SETS[0])) == 0
    before = policy.expected(CONTEXTS, SETS[0])
    policy.update(CONTEXTS[:0], [], [])
    np.testing.assert_array_equal(policy.expected(CONTEXTS, SETS[0]), before)


def test_bad_arms_and_rewards_are_refused(policy):
    expect_error(DataError, lambda: policy.choose(CONTEXTS, [0, 4]), "arm number 4", "0 to 3")
    expect_error(DataError, lambda: policy.choose(CONTEXTS, [0, -2]), "arm number -2")
    expect_error(DataError, lambda: policy.choose(CONTEXTS[:2], [[0, 1], [-1, -1]]), "at least one arm")
    expect_error(DataError, lambda: policy.choose(CONTEXTS[:2], SETS), "shape (3, 4) for 2 contexts")
    expect_error(DataError, lambda: policy.choose(CONTEXTS[0], SETS[0]), "contexts of shape (3,)")
    wrong = np.where(np.arange(3) == 1, np.nan, CONTEXTS)
    expect_error(DataError, lambda: policy.choose(wrong, SETS[0]), "50 numbers of them not finite")
    expect_error(DataError, lambda: policy.update(CONTEXTS[:2], [0, 4], [1, 1]), "arm number 4")
    expect_error(DataError, lambda: policy.update(CONTEXTS[:2], [0, -1], [1, 1]), "at least one arm")
    expect_error(DataError, lambda: policy.update(CONTEXTS[:2], [0, 1], [1]), "rewards of shape (1,)")
    expect_error(DataError, lambda: policy.update(CONTEXTS[:2], [0], [1]), "for 2 contexts")
    expect_error(DataError, lambda: policy.update(CONTEXTS[:1], [0], [np.inf]), "a reward of inf")


@pytest.mark.parametrize("name", MORE)
def test_contexts_of_another_length_are_refused(name):
    policy = make_policy(Part(name=name, parameters=SIZES | MORE[name]))
    expect_error(DataError, lambda: policy.choose(CONTEXTS[:, :2], SETS[0]), "(50, 2)", "(b, 3)")


def test_parts_that_are_none():
    expect_error(UnknownNameError, lambda: make_policy(Part(name="ucb")), "'ucb'", "ucb1")
    expect_error(ConfigError, lambda: make_policy(Part(name="ucb1")), "arms")
    expect_error(ConfigError, lambda: make_policy(Part(name="lin-ucb", parameters=SIZES)), "dimension")


def test_damaged_folders_are_refused(make, policy, tmp_path):
    folder = policy.save(tmp_path / "policy")
    weights, about = folder / "weights.npz", folder / "config.json"
    with np.load(weights, allow_pickle=False) as stored:
        arrays = dict(stored)
    name = next(name for name, array in arrays.items() if array.size)
    for wrong, words in (
        (arrays | {name: arrays[name] + np.nan}, ["NaN or infinity"]),
        (arrays | {name: arrays[name].ravel()[:-1]}, [name, "does not fit"]),
        ({key: array for key, array in arrays.items() if key != name}, [name, "does not fit"]),
    ):
        np.savez(weights, **wrong)
        expect_error(ModelError, lambda: load_policy(folder), *words)
    weights.write_bytes(weights.read_bytes()[:50])
    expect_error(ModelError, lambda: load_policy(folder), "cannot be read")
    np.savez(weights, **arrays)
    told = json.loads(about.read_text(encoding="utf-8"))
    for changed, words in (
        ({"kind": "recommender"}, ["'recommender'", "exploration policy"]),
        ({"schema_version": 99}, ["schema_version 99"]),
        ({"draws": None}, ["how many draws"]),
    ):
        about.write_text(json.dumps(told | changed), encoding="utf-8")
        expect_error(ModelError, lambda: load_policy(folder), *words)
    about.write_text(json.dumps(told), encoding="utf-8")
    other = next(kind for kind in POLICIES.rows if kind != policy.name)
    expect_error(ModelError, lambda: POLICIES.get(other).load(folder), policy.name, other)


def test_a_precision_that_is_not_positive_is_refused(tmp_path):
    policy = make_policy(Part(name="lin-ucb", parameters=SIZES | MORE["lin-ucb"]))
    folder = policy.save(tmp_path / "policy")
    np.savez(folder / "weights.npz", precision=-np.tile(np.eye(3), (4, 1, 1)), moments=np.zeros((4, 3)))
    expect_error(ModelError, lambda: load_policy(folder), "not positive", "lin-ucb")
