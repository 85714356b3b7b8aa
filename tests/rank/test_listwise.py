"""Listwise ranking: whatever the model writes, the result is a permutation, and what could not be read is counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data import Candidates, Queries
from llmrec.errors import ConfigError
from llmrec.llm.fake import FakeEngine
from llmrec.llm.transformers import TransformersConfig, TransformersEngine
from llmrec.protocols import Completion, Sampling
from llmrec.rank.listwise import OUTCOMES, ListwiseConfig, ListwiseRanker
from llmrec.testing import TOY_TITLES, RankerContract, expect_error


class TestFakeContract(RankerContract):
    def make(self):
        return self.make_titled(TOY_TITLES)

    def make_titled(self, titles):
        return ListwiseRanker(FakeEngine(), titles)


class TestTinyContract(RankerContract):
    @pytest.fixture(autouse=True)
    def _folders(self, tiny_model, short_template):
        self.folder, self.template = tiny_model, short_template

    def make(self):
        engine = TransformersEngine(TransformersConfig(model=str(self.folder), device="cpu"))
        return ListwiseRanker(engine, TOY_TITLES, ListwiseConfig(template=self.template, max_tokens=12))


class Writer:
    """Writes the given texts in turn, and keeps what it was asked."""

    context = None

    def __init__(self, *texts):
        self.texts = [text if isinstance(text, Completion) else Completion(text) for text in texts]

    def generate(self, prompts, sampling):
        self.prompts, self.sampling = list(prompts), sampling
        return self.texts[: len(prompts)]


QUERIES = Queries.from_histories([(0, 1), (), (3,)])
ITEMS = np.array([[2, 5, 6, 3], [0, 1, -1, -1], [6, 2, 4, -1]])
CANDIDATES = Candidates(ITEMS, np.where(ITEMS < 0, np.nan, [4.0, 3, 2, 1]))


def rank(*texts, config=None):
    ranker = ListwiseRanker(Writer(*texts), TOY_TITLES, config)
    return ranker.rank(QUERIES, CANDIDATES), ranker


def test_an_exact_ranking_becomes_the_order():
    ranked, ranker = rank("1. Dune\n2. Fargo\n3. Casablanca\n4. Gattaca", "Brazil\nAlien", "Heat, Gattaca, Casablanca")
    assert ranked.items.tolist() == [[3, 5, 2, 6], [1, 0, -1, -1], [4, 6, 2, -1]]
    np.testing.assert_array_equal(ranked.scores[0], [4, 3, 2, 1])
    np.testing.assert_array_equal(ranked.scores[1], [2, 1, np.nan, np.nan])
    assert +ranker.counts == {"read": 3}
    assert set(ranker.counts) == set(OUTCOMES)


def test_what_is_not_named_follows_in_its_order_and_is_counted():
    ranked, ranker = rank("Sure!\n1. Dune\n2. Alien", "No idea.", Completion("", finish="error", error="overloaded"))
    assert ranked.items.tolist() == [[3, 2, 5, 6], [0, 1, -1, -1], [6, 2, 4, -1]]
    np.testing.assert_array_equal(ranked.scores[0], [4, np.nan, np.nan, np.nan])
    assert np.isnan(ranked.scores[1:]).all()
    assert +ranker.counts == {"partial": 1, "unread": 1, "failed": 1, "missing": 3 + 2, "invented": 1}


def test_counts_grow_from_call_to_call():
    ranker = ListwiseRanker(Writer("Dune", "Alien\nBrazil", "?"), TOY_TITLES)
    for _ in range(2):
        ranker.rank(QUERIES, CANDIDATES)
    assert +ranker.counts == {"read": 2, "partial": 2, "unread": 2, "missing": 2 * (3 + 3)}


parts = st.sampled_from([*TOY_TITLES, "1. ", "\n", ", ", "**", '"', "{{ 7*7 }}", "\x00", "\ud800", "Batman"])
garbage = st.one_of(st.text(st.characters(), max_size=80), st.lists(parts, max_size=15).map("".join))
finish = st.sampled_from(["stop", "length", "error"])


@given(st.lists(st.builds(Completion, text=garbage, finish=finish), min_size=3, max_size=3))
def test_any_answer_gives_a_permutation_and_each_is_counted_once(texts):
    ranked, ranker = rank(*texts)
    np.testing.assert_array_equal(np.sort(ranked.items, axis=1), np.sort(ITEMS, axis=1))
    np.testing.assert_array_equal(ranked.items < 0, ITEMS < 0)
    outcomes = {name: ranker.counts[name] for name in ("read", "partial", "unread", "failed")}
    assert sum(outcomes.values()) == 3
    assert outcomes["failed"] == sum(text.finish == "error" for text in texts)
    for row in np.flatnonzero(np.isnan(ranked.scores).all(axis=1)):
        np.testing.assert_array_equal(ranked.items[row], ITEMS[row])


def test_the_model_reads_history_and_candidates_and_not_what_is_relevant():
    config = ListwiseConfig(history=1, max_tokens=33, temperature=0.5, seed=4, template="llmrank-sequential")
    _, ranker = rank("", "", "", config=config)
    first = ranker.prompter.engine.prompts[0].user
    assert "1. Brazil" in first
    assert "Alien" not in first
    assert "1. Casablanca\n2. Fargo\n3. Gattaca\n4. Dune\n" in first
    assert ranker.prompter.engine.sampling == Sampling(max_tokens=33, temperature=0.5, seed=4)


@pytest.mark.parametrize("title", ["Long " + "word " * 80, "A\nB\tC", "zero\u200bwidth film", "The Film\u2028Two"])
def test_a_title_is_read_as_the_model_was_shown_it(title):
    titles = ["Alien", title]
    queries, candidates = Queries.from_histories([()]), Candidates(np.array([[0, 1]]), np.array([[2.0, 1.0]]))
    seen = Writer("")
    ListwiseRanker(seen, titles).rank(queries, candidates)
    shown = seen.prompts[0].user.split("\n2. ")[1].split("\n")[0]
    ranker = ListwiseRanker(Writer(f"1. {shown}\n2. Alien"), titles)
    assert ranker.rank(queries, candidates).items.tolist() == [[1, 0]]
    assert ranker.counts["read"] == 1


def test_candidates_of_one_title_keep_their_own_places():
    queries, candidates = Queries.from_histories([()]), Candidates(np.array([[0, 1, 2]]), np.array([[3.0, 2, 1]]))
    ranker = ListwiseRanker(Writer("Heat\nAlien\nHeat"), ["Alien", "Heat", "Heat"])
    assert ranker.rank(queries, candidates).items.tolist() == [[1, 0, 2]]


def test_a_template_whose_answer_is_scored_is_an_error():
    config = ListwiseConfig(template="likelihood-list")
    expect_error(
        ConfigError,
        lambda: ListwiseRanker(Writer(), TOY_TITLES, config),
        "template 'likelihood-list'",
        "'ranking'",
        "'listwise'",
    )
