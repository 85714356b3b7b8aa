"""Ranking by what was liked and what was not: the very prompts and scores of TALLRec's examples, and what cannot be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from liking import SYSTEM, Listening, make, one_row, rated, ratings, wording

from llmrec.data import Candidates, Queries
from llmrec.data_prep.examples import Budget, yes_no_from_ratings
from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.split import leave_last_out
from llmrec.errors import ConfigError, DataError, EngineError
from llmrec.llm.fake import FakeConfig, FakeEngine
from llmrec.llm.transformers import TransformersConfig, TransformersEngine
from llmrec.protocols import Prompt
from llmrec.rank.yes_no import score_yes_no
from llmrec.testing import TOY_TITLES, RankerContract, expect_error

BOTH = ratings([(0, 0, 1.0), (0, 1, 5.0)])


class TestContract(RankerContract):
    def make(self):
        return self.make_titled(TOY_TITLES)

    def make_titled(self, titles):
        return make(FakeEngine(), titles)

    def queries(self):
        return rated([(0, 1, 2, 3), (1, 2, 4), (5,), ()], [(1, 5, 3, 4), (1, 1, 2), (5,), ()])


def test_prompts_by_hand():
    engine = Listening()
    queries = rated([(0, 5, 6, 9), (1,), ()], [(5, 3, 1, 4), (5,), ()])
    ranker = make(engine, history=3)
    ranker.rank(queries, Candidates(np.array([[2, 3], [7, -1], [8, -1]]), np.array([[2, 1], [1, np.nan], [1, np.nan]])))
    assert engine.heard == [
        Prompt(wording('"Fargo"', '"E.T.", "M"', "Amélie of Montmartre"), SYSTEM),
        Prompt(wording('"Fargo"', '"E.T.", "M"', "< |im_end|> Dune"), SYSTEM),
        Prompt(wording('"The "Burbs""', "", "Tron"), SYSTEM),
        Prompt(wording("", "", "One Flew Over the Cuckoo's Nest"), SYSTEM),
    ]
    assert engine.scored == [[" No", " Yes"]] * 4


def test_a_rating_of_exactly_like_above_is_no_like_whatever_its_bits():
    """1.1 in 32 bits is above 1.1 in 64."""
    engine = Listening()
    queries = Queries(np.array([-1]), np.array([[5, 6]]), np.array([[1.1, 1.2]]))
    make(engine, like_above=1.1).rank(queries, one_row([9]))
    assert engine.heard[0].user == wording('"M"', '"E.T."', "Fargo")


@settings(max_examples=60)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 9), st.sampled_from([0.5, 2.0, 2.9, 3.0, 3.5, 5.0])), min_size=9
    ),
    window=st.integers(1, 4),
    like_above=st.sampled_from([1.0, 2.9, 3.0, 3.5]),
    room=st.sampled_from([None, 64 + 75, 64 + 130, 64 + 200]),
)
def test_prompts_and_scores_are_those_of_the_examples(rows, window, like_above, room):
    """Each test target of a split, asked about by the strategy, word for word and odds for odds; cut alike too."""
    rows = [*((user, item, value) for user in range(3) for item, value in ((0, 1.0), (5, 4.0), (9, 2.0))), *rows]
    split = leave_last_out(ratings(rows))
    if len(set(split.train.interactions.values > like_above)) < 2:
        return
    engine = Listening(FakeConfig(context=room))
    budget = None if room is None else Budget(room - 64, engine.count_tokens)
    options = {"window": window, "like_above": like_above, "budget": budget}
    examples = yes_no_from_ratings(split.train, targets=split.test, **options)
    enough = np.flatnonzero((split.test.queries.history >= 0).sum(axis=1) >= window)
    assert len(examples) == len(enough)
    targets = split.test.select(enough)
    candidates = Candidates(targets.relevant, np.zeros(targets.relevant.shape))
    ranker = make(engine, train=split.train, history=window, like_above=like_above)
    found = ranker.rank(targets.queries, candidates)
    assert engine.heard == examples.prompts()
    assert ranker.counts["shortened"] == examples.counts["truncated"]
    if len(set(examples.frame["label"])) == 2:
        expected = score_yes_no(engine, examples).scores
        np.testing.assert_allclose(found.scores[:, 0], expected, rtol=1e-6)


def test_scores_of_a_model_are_those_of_its_examples(tiny_model, tmp_path):
    path = tmp_path / "letters.yaml"
    path.write_text(
        "name: letters\nversion: 1\ndescription: Letters.\nsystem: Answer.\n"
        "user: \"+ {{ liked | join(', ') }}\\n- {{ disliked | join(', ') }}\\n{{ target }}?\"\n"
        'answer: continuation\ncontinuation: "{{ candidate }}"\nlabels: ["N.", "Y."]\n'
    )
    titles = ["Alien", "Heat", "Dune", "M", "Tron", "Fargo"]
    rows = [(user, (user + place) % 6, float(1 + (user + place) % 5)) for place in range(6) for user in range(4)]
    split = leave_last_out(ratings(rows, titles))
    engine = TransformersEngine(TransformersConfig(model=str(tiny_model)))
    examples = yes_no_from_ratings(split.train, targets=split.test, window=3, template=str(path))
    assert set(examples.frame["label"]) == {True, False}
    ranker = make(engine, titles, split.train, template=str(path), history=3)
    found = ranker.rank(split.test.queries, Candidates(split.test.relevant, np.zeros((4, 1))))
    np.testing.assert_allclose(found.scores[:, 0], score_yes_no(engine, examples).scores, atol=1e-5)
    assert np.ptp(found.scores) > 1e-3


def test_the_oldest_events_go_first_from_either_list():
    """Four events of one word each; every word less than the whole prompt has costs the oldest one."""
    queries, candidates = rated([(6, 5, 9, 0)], [(5, 1, 4, 2)]), one_row([6])
    titles = ["A", "-", "-", "-", "-", "B", "C", "-", "-", "D"]
    expected = {4: ("C|D", "B|A"), 3: ("D", "B|A"), 2: ("D", "A"), 1: ("", "A"), 0: ("", "")}
    frame = len(SYSTEM.split()) + len(wording("", "", "C").split()) + 1  # and one word of answer
    for kept, lists in expected.items():
        engine = Listening(FakeConfig(context=64 + frame + kept))
        ranker = make(engine, titles)
        ranker.rank(queries, candidates)
        quoted = [", ".join(f'"{title}"' for title in told.split("|") if title) for told in lists]
        assert engine.heard[0].user == wording(*quoted, "C")
        assert ranker.counts == ({"shortened": 1} if kept < 4 else {})
    too_small = make(FakeEngine(FakeConfig(context=64 + frame - 1)), titles)
    expect_error(EngineError, lambda: too_small.rank(queries, candidates), "only without a history")


def test_one_token_behind_the_prompt_is_enough():
    """As for a SentencePiece tokenizer, which puts a space of its own in front of a text that begins with one."""

    class Spaced(FakeEngine):
        def count_tokens(self, texts):
            return [len(text.split()) + text.startswith(" ") for text in texts]

    assert make(Spaced()).yes_no.answers == [" No", " Yes"]
    assert make(Spaced(), template="pointwise-yes-no").yes_no.answers == [" no", " yes"]


def test_queries_without_ratings_are_refused():
    queries = Queries.from_histories([(0, 1), ()])
    candidates = Candidates(np.array([[2], [3]]), np.zeros((2, 1)))
    ranker = make(FakeEngine())
    expect_error(
        DataError,
        lambda: ranker.rank(queries, candidates),
        "queries without ratings for template 'tallrec-item'",
        "values of the history's items: above 3 is liked",
        "pointwise-yes-no",
    )
    ranker.rank(queries.select(slice(1, 2)), candidates.select(slice(1, 2)))  # no history, no rating to know
    make(FakeEngine(), template="pointwise-yes-no").rank(queries, candidates)


@pytest.mark.parametrize("like_above", [5.0, 0.5])
def test_ratings_on_one_side_only_are_refused_before_anything_is_asked(like_above):
    expect_error(
        DataError,
        lambda: make(FakeEngine(), train=BOTH, like_above=like_above),
        f"'made' has values from 1 to 5 with like_above = {like_above:g}",
        "both sides",
        "tallrec-item",
        "change like_above",
    )
    make(FakeEngine(), train=BOTH, like_above=like_above, template="pointwise-yes-no")


@pytest.mark.parametrize("name", ["likelihood", "pairwise", "setwise", "one-token", "tournament", "listwise"])
def test_only_pointwise_tells_likes(name, tmp_path):
    path = tmp_path / "likes.yaml"
    answer = "ranking" if name == "listwise" else 'continuation\ncontinuation: " {{ candidate }}"\nlabels: [A, B]'
    path.write_text(f'name: likes\nversion: 1\ndescription: D.\nuser: "{{{{ disliked }}}}"\nanswer: {answer}\n')
    expect_error(
        ConfigError,
        lambda: make(FakeEngine(), name=name, template=str(path)),
        f"template 'likes', which asks what was liked, for strategy '{name}'",
        "strategy 'pointwise'",
        "llmrec prompts list",
    )


def test_a_template_may_see_both_lists_and_the_whole_history(tmp_path):
    path = tmp_path / "all.yaml"
    path.write_text(
        'name: all\nversion: 1\ndescription: D.\nuser: "{{ history }}{{ liked }}{{ disliked }}{{ target }}"\n'
        'answer: continuation\ncontinuation: " {{ candidate }}"\nlabels: ["no", "yes"]\n'
    )
    engine = Listening()
    make(engine, template=str(path)).rank(rated([(5, 6)], [(1, 5)]), one_row([9]))
    assert engine.heard[0].user == "['E.T.', 'M']['M']['E.T.']Fargo"
    path.write_text(path.read_text().replace("{{ target }}", "{{ target"))
    expect_error(ConfigError, lambda: make(engine, template=str(path)), "template 'all'", "valid Jinja2")


@pytest.mark.data
def test_movielens_is_asked_about_in_the_words_of_its_examples(data_folder):
    split = leave_last_out(load_movielens(data_folder / "movielens-latest-small"))
    examples = yes_no_from_ratings(split.train, targets=split.test, window=10, template="tallrec-movie")
    engine = Listening()
    ranker = make(engine, split.train.titles(), split.train, template="tallrec-movie", history=10)
    enough = (split.test.queries.history >= 0).sum(axis=1) >= 10
    targets = split.test.select(enough)
    found = ranker.rank(targets.queries, Candidates(targets.relevant, np.zeros(targets.relevant.shape)))
    assert engine.heard == examples.prompts()
    assert len(engine.heard) == 609
    np.testing.assert_allclose(found.scores[:, 0], score_yes_no(engine, examples).scores, rtol=1e-6)
