"""A reward model from rows to numbers: it learns what is preferred, says what it is worth, and goes on after a kill."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest
import yaml
from judging import pairs, postings
from safetensors.torch import load_file
from tuning import source

from llmrec.config import make_config
from llmrec.data.files import read_json
from llmrec.errors import ConfigError, DataError, ModelError, TrainingError
from llmrec.llm.adapters import resolve_adapter
from llmrec.protocols import Reward
from llmrec.testing import expect_error
from llmrec.train.feedback_recipe import RewardRecipe
from llmrec.train.record import best_look
from llmrec.train.reward import train_reward
from llmrec.train.reward_model import RewardModel


@pytest.fixture
def recipe(tiny_model, tmp_path):
    """A function that makes a recipe of pairs; keys go on top, those of the stage too."""

    def make(*, stage=(), **changed):
        one = {
            "train": [source(tmp_path / "train.jsonl", pairs(24))],
            "valid": source(tmp_path / "valid.jsonl", pairs(8, seed=1, rejected=4)),
            "epochs": 6,
            "batch_size": 4,
            "learning_rate": 3e-3,
        } | dict(stage)
        values = {"out": tmp_path / "run", "model": str(tiny_model), "device": "cpu", "dtype": "float32", "stage": one}
        return make_config(RewardRecipe, values | changed)

    return make


@pytest.fixture
def labels(recipe, tmp_path):
    """A function that makes a recipe of rows with labels."""

    def make(*, stage=(), **changed):
        one = {
            "train": [source(tmp_path / "labelled.jsonl", postings(24))],
            "valid": source(tmp_path / "held.jsonl", postings(12, seed=1)),
        } | dict(stage)
        return recipe(stage=one, learn="labels", **changed)

    return make


class KilledError(Exception):
    """Stands for a kill in the middle of an update."""


def kill_at(update):
    def report(done, *_):
        if done == update:
            raise KilledError

    return report


def values(found):
    return {row["metric"]: row for row in found.metrics}


def test_a_preference_is_learnt_and_the_model_loads_to_the_same_rewards(recipe, tmp_path):
    held_out = pairs(12, seed=2, rejected=3)
    done = train_reward(recipe(test=source(tmp_path / "test.jsonl", held_out), seed=3))
    assert values(done.test)["accuracy"] == {"metric": "accuracy", "mean": 1.0, "low": 1.0, "high": 1.0}
    assert done.counts == {"tuning": {"train": 24, "valid": 32}, "test": {"test": 12}}
    assert best_look(done.history["tuning"])["accuracy"] == 1.0
    files = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert files == {
        "adapter/README.md",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "adapter/llmrec.json",
        "adapter/reward.json",
        "config.json",
        "curves.html",
        "history.json",
        "rewards.parquet",
        "run.json",
    }
    kept = pl.read_parquet(tmp_path / "run" / "rewards.parquet")
    assert kept["row"].to_list() == [row for row in range(12) for _ in range(4)]
    assert kept["answer"].to_list() == [0, 1, 2, 3] * 12
    model = RewardModel.load(done.adapter, device="cpu", dtype="float32", batch_size=5)
    assert isinstance(model, Reward)
    answers = [text for row in held_out for text in (row["chosen"], *row["rejected"])]
    found = model([row["prompt"] for row in held_out for _ in range(4)], answers, trainer_state=None)
    assert all(type(value) is float for value in found)
    np.testing.assert_allclose(found, kept["reward"], rtol=0, atol=1e-5)
    assert kept["tokens"].to_list() == [len(text) + 1 for text in answers]  # a letter a token, and the end
    again = train_reward(recipe(test=source(tmp_path / "test.jsonl", held_out), seed=3))
    assert again.before
    assert again.test.to_dict() == done.test.to_dict()
    assert again.penalty == done.penalty


def test_labels_are_learnt_too(labels, tmp_path):
    done = train_reward(labels(test=source(tmp_path / "test.jsonl", postings(16, seed=2))))
    found = values(done.test)
    assert found["auc"]["mean"] > 0.95
    assert found["log-loss"]["mean"] < 0.62  # of one who does not know, 0.69
    assert set(found) == {"auc", "log-loss", "ece", "gauc"}
    model = RewardModel.load(done.adapter, device="cpu", dtype="float32")
    good, bad = model(["CV: bcd\nJob:"] * 2, [" aeiou", " xxxxk"])
    assert good > 0 > bad


def test_a_length_penalty_takes_length_away(recipe, tmp_path):
    """Chosen answers are longer here: what length explains of the rewards is gone on the rows that it was fitted on."""
    rows = source(tmp_path / "v.jsonl", pairs(12, seed=1, long=9))
    stage = {"train": [source(tmp_path / "t.jsonl", pairs(24, long=9))], "valid": rows}
    done = train_reward(recipe(stage=stage, test=rows, length_penalty=True))
    assert done.plain.pearson > 0.5
    assert done.plain.spearman > 0.5
    assert abs(done.test.pearson) < 1e-6
    assert done.penalty.slope > 0
    model = RewardModel.load(done.adapter, device="cpu", dtype="float32")
    model.penalty, kept = type(model.penalty)(), model.penalty
    plain = model(["CV: b\nJob:"] * 2, [" aei", " aeiouaeiou"])
    model.penalty = kept
    less = np.array([4 + 1, 11 + 1]) - kept.mean
    found = model(["CV: b\nJob:"] * 2, [" aei", " aeiouaeiou"])
    np.testing.assert_allclose(found, plain - kept.slope * less, rtol=0, atol=1e-5)
    run = read_json(tmp_path / "run" / "run.json")
    assert run["penalty"] == {"slope": kept.slope, "mean": kept.mean}
    assert run["test"]["pearson"] == done.test.pearson


def same(one, two):
    weights, others = (load_file(each.adapter / "adapter_model.safetensors") for each in (one, two))
    looks = [[entry.get("eval_accuracy") for entry in each.history["tuning"]] for each in (one, two)]
    return (
        weights.keys() == others.keys() and all(weights[n].equal(others[n]) for n in weights) and looks[0] == looks[1]
    )


def test_a_run_that_breaks_goes_on(recipe, tmp_path):
    rest = {"stage": {"evaluate_every": 3, "patience": None}, "lora": {"dropout": 0.2}}
    whole = train_reward(recipe(**rest, out=tmp_path / "whole"))
    begun = recipe(**rest)
    for update in (2, 8, 36):
        with pytest.raises(KilledError):
            train_reward(begun, report=kill_at(update))
    assert same(train_reward(begun), whole)
    expect_error(ConfigError, lambda: train_reward(recipe(**rest, seed=1)), "begun with seed = 0")


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on(recipe, tmp_path):
    rest = {"stage": {"evaluate_every": 2, "epochs": 12, "patience": None}, "lora": {"dropout": 0.2}}
    whole = train_reward(recipe(**rest, out=tmp_path / "whole"))
    begun = recipe(**rest)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(begun.model_dump(mode="json")))
    state = begun.out / "checkpoints" / "0-tuning" / "checkpoint-12" / "trainer_state.json"
    command = [sys.executable, "-m", "llmrec", "train", "reward", str(path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ) as process:
        deadline = time.monotonic() + 200
        while not state.exists():
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline, "no checkpoint"
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not begun.out.joinpath("adapter").exists()
    assert same(train_reward(begun), whole)


def test_the_best_state_is_kept_when_it_stops_early(recipe, tmp_path):
    """A state that is best at once is what is kept; a held-out pair turned round shows which one it was."""
    rows = source(
        tmp_path / "v.jsonl", [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in pairs(9)]
    )
    done = train_reward(recipe(stage={"valid": rows, "evaluate_every": 1, "patience": 2, "epochs": 9}, test=rows))
    looks = [entry for entry in done.history["tuning"] if "eval_accuracy" in entry]
    best = best_look(done.history["tuning"])
    assert looks[-1]["step"] == best["step"] + 2 < 54
    assert values(done.test)["accuracy"]["mean"] == pytest.approx(best["accuracy"])


def test_pairs_of_equal_texts_are_left_out(recipe, tmp_path):
    rows = [*pairs(6), {"prompt": "a\n", "system": "", "chosen": " b", "rejected": "b "}]
    done = train_reward(recipe(stage={"train": [source(tmp_path / "t.jsonl", rows)], "epochs": 1}))
    assert done.counts["tuning"] == {"train": 6, "valid": 32, "equal_texts": 1}
    expect_error(
        DataError,
        lambda: train_reward(recipe(stage={"train": [source(tmp_path / "t.jsonl", rows[-1:])]}, out=tmp_path / "b")),
        "1 rows whose rejected answers are the chosen one",
        "answers that differ",
    )


def test_some_of_several_answers_are_equal(recipe, tmp_path):
    rows = [{**row, "rejected": [row["chosen"], " x", " y"]} for row in pairs(3)]
    done = train_reward(recipe(stage={"train": [source(tmp_path / "t.jsonl", rows)], "epochs": 1}))
    assert done.counts["tuning"]["train"] == 6  # pairs


def test_contexts_are_cut_and_answers_are_not(recipe, tmp_path):
    """A context loses its last tokens, down to one; a row whose answer does not fit is left out."""
    long = {"prompt": "w" * 300, "system": "", "chosen": " a", "rejected": " b"}
    full = {"prompt": "", "system": "", "chosen": " a" * 31, "rejected": " b"}
    rows = [*pairs(4), long, full, {**full, "rejected": " b" * 32}]
    stage = {"train": [source(tmp_path / "t.jsonl", rows)], "epochs": 1, "valid": None}
    done = train_reward(recipe(stage=stage, max_length=64))
    assert done.counts["tuning"] == {"train": 6, "truncated": 1, "longer_than_max_length": 1}
    model = RewardModel.load(done.adapter, device="cpu", dtype="float32")
    # Before " a" and its end there is room for the begin and 60 letters.
    whole, cut, other, answer = model(["w" * 59 + "q", "w" * 60 + "q", "w" * 300, "w" * 300], [" a", " a", " a", " b"])
    assert cut == pytest.approx(other, abs=1e-6)
    assert len({round(each, 4) for each in (whole, cut, answer)}) == 3


@pytest.mark.parametrize("nothing", ["", None, " \n"])
def test_an_answer_that_is_not_there(recipe, tmp_path, nothing):
    for name in ("chosen", "rejected"):
        rows = pairs(3)
        rows[1][name] = nothing
        bad = {"train": [source(tmp_path / "t.jsonl", rows)]}
        expect_error(DataError, lambda bad=bad: train_reward(recipe(stage=bad)), "row 2 of t.jsonl has no answer")


def test_other_rows_are_refused(recipe, labels, tmp_path):
    rows = {"train": [source(tmp_path / "t.jsonl", postings(4))]}
    expect_error(DataError, lambda: train_reward(recipe(stage=rows)), "rows of completions", "chosen and rejected")
    rows = {"train": [source(tmp_path / "t.jsonl", pairs(4))]}
    expect_error(DataError, lambda: train_reward(labels(stage=rows)), "rows of chosen and rejected", "completions")


def test_one_class_only(labels, tmp_path):
    for part in ("train", "valid"):
        rows = source(tmp_path / "t.jsonl", [row for row in postings(8) if row["label"]])
        stage = {part: [rows] if part == "train" else rows}
        expect_error(DataError, lambda stage=stage: train_reward(labels(stage=stage)), "4 rows that all say yes")
    rows = [{**row, "label": None if number == 3 else row["label"]} for number, row in enumerate(postings(8))]
    stage = {"train": [source(tmp_path / "t.jsonl", rows)]}
    expect_error(DataError, lambda: train_reward(labels(stage=stage)), "1 rows without a label", "drop these rows")


def test_a_penalty_needs_validation(recipe):
    bad = recipe(stage={"valid": None}, length_penalty=True)
    expect_error(ConfigError, lambda: train_reward(bad), "length_penalty = true without validation", "stage.valid")


@pytest.mark.parametrize("learn", ["pairs", "labels"])
def test_a_loss_that_is_no_number_names_the_batch(recipe, labels, tmp_path, learn, monkeypatch):
    made = (recipe if learn == "pairs" else labels)(stage={"learning_rate": 1e30, "evaluate_every": 1, "epochs": 5})
    with pytest.raises(
        TrainingError, match=r"(loss|gradient of norm) (nan|inf) at step \d+, in the (batch|validation)"
    ):
        train_reward(made)
    assert not (tmp_path / "run" / "adapter").exists()


def test_a_reward_model_is_no_adapter_for_ranking(recipe, tiny_model):
    done = train_reward(recipe(stage={"epochs": 1}))
    expect_error(ModelError, lambda: resolve_adapter(str(done.adapter), str(tiny_model)), "score")
