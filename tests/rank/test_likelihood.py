"""Ranking by likelihood: the order of the engine's scores, whatever the batch."""

import numpy as np
import pytest

from llmrec.data import Candidates, Queries
from llmrec.errors import ConfigError
from llmrec.llm.fake import FakeEngine
from llmrec.llm.transformers import TransformersConfig, TransformersEngine
from llmrec.protocols import Prompt
from llmrec.rank.batch import rank_head
from llmrec.rank.likelihood import LikelihoodConfig, LikelihoodRanker
from llmrec.testing import TOY_TITLES, RankerContract, expect_error


class TestFakeContract(RankerContract):
    def make(self):
        return LikelihoodRanker(FakeEngine(), TOY_TITLES)


class TestTinyContract(RankerContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tiny_model):
        self.folder = tiny_model

    def make(self):
        engine = TransformersEngine(TransformersConfig(model=str(self.folder), device="cpu"))
        return LikelihoodRanker(engine, TOY_TITLES, LikelihoodConfig(template="likelihood-sentence"))


HISTORIES = [(0, 1), (4, 2, 3)]
QUERIES = Queries.from_histories(HISTORIES)
CANDIDATES = Candidates(np.array([[2, 5, 6, 3], [0, 1, -1, -1]]), np.array([[4.0, 3, 2, 1], [2, 1, np.nan, np.nan]]))


def test_the_order_is_that_of_the_engines_scores():
    ranked = LikelihoodRanker(FakeEngine(), TOY_TITLES).rank(QUERIES, CANDIDATES)
    for row, (history, items) in enumerate(
        zip(["Alien\nBrazil\n", "Heat\nCasablanca\nDune\n"], CANDIDATES.items, strict=True)
    ):
        given = [item for item in items.tolist() if item >= 0]
        scores = {item: FakeEngine().logprobs([Prompt(history)], [[f"{TOY_TITLES[item]}\n"]])[0][0] for item in given}
        order = sorted(given, key=lambda item: -scores[item])
        assert ranked.items[row, : len(given)].tolist() == order
        np.testing.assert_array_equal(ranked.scores[row, : len(given)], [scores[item] for item in order])
    assert np.isnan(ranked.scores[1, 2:]).all()


def test_the_template_and_the_length_of_the_history_are_what_is_asked():
    class Listening(FakeEngine):
        def logprobs(self, prompts, answers):
            self.heard = list(prompts), [list(row) for row in answers]
            return super().logprobs(prompts, answers)

    engine = Listening()
    config = LikelihoodConfig(template="likelihood-sentence", history=2)
    LikelihoodRanker(engine, TOY_TITLES, config).rank(QUERIES, CANDIDATES)
    assert engine.heard == (
        [Prompt("Films like Alien, Brazil,"), Prompt("Films like Casablanca, Dune,")],
        [[" Casablanca", " Fargo", " Gattaca", " Dune"], [" Alien", " Brazil"]],
    )


def test_equal_scores_keep_the_incoming_order():
    class Flat(FakeEngine):
        def logprobs(self, prompts, answers):
            return [np.full(len(row), -1, np.float32) for row in answers]

    ranked = LikelihoodRanker(Flat(), TOY_TITLES).rank(QUERIES, CANDIDATES)
    np.testing.assert_array_equal(ranked.items, CANDIDATES.items)


def test_a_template_that_asks_for_text_is_an_error():
    config = LikelihoodConfig(template="llmrank-recency")
    expect_error(
        ConfigError,
        lambda: LikelihoodRanker(FakeEngine(), TOY_TITLES, config),
        "template 'llmrank-recency'",
        "'continuation'",
        "'likelihood'",
    )


def test_the_head_is_ranked_and_the_tail_follows_in_its_order():
    ranker = LikelihoodRanker(FakeEngine(), TOY_TITLES)
    ranked = rank_head(ranker, QUERIES, CANDIDATES, 2)
    np.testing.assert_array_equal(ranked.items[:, 2:], CANDIDATES.items[:, 2:])
    assert np.isnan(ranked.scores[:, 2:]).all()
    head = ranker.rank(QUERIES, CANDIDATES.top(2))
    np.testing.assert_array_equal(ranked.items[:, :2], head.items)
    np.testing.assert_array_equal(ranked.scores[:, :2], head.scores)
    for top in (4, 9):
        whole = rank_head(ranker, QUERIES, CANDIDATES, top)
        np.testing.assert_array_equal(whole.items, ranker.rank(QUERIES, CANDIDATES).items)
