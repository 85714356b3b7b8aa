"""Win rates and agreement: by hand, and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from llmrec.errors import DataError
from llmrec.generate.verdicts import Agreement, agreement, win_rate
from llmrec.testing import expect_error

SIDE = st.sampled_from([0.0, 1.0])


def test_a_win_rate_by_hand():
    """Contexts 0: two wins and a loss (2/3), 1: a tie (1/2), 2: a win (1)."""
    found = win_rate([1, 1, 0, 0.5, 1, np.nan], [0, 0, 0, 1, 2, 3])
    assert (found.wins, found.ties, found.losses, found.contexts) == (3, 1, 1, 3)
    assert found.rate == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert found.p == 0.5  # of the signs of 1/3, 0 and 1, two patterns of four are as far out


def test_ten_wins_of_ten():
    found = win_rate([1] * 10, range(10))
    assert (found.rate, found.low, found.high) == (1, 1, 1)
    assert found.p == 2 / 2**10


def test_all_ties_say_nothing():
    found = win_rate([0.5] * 6, range(6))
    assert (found.rate, found.low, found.high, found.p, found.ties) == (0.5, 0.5, 0.5, 1, 6)
    assert win_rate([np.nan], [0]) is None


def test_texts_of_one_context_are_no_independent_evidence():
    together, apart = win_rate([1] * 12, [0] * 12), win_rate([1] * 12, range(12))
    assert (together.p, apart.p) == (1, 2 / 2**12)


@given(st.lists(st.sampled_from([0, 0.5, 1]), min_size=1, max_size=12))
def test_the_other_way_round_the_rate_is_the_rest(scores):
    one, other = win_rate(scores, range(len(scores))), win_rate([1 - score for score in scores], range(len(scores)))
    assert one.rate == pytest.approx(1 - other.rate)
    assert (one.wins, one.ties) == (other.losses, other.ties)
    assert one.p == pytest.approx(other.p)
    assert one.low - 1e-12 <= one.rate <= one.high + 1e-12


@given(st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=30))
def test_kappa_is_scikit_learn_s(rows):
    one, two = zip(*rows, strict=True)
    assume(len(set(one)) > 1 or len(set(two)) > 1)
    found = agreement(one, two)
    assert found.kappa == pytest.approx(cohen_kappa_score(one, two), abs=1e-9)
    assert found.share == pytest.approx(np.mean(np.equal(one, two)))


def test_ties_and_what_is_not_known_are_left_out():
    """Left: (1, 1), (0, 0), (1, 0), (0, 0): 3 of 4; by chance 1/2 x 1/4 + 1/2 x 3/4 = 1/2, so kappa is 1/2."""
    one = [1, 0, 1, 0, 0.5, 1, np.nan, 1]
    two = [1, 0, 0, 0, 1.0, 0.5, 1, np.nan]
    assert agreement(one, two, judge="a", other="b") == Agreement("a", "b", 4, 0.75, 0.5)
    assert agreement([0.5], [1]) == Agreement("judge", "other", 0, None, None)
    assert agreement([1, 1], [1, 1]).kappa is None


def test_scores_without_contexts():
    expect_error(DataError, lambda: win_rate([1, 0], [0]), "shape (2,) with contexts of shape (1,)", "pair them")
