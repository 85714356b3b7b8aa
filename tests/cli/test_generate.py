"""``llmrec generate`` and ``llmrec judge``: from a data set to verdicts, and bad input in one line."""

import json

import polars as pl
import pytest
from asked import jobs
from generated import CONTEXTS, write_lines


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with contexts, a data set of jobs and two files of texts to be."""
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "contexts.jsonl", CONTEXTS)
    jobs().save(tmp_path / "jobs")
    (tmp_path / "judgingly.py").write_text(
        "def short(prompts, completions, **columns):\n    return [-float(len(c)) for c in completions]\n"
    )
    return tmp_path


def generate(llmrec, *words):
    return llmrec("generate", *words, "--engine", "fake", "--cache", "answers.sqlite")


def test_from_contexts_to_verdicts(llmrec, folder):
    for model in ("one", "two"):
        code, out, error = generate(llmrec, "contexts.jsonl", "--out", f"{model}.parquet", "--model", model)
        assert code == 0, error
        for words in (
            "what it took",
            "3 contexts",
            "near duplicates",
            "distinct 2",
            "3 texts in",
            f"-> {model}.parquet",
        ):
            assert words in out
    judge = (
        "judge",
        "one.parquet",
        "two.parquet",
        "--out",
        "judged.parquet",
        "--engine",
        "fake",
        "--cache",
        "a.sqlite",
    )
    code, out, error = llmrec(*judge, "--reward", "judgingly:short")
    assert code == 0, error
    for words in ("one against two", "losses", "stands first in", "3 pairs judged", "-> judged.parquet"):
        assert words in out
    record = json.loads((folder / "judged.run.json").read_text())
    assert [rate["judge"] for rate in record["rates"]] == ["judge", "judgingly:short"]
    assert record["agreements"][0]["other"] == "judgingly:short"
    assert pl.read_parquet("judged.parquet").columns[-2:] == ["score", "reward judgingly:short"]


def test_a_data_set_s_contexts_and_a_dry_run(llmrec, folder):
    words = ("--dataset", "jobs", "--kind", "cv-posting", "--out", "texts.parquet")
    code, out, _ = generate(llmrec, *words, "--dry-run", "--max-tokens", 10)
    assert (code, "dry run" in out, "2 contexts, 1 no prompt" in out) == (0, True, True)
    assert not (folder / "texts.parquet").exists()
    code, out, _ = generate(llmrec, *words, "--texts", 3, "--temperature", 0.7)
    assert (code, "6 texts in" in out) == (0, True)
    assert pl.read_parquet("texts.parquet").select("user", "sample").rows() == [
        (user, sample) for user in ("ann", "bob") for sample in range(3)
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("generate", "--out", "a.parquet"), ["contexts of nothing"]),
        (("generate", "no.jsonl", "--out", "a.parquet"), ["no.jsonl", "cannot be read"]),
        (
            ("generate", "contexts.jsonl", "--kind", "cv-posting", "--out", "a.parquet"),
            ["contexts of file and examples"],
        ),
        (("generate", "contexts.jsonl"), ["no 'out'"]),
        (("generate", "contexts.jsonl", "--out", "a.parquet", "--texts", "2"), ["texts = 2 with temperature = 0"]),
        (("generate", "contexts.jsonl", "--out", "a.parquet", "--set", "top_p=0"), ["top_p = 0"]),
        (
            ("generate", "contexts.jsonl", "--out", "a.parquet", "--adapter", "x"),
            ["adapter = 'x' with the fake engine"],
        ),
        (("judge", "a.parquet", "b.parquet", "--out", "c.parquet"), ["no file 'a.parquet'"]),
        (("judge", "a.parquet", "b.parquet", "--out", "c.parquet", "--reward", "no:thing"), ["no module 'no'"]),
        (("judge", "a.parquet", "b.parquet", "--out", "c.parquet", "--reward", "folder"), ["folder", "reward.json"]),
        (("judge", "a.parquet"), ["no 'second'"]),
    ],
)
def test_bad_input_is_one_line(llmrec, folder, words, expected):
    code, _, error = llmrec(*words, "--engine", "fake", "--cache", "answers.sqlite")
    lines = [line for line in error.splitlines() if line.startswith("llmrec: error: ")]
    assert (code, len(lines)) == (2, 1), error
    for word in expected:
        assert word in lines[0]
