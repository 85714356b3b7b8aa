"""``llmrec train``: from a recipe to an adapter that ranks, the same command again, and bad input in one line."""

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import yaml
from tuning import questions, save, source


@pytest.fixture
def recipe(tiny_model, tmp_path):
    """A YAML recipe of one stage with validation and a test."""
    stage = {
        "train": [source(tmp_path / "train.jsonl", questions(24))],
        "valid": source(tmp_path / "valid.jsonl", questions(12, seed=1)),
        "epochs": 2,
        "batch_size": 4,
        "learning_rate": 0.01,
    }
    test = source(tmp_path / "test.jsonl", questions(16, seed=2, user=True))
    values = {"model": str(tiny_model), "device": "cpu", "dtype": "float32", "stages": [stage], "test": test}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture
def train(llmrec, recipe, tmp_path):
    return lambda *more: llmrec("train", "tallrec", recipe, "--out", tmp_path / "run", *more)


def words(text):
    return " ".join(text.split())


def test_a_recipe_becomes_an_adapter_that_scores(train, llmrec, tiny_model, tmp_path):
    code, out, err = train("--set", "seed=3", "--set", "lora.rank=4")
    assert code == 0
    assert "{'loss'" not in out + err  # the trainer's own prints
    assert "mtime" not in err
    assert "tuning: 24 train, 12 valid; best on validation: auc 0." in words(out)
    assert "test: 16 test" in out
    assert "auc" in out
    assert "95 % interval" in out
    assert "tuned in " in out
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run["recipe"]["seed"], run["recipe"]["lora"]["rank"]) == (3, 4)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["seed"] == 3
    assert not (tmp_path / "run" / "checkpoints").exists()
    # What llmrec score says with the adapter is what the run says of its test.
    rows = [{**row, "completion": row["completion"][0]} for row in questions(16, seed=2, user=True)]
    examples = save(tmp_path / "asked.jsonl", rows)
    more = ("--adapter", tmp_path / "run" / "adapter", "--cache", tmp_path / "answers.sqlite")
    scored = tmp_path / "scored.parquet"
    assert llmrec("score", examples, "--out", scored, "--model", tiny_model, *more, "--set", "chat=true")[0] == 0
    one, two = (pl.read_parquet(path) for path in (tmp_path / "run" / "predictions.parquet", scored))
    assert one.drop("score").equals(two.drop("score"))
    np.testing.assert_allclose(one["score"], two["score"], rtol=0, atol=1e-4)


def test_the_same_command_again_says_so_at_once(train, monkeypatch):
    assert train()[0] == 0
    monkeypatch.setattr("llmrec.train.tallrec.load_base", lambda _: pytest.fail("the model was loaded"))
    code, out, _ = train()
    assert code == 0
    assert "this recipe was tuned before -> " in words(out)
    assert "best on validation" in words(out)
    assert "95 % interval" in out


def test_merge_writes_a_model_that_engines_load(train, llmrec, tiny_model, tmp_path):
    assert train("--set", "test=null")[0] == 0
    merged = ("train", "merge", tmp_path / "run" / "adapter", "--model", tiny_model, "--out", tmp_path / "merged")
    code, out, _ = llmrec(*merged)
    assert code == 0
    assert "merged -> " in out
    rows = [{**row, "completion": row["completion"][0]} for row in questions(6, seed=5)]
    scores = []
    for model, more in ((tiny_model, ("--adapter", tmp_path / "run" / "adapter")), (tmp_path / "merged", ())):
        asked = ("score", save(tmp_path / "a.jsonl", rows), "--out", tmp_path / "a.parquet", "--model", model, *more)
        assert llmrec(*asked, "--cache", tmp_path / "c.sqlite", "--set", "chat=true")[0] == 0
        scores.append(pl.read_parquet(tmp_path / "a.parquet")["score"])
    np.testing.assert_allclose(*scores, rtol=0, atol=1e-4)
    code, _, err = llmrec(*merged[:4], tmp_path / "merged", *merged[5:])
    assert code == 2
    assert "was made for model" in words(err)


@pytest.mark.parametrize(
    ("more", "found"),
    [
        (("--set", "lora.ranks=4"), ["unknown key 'lora.ranks'", "choose from"]),
        (("--set", "stages=[]"), ["stages = []"]),
        (("--model", "/no/such/model"), ["no model '/no/such/model'", "check the path"]),
        (("--set", "test.rows=40"), ["8 rows that say no", "at least 20"]),
        (("--set", "test.file=/no/rows"), ["'/no/rows' cannot be read"]),
        (("--set", "max_length=9"), ["no row of 24 has at most 9 tokens", "raise max_length"]),
        (("--set", "lora.targets=[head]"), ["targets head", "linear layers"]),
    ],
)
def test_bad_input_is_one_line(train, tmp_path, more, found):
    code, _, err = train(*more)
    assert code == 2
    assert "Traceback" not in err
    for each in found:
        assert each in words(err)
    assert not (tmp_path / "run" / "adapter").exists()


def test_another_recipe_in_the_same_folder_is_one_line(train):
    assert train("--set", "test=null")[0] == 0
    code, _, err = train("--set", "test=null", "--set", "seed=1")
    assert code == 2
    assert "was begun with seed = 0: expected the same recipe (now seed = 1)" in words(err)


def test_a_loss_that_is_no_number_is_one_line(train, recipe):
    values = yaml.safe_load(recipe.read_text())
    values["stages"][0] |= {"learning_rate": 1e30}
    recipe.write_text(yaml.safe_dump(values))
    code, _, err = train()
    assert code == 2
    assert "expected a finite number" in words(err)
    assert "Traceback" not in err


def test_a_missing_package_is_one_line():
    """In a process of its own: what is imported stays."""
    program = "import sys; sys.modules['trl'] = None; sys.argv = ['llmrec', 'train', 'tallrec', 'a.yaml']; "
    program += "from llmrec.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "package 'trl' is not installed: expected it for fine-tuning" in words(done.stderr)
