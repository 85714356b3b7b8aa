"""Rankers from the command line: fitted, taught by what another one scored, listed, and used in a pipeline."""

import json
import os
import subprocess
import sys

import polars as pl
import pytest
import yaml

from llmrec.classic.ranking.base.ranker import load_learned_ranker
from llmrec.classic.reranking.base import load_reranker

SMALL = ("--set", "epochs=2", "--set", "embedding_dim=4")


def funnel(prepared, **stage):
    """Write a recipe with one stage and return its path."""
    values = {
        "dataset": str(prepared / "ml"),
        "out": str(prepared / "funnel"),
        "recall": {"channels": [{"folder": str(prepared / "knn")}], "keep": 8},
        "stages": [{"name": "rank", "keep": 5, **stage}],
    }
    (prepared / "pipeline.yaml").write_text(yaml.safe_dump(values))
    return prepared / "pipeline.yaml"


def test_a_fitted_ranker_is_a_stage_of_a_pipeline(llmrec, prepared):
    fit = ("ranker", "fit", "fm", "--dataset", prepared / "ml", "--out", prepared / "fm", *SMALL, "--seed", 3)
    code, said, _ = llmrec(*fit)
    assert code == 0
    assert "fm: fitted on" in said
    record = json.loads((prepared / "fm" / "run.json").read_text())
    assert (record["ranker"], record["seed"], record["recipe"]["epochs"]) == ("fm", 3, 2)
    assert len(load_learned_ranker(prepared / "fm").validation_auc) == 2  # the validation part was looked at
    assert not list(prepared.glob(".*checkpoint"))
    assert llmrec("recommend", "--pipeline", funnel(prepared, ranker={"folder": str(prepared / "fm")}))[0] == 0
    assert pl.read_parquet(prepared / "funnel" / "candidates.parquet")["rank"].max() == 5


def test_a_fitted_re_ranker_is_stored_under_its_kind(llmrec, prepared):
    assert (
        llmrec("ranker", "fit", "mmr", "--dataset", prepared / "ml", "--out", prepared / "mmr", "--set", "k=3")[0] == 0
    )
    assert load_reranker(prepared / "mmr").config.k == 3
    assert json.loads((prepared / "mmr" / "run.json").read_text())["re-ranker"] == "mmr"


def test_a_student_learns_what_a_teacher_wrote(llmrec, prepared):
    """The teacher is a language model's file; the student ranks the test part by what it taught on the valid one."""
    recommend = ("recall", "recommend", prepared / "knn", "--dataset", prepared / "ml", "-k", 8, "--part", "valid")
    assert llmrec(*recommend, "--out", prepared / "valid.parquet")[0] == 0
    rank = ("rank", prepared / "valid.parquet", "--dataset", prepared / "ml", "--engine", "fake", "--part", "valid")
    cached = ("--set", f"cache={prepared / 'answers.sqlite'}")
    assert llmrec(*rank, "--out", prepared / "teacher.parquet", *cached)[0] == 0
    distil = ("ranker", "distil", prepared / "teacher.parquet", "--dataset", prepared / "ml")
    more = ("--set", "lesson.loss=ranknet", "--set", "student.epochs=3", "--student", "fm")
    code, said, _ = llmrec(*distil, "--out", prepared / "student", *more)
    assert code == 0
    assert "fm: taught by 12 lists" in said
    record = json.loads((prepared / "student" / "run.json").read_text())
    assert record["recipe"]["lesson"]["loss"] == "ranknet"
    assert record["recipe"]["student"] == {"name": "fm", "parameters": {"epochs": 3}}
    assert load_learned_ranker(prepared / "student").config.epochs == 3
    assert llmrec("recommend", "--pipeline", funnel(prepared, ranker={"folder": str(prepared / "student")}))[0] == 0
    assert pl.read_parquet(prepared / "funnel" / "candidates.parquet")["query"].n_unique() == 12


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("fit", "deepmf", "--dataset", "ml", "--out", "x"), "did you mean 'deepfm'?"),
        (("fit", "fm", "--dataset", "ml", "--out", "x", "--set", "epoch=3"), "did you mean 'epochs'?"),
        (("fit", "fm", "--dataset", "no", "--out", "x"), "no/split"),
        (("fit", "prm", "--dataset", "ml", "--out", "x"), "impressions"),
        (("distil", "knn.parquet", "--dataset", "ml", "--out", "x", "--student", "gbdt"), "by gradients"),
        (("distil", "knn.parquet", "--dataset", "ml", "--out", "x", "--student", "mmr"), "unknown ranker 'mmr'"),
        (("distil", "none.parquet", "--dataset", "ml", "--out", "x"), "none.parquet"),
        (("distil", "knn.parquet", "--dataset", "ml", "--out", "x", "--part", "train"), "'valid' or 'test'"),
        (("distil", "--dataset", "ml", "--out", "x"), "no 'teacher'"),
        (("distil", "knn.parquet", "--dataset", "ml", "--out", "knn.parquet"), "knn.parquet"),
        (("list", "deepmf"), "did you mean 'deepfm'?"),
    ],
)
def test_what_is_wrong_is_one_line(llmrec, prepared, monkeypatch, words, error):
    monkeypatch.chdir(prepared)
    code, _, err = llmrec("ranker", *words)
    assert code == 2
    assert error in err
    assert err.count("\n") == 1
    assert not (prepared / "x").exists()


def test_all_rankers_and_one_of_them_are_listed(llmrec):
    code, said, _ = llmrec("ranker", "list")
    assert code == 0
    for word in ("deepfm", "Guo et al., IJCAI 2017", "mmr", "impressions", "re-ranker"):
        assert word in said
    said = " ".join(llmrec("ranker", "list", "deepfm")[1].split())
    assert "epochs: int = 20 Passes over the rows, at most." in said


def test_of_several_processes_one_writes(llmrec, prepared, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert llmrec("ranker", "fit", "mmr", "--dataset", prepared / "ml", "--out", prepared / "mmr")[0] == 0
    assert not (prepared / "mmr").exists()


def test_a_killed_lesson_goes_on(llmrec, prepared):
    distil = ["ranker", "distil", prepared / "knn.parquet", "--dataset", prepared / "ml", "--part", "test"]
    killed = [
        sys.executable,
        "-c",
        "import os, sys; from llmrec.classic import training\n"
        "save = training._save\n"
        "def once(path, *rest):\n"
        "    save(path, *rest); path.stat(); os._exit(9)\n"
        "training._save = once\n"
        "from llmrec.cli import main; main()",
        *map(str, distil),
        "--out",
        str(prepared / "one"),
        "--set",
        "student.epochs=3",
    ]
    assert subprocess.run(killed, check=False, env=os.environ).returncode == 9
    assert (prepared / ".one.checkpoint" / "lr" / "state.safetensors").is_file()
    epochs = ("--set", "student.epochs=3")
    assert llmrec(*distil, "--out", prepared / "one", *epochs)[0] == 0
    assert llmrec(*distil, "--out", prepared / "two", *epochs)[0] == 0
    one, two = ((prepared / name / "weights.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
