import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.errors import DataError
from llmrec.eval import significance
from llmrec.eval.significance import bootstrap_interval, holm, paired_test
from llmrec.testing import expect_error


def ranks(n: int, seed: int) -> np.ndarray:
    """Reciprocal ranks: few distinct values, as metrics have."""
    return 1 / np.random.default_rng(seed).integers(1, 11, n)


def smooth(n: int, seed: int) -> np.ndarray:
    """All values distinct."""
    return np.random.default_rng(seed).random(n)


@pytest.mark.parametrize("values", [ranks(400, 0), smooth(400, 0)], ids=["few values", "all distinct"])
def test_the_interval_is_scipy_s_percentile_bootstrap(values: np.ndarray) -> None:
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", confidence_level=0.9, rng=1
    ).confidence_interval
    ours = bootstrap_interval(values, confidence=0.9, samples=20_000)
    # Two runs of 20,000 samples differ by about a fortieth of the standard error.
    np.testing.assert_allclose(ours, theirs, atol=0.06 * values.std() / 20)


def test_the_interval_of_one_value_is_a_point_and_more_confidence_is_wider() -> None:
    assert bootstrap_interval([0.25] * 7) == (0.25, 0.25)
    narrow, wide = (bootstrap_interval(ranks(50, 0), confidence=confidence) for confidence in (0.5, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_the_same_seed_gives_the_same_interval_and_another_does_not() -> None:
    values = ranks(300, 0)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3) != bootstrap_interval(values)


def permutation(a: np.ndarray, b: np.ndarray, samples: float) -> float:
    def mean(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(x - y, axis=axis)

    return float(
        scipy.stats.permutation_test(
            (a, b), mean, permutation_type="samples", n_resamples=samples, vectorized=True, rng=5
        ).pvalue
    )


@pytest.mark.parametrize("make", [ranks, smooth])
def test_few_differences_are_tested_exactly(make: object) -> None:
    a, b = make(10, 0), make(10, 1)
    by_hand = [
        abs(np.dot(signs, a - b)) >= abs((a - b).sum()) - 1e-9 for signs in itertools.product((1, -1), repeat=10)
    ]
    assert paired_test(a, b).p == np.mean(by_hand) == permutation(a, b, np.inf)


def test_the_smallest_exact_p_is_two_patterns_of_all() -> None:
    assert paired_test(np.ones(12), np.zeros(12)).p == 2 / 2**12


@pytest.mark.parametrize("make", [ranks, smooth])
def test_many_differences_are_sampled_as_scipy_does(make: object) -> None:
    a, b = make(1200, 0), make(1200, 1)
    b = b + (np.mean(a) - np.mean(b)) + 0.01  # a difference near the edge of what 1,200 queries show
    ours, theirs = paired_test(a, b).p, permutation(a, b, 10_000)
    assert 0.02 < theirs < 0.9
    assert ours == pytest.approx(theirs, abs=4 * np.sqrt(2 * theirs * (1 - theirs) / 10_000))


def test_drawing_counts_and_drawing_queries_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = ranks(3000, 0), ranks(3000, 1)
    counts = paired_test(a, b)
    monkeypatch.setattr(significance, "COUNTED", 10**9)
    queries = paired_test(a, b)
    assert counts.p == pytest.approx(queries.p, abs=0.03)
    assert (counts.low, counts.high) == pytest.approx((queries.low, queries.high), abs=1e-3)


def test_the_p_of_a_sampled_test_is_never_zero() -> None:
    assert paired_test(np.ones(100), np.zeros(100), samples=999).p == 1 / 1000
    assert paired_test(1 + smooth(100, 0), np.zeros(100), samples=999).p == 1 / 1000


def test_small_blocks_change_nothing_for_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = ranks(400, 0)
    whole = bootstrap_interval(values)
    monkeypatch.setattr(significance, "BLOCK", 64)
    assert bootstrap_interval(values) == whole


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_swapping_the_sides_turns_the_sign_and_keeps_p(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs).T / 4
    one, two = paired_test(a, b, samples=500), paired_test(b, a, samples=500)
    assert one.difference == pytest.approx(np.mean(a - b))
    assert two.difference == -one.difference
    assert one.p == two.p
    assert 0 < one.p <= 1
    assert one.low <= one.high


def test_equal_sides_give_p_one_also_up_to_rounding() -> None:
    a = smooth(100, 0)
    for b in (a, a + 1e-17, a * (1 + 1e-15)):
        test = paired_test(a, b)
        assert (test.difference, test.low, test.high, test.p) == (0, 0, 0, 1)


def test_false_alarms_are_as_frequent_as_promised() -> None:
    values = [paired_test(ranks(40, 2 * i), ranks(40, 2 * i + 1), samples=500).p for i in range(200)]
    assert 1 <= sum(p < 0.05 for p in values) <= 21  # binomial(200, 0.05): outside less than once in 1,000


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.9 times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.9; steps never go down.
    np.testing.assert_allclose(holm([0.03, 0.01, 0.9, 0.02]), [0.06, 0.04, 0.9, 0.06])
    assert holm([0.4, 0.9]).tolist() == [0.8, 0.9]
    assert holm([0.6, 0.7]).tolist() == [1, 1]
    assert holm([]).tolist() == []


def test_errors() -> None:
    expect_error(DataError, lambda: bootstrap_interval([]), "(0,)", "at least one query")
    expect_error(DataError, lambda: bootstrap_interval([1, np.nan]), "1 of them not finite")
    expect_error(DataError, lambda: bootstrap_interval([[1.0]]), "(1, 1)")
    expect_error(DataError, lambda: paired_test([1], [1, 2]), "1 values against 2")
