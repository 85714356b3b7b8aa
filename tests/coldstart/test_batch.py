"""Simulation as a batch: files, kills, dry runs, budgets, and what is kept where nothing can be used."""

import json
import sys

import numpy as np
import polars as pl
import pytest
from cold import cut, films
from killing import kill_when_stored, n_stored

from llmrec.coldstart.batch import funnel_batch, pairs_batch
from llmrec.coldstart.funnel import SimulatedInteractions
from llmrec.coldstart.recipe import FunnelRecipe, PairsRecipe
from llmrec.config import make_config
from llmrec.data.preferences import Preferences
from llmrec.errors import ConfigError, DataError, EngineError
from llmrec.llm import make
from llmrec.llm.fake import FakeEngine
from llmrec.testing import expect_error

MANY = [f"Film {number}" for number in range(40)]
TEXT = {"text": {"embedder": "fake", "columns": ["title"]}}


@pytest.fixture
def folder(tmp_path):
    """A folder with forty films, thirty-six of them cold, of which 8 has no title."""
    data = films(titles=[*MANY[:8], "", *MANY[9:]], about=[None] * 40)
    cut(data).save(tmp_path / "films" / "split")
    return tmp_path


def recipe(folder, kind=PairsRecipe, name="run", **values):
    given = {
        "dataset": folder / "films",
        "out": folder / name / "out.parquet",
        "cache": folder / name / "answers.sqlite",
        "engine": "fake",
        **({"pairs": 40} if kind is PairsRecipe else {"near": TEXT, "neighbours": 2}),
    }
    return make_config(kind, {**given, **values})


def record(made):
    return json.loads(made.out.with_suffix(".run.json").read_text())


@pytest.mark.parametrize("rule", ["random", "active", "content"])
def test_preferences_answers_and_record_are_written(folder, rule):
    made, told = recipe(folder, users=rule, near=TEXT, ask="choice"), []
    run = pairs_batch(made, progress=lambda *call: told.append(call))
    kept = Preferences.load(made.out)
    assert len(kept) == run.simulated.counts["kept"] > 0
    np.testing.assert_array_equal(kept.chosen, run.preferences.chosen)
    answers = pl.read_parquet(made.out.with_suffix(".answers.parquet"))
    assert len(answers) == 40
    assert set(answers["outcome"]) <= {"first", "second", "inconsistent"}
    about = record(made)
    assert about["counts"]["pairs"] == 40
    assert about["counts"]["kept"] + about["counts"]["inconsistent"] == 40
    assert (about["cold_items"], about["untitled_cold_items"], about["users"]) == (35, 1, 3)
    assert about["usage"]["prompts"] == about["admitted"]["prompts"] == 80
    assert about["exhausted"] is False
    assert about["engine"] == "fake/fake"
    assert about["recipe"]["users"] == rule
    odds = answers["odds_first"] * answers["odds_second"]
    assert about["swayed"] == pytest.approx((odds < 0).mean())
    assert told[-1][:2] == (80, 80)


@pytest.mark.parametrize("ask", ["yes-no", "likelihood"])
def test_interactions_answers_and_record_are_written(folder, ask):
    made, told = recipe(folder, FunnelRecipe, ask=ask, keep=1), []
    run = funnel_batch(made, progress=lambda *call: told.append(call))
    kept = SimulatedInteractions.load(made.out)
    assert kept.items.tolist() == [item for item in range(4, 40) if item != 8]
    assert len(pl.read_parquet(made.out.with_suffix(".answers.parquet"))) == 70 == len(run.funnelled.odds)
    about = record(made)
    assert about["counts"] == {"asked": 70, "failed": 0, "not_asked": 0, "shortened": 0, "kept": 35}
    assert about["share"] == 70 / (35 * 3)
    assert told[-1][:2] == (70, 70)


@pytest.mark.parametrize(("kind", "batch"), [(PairsRecipe, pairs_batch), (FunnelRecipe, funnel_batch)])
@pytest.mark.parametrize("budget", [{}, {"calls": 31}, {"money": 0.0005}])
def test_a_dry_run_says_what_a_run_takes_and_writes_nothing(folder, kind, batch, budget):
    made = recipe(folder, kind, budget=budget, block=8, input_price=1, output_price=3)
    foreseen = batch(made, dry_run=True)
    assert not made.out.parent.exists()
    run = batch(made)
    for name in ("prompts", "output_tokens", "cache_hits", "cache_misses"):
        assert getattr(foreseen.usage, name) == getattr(run.usage, name), name
    # To this engine a prompt without a word is one token: that of titles alone, in blocks with new titles.
    assert 1 <= run.usage.prompt_tokens - foreseen.usage.prompt_tokens <= 10
    assert foreseen.money == run.money == record(made)["money"]
    if budget:
        assert record(made)["exhausted"]
        assert run.usage.prompts <= budget.get("calls", 1000)
        assert run.money <= budget.get("money", 1000)


@pytest.mark.parametrize(("kind", "batch"), [(PairsRecipe, pairs_batch), (FunnelRecipe, funnel_batch)])
def test_a_killed_run_goes_on_and_never_pays_for_more(folder, kind, batch):
    budget = {"calls": 51}
    whole = batch(recipe(folder, kind, "whole", budget=budget))
    made = recipe(folder, kind, budget=budget, commit_every=4, engine={"name": "fake", "delay": 0.02})
    code = (
        "import sys\nfrom pathlib import Path\nfrom llmrec.coldstart import batch\n"
        f"from llmrec.coldstart.recipe import {kind.__name__} as Recipe\n"
        f"batch.{batch.__name__}(Recipe.model_validate_json(sys.argv[1]))"
    )
    stored = kill_when_stored([sys.executable, "-c", code, made.model_dump_json()], made.cache, 12)
    assert not made.out.exists()
    run = batch(made)
    assert made.out.read_bytes() == recipe(folder, kind, "whole").out.read_bytes()
    assert run.usage.cache_misses == whole.usage.cache_misses - stored
    assert n_stored(made.cache) == whole.usage.cache_misses, "what was paid for in both calls together"


def test_pairs_of_a_larger_run_begin_with_those_of_a_smaller(folder):
    few = pl.read_parquet(_run(folder, "few", 15).with_suffix(".answers.parquet"))
    many = pl.read_parquet(_run(folder, "many", 40).with_suffix(".answers.parquet"))
    assert many[:15].equals(few)


def _run(folder, name, pairs):
    made = recipe(folder, name=name, pairs=pairs)
    pairs_batch(made)
    return made.out


class Swayed(FakeEngine):
    """Always prefers what stands first."""

    def logprobs(self, prompts, answers):
        super().logprobs(prompts, answers)
        return [-np.arange(1, len(row) + 1, dtype=np.float32) for row in answers]


class Broken(FakeEngine):
    def logprobs(self, prompts, answers):
        super().logprobs(prompts, answers)
        return [np.full(len(row), np.nan, np.float32) for row in answers]


def engine_is(monkeypatch, kind):
    monkeypatch.setattr(make, "make_engine", lambda _: kind())


def test_inconsistent_answers_throughout_are_kept_and_said(folder, monkeypatch):
    engine_is(monkeypatch, Swayed)
    made = recipe(folder, ask="choice")
    expect_error(
        DataError, lambda: pairs_batch(made), "none of 40 pairs", "40 inconsistent", "out.answers.parquet", "likelihood"
    )
    assert not made.out.exists()
    assert pl.read_parquet(made.out.with_suffix(".answers.parquet"))["outcome"].to_list() == ["inconsistent"] * 40
    assert (record(made)["first_place"], record(made)["swayed"]) == (1.0, 1.0)


@pytest.mark.parametrize(("kind", "batch", "n"), [(PairsRecipe, pairs_batch, 40), (FunnelRecipe, funnel_batch, 70)])
def test_an_engine_that_fails_throughout(folder, monkeypatch, kind, batch, n):
    engine_is(monkeypatch, Broken)
    made = recipe(folder, kind, ask="yes-no")
    expect_error(EngineError, lambda: batch(made), f"all {n} questions failed", "no number", "asks them again")
    assert record(made)["counts"]["failed"] == n
    monkeypatch.undo()
    assert batch(made).usage.cache_misses > 0


@pytest.mark.parametrize(("kind", "batch"), [(PairsRecipe, pairs_batch), (FunnelRecipe, funnel_batch)])
@pytest.mark.parametrize(("budget", "word"), [({"calls": 0}, "0 calls"), ({"money": 1e-7}, "1e-07 money")])
def test_a_budget_that_buys_nothing(folder, kind, batch, budget, word):
    made = recipe(folder, kind, budget=budget, input_price=1)
    expect_error(ConfigError, lambda: batch(made), word, "the first question", "raise it")
    assert record(made)["exhausted"]


def test_a_threshold_above_all_odds(folder):
    made = recipe(folder, FunnelRecipe, threshold=1e6)
    expect_error(DataError, lambda: funnel_batch(made), "no interaction above threshold", "log-odds from", "lower it")
    assert made.out.with_suffix(".answers.parquet").exists()


def test_what_compares_two_items_says_nothing_of_one(folder):
    made = recipe(folder, FunnelRecipe, ask="choice")
    expect_error(ConfigError, lambda: funnel_batch(made), "ask = 'choice'", "likelihood or yes-no")
    assert not made.out.parent.exists() or not made.out.exists()


def test_a_place_that_cannot_be_written_is_said_before_anything_is_asked(folder):
    (folder / "run").write_text("a file")
    expect_error(DataError, lambda: pairs_batch(recipe(folder, cache=folder / "c.sqlite")), "cannot be written")
    assert not (folder / "c.sqlite").exists()
