"""GRPO and RLOO: the reward rises, a killed run goes on, and what cannot be is said before a model is loaded."""

import json
import shutil

import pytest
import torch
from judging import pairs
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from tuning import save

from llmrec.config import make_config
from llmrec.errors import ConfigError, TrainingError
from llmrec.llm.adapters import resolve_adapter
from llmrec.testing import expect_error
from llmrec.train.feedback_recipe import GroupRecipe
from llmrec.train.groups import in_order, optimise_groups


class KilledError(Exception):
    """Stands for a kill in the middle of a step."""


def kill_at(update):
    def report(done, *_):
        if done == update:
            raise KilledError

    return report


def vowels(prompts, completions, **columns):
    """The share of an answer's letters that are vowels; the tokenizer puts a space between two tokens."""
    assert all(prompt.startswith("CV: ") for prompt in prompts)
    letters = [text.replace(" ", "") for text in completions]
    return [sum(letter in "aeiou" for letter in text) / max(len(text), 1) for text in letters]


@pytest.fixture(scope="module")
def open_model(tiny_model, tmp_path_factory):
    """The tiny model without an opinion: no token is very likely."""
    folder = tmp_path_factory.mktemp("models") / "open"
    shutil.copytree(tiny_model, folder)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    model.get_input_embeddings().weight.data *= 0.5  # the head is the same matrix
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def recipe(open_model, tmp_path):
    """A function that makes a recipe of a few prompts."""

    def make(**changed):
        rows = [{"prompt": row["prompt"], "system": ""} for row in pairs(8)]
        values = {
            "out": tmp_path / "run",
            "model": str(open_model),
            "device": "cpu",
            "dtype": "float32",
            "prompts": {"file": str(save(tmp_path / "prompts.jsonl", rows))},
            "rewards": [{"function": f"{__name__}:vowels"}],
            "steps": 4,
            "rollout": 16,
            "generations": 4,
            "batch_size": 8,
            "max_tokens": 6,
            "learning_rate": 0.01,
            "kl_coefficient": 0.0,
        }
        return make_config(GroupRecipe, values | changed)

    return make


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_the_reward_rises(algorithm, recipe, open_model, tmp_path):
    made = recipe(steps=25, rollout=32, batch_size=32, generations=8, learning_rate=0.02)
    done = optimise_groups(algorithm, made, reward=vowels)
    first, last = (sum(entry["reward"] for entry in part) / 3 for part in (done.log[:3], done.log[-3:]))
    assert first < 0.2
    assert last > 0.5
    assert [entry["step"] for entry in done.log] == list(range(1, 26))
    assert done.counts == {"prompts": 8}
    resolve_adapter(str(done.adapter), str(open_model))
    files = {str(path.relative_to(made.out)) for path in made.out.rglob("*") if path.is_file()}
    assert {"config.json", "curves.html", "history.json", "run.json", "adapter/adapter_model.safetensors"} < files
    assert not any("checkpoints" in name or "ref/" in name for name in files)
    run = json.loads((made.out / "run.json").read_text())
    assert (run["algorithm"], run["last"]["reward"]) == (algorithm, done.log[-1]["reward"])
    again = optimise_groups(algorithm, made, reward=vowels)
    assert again.before
    assert again.log == done.log
    other = {"grpo": "rloo", "rloo": "grpo"}[algorithm]
    expect_error(ConfigError, lambda: optimise_groups(other, made), f"is a run of {algorithm}", other)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_a_run_that_breaks_goes_on(algorithm, recipe, tmp_path):
    rest = {"checkpoint_every": 1, "epochs": 2, "kl_coefficient": 0.1}  # four updates a step
    whole = optimise_groups(algorithm, recipe(**rest, out=tmp_path / "whole"), reward=vowels)
    begun = recipe(**rest)
    for update in (6, 13):
        with pytest.raises(KilledError):
            optimise_groups(algorithm, begun, reward=vowels, report=kill_at(update))
    other = {"grpo": "rloo", "rloo": "grpo"}[algorithm]
    expect_error(ConfigError, lambda: optimise_groups(other, begun, reward=vowels), f"is a run of {algorithm}")
    done = optimise_groups(algorithm, begun, reward=vowels)
    one, two = (load_file(each.adapter / "adapter_model.safetensors") for each in (done, whole))
    for name, weight in two.items():
        torch.testing.assert_close(one[name], weight, rtol=0, atol=0)
    assert done.log == whole.log
    assert any(entry["kl"] > 0 for entry in done.log)


@pytest.mark.parametrize("bad", [None, float("nan"), "two"])
def test_a_reward_that_is_no_number_names_the_row(bad, recipe):
    def reward(prompts, completions, **columns):
        return [bad] * len(prompts)

    expect_error(TrainingError, lambda: optimise_groups("grpo", recipe(), reward=reward), repr(bad), "prompts.jsonl")


def test_steps_are_made_of_whole_groups(recipe):
    expect_error(ConfigError, lambda: optimise_groups("grpo", recipe(rollout=12)), "rollout = 12", "write rollout: 16")
    bad = recipe(rollout=16, generations=3)
    expect_error(ConfigError, lambda: optimise_groups("rloo", bad), "generations = 3", "write rollout: 18")


def test_divergence_names_the_update(recipe):
    with pytest.raises(TrainingError, match=r"(loss|gradient of norm) (nan|inf) at step \d+"):
        optimise_groups("grpo", recipe(learning_rate=1e30, steps=6), reward=vowels)


def test_each_pass_asks_every_prompt_in_an_order_of_its_own(recipe):
    made = recipe(steps=6)  # of four prompts each
    found = in_order(8, made)
    passes = [found[:8], found[8:16], found[16:]]
    assert [sorted(each) for each in passes] == [list(range(8))] * 3
    assert passes[0] != passes[1] != passes[2]
    assert in_order(8, made) == found != in_order(8, recipe(steps=6, seed=1))
    assert len(in_order(3, made)) == 24
