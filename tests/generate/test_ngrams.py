"""What texts share: against sets of Python, one pair at a time, and by hand."""

import re
from itertools import pairwise
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmrec.generate.ngrams import count_words, near_duplicates, ngrams, shared

TEXT = st.lists(st.sampled_from(["a", "B", "b,", "c", "dé"]), max_size=12).map(" ".join)


def words(text):
    return re.findall(r"\w+", text.lower())


def grams(text, n):
    said = words(text)
    return [tuple(said[place : place + n]) for place in range(len(said) - n + 1)]


def whole_set(text, n):
    return set(grams(text, n)) or ({tuple(words(text))} if words(text) else set())


def slow_duplicates(texts, contexts, n, threshold):
    sets = [whole_set(text, n) for text in texts]
    return [
        any(
            mine and other and len(mine & other) >= threshold * len(mine | other) - 1e-9 and contexts[row] != context
            for other, context in zip(sets, contexts, strict=True)
        )
        for row, mine in enumerate(sets)
    ]


@given(st.lists(TEXT, max_size=8), st.integers(1, 4))
def test_ngrams_are_those_of_a_loop(texts, n):
    found = ngrams(texts, n)
    expected = [(row, gram) for row, text in enumerate(texts) for gram in grams(text, n)]
    assert found.owner.tolist() == [row for row, _ in expected]
    names = {}
    for code, (_, gram) in zip(found.code.tolist(), expected, strict=True):
        assert names.setdefault(code, gram) == gram
    assert len(set(names.values())) == len(names)
    assert count_words(texts).tolist() == [len(words(text)) for text in texts]


@pytest.mark.parametrize("block", [1, 64])
@given(
    rows=st.lists(st.tuples(TEXT, st.integers(0, 3)), max_size=14),
    n=st.integers(1, 3),
    threshold=st.sampled_from([0.2, 0.5, 0.8, 1.0]),
)
@example(rows=[("a c d", 0), ("b c d", 1)], n=1, threshold=0.5)  # the rarest word of each is not the other's
def test_near_duplicates_are_those_of_all_pairs(block, rows, n, threshold):
    """Compared one by one too, so that nothing is found for being asked about with others."""
    texts, contexts = [text for text, _ in rows], np.array([context for _, context in rows], np.int64)
    with patch("llmrec.generate.ngrams._BLOCK", block):
        found = near_duplicates(texts, contexts, n=n, threshold=threshold)
    assert found.tolist() == slow_duplicates(texts, contexts.tolist(), n, threshold)


def test_more_texts_than_are_compared_at_once():
    """Three hundred texts of which each differs from the next in one word, and a hundred of their own."""
    rng = np.random.default_rng(0)
    start = [f"w{number}" for number in range(30)]
    texts = []
    for _ in range(300):
        start[rng.integers(30)] = f"v{rng.integers(1000)}"
        texts.append(" ".join(start))
    texts += [" ".join(f"x{rng.integers(10_000)}" for _ in range(20)) for _ in range(100)]
    contexts = np.arange(400) // 3  # the one in the middle is like those of its own context only
    found = near_duplicates(texts, contexts, n=2, threshold=0.85)
    assert found.tolist() == slow_duplicates(texts, contexts.tolist(), 2, 0.85)
    assert 100 < found.sum() < 300


def test_a_collapsed_policy_is_found_at_once():
    said = " ".join(f"word{number}" for number in range(60))
    texts = [f"{said} {number}" for number in range(3000)]
    assert near_duplicates(texts, np.arange(3000), n=5, threshold=0.8).all()


def test_jaccard_by_hand():
    """Bigrams of a b c d: {ab bc cd}; of a b c x: {ab bc cx}: 2 of 4. Of B, C d: {bc cd}: 2 of 3 with the first."""
    texts, contexts = ["a b c d", "a b c x", "B, C d"], np.array([0, 1, 2])
    assert near_duplicates(texts, contexts, n=2, threshold=0.5).tolist() == [True, True, True]
    assert near_duplicates(texts, contexts, n=2, threshold=0.51).tolist() == [True, False, True]
    assert near_duplicates(texts, contexts, n=2, threshold=0.67).tolist() == [False, False, False]
    assert near_duplicates(texts, np.array([0, 1, 0]), n=2, threshold=0.51).tolist() == [False, False, False]


@pytest.mark.parametrize(("texts", "expected"), [([], []), (["", " ."], [False, False]), (["a", "A."], [True, True])])
def test_few_words(texts, expected):
    assert near_duplicates(texts, np.arange(len(texts)), n=5, threshold=0.8).tolist() == expected


def test_shares_by_hand():
    texts = ["a b c d", "a b x b c", "b c", "z", ""]
    sources = ["A b, c.", "x b c"]
    of_context = shared(texts, sources, np.array([0, 0, 1, 0, 0]), n=2)
    np.testing.assert_allclose(of_context, [2 / 3, 2 / 4, 1, np.nan, np.nan])  # ab bc (cd); ab (bx xb) bc
    np.testing.assert_allclose(shared(texts, sources, None, n=2), [2 / 3, 3 / 4, 1, np.nan, np.nan])
    np.testing.assert_allclose(shared(["a b a b"], ["a b"], None, n=2), [1 / 2])  # ab counts once, ba is not there


@given(st.lists(TEXT, min_size=1, max_size=5), st.lists(TEXT, min_size=1, max_size=3), st.integers(1, 3))
def test_shares_are_those_of_sets(texts, sources, n):
    owner = np.arange(len(texts)) % len(sources)
    for found, source_of in ((shared(texts, sources, owner, n=n), owner), (shared(texts, sources, None, n=n), None)):
        for row, text in enumerate(texts):
            mine = set(grams(text, n))
            held = sources if source_of is None else [sources[source_of[row]]]
            there = {gram for source in held for gram in grams(source, n)}
            assert np.isnan(found[row]) if not mine else found[row] == pytest.approx(len(mine & there) / len(mine))


def test_the_oracle_s_own_grams():
    assert grams("a b c", 2) == list(pairwise("abc"))
