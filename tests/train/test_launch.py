"""Several processes: the same adapter as one makes, files written once, one error said once; the launch files load."""

import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from launched import run_two
from safetensors.torch import load_file
from tuning import questions, source

from llmrec.errors import ConfigError
from llmrec.testing import expect_error
from llmrec.train.processes import join
from llmrec.train.tallrec import tune

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "configs" / "accelerate"
SCRIPT = [sys.executable, str(ROOT / "tests" / "launched.py")]
TRAIN = [sys.executable, "-m", "llmrec", "train", "tallrec"]


def write(recipe, path):
    """Write a recipe as YAML and return its path."""
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude_none=True)))
    return path


@pytest.mark.slow
def test_two_processes_make_the_adapter_of_one_with_twice_the_batch(recipe, tmp_path):
    rest = {
        "lora": {"rank": 4, "dropout": 0.0},  # each process would drop others
        "test": source(tmp_path / "test.jsonl", questions(11, seed=2)),  # the second process has one less
    }
    stage = {
        "train": [source(tmp_path / "train.jsonl", questions(16))],
        "valid": source(tmp_path / "valid.jsonl", questions(10, seed=1)),
        "learning_rate": 0.01,
    }
    one = tune(recipe(stage=stage | {"batch_size": 8}, **rest, out=tmp_path / "one"))
    path = write(recipe(stage=stage | {"batch_size": 4}, **rest, out=tmp_path / "two"), tmp_path / "recipe.yaml")
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--main_process_port", "0"]
    command = [*launch, "--config_file", str(LAUNCH / "ddp-cpu.yaml"), "-m", "llmrec", "train", "tallrec", str(path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("tuned in") == 1
    assert run.stderr.count("Warning") == 0
    expected, found = (load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("one", "two"))
    assert expected.keys() == found.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-5)
    learnt = [weight.abs().max() for name, weight in found.items() if "lora_B" in name]
    assert min(learnt) > 1e-3  # they begin at 0
    scores = [pl.read_parquet(tmp_path / name / "predictions.parquet") for name in ("one", "two")]
    assert scores[1]["row"].to_list() == list(range(11))
    torch.testing.assert_close(scores[1]["score"].to_torch(), scores[0]["score"].to_torch(), rtol=0, atol=1e-4)
    files = [{path.name for path in (tmp_path / name).rglob("*")} for name in ("one", "two")]
    assert files[0] == files[1]
    assert one.test is not None


@pytest.mark.slow
@pytest.mark.parametrize("bad", ["key", "rows"])
def test_an_error_ends_all_processes_and_is_said_once(bad, recipe, tmp_path):
    made = recipe()
    path = write(made, tmp_path / "recipe.yaml")
    if bad == "key":
        path.write_text(path.read_text() + "epoch: 3\n")
    else:
        made.stages[0].train[0].file.unlink()
    found = run_two([*TRAIN, str(path)])
    assert [code for code, *_ in found] == [2, 2]
    first, second = (error for *_, error in found)
    said = [line for line in first.splitlines() if line.startswith("llmrec: error: ")]
    assert len(said) == 1
    assert {"key": "'epoch'", "rows": "train.jsonl"}[bad] in said[0]
    assert "error" not in second
    assert "Traceback" not in first + second


@pytest.mark.slow
def test_processes_share_rows_and_hear_of_each_others_errors():
    (first, said, quiet), (second, other, _) = run_two([*SCRIPT, "talk"])
    whole, single = "[-0.0, -1.5, -3.0, -4.5, -6.0]", "[0] [-0.0]"
    assert said.splitlines() == [f"[0, 2, 4] {whole}", single]
    assert other.splitlines() == [f"[1, 3, 4] {whole}", single, "error: row 7: expected an answer; mend it"]
    assert (first, second) == (2, 2)
    assert "Traceback" not in quiet


@pytest.mark.slow
def test_a_model_that_is_shared_out_scores_and_saves_as_a_whole_one(tiny_model):
    for code, out, error in run_two([*SCRIPT, "sharded", str(tiny_model)]):
        assert code == 0, error
        assert out == "whole\n"


@pytest.mark.parametrize("name", ["ddp", "ddp-cpu", "fsdp"])
def test_launch_files_load_and_begin_with_their_command(name):
    path = LAUNCH / f"{name}.yaml"
    found = load_config_from_file(str(path))
    assert found.num_processes == 2
    assert found.use_cpu == (name == "ddp-cpu")
    assert str(found.distributed_type).endswith("FSDP" if name == "fsdp" else "MULTI_GPU")
    command = path.read_text().splitlines()[0]
    assert command.startswith(
        f"# accelerate launch --config_file configs/accelerate/{name}.yaml -m llmrec train tallrec "
    )
    assert (ROOT / re.search(r"configs/[\w-]+\.yaml", command.split("tallrec ")[1])[0]).is_file()


def test_fsdp_is_of_version_2_and_saves_whole_states():
    found = load_config_from_file(str(LAUNCH / "fsdp.yaml")).fsdp_config
    assert found["fsdp_version"] == 2
    assert found["fsdp_auto_wrap_policy"] == "TRANSFORMER_BASED_WRAP"
    assert found["fsdp_state_dict_type"] == "FULL_STATE_DICT"


def test_fsdp_on_a_cpu_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    expect_error(ConfigError, lambda: join("cpu"), "FSDP on a CPU", "a GPU for each process", "ddp-cpu.yaml")
