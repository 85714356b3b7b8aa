"""Judging two files: judges whose opinion is known, ties, bias, rewards, what cannot be compared."""

import json

import numpy as np
import polars as pl
import pytest
from generated import Opinionated, shown, texts

from llmrec.errors import ConfigError, DataError
from llmrec.generate.contexts import OVERHEAD
from llmrec.generate.judge import JudgeRecipe, judge_batch
from llmrec.generate.judging import PairJudge
from llmrec.generate.verdicts import Agreement
from llmrec.llm import make
from llmrec.llm.fake import FakeConfig, FakeEngine
from llmrec.llm.transformers import TransformersConfig, TransformersEngine
from llmrec.prompts.votes import Votes
from llmrec.protocols import Prompt
from llmrec.testing import expect_error

A = [("p0", "good\n x"), ("p1", "good"), ("p2", "bad"), ("p3", "same "), ("p4", "odd")]
B = [("p3", " same"), ("p0", "bad"), ("p1", "worse"), ("p2", "good"), ("p4", "bad")]


@pytest.fixture
def recipe(tmp_path):
    """A recipe of the two files that are given as rows."""

    def made(a=A, b=B, **fields):
        for name, rows in (("a", a), ("b", b)):
            frame = rows if isinstance(rows, pl.DataFrame) else texts(rows)
            frame.write_parquet(tmp_path / f"{name}.parquet")
        files = {"first": tmp_path / "a.parquet", "second": tmp_path / "b.parquet", "out": tmp_path / "out.parquet"}
        return JudgeRecipe(**{**files, "cache": tmp_path / "answers.sqlite", "engine": "fake", **fields})

    return made


@pytest.fixture
def judged(monkeypatch, recipe):
    """Judge by an engine whose log-odds of what stands first are given."""

    def run(odds, *files, context=None, engine=Opinionated, rewards=None, **fields):
        asked = engine(odds, FakeConfig(context=context))
        monkeypatch.setattr(make, "make_engine", lambda _: asked)
        return judge_batch(recipe(*files, **fields), rewards=rewards), asked

    return run


def knows(one, two):
    """Likes what is good, by 2 nats, and cannot tell what is odd."""
    return 2.0 * (one.startswith("good") - two.startswith("good"))


def test_a_judge_that_knows(judged, tmp_path):
    run, engine = judged(knows)
    assert run.names == ("a", "b")
    assert run.verdicts.select("prompt", "odds_first", "odds_second", "score").rows() == [
        ("p0", 2, 2, 1),
        ("p1", 2, 2, 1),
        ("p2", -2, -2, 0),
        ("p3", None, None, 0.5),
        ("p4", 0, 0, 0.5),
    ]
    rate = run.rates[0]
    assert (rate.judge, rate.wins, rate.ties, rate.losses, rate.rate) == ("judge", 2, 2, 1, 0.6)
    assert (run.first_place, run.swayed) == (0.5, 0)
    assert len(engine.asked) == 8  # both orders of four pairs; equal texts are not asked about
    assert run.counts == {"pairs": 5, "equal": 1}
    assert pl.read_parquet(tmp_path / "out.parquet").equals(run.verdicts)
    record = json.loads((tmp_path / "out.run.json").read_text())
    assert (record["rates"][0]["rate"], record["engine"]) == (0.6, "fake/fake")


def test_a_judge_that_prefers_what_stands_first_has_said_nothing(judged, tmp_path):
    run, _ = judged(lambda *_: 3.0)
    assert run.verdicts["score"].to_list() == [0.5] * 5
    assert (run.rates[0].ties, run.rates[0].rate, run.rates[0].p) == (5, 0.5, 1)
    assert (run.first_place, run.swayed) == (1, 1)
    run, _ = judged(lambda *_: -3.0, cache=tmp_path / "other.sqlite")
    assert run.verdicts["score"].to_list() == [0.5] * 5
    assert (run.first_place, run.swayed) == (0, 1)


def test_bias_by_hand():
    """First files' odds by order: a win, a tie by place, an even answer, one that failed."""
    votes = Votes(np.array([1.0, 2, 0, np.nan]), np.array([2.0, -1, 3, 1]))
    assert votes.scores()[:3].tolist() == [1, 0.5, 0.5]
    assert np.isnan(votes.scores()[3])
    assert votes.first_place() == (1 + 1 + 0.5 + 0 + 1 + 0 + 0) / 7
    assert votes.swayed() == 1 / 3
    assert Votes(np.array([np.nan]), np.array([np.nan])).swayed() is None
    assert Votes(np.array([np.nan]), np.array([np.nan])).first_place() is None


def test_what_the_judge_reads(judged):
    _, engine = judged(
        knows, [("Write.\nAnn <|im_end|> nurses", "one\n\n two\x00")], [("Write.\nAnn <|im_end|> nurses", "x")]
    )
    first, answers = engine.asked[0]
    assert isinstance(first, Prompt)
    assert "Request:\nWrite.\nAnn < |im_end|> nurses\n\nText A:\none\ntwo\n\nText B:\nx\n\n" in first.user
    assert first.user.endswith("\nThe text that fits the request better, A or B:")
    assert answers == [" A", " B"]
    assert [shown(prompt) for prompt, _ in engine.asked] == [("one\ntwo", "x"), ("x", "one\ntwo")]


def test_several_texts_of_a_context_count_together(judged):
    a = [("p", "good"), ("p", "good"), ("q", "bad")]
    b = [("p", "bad"), ("p", "worse"), ("q", "good")]
    run, _ = judged(knows, a, b)
    assert run.verdicts["sample"].to_list() == [0, 1, 0]
    assert (run.rates[0].wins, run.rates[0].contexts, run.rates[0].rate) == (2, 2, 0.5)


def test_empty_texts_are_judged_and_counted_and_missing_ones_are_not(judged):
    a = [("p", ""), ("q", "good"), ("r", ""), ("s", "", "error"), ("t", "", "error")]
    b = [("p", "good"), ("q", "", "error"), ("r", " \n"), ("s", "good"), ("t", "", "error")]
    run, _ = judged(knows, a, b)
    assert run.verdicts["score"].to_list() == [0, None, 0.5, None, None]
    assert run.counts == {"pairs": 5, "equal": 1, "without_text": 3, "empty": 3}
    assert run.rates[0].contexts == 2


def test_a_prompt_that_got_no_score_is_a_failure(judged):
    run, _ = judged(lambda one, two: np.nan if "odd" in {one, two} else knows(one, two))
    assert run.counts["failed"] == 1
    assert run.verdicts["score"].to_list() == [1, 1, 0, 0.5, None]
    assert run.first_error == "a score that is no number"
    nothing, _ = judged(lambda *_: np.nan, [("p", "a")], [("p", "b")])
    assert nothing.rates == ()


def likes_short(prompts, completions, **columns):
    assert not columns
    return [float(-len(text)) for text in completions]


def test_rewards_judge_the_same_pairs(judged):
    """Shorter: p0 b (by 4), p1 a (by 1), p2 a (by 1), p3 neither; p4 neither. The judge: a, a, b."""
    run, _ = judged(knows, rewards={"short": likes_short})
    assert run.verdicts["reward short"].to_list() == [-4, 1, 1, 0, 0]
    judge, short = run.rates
    assert (judge.judge, short.judge) == ("judge", "short")
    assert (short.wins, short.ties, short.losses) == (2, 2, 1)
    expected = (1 / 3 - (2 / 3 * 2 / 3 + 1 / 3 * 1 / 3)) / (1 - (2 / 3 * 2 / 3 + 1 / 3 * 1 / 3))
    assert run.agreements == (Agreement("judge", "short", 3, 1 / 3, pytest.approx(expected)),)


@pytest.mark.parametrize("said", [[1.0], [float("nan")] * 5, [None] * 5, None, "x", [[1.0]] * 5, {}])
def test_rewards_that_are_no_numbers(judged, said):
    words = ("reward 'mine' returned", "for 5 texts", "one finite number for each")
    expect_error(DataError, lambda: judged(knows, rewards={"mine": lambda *_: said}), *words)


def test_a_request_loses_its_last_words_and_a_text_none(judged):
    long, short = "one two three four five six", "one"
    a, b = [(long, "good"), (short, "good"), ("p", "w " * 40)], [(long, "bad"), (short, "bad"), ("p", "bad")]
    whole = FakeEngine().count_tokens([PairJudge(FakeEngine(), "judge-pairwise")._prompt(long, ["good", "bad"]).user])[
        0
    ]
    run, engine = judged(knows, a, b, context=whole + OVERHEAD)  # the answer takes a token: one word too many
    assert run.counts == {"pairs": 3, "shortened": 1, "too_long": 1}
    assert run.verdicts["score"].to_list() == [1, 1, None]
    assert {prompt.user.split("Request:\n")[1].split("\n")[0] for prompt, _ in engine.asked} == {
        "one two three four five",
        "one",
    }
    assert judged(knows, a, b, context=whole + OVERHEAD + 1)[0].counts["shortened"] == 0


def test_a_real_model_is_read_off_one_position(recipe, tiny_model):
    engine = {"name": "transformers", "model": str(tiny_model), "device": "cpu"}
    a, b = [("p", "aa"), ("q", "bb")], [("p", "cc"), ("q", "dd")]
    made = recipe(a, b, engine=engine)
    expect_error(ConfigError, lambda: judge_batch(made), "answer ' A'", "is 2 tokens")
    run = judge_batch(recipe(a, b, engine=engine, chat=True))
    alone = TransformersEngine(TransformersConfig(model=str(tiny_model), device="cpu"))
    judge = PairJudge(alone, "judge-pairwise", chat=True)
    for row, (request, one, two) in enumerate([("p", "aa", "cc"), ("q", "bb", "dd")]):
        first, second = alone.logprobs(
            [judge._prompt(request, [one, two]), judge._prompt(request, [two, one])], [["A", "B"]] * 2
        )
        found = run.verdicts.row(row, named=True)
        assert found["odds_first"] == pytest.approx(first[0] - first[1], abs=1e-4)
        assert found["odds_second"] == pytest.approx(second[1] - second[0], abs=1e-4)


def test_a_second_call_asks_nothing_and_a_dry_run_writes_nothing(judged, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(make, "make_engine", lambda _: Opinionated(knows))
    foreseen = judge_batch(recipe(), dry_run=True, rewards={"short": None})
    assert foreseen.usage.cache_misses == 16
    assert not (tmp_path / "out.parquet").exists()
    judged(knows)
    run, engine = judged(knows)
    assert (engine.asked, run.usage.cache_hits) == ([], 16)
    assert run.rates[0].rate == 0.6


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (A, B[1:], ["1 texts in", "a.parquet' have no counterpart in", "text 0 for 'p3'", "the same contexts"]),
        (A, [*B, ("p9", "x")], ["b.parquet' have no counterpart", "'p9'"]),
        ([*A, ("p0", "z")], B, ["a.parquet' have no counterpart", "text 1 for 'p0'"]),
        (
            texts(A, sample=pl.lit(0)).head(2).vstack(texts(A, sample=pl.lit(0)).head(1)),
            B,
            ["two texts with the number"],
        ),
        (texts(A).drop("text", "sample"), B, ["no column 'sample', 'text'"]),
        (texts(A, text=pl.lit(3)), B, ["'text' of Int32"]),
        (texts(A, text=pl.lit(None, pl.String)), B, ["'text' of String, 5 of them null", "llmrec generate"]),
        (texts(A, sample=pl.lit("x")), B, ["'sample' of String"]),
        ([], [], ["a.parquet' has no texts"]),
    ],
)
def test_files_that_cannot_be_compared(recipe, a, b, words, tmp_path):
    expect_error(DataError, lambda: judge_batch(recipe(a, b)), *words)
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize("name", ["describe-item", "pointwise-yes-no", "llmrank-identifiers"])
def test_templates_that_ask_something_else(recipe, name):
    expect_error(ConfigError, lambda: judge_batch(recipe(template=name)), f"template {name!r}", "judge-pairwise")
