"""MMR by hand and against the definition, written out."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kinds import RerankerContract, kinds, order, ranked, shelf

from llmrec.classic.reranking.mmr import MMR, MMRConfig
from llmrec.config import make_config
from llmrec.errors import ConfigError
from llmrec.testing import expect_error


class TestMMR(RerankerContract):
    def make(self):
        return MMR().fit(kinds())


def test_values_by_hand():
    # Scores 1, 0.8, 0.5, 0. Item 0 and 1 share one of their two and one categories, 0 and 3 all.
    data = shelf([["a", "b"], ["a"], ["c"], ["a", "b"]])
    candidates = ranked([0, 1, 2, 3], scores=[[10, 8, 5, 0]])
    # Item 0 first. Then 1: w 0.8 - (1 - w) / sqrt(2), 2: w 0.5. They are equal at w = 0.7022.
    equal = 1 / (1 + 0.3 * sqrt(2))
    assert order(MMR(MMRConfig(relevance=equal - 0.01)).fit(data), candidates) == [[0, 2, 1, 3]]
    assert order(MMR(MMRConfig(relevance=equal + 0.01)).fit(data), candidates) == [[0, 1, 2, 3]]


def test_relevance_of_1_is_the_incoming_order_whatever_the_scores():
    rng = np.random.default_rng(0)
    candidates = ranked(*(rng.permutation(7) for _ in range(20)), scores=rng.normal(size=(20, 7)).tolist())
    assert order(MMR(MMRConfig(relevance=1)).fit(kinds()), candidates) == candidates.items.tolist()


def test_relevance_of_0_puts_what_is_unlike_first():
    # Nothing but likeness counts: after 0 the first that shares nothing, then again.
    data = shelf([["a"], ["a"], ["b"], ["a"], ["c"], []])
    assert order(MMR(MMRConfig(relevance=0)).fit(data), ranked([0, 1, 2, 3, 4, 5])) == [[0, 2, 4, 5, 1, 3]]


def test_only_k_are_chosen():
    data = shelf([["a"], ["a"], ["b"], ["a"], ["c"], []])
    assert order(MMR(MMRConfig(relevance=0, k=2)).fit(data), ranked([0, 1, 2, 3, 4, 5])) == [[0, 2, 1, 3, 4, 5]]


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 0.7, 0.95, 1.0]), st.integers(1, 9))
def test_it_is_the_definition(seed, weight, k):
    rng = np.random.default_rng(seed)
    sets = [{int(each) for each in rng.integers(0, 5, rng.integers(0, 4))} for _ in range(8)]
    items = rng.permutation(8)[: rng.integers(1, 9)]
    scores = np.sort(rng.random(len(items)))[::-1]
    data = shelf([sorted(map(str, each)) for each in sets])
    found = order(MMR(MMRConfig(relevance=weight, k=k)).fit(data), ranked(items, scores=[scores.tolist()]))[0]

    def like(one, two):
        return len(sets[one] & sets[two]) / max(sqrt(len(sets[one]) * len(sets[two])), 1)

    worth = dict(zip(items.tolist(), (scores - scores[-1]) / max(scores[0] - scores[-1], 1e-12), strict=True))
    worth = worth if len(items) > 1 else dict.fromkeys(worth, 1.0)
    chosen, left = [], items.tolist()
    while left and len(chosen) < k:
        values = [
            weight * worth[item] - (1 - weight) * max((like(item, each) for each in chosen), default=0) for item in left
        ]
        chosen.append(left.pop(next(i for i, value in enumerate(values) if value > max(values) - 1e-6)))
    assert found == chosen + left


@pytest.mark.parametrize("wrong", [{"relevance": 1.1}, {"relevance": -0.1}, {"k": 0}])
def test_parameters_out_of_range(wrong):
    expect_error(ConfigError, lambda: make_config(MMRConfig, wrong), next(iter(wrong)))
