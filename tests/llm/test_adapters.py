"""LoRA adapters are read whole, refused with one line, and named by what changes answers."""

import json
import shutil

import pytest
import torch
from lora import change_config, change_weights, make_adapter

from llmrec.config import Part
from llmrec.errors import ConfigError, EngineError, MissingPackageError, ModelError
from llmrec.llm.adapters import resolve_adapter, write_adapter_base
from llmrec.llm.make import make_engine
from llmrec.llm.models import model_identity
from llmrec.llm.vllm import _lora_options
from llmrec.testing import expect_error

QUERY = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def adapter(tiny_model, tmp_path_factory):
    """An adapter for the tiny model, of rank 4 and of rank 6 in one kind of layer."""
    return make_adapter(tiny_model, tmp_path_factory.mktemp("adapters") / "one", rank_pattern={"down_proj": 6})


@pytest.fixture
def copy(adapter, tmp_path):
    """A copy of it to spoil."""
    return shutil.copytree(adapter, tmp_path / "tuned")


@pytest.fixture
def refused(copy, tiny_model):
    """A function that expects the copy to be refused with some words."""
    return lambda *words: expect_error(ModelError, lambda: resolve_adapter(str(copy), str(tiny_model)), *words)


def with_tensor(name, tensor):
    return lambda tensors: {**tensors, name: tensor}


def without(name):
    return lambda tensors: {each: tensor for each, tensor in tensors.items() if each != name}


def renamed(old, new):
    return lambda tensors: {name.replace(old, new): tensor for name, tensor in tensors.items()}


def spoil(value):
    def change(tensors):
        tensors[f"{QUERY}.lora_B.weight"][3, 1] = value
        return tensors

    return change


def test_an_adapter_is_found_with_its_largest_rank(adapter, tiny_model, monkeypatch):
    found = resolve_adapter(str(adapter), str(tiny_model))
    assert (found.folder, found.rank) == (adapter, 6)
    monkeypatch.setenv("HOME", str(adapter.parent))
    monkeypatch.chdir(adapter)
    assert resolve_adapter("~/one", str(tiny_model)) == resolve_adapter("../one", str(tiny_model)) == found


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        (shutil.rmtree, ["no folder", "the folder of a LoRA adapter", "check the path"]),
        (lambda it: (it / "adapter_config.json").unlink(), ["has no adapter_config.json", "save_pretrained"]),
        (
            lambda it: (it / "adapter_config.json").write_text('{"peft_type": "LO'),
            ["readable JSON", "copy the adapter"],
        ),
        (lambda it: (it / "adapter_config.json").write_bytes(b"\xff"), ["readable JSON", "cut off"]),
        (lambda it: (it / "adapter_config.json").write_text("[]"), ["holds a list", "a JSON object"]),
        (lambda it: change_config(it, peft_type="IA3"), ["of type 'IA3'", "'LORA'", "merge it"]),
        (lambda it: change_config(it, alora_invocation_tokens=[5]), ["of type 'activated LoRA'", "merge it"]),
        (lambda it: change_config(it, r=5), ["weights of rank 4", "rank 5", "not of one training"]),
        (
            lambda it: (it / "adapter_model.safetensors").unlink(),
            ["has no adapter_model.safetensors", "copy the folder"],
        ),
        (
            lambda it: (it / "adapter_model.safetensors").rename(it / "adapter_model.bin"),
            ["a pickled adapter_model.bin", "as safetensors", "load it with peft", "save it again"],
        ),
        (lambda it: (it / "adapter_model.safetensors").write_bytes(b""), ["cannot be read", "copy it again"]),
        (lambda it: change_weights(it, spoil(float("nan"))), ["NaN or infinity in", f"{QUERY}.lora_B", "diverged"]),
        (lambda it: change_weights(it, spoil(float("-inf"))), ["NaN or infinity in", f"{QUERY}.lora_B"]),
        (lambda it: change_weights(it, lambda _: {}), ["holds no weights", "lora_A", "copy it again"]),
        (
            lambda it: change_weights(it, without(f"{QUERY}.lora_B.weight")),
            ["half a pair for model.layers.0.self_attn.q"],
        ),
        (
            lambda it: change_weights(it, with_tensor(f"{QUERY}.lora_B.weight", torch.zeros(32, 3))),
            ["half a pair for model.layers.0.self_attn.q_proj"],
        ),
        (
            lambda it: change_weights(it, with_tensor("base_model.model.lm_head.weight", torch.zeros(200, 32))),
            ["holds base_model.model.lm_head.weight", "of linear layers alone", "merged folder"],
        ),
        (
            lambda it: change_weights(it, with_tensor(f"{QUERY}.lora_magnitude_vector", torch.ones(32))),
            ["lora_magnitude_vector", "alone"],
        ),
        (lambda it: change_weights(it, renamed("base_model.", "")), ["alone", "merge it"]),
        (
            lambda it: change_weights(it, with_tensor(f"{QUERY}.lora_A.weight", torch.zeros(4, 48))),
            ["q_proj with 48 inputs and 32 outputs", "it has 32 inputs and 32 outputs", "made for this model"],
        ),
        (
            lambda it: change_weights(it, with_tensor(f"{QUERY}.lora_B.weight", torch.zeros(64, 4))),
            ["q_proj with 32 inputs and 64 outputs", "it has 32 inputs and 32 outputs"],
        ),
        (lambda it: change_weights(it, renamed("layers.1", "layers.7")), ["model.layers.7", "there is none"]),
        (lambda it: change_weights(it, renamed("q_proj", "query")), ["self_attn.query", "there is none", "trained on"]),
        (lambda it: (it / "llmrec.json").write_text("{"), ["llmrec.json", "readable JSON"]),
        (lambda it: (it / "llmrec.json").write_text("{}"), ["llmrec.json", "names no base_model", "train again"]),
        (lambda it: (it / "llmrec.json").write_text('{"base_model": 3}'), ["names no base_model"]),
    ],
)
def test_what_cannot_be_used_is_one_line(copy, refused, spoilt, words):
    spoilt(copy)
    refused(str(copy), *words)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_folder_that_was_half_copied_is_one_line(copy, refused, file, share):
    content = (copy / file).read_bytes()
    (copy / file).write_bytes(content[: int(share * len(content))])
    refused(file, "copy")


def test_an_adapter_keeps_to_the_model_it_was_made_for(copy, refused, tiny_model, tmp_path):
    write_adapter_base(copy, str(tiny_model))
    assert json.loads((copy / "llmrec.json").read_text()) == {"base_model": model_identity(str(tiny_model))}
    assert resolve_adapter(str(copy), str(tiny_model)).rank == 6
    # the same weights elsewhere, under another name
    moved = shutil.copytree(tiny_model, tmp_path / "renamed")
    assert resolve_adapter(str(copy), str(moved)).rank == 6
    # as many layers, as wide, with another weight
    weights = bytearray((moved / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (moved / "model.safetensors").write_bytes(weights)
    theirs, ours = model_identity(str(tiny_model)), model_identity(str(moved))
    expect_error(ModelError, lambda: resolve_adapter(str(copy), str(moved)), f"made for model {theirs!r}", f"{ours!r}")
    # a hub name has no digest to compare: the layers fit
    (copy / "llmrec.json").write_text('{"base_model": "org/model"}')
    assert resolve_adapter(str(copy), str(tiny_model)).rank == 6


def test_hub_names_are_compared_as_they_are(copy):
    (copy / "llmrec.json").write_text('{"base_model": "org/one"}')
    expect_error(ModelError, lambda: resolve_adapter(str(copy), "org/two"), "made for model 'org/one'", "'org/two'")


@pytest.mark.parametrize(
    "change",
    [
        lambda it: change_weights(it, spoil(0.25)),
        lambda it: change_weights(it, lambda tensors: {name: tensor.half() for name, tensor in tensors.items()}),
        lambda it: change_config(it, lora_alpha=9),
        lambda it: change_config(it, use_rslora=True),
        lambda it: change_config(it, alpha_pattern={"q_proj": 1}),
    ],
)
def test_the_identity_changes_with_weights_and_their_scale(copy, adapter, tiny_model, make_engine, change):
    before = resolve_adapter(str(adapter), str(tiny_model))
    change(copy)
    after = resolve_adapter(str(copy), str(tiny_model))
    assert after.identity != before.identity
    engines = [make_engine(tiny_model, adapter=str(folder)) for folder in (adapter, copy)]
    assert engines[0].identity != engines[1].identity


def test_the_identity_changes_with_nothing_else(copy, adapter, tiny_model, make_engine):
    settings = json.loads((copy / "adapter_config.json").read_text())
    new = {"new_in_another_version": None, "another": False, "third": {}, "lora_dropout": 0.3, "inference_mode": False}
    named = {"base_model_name_or_path": "/elsewhere", "peft_version": "9", "revision": "main"}
    change_config(copy, target_modules=sorted(settings["target_modules"], reverse=True), **new, **named)
    change_weights(copy, lambda tensors: dict(sorted(tensors.items(), reverse=True)))
    write_adapter_base(copy, str(tiny_model))
    (copy / "README.md").write_text("about")
    one, two = (make_engine(tiny_model, adapter=str(folder)) for folder in (adapter, copy))
    assert one.identity == two.identity
    assert (
        one.identity == f"{make_engine(tiny_model).identity}+{resolve_adapter(str(adapter), str(tiny_model)).identity}"
    )


def test_without_peft_the_error_names_the_cure(adapter, tiny_model, make_engine, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    make_engine(tiny_model)
    expect_error(
        MissingPackageError,
        lambda: make_engine(tiny_model, adapter=str(adapter)),
        "'peft' is not installed",
        "LoRA adapters",
        "pip install 'llmrec[train]'",
    )


@pytest.mark.parametrize("name", ["openai", "fake"])
def test_an_engine_that_loads_no_model_takes_no_adapter(name):
    part = Part(name=name, parameters={"model": "tuned", "adapter": "/a/folder"})
    words = ["adapter = '/a/folder'", f"the {name} engine", "transformers or vllm", "--lora-modules NAME=FOLDER"]
    expect_error(ConfigError, lambda: make_engine(part), *words, "engine.model=NAME")


@pytest.mark.parametrize(("rank", "room"), [(1, 8), (8, 8), (9, 16), (64, 64), (65, 128), (257, 320), (512, 512)])
def test_vllm_makes_room_for_the_rank(adapter, tiny_model, rank, room):
    found = resolve_adapter(str(adapter), str(tiny_model))
    ranked = type(found)(found.folder, found.digest, rank)
    assert _lora_options(ranked, "auto", on_cpu=False) == {"enable_lora": True, "max_lora_rank": room}


def test_what_vllm_has_no_kernels_for_is_refused(adapter, tiny_model):
    found = resolve_adapter(str(adapter), str(tiny_model))
    large = type(found)(found.folder, found.digest, 513)
    expect_error(
        ModelError, lambda: _lora_options(large, "auto", on_cpu=True), "rank 513", "at most 512", "transformers"
    )
    refused = lambda: _lora_options(found, "float32", on_cpu=False)  # noqa: E731
    expect_error(EngineError, refused, "'float32' with an adapter on a GPU", "bfloat16", "engine.dtype=bfloat16")
    assert _lora_options(found, "float32", on_cpu=True) == {"enable_lora": True, "max_lora_rank": 8}
