"""DPP against determinants computed anew."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kinds import RerankerContract, kinds, nobody, order, ranked, shelf

from llmrec.classic.reranking.choosing import relevance
from llmrec.classic.reranking.dpp import DPP, LEAST, DPPConfig, Volume
from llmrec.config import make_config
from llmrec.data import Candidates
from llmrec.errors import ConfigError
from llmrec.eval.vectors import ItemVectors
from llmrec.testing import expect_error


class TestDPP(RerankerContract):
    def make(self):
        return DPP().fit(kinds())


def of(vectors, **parameters) -> DPP:
    """Return a DPP over given item vectors."""
    model = DPP(DPPConfig(**parameters)).fit(shelf([["a"]] * len(vectors)))
    model.vectors = ItemVectors(vectors.astype(np.float32))
    return model


def kernel(vectors, off_diagonal):
    units = vectors.astype(np.float32).astype(float)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    found = off_diagonal * units @ units.T
    np.fill_diagonal(found, 1)
    return found


@given(
    st.integers(0, 10**6),
    st.integers(1, 9),
    st.integers(1, 12),
    st.sampled_from([0.0, 0.5, 0.9]),
    st.sampled_from([0.5, 0.9, 1]),
)
def test_the_greedy_choice_is_that_of_determinants(seed, n, d, weight, off_diagonal):
    rng = np.random.default_rng(seed)
    vectors, scores = rng.normal(size=(n, d)), np.sort(rng.random((1, n)))[:, ::-1]
    candidates = Candidates(np.arange(n)[None], scores)
    k = min(n, d)  # more vectors than dimensions span no volume
    found = of(vectors, relevance=weight, off_diagonal=off_diagonal, k=k).rank(nobody(1), candidates).items[0]
    matrix, worth, chosen = kernel(vectors, off_diagonal), relevance(candidates)[0], []
    for _ in range(k):
        values = {}
        for item in set(range(n)) - set(chosen):
            some = [*chosen, item]
            values[item] = weight * worth[some].sum() + (1 - weight) * np.linalg.slogdet(matrix[np.ix_(some, some)])[1]
        chosen.append(max(values, key=values.get))
    assert found[:k].tolist() == chosen
    assert found[k:].tolist() == [item for item in range(n) if item not in chosen]


@given(st.integers(0, 10**6), st.integers(2, 8), st.sampled_from([0.6, 1]))
def test_gains_fall_and_add_up_to_the_log_determinant(seed, n, off_diagonal):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(2, n, n + 2))
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    volume, gains, chosen = Volume(vectors, n, off_diagonal), [], []
    for _ in range(n):
        left = volume.gains()
        for each in chosen:
            left[[0, 1], each] = -np.inf
        chosen.append(left.argmax(axis=1))
        gains.append(left.max(axis=1))
        volume.add(chosen[-1])
    assert (np.diff(gains, axis=0) <= 1e-9).all()
    for row in range(2):
        matrix = off_diagonal * vectors[row] @ vectors[row].T
        np.fill_diagonal(matrix, 1)
        for size in range(1, n + 1):
            some = [each[row] for each in chosen[:size]]
            expected = np.linalg.slogdet(matrix[np.ix_(some, some)])[1]
            assert sum(gain[row] for gain in gains[:size]) == pytest.approx(expected, abs=1e-7)


@given(st.integers(0, 10**6))
def test_the_pair_that_it_begins_with_spans_at_least_what_any_pair_with_its_first_does(seed):
    vectors = np.random.default_rng(seed).normal(size=(6, 4))
    first, second = of(vectors, relevance=0, off_diagonal=1).rank(nobody(1), ranked(list(range(6)))).items[0, :2]
    matrix = kernel(vectors, 1)
    best = {pair: np.linalg.det(matrix[np.ix_(pair, pair)]) for pair in combinations(range(6), 2) if first in pair}
    assert set(max(best, key=best.get)) == {first, second}


def test_relevance_of_1_is_the_incoming_order():
    rng = np.random.default_rng(0)
    candidates = ranked(*(rng.permutation(7) for _ in range(20)), scores=rng.normal(size=(20, 7)).tolist())
    assert order(DPP(DPPConfig(relevance=1, off_diagonal=1)).fit(kinds()), candidates) == candidates.items.tolist()


def test_what_adds_no_volume_follows_by_its_scores():
    # Three directions for six items: 0, 2 and 4 span all there is.
    data = shelf([["a"], ["a"], ["b"], ["a"], ["c"], ["b"]])
    model = DPP(DPPConfig(relevance=0.5, off_diagonal=1)).fit(data)
    assert order(model, ranked([0, 1, 2, 3, 4, 5])) == [[0, 2, 4, 1, 3, 5]]


def test_below_1_the_same_kind_again_costs_less_than_the_score_is_worth():
    # Scores 1, 0.9, 0. A second "a" leaves 1 - 0.25 of its volume: 0.5 (0.9 + log 0.75) against 0.5 (0 + log 1).
    data, candidates = shelf([["a"], ["a"], ["b"]]), ranked([0, 1, 2], scores=[[1, 0.9, 0]])
    assert order(DPP(DPPConfig(relevance=0.5, off_diagonal=0.5)).fit(data), candidates) == [[0, 1, 2]]
    assert order(DPP(DPPConfig(relevance=0.5, off_diagonal=1)).fit(data), candidates) == [[0, 2, 1]]


def test_what_nothing_is_known_of_is_like_nothing():
    data = shelf([["a"], ["a"], [], []])
    assert order(DPP(DPPConfig(relevance=0)).fit(data), ranked([0, 1, 2, 3])) == [[0, 2, 3, 1]]


def test_no_volume_is_a_number():
    volume = Volume(np.ones((1, 3, 1)), 3)
    for place in range(3):
        volume.add(np.array([place]))
        assert np.isfinite(volume.gains()).all()
    assert volume.gains().max() == pytest.approx(np.log(LEAST))


def test_parameters_out_of_range():
    expect_error(ConfigError, lambda: make_config(DPPConfig, {"off_diagonal": 1.1}), "off_diagonal = 1.1")
    expect_error(ConfigError, lambda: make_config(DPPConfig, {"relevance": 2}), "relevance = 2")
