"""``llmrec score`` and ``llmrec evaluate --task yes-no``: from examples to a report, and bad input in one line."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

LINES = [
    {
        "prompt": f"Answer yes or no.\n\nDoes user {number % 8} like film {number}?",
        "system": "Answer yes or no.",
        "completion": " Yes." if number % 3 else " No.",
        "label": bool(number % 3),
        "user": f"u{number % 8}",
        "item": number,
    }
    for number in range(48)
]


@pytest.fixture
def scored(llmrec, tmp_path, monkeypatch):
    """A folder with examples and the predictions of two models."""
    monkeypatch.chdir(tmp_path)
    write("examples.jsonl", LINES)
    for name, model in (("a", "one"), ("b", "two")):
        assert score(llmrec, "--model", model, out=f"{name}.parquet")[0] == 0
    return tmp_path


def write(path, lines):
    Path(path).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def score(llmrec, *more, out="new.parquet", engine="fake"):
    return llmrec("score", "examples.jsonl", "--out", out, "--engine", engine, "--cache", "answers.sqlite", *more)


def evaluate(llmrec, *more):
    return llmrec("evaluate", "--task", "yes-no", "--out", "report", *more)


def test_from_examples_to_a_report(llmrec, scored):
    code, out, _ = evaluate(llmrec, "tuned=a.parquet", "zero-shot=b.parquet", "--baseline", "zero-shot")
    assert code == 0
    for words in ("zero-shot (baseline)", "auc", "gauc", "log-loss", "ece", "48, 66.7% with the answer yes", "8 users"):
        assert words in out
    assert {path.name for path in (scored / "report").iterdir()} == {
        *("report.html", "run.json", "metrics.json", "metrics.parquet", "per_query.parquet", "calibration.parquet")
    }
    found = pl.read_parquet("a.parquet")
    assert found.columns == ["row", "user", "item", "label", "score"]
    assert found["item"].to_list() == list(range(48))
    record = json.loads((scored / "report" / "run.json").read_text())
    assert record["recipe"]["baseline"] == "zero-shot"
    assert record["facts"]["intervals"] == "whole users drawn anew"
    assert "Yes or no: tuned, zero-shot" in (scored / "report" / "report.html").read_text(encoding="utf-8")


def test_a_second_run_computes_nothing_and_a_dry_run_writes_nothing(llmrec, scored):
    code, out, _ = score(llmrec, "--model", "one", "--dry-run")
    assert (code, "96 of 96" in out, "dry run" in out) == (0, True, True)
    assert not (scored / "new.parquet").exists()
    code, out, _ = score(llmrec, "--model", "one")
    assert (code, "96 of 96" in out, "48 examples scored" in out) == (0, True, True)
    assert pl.read_parquet("new.parquet").equals(pl.read_parquet("a.parquet"))


def test_a_recipe_file_serves_as_well_as_options(llmrec, scored):
    (scored / "score.yaml").write_text(
        "examples: examples.jsonl\nout: y.parquet\ncache: answers.sqlite\nengine: {name: fake, model: one}\n"
    )
    assert llmrec("score", "--config", "score.yaml")[0] == 0
    assert pl.read_parquet("y.parquet").equals(pl.read_parquet("a.parquet"))
    (scored / "yes-no.yaml").write_text("out: report\nmethods: {a: a.parquet}\nsamples: 200\n")
    assert llmrec("evaluate", "--task", "yes-no", "--config", "yes-no.yaml")[0] == 0


def test_failed_rows_are_named_and_can_be_left_out(llmrec, scored):
    frame = pl.read_parquet("b.parquet")
    frame.with_columns(score=pl.when(pl.col("row") == 5).then(np.nan).otherwise("score")).write_parquet("b.parquet")
    check(evaluate(llmrec, "a.parquet", "b.parquet"), ["'b' has 1 of 48 rows without a score", "skip_failed=true"])
    assert not (scored / "report").exists()
    code, out, _ = evaluate(llmrec, "a.parquet", "b.parquet", "--set", "skip_failed=true")
    assert (code, "without a score: b 1" in out) == (0, True)


def unlabelled(folder):
    write("examples.jsonl", [{name: value for name, value in line.items() if name != "label"} for line in LINES])


def one_label(folder):
    write("examples.jsonl", [line for line in LINES if line["label"]])


def long_answers(folder):
    write("examples.jsonl", [line | {"completion": f" Surely{line['completion']}"} for line in LINES])


def broken(folder):
    (folder / "examples.jsonl").write_text('{"prompt": "a"\n')


@pytest.mark.parametrize(
    ("change", "more", "words"),
    [
        (unlabelled, [], ["no column 'label'"]),
        (one_label, [], ["32 examples with 32 yes", "a label for each, and both"]),
        (long_answers, [], ["answer ' Surely Yes'", "2 tokens for fake/fake", "one token each"]),
        (broken, [], ["examples.jsonl line 1"]),
        (lambda folder: (folder / "examples.jsonl").unlink(), [], ["examples.jsonl", "check the path"]),
        (None, ["--set", "engine.context=3"], ["example 0 has a prompt of 10 tokens, and 47 more", "max_tokens"]),
        (None, ["--set", "chatt=true"], ["unknown key 'chatt'", "did you mean 'chat'?"]),
        (None, ["--out", "."], ["cannot be written"]),
        (None, ["--engine", "fak"], ["unknown engine 'fak'", "did you mean 'fake'?"]),
    ],
)
def test_bad_score(llmrec, scored, change, more, words):
    if change:
        change(scored)
    check(score(llmrec, *more), words)
    assert not list(scored.glob("*new*"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a.parquet", "--dataset", "ml"], ["--dataset 'ml' with --task yes-no", "drop --dataset"]),
        (["a.parquet", "--part", "test"], ["--part 'test' with --task yes-no", "drop --part"]),
        (["a.parquet", "--task", "yesno"], ["task = 'yesno'", "'ranking' or 'yes-no'"]),
        (["a.parquet", "a.parquet"], ["two rankings called 'a'", "name=path"]),
        (["a.parquet", "--baseline", "c"], ["unknown baseline 'c'"]),
        (["a.parquet", "short.parquet"], ["'short' has 47 rows that are not the 48 of 'a'"]),
        (["examples.jsonl"], ["examples.jsonl", "cannot be read"]),
        (["no.parquet"], ["no file 'no.parquet'"]),
        (["ranking.parquet"], ["ranking.parquet has no column 'row', 'label'"]),
        (["a.parquet", "--set", "bins=0"], ["bins = 0", "greater than or equal to 1"]),
        (["a.parquet", "--set", "samples=1"], ["samples = 1"]),
        (["a.parquet", "--set", "metrics=[auc]"], ["unknown key 'metrics'"]),
        ([], ["no 'methods'"]),
    ],
)
def test_bad_evaluate(llmrec, scored, words, expected):
    pl.read_parquet("a.parquet").head(47).write_parquet("short.parquet")
    pl.DataFrame({"query": [0], "user": [1], "rank": [1], "item": [2], "score": [0.5]}).write_parquet("ranking.parquet")
    check(evaluate(llmrec, *words), expected)
    assert not list(scored.glob("*report*"))


def check(result, words):
    code, _, error = result
    lines = [line for line in error.splitlines() if line.startswith("llmrec: error: ")]
    assert (code, len(lines)) == (2, 1), error
    assert error.splitlines()[-1] == lines[0]
    for word in words:
        assert word in lines[0]
