"""A run that is killed goes on: the same adapter and the same curves as one that was left alone."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tuning import questions, source

from llmrec.data.files import read_json
from llmrec.train.tallrec import tune


class KilledError(Exception):
    """Stands for a kill in the middle of an update."""


def kill_at(*moments):
    """A report that raises at the given (stage, update), each once."""
    left = list(moments)

    def report(done, _, text):
        if left and (text.split(",")[0], done) == left[0]:
            left.pop(0)
            raise KilledError

    return report


def curves(done):
    """What was logged, without how long it took."""
    return {
        name: [
            {k: v for k, v in entry.items() if "runtime" not in k and "_second" not in k}
            for entry in log
            if "train_runtime" not in entry
        ]
        for name, log in done.history.items()
    }


def same(one, two):
    weights, others = (load_file(each.adapter / "adapter_model.safetensors") for each in (one, two))
    assert weights.keys() == others.keys()
    return all(weights[name].equal(others[name]) for name in weights) and curves(one) == curves(two)


@pytest.fixture
def whole(recipe, two_stages, tmp_path):
    return tune(recipe(stages=two_stages, lora={"dropout": 0.2}, out=tmp_path / "whole"))


@pytest.mark.parametrize(
    "moments",
    [
        [("general", 2)],  # before the first checkpoint
        [("general", 7), ("films", 6)],
        [("general", 20), ("films", 8), ("films", 9), ("films", 20)],  # at checkpoints and at ends
    ],
)
def test_a_run_that_breaks_goes_on(recipe, two_stages, tmp_path, whole, moments):
    begun = recipe(stages=two_stages, lora={"dropout": 0.2})
    report = kill_at(*moments)
    for _ in moments:
        with pytest.raises(KilledError):
            tune(begun, report=report)
    assert same(tune(begun, report=report), whole)


def test_patience_outlives_a_kill(recipe, tmp_path):
    """Stopped early at the same look, whenever the kill: also when all that was left to do was to stop."""
    stage = {
        "valid": source(tmp_path / "valid.jsonl", questions(20, seed=1)),
        "evaluate_every": 2,
        "epochs": 20,
        "patience": 3,
        "learning_rate": 0.03,
    }
    whole = tune(recipe(stage=stage, out=tmp_path / "whole"))
    looks = [entry for entry in whole.history["tuning"] if "eval_auc" in entry]
    values, end = [entry["eval_auc"] for entry in looks[1:]], looks[-1]["step"]
    assert end < 120  # stopped
    best = values.index(max(values))
    assert len(values) == best + 1 + 3
    for number, update in enumerate((end - 4, end - 1, end)):
        begun = recipe(stage=stage, out=tmp_path / str(number))
        with pytest.raises(KilledError):
            tune(begun, report=kill_at(("tuning", update)))
        assert same(tune(begun), whole)


def test_a_kill_between_the_last_checkpoint_and_the_stop(recipe, tmp_path, monkeypatch):
    stage = {
        "valid": source(tmp_path / "valid.jsonl", questions(20, seed=1)),
        "evaluate_every": 2,
        "epochs": 20,
        "patience": 2,
        "learning_rate": 0.03,
    }
    whole = tune(recipe(stage=stage, out=tmp_path / "whole"))
    begun = recipe(stage=stage)

    def killed(*_):
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr("llmrec.train.tallrec.save_adapter", killed)
        with pytest.raises(KilledError):
            tune(begun)
    told = []
    done = tune(begun, report=lambda *words: told.append(words))
    assert told == []  # nothing was left to learn
    assert same(done, whole)


@pytest.mark.parametrize("half", ["nothing", "state"])
def test_half_a_checkpoint_is_passed_over(recipe, two_stages, tmp_path, whole, half):
    begun = recipe(stages=two_stages, lora={"dropout": 0.2})
    with pytest.raises(KilledError):
        tune(begun, report=kill_at(("films", 11)))
    broken = tmp_path / "run" / "checkpoints" / "1-films" / "checkpoint-10"
    broken.mkdir()
    if half == "state":
        (broken / "trainer_state.json").write_text('{"epoch": 1.0, "log_')
    assert same(tune(begun), whole)


def test_a_run_that_was_moved_keeps_its_best(recipe, two_stages, tmp_path, whole):
    with pytest.raises(KilledError):
        tune(recipe(stages=two_stages, lora={"dropout": 0.2}), report=kill_at(("films", 18)))
    (tmp_path / "run").rename(tmp_path / "moved")
    assert same(tune(recipe(stages=two_stages, lora={"dropout": 0.2}, out=tmp_path / "moved")), whole)


def test_a_long_pass_is_saved_on_its_way(recipe, tmp_path):
    """Validation after each pass of 300 updates, checkpoints between: a kill costs some 1,000 rows, not the pass."""
    rows = [source(tmp_path / "many.jsonl", questions(2400))]
    valid = source(tmp_path / "valid.jsonl", questions(4))
    begun = recipe(stage={"train": rows, "valid": valid, "epochs": 1, "batch_size": 8})
    with pytest.raises(KilledError):
        tune(begun, report=kill_at(("tuning", 270)))
    states = (tmp_path / "run" / "checkpoints").rglob("trainer_state.json")
    assert max(read_json(path)["global_step"] for path in states) == 256


def kill_when(command, state):
    """Run a command, SIGKILL it as soon as a file is there; it must not have ended by itself."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
        deadline = time.monotonic() + 120
        while not state.exists():
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline, "no checkpoint"
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_a_process_killed_in_both_stages_goes_on(recipe, two_stages, tmp_path):
    two_stages[0]["epochs"], two_stages[1]["epochs"] = 5, 10  # of 20 and 10 updates
    whole = tune(recipe(stages=two_stages, lora={"dropout": 0.2}, out=tmp_path / "whole"))
    begun = recipe(stages=two_stages, lora={"dropout": 0.2})
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(begun.model_dump(mode="json")))
    command = [sys.executable, "-m", "llmrec", "train", "tallrec", str(path)]
    checkpoints = begun.out / "checkpoints"
    kill_when(command, checkpoints / "0-general" / "checkpoint-8" / "trainer_state.json")
    assert not (checkpoints / "0-general" / "adapter").exists()
    kill_when(command, checkpoints / "1-films" / "checkpoint-12" / "trainer_state.json")
    assert not (checkpoints / "1-films" / "adapter").exists()
    assert same(tune(begun), whole)
    assert not checkpoints.exists()
