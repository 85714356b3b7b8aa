"""Calibration by hand and against scipy's entropy."""

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kinds import RerankerContract, kinds, order, ranked, shelf
from scipy.stats import entropy

from llmrec.classic.reranking.calibrated import Balance, Calibrated, CalibratedConfig
from llmrec.classic.reranking.choosing import relevance
from llmrec.classic.reranking.likeness import category_arrays, vectors_of
from llmrec.data import Queries
from llmrec.errors import DataError
from llmrec.testing import expect_error


class TestCalibrated(RerankerContract):
    def make(self):
        return Calibrated().fit(kinds())


def test_divergences_by_hand():
    # The history is three quarters a and one quarter b; items: a, b, both, c, none.
    data = shelf([["a"], ["b"], ["a", "b"], ["c"], []])
    categories = vectors_of(category_arrays(data, "categories"), 5)
    balance = Balance(categories, np.array([[4, 0, 2]], np.int32), np.array([[0, 1, 2, 3, 4]], np.int32), 0.1)

    def divergence(a, b):
        return 0.75 * log(0.75 / (0.9 * a + 0.075)) + 0.25 * log(0.25 / (0.9 * b + 0.025))

    expected = [divergence(1, 0), divergence(0, 1), divergence(0.5, 0.5), divergence(0, 0), divergence(0, 0)]
    assert divergence(0, 0) == pytest.approx(log(10))  # an empty list: what is mixed in is all there is
    np.testing.assert_allclose(balance.divergences(), [expected])
    balance.add(np.array([0]))
    expected = [divergence(1, 0), divergence(0.5, 0.5), divergence(0.75, 0.25), divergence(0.5, 0), divergence(1, 0)]
    np.testing.assert_allclose(balance.divergences(), [expected], atol=1e-12)


def test_a_list_takes_the_shares_of_the_history():
    # A user of 70 % romance and 30 % action, as in the paper; the best ten are all romance.
    data = shelf([["romance"]] * 20 + [["action"]] * 20)
    queries = Queries.from_histories([[*range(7), 20, 21, 22]])
    candidates = ranked([*range(7, 20), *range(23, 40)])
    found = order(Calibrated(CalibratedConfig(relevance=0.01, k=10)).fit(data), candidates, queries)[0]
    assert sum(item >= 20 for item in found[:10]) == 3
    assert [item for item in found[:10] if item < 20] == list(range(7, 14))
    assert [item for item in found[:10] if item >= 20] == [23, 24, 25]


def test_relevance_of_1_and_a_history_without_categories_keep_the_incoming_order():
    candidates, queries = ranked([5, 4, 3, 2, 1, 0, 6], [6, 5, 4, 3, 2, 1, 0]), Queries.from_histories([[0, 3], [2]])
    incoming = candidates.items.tolist()
    assert order(Calibrated(CalibratedConfig(relevance=1)).fit(kinds()), candidates, queries) == incoming
    without = Queries.from_histories([[6], []])
    assert order(Calibrated(CalibratedConfig(relevance=0)).fit(kinds()), candidates, without) == incoming


@given(st.integers(0, 10**6), st.sampled_from([0.05, 0.4, 0.9]), st.sampled_from([0.01, 0.3]))
def test_it_is_the_definition(seed, weight, smoothing):
    rng = np.random.default_rng(seed)
    sets = [{int(each) for each in rng.integers(0, 4, rng.integers(0, 4))} for _ in range(12)]
    history = rng.integers(0, 12, rng.integers(0, 6)).tolist()
    items = rng.permutation(12)[: rng.integers(1, 8)]
    scores = np.sort(rng.random((1, len(items))), axis=1)[:, ::-1]
    candidates = ranked(items, scores=scores.tolist())
    config = CalibratedConfig(relevance=weight, smoothing=smoothing)
    model = Calibrated(config).fit(shelf([*(sorted(map(str, each)) for each in sets), ["0"]]))
    found = order(model, candidates, Queries.from_histories([history]))[0]

    def shares(some):
        rows = [[(each in sets[item]) / len(sets[item]) for each in range(4)] for item in some if sets[item]]
        return np.mean(rows, axis=0) if rows else np.zeros(4)

    wanted, chosen, left = shares(history), [], items.tolist()
    worth = dict(zip(left, relevance(candidates)[0], strict=True))

    def value(some):
        mixed = (1 - smoothing) * shares(some) + smoothing * wanted
        # entropy() scales both to 1, which the mixture of nothing and a history is not.
        gap = entropy(wanted, mixed) - log(mixed.sum()) if wanted.any() else 0
        return weight * sum(worth[item] for item in some) - (1 - weight) * gap

    while left:
        values = [value([*chosen, item]) for item in left]
        chosen.append(left.pop(next(i for i, each in enumerate(values) if each > max(values) - 1e-7)))
    assert found == chosen


def test_a_column_that_is_not_there():
    expect_error(DataError, lambda: Calibrated(CalibratedConfig(column="genre")).fit(kinds()), "'genre'", "categories")
