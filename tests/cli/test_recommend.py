"""The funnel through the command line: from a recipe to a file, a record and a page, also after a SIGKILL."""

import json
import sys

import polars as pl
import pytest
import yaml
from killing import kill_when_stored, n_stored

from llmrec.pipeline.recipe import PipelineRecipe


@pytest.fixture
def pipeline(prepared):
    """The path of a recipe on the small films, and what it says."""
    values = {
        "dataset": str(prepared / "ml"),
        "out": str(prepared / "funnel"),
        "cache": str(prepared / "answers.sqlite"),
        "engine": {"name": "fake"},
        "recall": {"channels": [{"folder": str(prepared / "knn")}, "popular"], "keep": 8},
        "stages": [{"name": "llm", "ranker": {"name": "likelihood", "history": 5}, "keep": 4, "weight": 0.5}],
    }
    path = prepared / "pipeline.yaml"
    path.write_text(yaml.safe_dump(values))
    return path, values


def test_a_recipe_becomes_a_file_a_record_and_a_page(llmrec, pipeline, prepared):
    code, said, _ = llmrec("recommend", "--pipeline", pipeline[0], "--set", "recall.keep=6")
    assert code == 0
    for word in ("the funnel", "recall", "llm", "changed", "12 queries in", "prompts"):
        assert word in said
    frame = pl.read_parquet(prepared / "funnel" / "candidates.parquet")
    assert frame.columns == ["query", "user", "rank", "item", "score"]
    assert frame["query"].n_unique() == 12
    assert frame["rank"].max() == 4
    run = json.loads((prepared / "funnel" / "run.json").read_text())
    assert PipelineRecipe(**run["recipe"]).recall.keep == 6
    assert [stage["stage"] for stage in run["stages"]] == ["recall", "llm"]
    assert (prepared / "funnel" / "report.html").is_file()


def test_what_it_writes_can_be_evaluated(llmrec, pipeline, prepared):
    assert llmrec("recommend", "--pipeline", pipeline[0])[0] == 0
    files = [f"recall={prepared / 'knn.parquet'}", f"funnel={prepared / 'funnel' / 'candidates.parquet'}"]
    code, said, _ = llmrec("evaluate", *files, "--dataset", prepared / "ml", "--out", prepared / "report")
    assert code == 0
    assert "funnel" in said


def test_a_dry_run_counts_and_writes_nothing(llmrec, pipeline, prepared):
    code, said, _ = llmrec("recommend", "--pipeline", pipeline[0], "--dry-run")
    assert code == 0
    assert "dry run: what it would take" in said
    assert not (prepared / "funnel").exists()
    assert not (prepared / "answers.sqlite").exists()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--set", "recall.keep=3"), "stage 'llm' keeps 4: expected at most 3, what 'recall' hands on"),
        (("--set", "stages=[{name: a, ranker: likelyhood, keep: 2}]"), "did you mean 'likelihood'?"),
        (("--part", "train"), "'valid' or 'test'"),
        (("--dataset", "no/data"), "no/data"),
    ],
)
def test_a_wrong_recipe_is_one_line(llmrec, pipeline, prepared, words, error):
    code, _, err = llmrec("recommend", "--pipeline", pipeline[0], *words)
    assert code == 2
    assert error in err
    assert err.count("\n") == 1
    assert not (prepared / "funnel").exists()


def test_a_stage_that_was_skipped_is_told_of(llmrec, pipeline, prepared):
    stages = "stages=[{name: llm, ranker: {name: likelihood, template: likelihood-list}, keep: 4}]"
    code, said, _ = llmrec("recommend", "--pipeline", pipeline[0], "--set", "engine.context=3", "--set", stages)
    assert code == 0
    assert "llm was skipped for 12 queries" in said
    assert "at most 3, the context" in " ".join(said.split())


def test_a_killed_run_goes_on_and_writes_the_same(llmrec, pipeline, prepared):
    path, values = pipeline
    slow = {**values, "engine": {"name": "fake", "delay": 0.05}, "block": 3, "commit_every": 1}
    path.write_text(yaml.safe_dump(slow))
    store = prepared / "answers.sqlite"
    held = kill_when_stored([sys.executable, "-m", "llmrec", "recommend", "--pipeline", str(path)], store, 40)
    assert held < 12 * 8
    assert not (prepared / "funnel" / "candidates.parquet").exists()
    assert llmrec("recommend", "--pipeline", path)[0] == 0
    usage = json.loads((prepared / "funnel" / "run.json").read_text())["usage"]
    answers = n_stored(store)
    assert usage["prompts"] == 12
    assert answers - 8 <= usage["cache_misses"] <= answers  # killed between an answer and its note, one prompt is lost
    clean = ("--out", prepared / "clean", "--set", f"cache={prepared / 'clean.sqlite'}")
    assert llmrec("recommend", "--pipeline", path, *clean)[0] == 0
    ours, whole = (prepared / name / "candidates.parquet" for name in ("funnel", "clean"))
    assert ours.read_bytes() == whole.read_bytes()
    assert n_stored(prepared / "clean.sqlite") == answers
