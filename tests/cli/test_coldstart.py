"""``llmrec coldstart``: simulate, fit, evaluate; kills, budgets, and what bad input gets."""

import json
import subprocess
import sys
import time

import cold_run
import polars as pl
import pytest
import yaml

from llmrec.classic.recall.base.store import load_recommender
from llmrec.coldstart.funnel import SimulatedInteractions
from llmrec.data.preferences import Preferences
from llmrec.data_prep.split import leave_last_out

SHOP = {"dataset": "shop", "engine": "fake", "cache": "answers.sqlite"}
NEAR = "near={text: {embedder: fake, columns: [title]}}"


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A folder with the shop, to work in."""
    monkeypatch.chdir(tmp_path)
    cold_run.save_shop(tmp_path / "shop")
    return tmp_path


@pytest.fixture
def coldstart(llmrec, shop):
    return lambda *words: llmrec("coldstart", *words)


def write(folder, name="evaluate.yaml", **values):
    path = folder / name
    path.write_text(yaml.safe_dump({**SHOP, "out": "run", **cold_run.QUICK, **values}))
    return path


def words_of(out):
    return " ".join(out.split())


def test_pairs_are_simulated_learned_from_and_recommended(coldstart, llmrec, shop):
    (shop / "pairs.yaml").write_text(yaml.safe_dump({**SHOP, "pairs": 200, "ask": "yes-no"}))
    code, out, _ = coldstart("simulate", "pairs", "pairs.yaml", "--out", "runs/pairs.parquet")
    assert code == 0
    pairs = Preferences.load(shop / "runs" / "pairs.parquet")
    assert f"{len(pairs)} pairs kept" in words_of(out)
    assert "pairs: 200, kept:" in words_of(out)
    fit = ("fit", "--dataset", "shop", "--out", "model", "--pairs", "runs/pairs.parquet", "--weight", "0.5")
    code, out, _ = coldstart(*fit, "--set", "model.epochs=20")
    assert code == 0
    assert "17 cold items" in words_of(out)
    recipe = json.loads((shop / "model" / "run.json").read_text())["recipe"]
    assert (recipe["weight"], recipe["model"]["parameters"]) == (0.5, {"epochs": 20})
    assert load_recommender(shop / "model").servable[43:].all()
    recommend = ("recall", "recommend", "model", "--dataset", "shop", "--out", "top.parquet", "-k", 20)
    assert llmrec(*recommend)[0] == 0
    assert pl.read_parquet("top.parquet")["item"].max() >= 143


def test_interactions_are_simulated_and_learned_from(coldstart, shop):
    made = ("simulate", "interactions", "--dataset", "shop", "--engine", "fake", "--out", "taken.parquet")
    asked = (*made, "--neighbours", 6, "--set", NEAR, "--set", "keep=2", "--cache", "answers.sqlite")
    code, out, _ = coldstart(*asked, "--dry-run")
    assert code == 0
    assert "dry run: what it would take" in out
    assert not (shop / "taken.parquet").exists()
    code, out, _ = coldstart(*asked)
    assert code == 0
    assert "34 interactions kept" in words_of(out)
    assert len(SimulatedInteractions.load(shop / "taken.parquet")) == 2 * 17
    code, _, _ = coldstart("fit", "--dataset", "shop", "--out", "model", "--interactions", "taken.parquet")
    assert code == 0
    assert load_recommender(shop / "model").servable[43:].all()


def test_a_used_up_budget_keeps_what_there_is(coldstart, shop):
    made = ("simulate", "pairs", "--dataset", "shop", "--engine", "fake", "--out", "pairs.parquet", "--pairs", 100)
    code, out, _ = coldstart(*made, "--calls", 41, "--ask", "choice", "--cache", "answers.sqlite")
    assert code == 0
    assert "the budget is used up: 80 questions were not asked; raise it and call again" in words_of(out)
    assert len(pl.read_parquet(shop / "pairs.answers.parquet")) == 20


def test_methods_are_compared_and_the_report_is_written(coldstart, shop, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    path = write(shop)
    code, out, _ = coldstart("evaluate", path, "--dry-run")
    assert code == 0
    assert "LLM pairs, validation cut" in out
    assert not (shop / "run" / "simulated").exists()
    code, out, _ = coldstart("evaluate", path)
    assert code == 0
    for words in (
        "cold items: 40 queries",
        "bpr + LLM pairs",
        "gain per 1,000 calls",
        "accuracy",
        "report -> run/report",
    ):
        assert words in words_of(out)
    assert "<html" in (shop / "run" / "report.html").read_text()
    record = json.loads((shop / "run" / "run.json").read_text())
    assert record["recipe"]["pairs"] == [100, 400]
    again = coldstart("evaluate", path)[1]
    assert without_seconds(again) == without_seconds(out)


def without_seconds(out):
    return [line for line in out.splitlines() if "report ->" not in line]


def test_a_killed_evaluation_goes_on_to_the_same_numbers(shop):
    path = write(shop, models=[{"name": "bpr", "factors": 8, "epochs": 60}])
    command = [sys.executable, "-m", "llmrec", "coldstart", "evaluate", str(path)]
    results = shop / "run" / "results"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not results.is_dir() or len(list(results.glob("*.parquet"))) < 3:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
    done = {each: each.stat().st_mtime_ns for each in results.glob("*.parquet")}
    assert not (shop / "run" / "run.json").exists()
    for out in ("run", "whole"):
        subprocess.run([*command, "--out", out], check=True, capture_output=True)
    assert {each: each.stat().st_mtime_ns for each in done} == done
    one, two = (pl.read_parquet(shop / out / "metrics" / "bpr" / "metrics.parquet") for out in ("run", "whole"))
    assert one.equals(two)
    assert not list((shop / "run").rglob("*.tmp"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("simulate", "pears"), "kind 'pears': expected 'pairs' or 'interactions'"),
        (("simulate", "pairs"), "no 'dataset'"),
        (("simulate", "pairs", "--dataset", "shop", "--out", "o", "--ask", "yes-or-no"), "unknown way of asking"),
        (("simulate", "interactions", "--dataset", "gone", "--out", "o"), "no file"),
        (("fit", "--dataset", "shop", "--out", "m"), "neither pairs nor interactions"),
        (("fit", "--dataset", "shop", "--out", "m", "--pairs", "p", "--weight", "-1"), "weight"),
        (("fit", "--dataset", "shop", "--out", "m", "--pairs", "gone.parquet"), "no file 'gone.parquet'"),
        (("evaluate", "--dataset", "shop"), "no 'out'"),
        (("evaluate", "--dataset", "shop", "--out", "o", "--set", "pairs=[0]"), "pairs.0 = 0"),
        (("evaluate", "--dataset", "shop", "--out", "o", "--set", "weights=[]"), "weights"),
        (("evaluate", "--dataset", "last", "--out", "o"), "a split by 'leave-last-out'"),
    ],
)
def test_bad_input_is_one_line(coldstart, shop, words, expected):
    leave_last_out(cold_run.shop(), short_users="train").save(shop / "last" / "split")
    code, _, err = coldstart(*words)
    assert code == 2
    assert expected in err
    assert err.count("\n") == 1
    assert not (shop / "o").exists()
