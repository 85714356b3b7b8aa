"""Titles that give orders: whatever a model does with them, the result is a permutation; their effect is measured."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data import Candidates, Queries
from llmrec.errors import DataError
from llmrec.llm.fake import FakeEngine
from llmrec.prompts.answers import PARSERS
from llmrec.prompts.template import clean_text
from llmrec.protocols import Completion
from llmrec.rank.injection import InjectionEffect, measure_injection
from llmrec.rank.listwise import ListwiseConfig, ListwiseRanker
from llmrec.testing import INJECTIONS, TOY_TITLES, expect_error

QUERIES = Queries.from_histories([(0, 1), (), (3,)])
ITEMS = np.array([[2, 5, 6, 3], [0, 1, -1, -1], [6, 2, 4, -1]])
CANDIDATES = Candidates(ITEMS, np.where(ITEMS < 0, np.nan, [4.0, 3, 2, 1]))


class Gullible(FakeEngine):
    """Repeats what it was told from ``start`` on, orders and all, before the fake's answer."""

    def __init__(self, start):
        super().__init__()
        self.start = start

    def generate(self, prompts, sampling):
        found = super().generate(prompts, sampling)
        return [
            Completion(prompt.user[int(self.start * len(prompt.user)) :] + "\n" + one.text)
            for prompt, one in zip(prompts, found, strict=True)
        ]


@pytest.mark.parametrize("template", ["llmrank-recency", "llmrank-chain-of-thought", "llmrank-identifiers"])
@settings(max_examples=40)
@given(
    texts=st.lists(st.sampled_from(INJECTIONS), min_size=7, max_size=7),
    bare=st.booleans(),
    start=st.floats(0, 1),
)
def test_a_model_that_obeys_still_gives_a_permutation(template, texts, bare, start):
    titles = texts if bare else [f"{title} {text}" for title, text in zip(TOY_TITLES, texts, strict=True)]
    ranker = ListwiseRanker(Gullible(start), titles, ListwiseConfig(template=template))
    ranked = ranker.rank(QUERIES, CANDIDATES)
    np.testing.assert_array_equal(np.sort(ranked.items, axis=1), np.sort(ITEMS, axis=1))


def test_there_are_many_of_them_all_different():
    assert len(INJECTIONS) >= 20
    assert len(set(INJECTIONS)) == len(INJECTIONS)


@pytest.mark.parametrize("text", INJECTIONS)
def test_on_its_line_a_title_stays_one_line_and_is_read_as_itself(text):
    shown = [clean_text(f"{title} {text}") for title in TOY_TITLES]
    assert all(len(title.splitlines()) == 1 and len(title) <= 200 for title in shown)
    answer = "\n".join(f"{rank}. {title}" for rank, title in enumerate(shown[::-1], 1))
    reading = PARSERS["ranking"](answer, shown)
    assert (reading.order, reading.duplicates, reading.invented) == (tuple(range(7))[::-1], 0, 0)


class ByTitle:
    """Ranks by the length of titles, the longest first: a text behind a title moves it to the front."""

    def __init__(self, titles):
        self.lengths = np.array([len(title) for title in titles])

    def rank(self, queries, candidates):
        found = np.where(candidates.items < 0, np.nan, self.lengths[candidates.items])
        return candidates.with_scores(found.astype(np.float32))


def test_places_gained_by_hand():
    titles = ["a" * 5, "b" * 4, "c" * 3, "d" * 2]
    items = np.array([[0, 1, 2, 3]] * 40)
    queries = Queries.from_histories([()] * 40)
    effect = measure_injection(ByTitle, titles, ["!", ""], queries, Candidates(items, np.zeros(items.shape)), seed=1)
    # "title !" is two longer: it passes its neighbour, and ties with the one before, behind which it stands in order.
    # "title " is one longer, as long as its neighbour, behind which it stays.
    assert set(effect.possible.tolist()) == {0, 1, 2, 3}
    np.testing.assert_array_equal(effect.gained[:, 0], np.minimum(effect.possible, 1))
    np.testing.assert_array_equal(effect.gained[:, 1], 0)
    assert effect.mean == pytest.approx(np.minimum(effect.possible, 1).mean() / 2)
    np.testing.assert_allclose(effect.by_text, [np.minimum(effect.possible, 1).mean(), 0])
    low, high = effect.interval()
    assert 0 < low < effect.mean < high < 0.5


def test_an_item_that_falls_back_has_lost_places():
    class Wary(ByTitle):
        def __init__(self, titles):
            super().__init__(titles)
            self.lengths = -self.lengths

    items = np.array([[3, 2, 1, 0], [2, -1, -1, -1]])
    candidates = Candidates(items, np.where(items < 0, np.nan, 1.0))
    queries = Queries.from_histories([(), ()])
    effect = measure_injection(Wary, ["a" * 5, "b" * 4, "c" * 3, "d"], ["x" * 99], queries, candidates, seed=0)
    assert effect.gained.tolist() == [[effect.possible[0] - 3.0], [0.0]]


def test_ranking_asks_of_strategies_by_a_model():
    effect = measure_injection(
        lambda titles: ListwiseRanker(FakeEngine(), titles), TOY_TITLES, INJECTIONS, QUERIES, CANDIDATES
    )
    assert effect.gained.shape == (3, len(INJECTIONS))
    assert np.all(effect.gained <= effect.possible[:, None])
    lengths = (ITEMS >= 0).sum(axis=1)
    assert np.all(effect.gained > effect.possible[:, None] - lengths[:, None])


def test_the_interval_counts_queries_not_texts():
    gained = np.repeat(np.array([[0.0], [2.0]], np.float32), 1000, axis=1)
    assert InjectionEffect(gained, np.array([2, 2])).interval() == (0.0, 2.0)


def test_nothing_to_measure_is_an_error():
    def make(titles):
        return ListwiseRanker(FakeEngine(), titles)

    expect_error(
        DataError, lambda: measure_injection(make, TOY_TITLES, [], QUERIES, CANDIDATES), "3 queries and 0 texts"
    )
    none = slice(0, 0)
    expect_error(
        DataError,
        lambda: measure_injection(make, TOY_TITLES, ["x"], QUERIES.select(none), CANDIDATES.select(none)),
        "0 queries",
    )
