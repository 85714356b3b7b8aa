"""What the engine fails is counted, keeps its place and is asked again; a full disk loses nothing."""

import json
import resource
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from killing import n_stored
from polars.testing import assert_frame_equal

from llmrec.config import Part
from llmrec.data import Candidates, Queries
from llmrec.llm.fake import FakeEngine
from llmrec.protocols import Completion
from llmrec.rank.batch import RankRecipe, rank_batch
from llmrec.rank.make import make_ranker
from llmrec.registry import ENGINES, Row

TITLES = [f"Film {chr(65 + number)}" for number in range(12)]
STRATEGIES = {
    "likelihood": {},
    "likelihood, mean": {"score": "mean"},
    "likelihood, calibrated": {"score": "calibrated"},
    "pointwise": {},
    "pairwise, all": {"method": "all"},
    "pairwise, heap": {"method": "heap"},
    "pairwise, sliding": {"method": "sliding"},
    "setwise": {},
    "one-token": {},
    "tournament": {"size": 3},
    "window": {"size": 4, "step": 2},
    "bootstrap": {},
    "listwise": {},
}


class Flaky(FakeEngine):
    """Fails prompts that hold one of ``bad``: no score, or a text that is an error."""

    bad: tuple[str, ...] = ()

    def fails(self, prompt):
        return any(text in prompt.user for text in self.bad)

    def logprobs(self, prompts, answers):
        rows = super().logprobs(prompts, answers)
        return [np.full_like(row, np.nan) if self.fails(one) else row for one, row in zip(prompts, rows, strict=True)]

    def generate(self, prompts, sampling):
        texts = super().generate(prompts, sampling)
        error = Completion("", finish="error", error="overloaded [503]")
        return [error if self.fails(one) else text for one, text in zip(prompts, texts, strict=True)]


def make(name, engine):
    return make_ranker(Part(name=name.split(",")[0], **STRATEGIES[name]), engine, TITLES)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_query_that_the_engine_fails_keeps_its_order_and_the_others_theirs(name):
    queries = Queries.from_histories([(0, 1), (2,), (3,)])
    items = np.array([[5, 6, 7, 8, 9, 10, 4], [11, 10, 9, 8, 7, 6, 5], [6, 4, 5, -1, -1, -1, -1]])
    candidates = Candidates(items, np.where(items < 0, np.nan, 0))
    engine = Flaky()
    engine.bad = ("Film A\nFilm B", "1. Film A\n2. Film B")
    whole, ranker = make(name, FakeEngine()).rank(queries, candidates), make(name, engine)
    ranked = ranker.rank(queries, candidates)
    assert ranked.items[0].tolist() == items[0].tolist()
    assert whole.items[0].tolist() != items[0].tolist()
    if name != "window":  # its scores are places
        assert np.isnan(ranked.scores[0]).all()
    np.testing.assert_array_equal(ranked.items[1:], whole.items[1:])
    np.testing.assert_array_equal(ranked.scores[1:], whole.scores[1:])
    assert ranker.counts["failed"] >= 1


@pytest.mark.parametrize("name", ["pairwise, all", "pairwise, heap", "pairwise, sliding", "setwise", "tournament"])
def test_a_sort_with_one_question_unanswered_is_no_sort(name):
    class Once(Flaky):
        """Fails one prompt only."""

        failed = 0

        def fails(self, prompt):
            self.failed += 1
            return self.failed == 2

    queries = Queries.from_histories([(0, 1)])
    candidates = Candidates(np.array([[5, 6, 7, 8, 9, 10, 4]]), np.zeros((1, 7)))
    ranker = make(name, Once())
    ranked = ranker.rank(queries, candidates)
    assert ranked.items.tolist() == candidates.items.tolist()
    assert np.isnan(ranked.scores).all()
    assert ranker.counts["failed"] == 1


def test_a_candidate_without_a_score_goes_behind_those_with_one():
    engine = Flaky()
    engine.bad = ('"Film F"',)
    queries, candidates = Queries.from_histories([(0, 1)]), Candidates(np.array([[5, 6, 7]]), np.zeros((1, 3)))
    ranked = make("pointwise", engine).rank(queries, candidates)
    assert ranked.items[0, -1] == 5
    assert np.isnan(ranked.scores[0]).tolist() == [False, False, True]


@pytest.fixture
def recipe(prepared, tmp_path, monkeypatch):
    """A function that returns a recipe for the flaky engine."""
    monkeypatch.setitem(ENGINES.rows, "flaky", Row(f"{__name__}:Flaky", "fails now and then"))
    files = {"candidates": prepared / "candidates.parquet", "dataset": prepared / "films"}
    places = {"out": tmp_path / "out" / "ranked.parquet", "cache": tmp_path / "answers.sqlite"}
    return lambda **values: RankRecipe(**{**files, **places, "engine": "flaky", "block": 7, **values})


@pytest.mark.parametrize(
    ("strategy", "prompts", "answers", "error"),
    [("listwise", 1, 1, "overloaded [503]"), ("likelihood", 1, 6, "no number"), ("pointwise", 6, 12, "no number")],
)
def test_a_failed_row_is_recorded_and_asked_again(
    recipe, monkeypatch, films, targets, strategy, prompts, answers, error
):
    history = [films.titles()[item] for item in targets.queries.lists()[10]]
    numbered = [f"{place}. {title}" for place, title in enumerate(history, 1)]
    monkeypatch.setattr(Flaky, "bad", ("\n".join(history), "\n".join(numbered)))
    first = rank_batch(recipe(strategy=strategy))
    record = json.loads(recipe().out.with_suffix(".run.json").read_text())
    assert first.counts["failed"] == record["counts"]["failed"] == prompts
    assert error in record["first_error"]
    rows = pl.read_parquet(recipe().out).filter(pl.col("query") == 10)
    assert (
        rows["item"].to_list() == pl.read_parquet(recipe().candidates).filter(pl.col("query") == 10)["item"].to_list()
    )
    assert rows["score"].is_nan().all()

    monkeypatch.setattr(Flaky, "bad", ())
    again = rank_batch(recipe(strategy=strategy))
    assert again.counts["failed"] == 0
    assert again.first_error == ""
    assert again.usage.cache_misses == answers
    clean = recipe(strategy=strategy, out=recipe().out.with_name("clean.parquet"), engine="fake")
    rank_batch(clean)
    assert_frame_equal(pl.read_parquet(recipe().out), pl.read_parquet(clean.out))


def test_a_shard_with_failures_is_made_again_after_a_kill(recipe, monkeypatch, films, targets):
    class Killed(BaseException):
        pass

    def stop(done, _total, _text):
        if done >= 21:
            raise Killed

    history = [films.titles()[item] for item in targets.queries.lists()[10]]
    monkeypatch.setattr(Flaky, "bad", ("\n".join(history),))
    with pytest.raises(Killed):
        rank_batch(recipe(strategy="likelihood"), progress=stop)
    monkeypatch.setattr(Flaky, "bad", ())
    run = rank_batch(recipe(strategy="likelihood"))
    assert run.counts["failed"] == 0
    assert run.usage.prompts == 30
    # All calls together: every answer once, and the six that failed a second time.
    assert run.usage.cache_misses == 30 * 6 - 2 + 6
    assert run.usage.cache_hits == 0


def limited(prepared, folder, kilobytes, *more):
    """``llmrec rank`` in a process whose files may not grow beyond a size: a disk that is full."""
    command = [
        *(sys.executable, "-m", "llmrec", "rank", str(prepared / "candidates.parquet"), "--engine", "fake"),
        *("--dataset", str(prepared / "films"), "--out", str(folder / "out" / "ranked.parquet")),
        *("--cache", str(folder / "answers.sqlite"), "--set", "block=10", *more),
    ]
    limit = None if kilobytes is None else (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10,) * 2))
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, preexec_fn=limit)


@pytest.mark.parametrize("kilobytes", [1, 60])  # the store cannot be opened; its log cannot grow
def test_a_disk_that_is_full_is_one_clear_line_and_the_same_call_goes_on(prepared, tmp_path, kilobytes):
    failed = limited(prepared, tmp_path, kilobytes, "--set", "commit_every=1")
    assert failed.returncode == 2, failed.stderr
    error = failed.stderr.strip().splitlines()[-1]
    assert error.startswith("llmrec: error: ")
    assert "cache" in error
    assert (n_stored(tmp_path / "answers.sqlite") > 0) == (kilobytes > 1)
    assert "run the same command again" in error
    assert "Traceback" not in failed.stderr
    assert not (tmp_path / "out" / "ranked.parquet").exists()

    assert limited(prepared, tmp_path, None).returncode == 0
    clean = tmp_path / "clean"
    assert limited(prepared, clean, None).returncode == 0
    assert (tmp_path / "out" / "ranked.parquet").read_bytes() == (clean / "out" / "ranked.parquet").read_bytes()
