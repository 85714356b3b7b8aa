"""The main job step by step through the command line, and the demo, on a small folder of official CSVs."""

import json

import polars as pl
import pytest


def rank(llmrec, folder, *more, out="llm.parquet"):
    return llmrec(
        *("rank", folder / "knn.parquet", "--dataset", folder / "ml", "--out", folder / out),
        *("--engine", "fake", "--cache", folder / "answers.sqlite", *more),
    )


def test_every_step_reads_what_the_one_before_wrote(llmrec, prepared):
    code, out, _ = rank(llmrec, prepared)
    assert code == 0
    assert "12 queries ranked" in out
    before, after = pl.read_parquet(prepared / "knn.parquet"), pl.read_parquet(prepared / "llm.parquet")
    assert before.columns == after.columns == ["query", "user", "rank", "item", "score"]
    by_row = ["query", "item"]
    assert before.select(by_row).sort(by_row).equals(after.select(by_row).sort(by_row))
    assert not before["item"].equals(after["item"])
    report = prepared / "report"
    rankings = (f"recall={prepared / 'knn.parquet'}", f"llm={prepared / 'llm.parquet'}")
    code, out, _ = llmrec("evaluate", *rankings, "--dataset", prepared / "ml", "--out", report)
    assert code == 0
    assert "ndcg@10" in out
    assert str(report / "report.html") in out.replace("\n", "")
    assert {"report.html", "metrics.json", "metrics.parquet", "per_query.parquet", "run.json"} == {
        path.name for path in report.iterdir()
    }
    page = (report / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 7
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_run_is_recorded(llmrec, prepared):
    rank(llmrec, prepared, "--set", "strategy.history=3")
    record = json.loads((prepared / "llm.run.json").read_text())
    assert record["recipe"]["strategy"] == {"name": "likelihood", "parameters": {"history": 3}}
    assert record["engine"] == "fake/fake"
    assert record["usage"]["cache_misses"] == 60
    assert record["usage"]["cache_hits"] == 0
    assert record["versions"]["numpy"]


def test_a_second_run_computes_nothing(llmrec, prepared):
    rank(llmrec, prepared)
    code, out, _ = rank(llmrec, prepared, out="again.parquet")
    assert code == 0
    assert "60 of 60" in out
    assert pl.read_parquet(prepared / "again.parquet").equals(pl.read_parquet(prepared / "llm.parquet"))


def test_a_dry_run_says_what_a_run_then_takes_and_writes_nothing(llmrec, prepared):
    before = {path.name for path in prepared.iterdir()}
    code, dry, _ = rank(llmrec, prepared, "--dry-run", "--set", "output_price=1000000")
    assert code == 0
    assert {path.name for path in prepared.iterdir()} - before <= {
        "answers.sqlite",
        "answers.sqlite-wal",
        "answers.sqlite-shm",
    }
    rank(llmrec, prepared)
    usage = json.loads((prepared / "llm.run.json").read_text())["usage"]
    assert f"{usage['output_tokens']:,}" in dry
    assert f"{usage['output_tokens']:,}.00" in dry  # money, at one a token


def test_a_path_may_hold_what_yaml_would_read_otherwise(llmrec, prepared):
    assert rank(llmrec, prepared, out="yes, x #1: a.parquet")[0] == 0
    assert (prepared / "yes, x #1: a.parquet").is_file()


def test_a_dry_run_has_no_answers_to_count(llmrec, prepared):
    code, out, _ = rank(llmrec, prepared, "--strategy", "listwise", "--dry-run")
    assert code == 0
    assert "unread" not in out


def test_listwise_counts_how_answers_were_read(llmrec, prepared):
    code, out, _ = rank(llmrec, prepared, "--strategy", "listwise")
    assert code == 0
    assert "answers: 12 read, 0 partial, 0 unread, 0 failed" in out


def test_a_recipe_file_serves_as_well_as_options(llmrec, prepared):
    recipe = prepared / "rank.yaml"
    recipe.write_text(
        f"candidates: {prepared / 'knn.parquet'}\ndataset: {prepared / 'ml'}\nout: {prepared / 'y.parquet'}\n"
        f"cache: {prepared / 'answers.sqlite'}\nengine: fake\nstrategy: {{name: likelihood, history: 20}}\n"
    )
    assert llmrec("rank", "--config", recipe)[0] == 0
    rank(llmrec, prepared)
    assert pl.read_parquet(prepared / "y.parquet").equals(pl.read_parquet(prepared / "llm.parquet"))


def test_the_whole_catalogue_can_be_cut_by_time(llmrec, movielens, tmp_path):
    code, out, _ = llmrec(
        "prepare", "movielens", movielens, "--out", tmp_path / "cut", "--set", "split=global-time-cut"
    )
    assert code == 0
    assert "global-time-cut" in out
    assert json.loads((tmp_path / "cut" / "split" / "split.json").read_text())["name"] == "global-time-cut"


def test_the_demo_says_what_changed_and_where_it_lies(llmrec, movielens, tmp_path):
    out_folder = tmp_path / "demo"
    code, out, _ = llmrec(
        *("demo", "--source", movielens, "--out", out_folder, "--engine", "fake", "--users", 10),
        *("--set", "candidates=5", "--set", "valid_users=8"),
    )
    assert code == 0
    for words in ("recall (baseline)", "LLM", "recall + LLM", "ndcg@10", "hr@10", "p=", "before", "after"):
        assert words in out
    assert str(out_folder / "report.html") in out.replace("\n", "")
    found = pl.read_parquet(out_folder / "recommendations.parquet")
    assert found.columns == ["query", "user", "rank", "item", "score", "title"]
    assert found["query"].n_unique() == 10


def test_doctor_and_lists_speak(llmrec):
    code, out, _ = llmrec("doctor")
    assert code == 0
    assert "engine to choose" in out
    missing = "missing" in out.replace("if missing", "")
    assert not missing or "llmrec[" in out  # rich must not take the extra for markup
    code, out, _ = llmrec("recall", "list")
    assert code == 0
    for words in ("tiger", "Rajput et al.", "ratings", "users", "items"):
        assert words in out
    code, out, _ = llmrec("recall", "list", "item-knn")
    assert (code, "neighbours: int" in out) == (0, True)
    code, _, err = llmrec("recall", "list", "sasrek")
    assert (code, "did you mean 'sasrec'?" in err) == (2, True)
    code, out, _ = llmrec("--version")
    assert (code, out.startswith("llmrec 0.")) == (0, True)


@pytest.mark.slow
def test_the_demo_runs_on_the_embedded_model(llmrec, movielens, tmp_path):
    words = ("demo", "--source", movielens, "--out", tmp_path / "demo", "--users", 4, "--set", "candidates=5")
    code, out, _ = llmrec(*words, "--set", "valid_users=2")
    assert code == 0
    assert "gemma-3-270m@" in out.replace("\n", "")
