"""``llmrec train sft|reward|dpo|grpo|rloo``: one after the other on the tiny model, and bad input in one line."""

import json

import pytest
import yaml
from judging import pairs
from tuning import save


@pytest.fixture
def recipe(tiny_model, tmp_path):
    """A function that writes a recipe and returns its path."""

    def make(name, **values):
        common = {"model": str(tiny_model), "device": "cpu", "dtype": "float32", "out": str(tmp_path / name)}
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**common, **values}))
        return path

    return make


@pytest.fixture
def preferred(tmp_path):
    """A stage of pairs, and a test."""
    train, valid, test = (
        {"file": str(save(tmp_path / f"pairs-{seed}.jsonl", pairs(12, seed=seed, rejected=2)))} for seed in range(3)
    )
    stage = {"train": [train], "valid": valid, "epochs": 1, "batch_size": 4, "learning_rate": 0.003}
    return {"stage": stage, "test": test}


def words(text):
    return " ".join(text.split())


@pytest.mark.slow
def test_from_descriptions_to_a_policy_that_was_rewarded(recipe, preferred, llmrec, tmp_path):
    rows = [{"prompt": row["prompt"], "system": "", "completion": row["chosen"]} for row in pairs(12)]
    written = {"file": str(save(tmp_path / "written.jsonl", rows))}
    stage = {"name": "postings", "train": [written], "epochs": 1, "batch_size": 4}
    code, out, _ = llmrec("train", "sft", recipe("sft", stages=[stage]))
    assert code == 0
    assert "postings: 12 train" in words(out)
    start = str(tmp_path / "sft" / "adapter")
    path = recipe("reward", **preferred, length_penalty=True)
    code, out, _ = llmrec("train", "reward", path, "--set", "seed=2")
    assert code == 0
    assert "tuning: 24 train, 24 valid; best on validation: accuracy" in words(out)
    for said in (
        "accuracy",
        "log-loss",
        "ece",
        "95 % interval",
        "reward and length of 36 answers: pearson",
        "length penalty",
    ):
        assert said in out, said
    assert json.loads((tmp_path / "reward" / "run.json").read_text())["recipe"]["seed"] == 2
    code, out, _ = llmrec("train", "reward", path, "--set", "seed=2")
    assert code == 0
    assert "this recipe was tuned before" in words(out)
    code, out, _ = llmrec("train", "dpo", recipe("dpo", **preferred, start=start))
    assert code == 0
    assert "accuracy" in out
    prompts = {"prompts": written, "rewards": [{"model": str(tmp_path / "reward" / "adapter"), "weight": 0.5}]}
    sizes = {"steps": 2, "rollout": 8, "generations": 4, "batch_size": 4, "max_tokens": 5}
    for name in ("grpo", "rloo"):
        code, out, err = llmrec("train", name, recipe(name, **prompts, **sizes, start=start))
        assert code == 0, err
        assert "12 prompts" in out
        assert "answers of a step" in out
        assert " kl " in out
        assert (tmp_path / name / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("command", ["sft", "reward", "dpo", "grpo", "rloo"])
def test_a_key_that_is_not_there(command, recipe, llmrec):
    code, _, err = llmrec("train", command, recipe("bad", lora={"ranks": 3}))
    assert code == 2
    assert "unknown key 'lora.ranks'" in err
    assert "Traceback" not in err
