"""A run from rows to adapter: what it writes, what it says of the test, and whose folder it touches."""

import json
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file
from tuning import questions, save, source, titles

from llmrec.data_prep.examples import Examples
from llmrec.errors import ConfigError, DataError
from llmrec.eval.yes_no import Predictions, auc
from llmrec.llm.transformers import TransformersConfig, TransformersEngine
from llmrec.rank.yes_no import score_yes_no
from llmrec.testing import expect_error
from llmrec.train.record import best_look
from llmrec.train.tallrec import tune


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_run_leaves_what_is_needed_and_no_more(recipe, two_stages, tmp_path):
    test = source(tmp_path / "test.jsonl", questions(20, seed=2, user=True))
    done = tune(recipe(stages=two_stages, test=test, seed=7))
    assert files(tmp_path / "run") == [
        "adapter/README.md",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "adapter/llmrec.json",
        "config.json",
        "curves.html",
        "history.json",
        "predictions.parquet",
        "run.json",
    ]
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["recipe"]["seed"] == 7
    assert {"torch", "transformers", "peft", "trl", "llmrec"} <= run["versions"].keys()
    assert run["counts"] == {
        "general": {"train": 40},
        "films": {"train": 40, "valid": 20},
        "test": {"test": 20},
    }
    assert run["best"]["general"] == {}
    looks = {entry["step"]: entry["eval_auc"] for entry in done.history["films"] if "eval_auc" in entry}
    assert list(looks) == [0, 4, 8, 12, 16, 20]
    assert run["best"]["films"] == {"auc": max(list(looks.values())[1:]), "step": run["best"]["films"]["step"]}
    metrics = {row["metric"]: row for row in run["test"]}
    assert metrics["auc"]["low"] <= metrics["auc"]["mean"] <= metrics["auc"]["high"]
    page = (tmp_path / "run" / "curves.html").read_text()
    HTMLParser().feed(page)
    assert all(f"<h2>{name}</h2>" in page for name in ("general", "films"))


def test_the_same_recipe_again_is_read_back(recipe, tmp_path):
    test = source(tmp_path / "test.jsonl", questions(20, seed=2))
    told = []
    first = tune(recipe(test=test))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    again = tune(recipe(test=test), report=lambda *words: told.append(words))
    assert (first.before, again.before, told) == (False, True, [])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before
    assert again.history == first.history
    assert again.counts == first.counts
    assert again.test.evaluation.table.equals(first.test.evaluation.table)
    assert (again.adapter, again.seconds) == (first.adapter, first.seconds)
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    assert tune(recipe(test=test, out=tmp_path / "elsewhere")).before


def test_scores_are_those_of_the_engine_with_the_adapter(recipe, tiny_model, tmp_path):
    """What was tuned is what is asked: same tokens, same position, also behind instructions and after padding."""
    rows = [
        *questions(20, seed=2, system="Say Yes or No.", user=True),
        {
            "prompt": "Does Ann like " + "x" * 90 + "?\n",
            "system": "",
            "completion": "No.",
            "label": False,
            "user": "u",
            "item": 9,
        },
        *questions(3, seed=5, user=True),
    ]
    for row in rows[:20]:
        row["prompt"] = f"{row['system']}\n\n{row['prompt']}"
    path = save(tmp_path / "test.jsonl", rows)
    tune(recipe(test={"file": path}, max_length=90, stage={"learning_rate": 0.02, "epochs": 6}))
    found = Predictions.load(tmp_path / "run" / "predictions.parquet")
    examples = Examples.load(path)
    scores = {}
    for name, adapter in (("tuned", tmp_path / "run" / "adapter"), ("plain", None)):
        engine = TransformersEngine(
            TransformersConfig(model=str(tiny_model), adapter=adapter and str(adapter), device="cpu")
        )
        # The engine's two answers are one token each: Y and N.
        short = Examples(examples.frame.with_columns(completion=pl.col("completion").str.slice(0, 1)))
        scores[name] = score_yes_no(engine, short, chat=True)
    assert found.frame["row"].to_list() == [row for row in range(24) if row != 20]  # which is too long
    asked = scores["tuned"].frame[found.frame["row"].to_list()]
    assert found.frame.drop("score").equals(asked.drop("score"))
    np.testing.assert_allclose(found.scores, asked["score"].to_numpy(), rtol=0, atol=1e-4)
    assert np.abs(scores["plain"].scores - scores["tuned"].scores).max() > 0.1


def test_the_adapter_kept_is_the_one_of_the_best_look(recipe, tmp_path):
    """Log-odds of the validation rows through the saved adapter give the AUC that was best, not the last one."""
    rows = source(tmp_path / "valid.jsonl", questions(40, seed=1))
    stage = {"valid": rows, "evaluate_every": 2, "epochs": 6, "learning_rate": 0.03, "patience": None}
    done = tune(recipe(stage=stage, test=rows))
    looks = [entry for entry in done.history["tuning"] if "eval_auc" in entry]
    best = best_look(done.history["tuning"])
    assert best["auc"] == max(entry["eval_auc"] for entry in looks[1:])
    assert best["auc"] != looks[-1]["eval_auc"]
    found = Predictions.load(tmp_path / "run" / "predictions.parquet")
    assert auc(found.labels, found.scores) == pytest.approx(best["auc"])


def test_the_look_before_training_is_no_state_that_is_kept():
    log = [{"step": 0, "eval_auc": 0.9}, {"step": 4, "eval_auc": 0.6, "eval_loss": 1.0}, {"step": 8, "eval_auc": 0.7}]
    assert best_look(log) == {"auc": 0.7, "step": 8}
    assert best_look([{"step": 4, "eval_loss": 2.0}, {"step": 8, "eval_loss": 1.0}]) == {"loss": 1.0, "step": 8}
    assert best_look([{"step": 4, "loss": 2.0}]) == {}


def test_each_stage_goes_on_from_the_one_before(recipe, two_stages, tmp_path):
    """A validated stage reloads its best state; the next one must still learn, from there."""
    two = [two_stages[1], {**two_stages[0], "epochs": 1, "batch_size": 40, "learning_rate": 1e-3}]
    tune(recipe(stages=two[:1], out=tmp_path / "one"))
    tune(recipe(stages=two, out=tmp_path / "two"))
    one, both = (load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("one", "two"))
    moved = max(float((both[name] - one[name]).abs().max()) for name in one)
    assert 0 < moved < 2e-3  # one update of Adam moves a weight by its learning rate at most


def test_the_seed_is_all_that_is_random(recipe, tmp_path):
    found = []
    for number, seed in enumerate((0, 0, 1)):
        tune(recipe(seed=seed, out=tmp_path / str(number), lora={"dropout": 0.3}))
        found.append((tmp_path / str(number) / "adapter" / "adapter_model.safetensors").read_bytes())
    assert found[0] == found[1] != found[2]


def test_a_stage_of_questions_and_next_titles_learns_both(recipe, tmp_path):
    train = [
        source(tmp_path / "a.jsonl", questions(20), rows=8),
        source(tmp_path / "b.jsonl", titles(12)),
    ]
    done = tune(recipe(stage={"train": train, "valid": source(tmp_path / "v.jsonl", titles(6, seed=8))}))
    assert done.counts["tuning"] == {"train": 20, "valid": 6}
    looks = [entry["eval_loss"] for entry in done.history["tuning"] if "eval_loss" in entry]
    assert not any("eval_auc" in entry for entry in done.history["tuning"])
    assert looks[-1] < looks[0]


def test_what_was_left_out_is_counted(recipe, tmp_path):
    long = {"prompt": "x" * 300 + "\n", "system": "", "completion": "Yes.", "label": True}
    leak = {"prompt": 'Liked: "Heat"\nLikes "Heat"?\n', "system": "", "completion": "No.", "label": False}
    stage = {
        "train": [source(tmp_path / "a.jsonl", [*questions(20), long, leak])],
        "valid": source(tmp_path / "v.jsonl", [*questions(4), leak]),
        "epochs": 1,
    }
    done = tune(recipe(stage=stage, max_length=200))
    assert done.counts["tuning"] == {
        "train": 20,
        "valid": 4,
        "leaking": 1,
        "longer_than_max_length": 1,
        "valid_leaking": 1,
    }


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_one_class_is_said_before_a_model_is_loaded(recipe, tmp_path, part, monkeypatch):
    monkeypatch.setattr("llmrec.train.tallrec.load_base", lambda _: pytest.fail("the model was loaded"))
    rows = source(tmp_path / "one.jsonl", [row for row in questions(8) if row["label"]])
    changed = {"test": rows} if part == "test" else {"stage": {part: [rows] if part == "train" else rows}}
    expect_error(DataError, lambda: tune(recipe(**changed)), "4 rows that all say yes")
    assert not (tmp_path / "run").exists()


def test_a_test_without_some_users_is_said_before_training(recipe, tmp_path):
    rows = [*questions(4, user=True), *questions(4)]
    expect_error(
        DataError,
        lambda: tune(recipe(test=source(tmp_path / "t.jsonl", rows))),
        "the test has 4 of 8 rows without a user",
    )


def test_another_recipe_is_refused_where_something_was_learnt(recipe, tmp_path):
    tune(recipe())
    expect_error(
        ConfigError,
        lambda: tune(recipe(stage={"learning_rate": 1e-4})),
        "run' was begun with stages.0.learning_rate = 0.003",
        "(now stages.0.learning_rate = 0.0001)",
        "another out folder",
    )
    expect_error(ConfigError, lambda: tune(recipe(test={"file": "a"})), "test = None")
    more = [{"name": "a", "train": [{"file": "a"}]}, {"name": "b", "train": [{"file": "a"}]}]
    expect_error(ConfigError, lambda: tune(recipe(stages=more)), "begun with stages = [")


def test_a_mistake_is_mended_in_the_same_folder(recipe, tmp_path):
    bad = {"train": [{"file": str(tmp_path / "nothing.jsonl")}]}
    expect_error(DataError, lambda: tune(recipe(stage=bad)), "nothing.jsonl")
    assert not tune(recipe()).before


def test_what_somebody_else_keeps_is_not_touched(recipe, tiny_model, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    for out in (tmp_path / "notes", tmp_path / "notes" / "a.txt", tiny_model):
        before = files(tiny_model)
        expect_error(DataError, lambda out=out: tune(recipe(out=out)), "holds something else", "name another folder")
        assert files(tiny_model) == before
    assert (tmp_path / "notes" / "a.txt").read_text() == "mine"


def test_stages_have_names_of_their_own(recipe, two_stages):
    same = [{**each, "name": "a"} for each in two_stages]
    expect_error(ConfigError, lambda: tune(recipe(stages=same)), "stages a, a", "a name of its own")
