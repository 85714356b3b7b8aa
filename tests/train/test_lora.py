"""The base model and its adapter: memory looked at first, layers named, merged with what belongs together only."""

import importlib
import json
import re
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lora import make_adapter
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from llmrec.errors import ConfigError, DataError, MissingPackageError, ModelError
from llmrec.llm.adapters import write_adapter_base
from llmrec.llm.transformers import TransformersConfig, TransformersEngine
from llmrec.protocols import Prompt
from llmrec.testing import expect_error
from llmrec.train import packages
from llmrec.train.lora import (
    add_adapter,
    count_parameters,
    load_base,
    merge,
    require_base,
    require_gpu,
    require_memory,
)
from llmrec.train.recipe import LoraRecipe
from llmrec.train.tallrec import tune

LAYERS = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]


def have(monkeypatch, n):
    monkeypatch.setattr("llmrec.train.lora.psutil.virtual_memory", lambda: SimpleNamespace(available=n))


def test_parameters_are_counted_in_the_files_headers(tiny_model):
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert count_parameters(tiny_model) == sum(weight.numel() for weight in model.parameters())


def test_a_model_that_does_not_fit_is_said_before_loading(recipe, tiny_model, monkeypatch, tmp_path):
    n = count_parameters(tiny_model)
    have(monkeypatch, 4 * n)
    monkeypatch.setattr("llmrec.train.lora.AutoModelForCausalLM", None)  # it must not come to loading
    expect_error(
        ModelError,
        lambda: tune(recipe()),
        "billion parameters needs about",
        "free on cpu",
        "dtype=bfloat16",
        "quantize=true",
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("bytes_each", "fits"), [(4.0, False), (2.0, True), (0.6, True)])
def test_half_the_bytes_fit_where_all_do_not(tiny_model, monkeypatch, bytes_each, fits):
    have(monkeypatch, 3 * count_parameters(tiny_model))
    if fits:
        require_memory(str(tiny_model), bytes_each, "cpu")
    else:
        expect_error(ModelError, lambda: require_memory(str(tiny_model), bytes_each, "cpu"), "needs about")
    require_memory("org/model", bytes_each, "cpu")  # a hub name is not looked into


def test_sizes_are_said_in_gigabytes(monkeypatch, tmp_path):
    have(monkeypatch, 5.4e9)
    monkeypatch.setattr("llmrec.train.lora.count_parameters", lambda _: 7_000_000_000)
    expect_error(
        ModelError,
        lambda: require_memory("big", 2.0, "cpu"),
        "model 'big' of 7.0 billion parameters needs about 16.8 GB",
        "at most the 5.4 GB that are free on cpu",
    )


@pytest.mark.parametrize(("n", "needed", "fits"), [(1, 16.8, True), (2, 33.6, True), (3, 50.4, False)])
def test_processes_of_one_machine_share_its_memory(monkeypatch, n, needed, fits):
    """7 billion weights of 2 bytes and a fifth more are 16.8 GB, and each process has its own copy."""
    have(monkeypatch, 40e9)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(n))
    monkeypatch.setenv("WORLD_SIZE", "8")  # those of other machines count there
    monkeypatch.setattr("llmrec.train.lora.count_parameters", lambda _: 7_000_000_000)
    if fits:
        require_memory("big", 2.0, "cpu")
        have(monkeypatch, needed * 1e9 - 1)
    expect_error(
        ModelError,
        lambda: require_memory("big", 2.0, "cpu"),
        f"needs about {needed} GB" + (f" in {n} processes: " if n > 1 else ": "),
        "free on cpu",
        "take fewer processes, a smaller model" if n > 1 else "take a smaller model",
    )


def test_each_gpu_has_memory_of_its_own(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr("llmrec.train.lora.count_parameters", lambda _: 7_000_000_000)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (17e9, 80e9))
    require_memory("big", 2.0, "cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (16e9, 80e9))
    expect_error(ModelError, lambda: require_memory("big", 2.0, "cuda"), "needs about 16.8 GB: ", "16.0 GB", "on cuda")


def test_a_new_adapter_changes_nothing_yet_and_learns_alone(recipe, tiny_model):
    model = load_base(recipe())
    ids = torch.tensor([[1, 5, 6, 7]])
    with torch.inference_mode():
        before = model(ids).logits
        tuned = add_adapter(model, LoraRecipe(rank=3), None).eval()
        assert torch.equal(tuned(ids).logits, before)
    learning = {name for name, weight in tuned.named_parameters() if weight.requires_grad}
    assert {name.split(".")[-4] for name in learning} == set(LAYERS)
    assert all("lora_" in name for name in learning)
    assert {weight.dtype for weight in tuned.parameters() if weight.requires_grad} == {torch.float32}


@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ()])
def test_targets_are_the_layers_that_learn(recipe, tmp_path, targets):
    tune(recipe(lora={"rank": 2, "alpha": 6, "targets": targets}, stage={"epochs": 1}))
    adapter = tmp_path / "run" / "adapter"
    with safe_open(adapter / "adapter_model.safetensors", framework="pt") as file:
        names = {re.search(r"(\w+_proj)", name)[1] for name in file.keys()}  # noqa: SIM118 - no mapping
    assert names == set(targets or LAYERS)
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (2, 6)


def test_a_layer_that_is_not_there(recipe):
    expect_error(
        ModelError,
        lambda: tune(recipe(lora={"targets": ["query"]})),
        "targets query",
        "names of the model's linear layers",
        "targets: []",
    )


def test_a_model_that_cannot_be_read(recipe, tiny_model, tmp_path):
    broken = shutil.copytree(tiny_model, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"short")
    expect_error(ModelError, lambda: tune(recipe(model=str(broken))), "cannot be loaded", "check the name")


def test_four_bits_without_the_package(recipe, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    expect_error(
        MissingPackageError,
        lambda: tune(recipe(quantize=True, device="cuda")),
        "'bitsandbytes' is not installed",
        "quantize = true",
        "llmrec[qlora]",
    )


def test_four_bits_on_a_cpu(recipe):
    expect_error(ConfigError, lambda: tune(recipe(quantize=True)), "quantize = true on a CPU", "dtype: bfloat16")


def test_a_gpu_that_is_not_there(recipe, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    expect_error(
        ConfigError, lambda: require_base(recipe(device="cuda")), "device = 'cuda' without a GPU", "device: auto"
    )


def test_several_gpus_for_one_process(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    expect_error(ConfigError, lambda: require_gpu("cuda"), "2 GPUs and one process", "accelerate launch")
    require_gpu("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    require_gpu("cuda")


@pytest.mark.parametrize("package", ["trl", "peft", "datasets"])
def test_without_its_packages_tuning_names_the_cure(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    expect_error(
        MissingPackageError,
        lambda: importlib.reload(packages),
        f"package '{package}' is not installed",
        "fine-tuning",
        "pip install 'llmrec[train]'",
    )


@pytest.fixture
def adapter(tiny_model, tmp_path):
    folder = make_adapter(tiny_model, tmp_path / "adapter")
    write_adapter_base(folder, str(tiny_model))
    return folder


def test_a_merged_model_scores_as_base_and_adapter(adapter, tiny_model, tmp_path):
    merge(adapter, tmp_path / "merged", str(tiny_model))
    prompts = [Prompt("Does Ann like Heat?\n"), Prompt("Dune\nAlien\n", system="Films:")]
    found = []
    for model, lora in ((tmp_path / "merged", None), (tiny_model, str(adapter)), (tiny_model, None)):
        engine = TransformersEngine(TransformersConfig(model=str(model), adapter=lora, device="cpu"))
        found.append(np.concatenate(engine.logprobs(prompts, [["Yes.", "No."], ["Brazil\n", "Fargo\n"]])))
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-4)
    assert np.abs(found[0] - found[2]).max() > 0.1
    merge(adapter, tmp_path / "merged", str(tiny_model))  # what llmrec wrote is written again


def test_a_half_precision_base_is_merged_in_full(adapter, tiny_model, tmp_path):
    """What was learnt is smaller than the steps of bfloat16: rounded to them the merged model would forget it."""
    half = shutil.copytree(tiny_model, tmp_path / "half")
    AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16).save_pretrained(half)
    (adapter / "llmrec.json").unlink()
    merge(adapter, tmp_path / "merged", str(half))
    engines = [
        TransformersEngine(TransformersConfig(model=str(model), adapter=lora, device="cpu"))
        for model, lora in ((tmp_path / "merged", None), (half, str(adapter)))
    ]
    one, two = (engine.logprobs([Prompt("Heat?\n")], [["Yes.", "No."]])[0] for engine in engines)
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-4)


def test_an_adapter_of_another_base_is_not_merged(adapter, tiny_model, tmp_path):
    other = shutil.copytree(tiny_model, tmp_path / "other")
    model = AutoModelForCausalLM.from_pretrained(other)
    model.get_input_embeddings().weight.data += 0.01
    model.save_pretrained(other)
    expect_error(
        ModelError,
        lambda: merge(adapter, tmp_path / "merged", str(other)),
        "was made for model 'tiny@",
        "'other@",
        "name the model that it was trained on",
    )
    assert not (tmp_path / "merged").exists()


def test_merging_into_a_folder_of_somebody_else(adapter, tiny_model, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    expect_error(DataError, lambda: merge(adapter, tmp_path / "notes", str(tiny_model)), "holds something else")
    expect_error(ModelError, lambda: merge(tmp_path / "no", tmp_path / "merged", str(tiny_model)), "no folder")
