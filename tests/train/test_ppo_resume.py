"""A PPO run that is killed goes on: the same next step and adapter, to the bit; two processes make that of one."""

import random
import sys

import numpy as np
import pytest
import torch
import yaml
from launched import run_two
from optimising import environment, kill_when_there, loosened, ppo_recipe, share_of_a, words
from safetensors.torch import load_file

from llmrec.data.files import read_json
from llmrec.train.ppo_run import optimise


class KilledError(Exception):
    """Stands for a kill between two steps."""


@pytest.fixture(scope="module")
def model(tiny_model, tmp_path_factory):
    return loosened(tiny_model, tmp_path_factory.mktemp("loose") / "model")


@pytest.fixture
def recipe(model, tmp_path):
    return lambda **changed: ppo_recipe(model, tmp_path, **changed)


def noisy(prompts, completions, **columns):
    """A reward that asks the global generators: what it says depends on all that was asked before."""
    noise = random.random() + float(np.random.rand()) + float(torch.rand(()))  # noqa: NPY002, S311
    return [
        share + noise * len(text) for share, text in zip(share_of_a(prompts, completions), completions, strict=True)
    ]


def adapter_of(done):
    return load_file(done.adapter / "adapter_model.safetensors")


def same(one, two):
    first, second = adapter_of(one), adapter_of(two)
    assert words(one.log) == words(two.log)
    return first.keys() == second.keys() and all(first[name].equal(second[name]) for name in first)


def kill_at(step):
    def report(done, *_):
        if done == step:
            raise KilledError

    return report


@pytest.mark.parametrize(("every", "kills"), [(1, [1, 2, 4]), (2, [1, 3, 5])])
def test_a_run_that_breaks_goes_on(recipe, tmp_path, every, kills):
    """At checkpoints, between them and before the first one: moments, price, place and random numbers come back."""
    more = {"steps": 6, "kl_target": 0.5, "kl_gain": 2.0, "checkpoint_every": every}
    torch.manual_seed(1)
    whole = optimise(recipe(**more, out=tmp_path / "whole"), reward=noisy)
    begun = recipe(**more)
    torch.manual_seed(2)
    for step in kills:
        with pytest.raises(KilledError):
            optimise(begun, reward=noisy, report=kill_at(step))
        random.seed(step)
        np.random.seed(step)  # noqa: NPY002
        torch.manual_seed(step)
    done = optimise(begun, reward=noisy)
    assert len({entry["kl_coefficient"] for entry in done.log}) > 3
    assert same(done, whole)
    assert not (begun.out / "checkpoints").exists()


def test_a_checkpoint_that_was_not_finished_is_no_checkpoint(recipe, tmp_path):
    whole = optimise(recipe(out=tmp_path / "whole"), reward=share_of_a)
    begun = recipe()
    with pytest.raises(KilledError):
        optimise(begun, reward=share_of_a, report=kill_at(2))
    half = begun.out / "checkpoints" / ".step-000003.1.tmp"
    half.mkdir()
    (half / "state.safetensors").write_bytes(b"half")
    assert [path.name for path in (begun.out / "checkpoints").glob("step-*")] == ["step-000002"]
    assert same(optimise(begun, reward=share_of_a), whole)


def test_nothing_is_pickled(recipe):
    begun = recipe()
    with pytest.raises(KilledError):
        optimise(begun, reward=share_of_a, report=kill_at(1))
    names = {path.name for path in (begun.out / "checkpoints").rglob("*") if path.is_file()}
    assert {name.rpartition(".")[2] for name in names} <= {"json", "safetensors", "md"}
    assert read_json(begun.out / "checkpoints" / "step-000001" / "state.json")["step"] == 1


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on(recipe, tmp_path):
    """SIGKILL in the middle of the third step or later, the same command again: as if it had never been killed."""
    more = {"steps": 16, "rewards": [{"function": "optimising:share_of_a"}]}
    whole = optimise(recipe(**more, out=tmp_path / "whole"))
    begun = recipe(**more)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(begun.model_dump(mode="json", exclude_none=True)))
    command = [sys.executable, "-m", "llmrec", "train", "ppo", str(path)]
    kill_when_there(command, begun.out / "checkpoints" / "step-000003")
    assert not (begun.out / "adapter").exists()
    done = optimise(begun)
    assert not done.before
    assert same(done, whole)


@pytest.mark.slow
def test_two_processes_make_the_adapter_of_one_with_twice_the_answers(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    more = {"steps": 3, "rewards": [{"function": "optimising:share_of_a"}], "entropy_coefficient": 0.01}
    one = optimise(recipe(**more, rollout=8, batch_size=8, out=tmp_path / "one"))
    two = recipe(**more, rollout=4, batch_size=4, out=tmp_path / "two")
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(two.model_dump(mode="json", exclude_none=True)))
    for code, _, error in run_two([sys.executable, "-m", "llmrec", "train", "ppo", str(path)]):
        assert code == 0, error
    found = load_file(two.out / "adapter" / "adapter_model.safetensors")
    for name, weight in adapter_of(one).items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-4)
    log = read_json(two.out / "history.json")["history"]["ppo"]
    for key in ("reward", "kl", "entropy", "value_error", "tokens", "clip_fraction", "policy_loss"):
        assert [entry[key] for entry in log] == pytest.approx([entry[key] for entry in one.log], abs=1e-3), key
