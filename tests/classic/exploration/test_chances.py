"""How probable each arm is: by closed forms, by brute force, and by drawing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from llmrec.classic.exploration.chances import best_of_normals, draw, epsilon_greedy, greedy

REAL = np.ones((1, 3), bool)


def test_greedy_shares_ties_and_leaves_padding_out():
    values = np.array([[1.0, 3.0, 3.0], [2.0, 1.0, 9.0], [np.inf, np.inf, 0.0], [0.0, 0.0, 0.0]])
    real = np.array([[1, 1, 1], [1, 1, 0], [1, 1, 1], [0, 0, 0]], bool)
    expected = [[0, 0.5, 0.5], [1, 0, 0], [0.5, 0.5, 0], [0, 0, 0]]
    assert greedy(values, real).tolist() == expected


def test_epsilon_greedy_by_hand():
    values = np.array([[1.0, 3.0, 2.0, 9.0]])
    found = epsilon_greedy(values, np.array([[True, True, True, False]]), 0.3)
    np.testing.assert_allclose(found, [[0.1, 0.8, 0.1, 0]])


@pytest.mark.parametrize("deviations", [(1, 1), (0.5, 2), (1e-3, 1), (1, 1e-6), (1e-5, 1e-5), (3, 0)])
@pytest.mark.parametrize("gap", [0, 0.3, 1.5, -4])
def test_of_two_normals_the_first_is_larger_by_the_closed_form(gap, deviations):
    found = best_of_normals(np.array([[gap, 0.0]]), np.array([deviations], float), np.ones((1, 2), bool))
    expected = ndtr(gap / np.hypot(*deviations))
    np.testing.assert_allclose(found, [[expected, 1 - expected]], atol=5e-4)


@given(
    st.lists(st.tuples(st.floats(-2, 2), st.floats(-2.5, 0.5)), min_size=2, max_size=6),
    st.integers(0, 3),
)
@settings(max_examples=40)
def test_of_several_normals_the_best_is_found_by_brute_force(arms, padding):
    """Every distribution on a grid fine enough for the narrowest."""
    means, deviations = (np.array(column) for column in zip(*arms, strict=True))
    deviations = 10**deviations
    places = np.sort(np.concatenate([m + s * np.linspace(-8, 8, 4001) for m, s in zip(means, deviations, strict=True)]))
    own = ndtr((places - means[:, None]) / deviations[:, None])
    expected = []
    for arm in range(len(arms)):
        others = np.delete(own, arm, axis=0).prod(axis=0)
        expected.append((np.diff(own[arm]) * (others[1:] + others[:-1]) / 2).sum())
    wide = [np.pad(each, (0, padding), constant_values=7)[None] for each in (means, deviations)]
    found = best_of_normals(*wide, np.arange(len(arms) + padding)[None] < len(arms))
    np.testing.assert_allclose(found[0, : len(arms)], expected, atol=2e-3)
    assert found[0, len(arms) :].tolist() == [0] * padding
    assert found.sum() == pytest.approx(1)


def test_equal_arms_share_the_chance_also_without_variance():
    for deviation in (1.0, 0.0):
        found = best_of_normals(np.zeros((1, 4)), np.full((1, 4), deviation), np.ones((1, 4), bool))
        np.testing.assert_allclose(found, 0.25, atol=1e-6)
    certain = best_of_normals(np.array([[1.0, 2.0, 0.0]]), np.zeros((1, 3)), REAL)
    np.testing.assert_allclose(certain, [[0, 1, 0]], atol=1e-12)


def test_no_arm_at_all_has_no_chance():
    rows = best_of_normals(np.zeros((2, 3)), np.ones((2, 3)), np.array([[True] * 3, [False] * 3]))
    np.testing.assert_allclose(rows, [[1 / 3] * 3, [0] * 3], atol=1e-6)


def test_a_row_alone_has_the_chances_it_has_in_a_batch():
    rng = np.random.default_rng(3)
    means, deviations, real = rng.normal(size=(20, 6)), rng.random((20, 6)), rng.random((20, 6)) < 0.8
    whole = best_of_normals(means, deviations, real)
    for row in range(20):
        part = slice(row, row + 1)
        np.testing.assert_array_equal(best_of_normals(means[part], deviations[part], real[part]), whole[part])


def test_draws_are_as_frequent_as_their_chances_and_never_what_has_none():
    chances = np.array([0, 0.2, 0, 0.5, 0.3, 0])
    n = 20_000
    places = draw(np.tile(chances, (n, 1)), np.random.default_rng(1).random(n))
    counts = np.bincount(places, minlength=6) / n
    assert (np.abs(counts - chances) <= 4 * np.sqrt(chances * (1 - chances) / n)).all()
    for uniform, place in ((0.0, 1), (0.199, 1), (0.201, 3), (0.699, 3), (0.701, 4), (1 - 2**-53, 4), (1.0, 4)):
        assert draw(chances[None], np.array([uniform])).tolist() == [place]
