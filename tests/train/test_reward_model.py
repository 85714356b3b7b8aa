"""A reward model that is loaded: whatever wrote a text, however long its context is, and what cannot be used."""

import json
import shutil

import numpy as np
import pytest
import torch
from judging import pairs
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from tuning import questions, source

from llmrec.config import make_config
from llmrec.errors import DataError, ModelError
from llmrec.testing import expect_error
from llmrec.train.feedback_recipe import RewardRecipe
from llmrec.train.recipe import TallrecRecipe
from llmrec.train.reward import train_reward
from llmrec.train.reward_model import RewardModel
from llmrec.train.tallrec import tune


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    """The folder of a reward model, a copy of whose base lies beside it."""
    folder = tmp_path_factory.mktemp("reward")
    shutil.copytree(tiny_model, folder / "base")
    stage = {"train": [source(folder / "t.jsonl", pairs(8))], "epochs": 1, "batch_size": 4, "learning_rate": 3e-3}
    values = {"out": folder / "run", "model": str(folder / "base"), "device": "cpu", "dtype": "float32", "stage": stage}
    return train_reward(make_config(RewardRecipe, values | {"max_length": 64})).adapter


@pytest.fixture
def model(trained):
    return RewardModel.load(trained, device="cpu", dtype="float32", batch_size=3)


def test_rewards_are_of_text_whatever_wrote_it(model, tiny_model, tmp_path):
    """A policy with other tokens (of two letters, numbered otherwise): what it writes is judged by its letters."""
    pieces = ["<eos>", "<unk>", *(a + b for a in " aeioux" for b in "aeioux"), " "]
    other = Tokenizer(models.WordLevel({piece: 7 * number for number, piece in enumerate(pieces)}, unk_token="<unk>"))  # noqa: S106
    other.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]{1,2}"), "isolated")
    policy = PreTrainedTokenizerFast(tokenizer_object=other, eos_token="<eos>", unk_token="<unk>")  # noqa: S106
    texts = [" aeiou", " xxxxx"]
    ids = [policy(text).input_ids for text in texts]
    assert ids != [model.tokens.tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    written = ["".join(policy.convert_ids_to_tokens(each)) for each in ids]
    assert model(["CV: b\nJob:"] * 2, written) == model(["CV: b\nJob:"] * 2, texts)


def test_batches_and_order_change_no_reward(model):
    prompts = [f"CV: {'b' * n}\nJob:" for n in range(7)]
    answers = [" " + "ae" * n for n in range(7)]
    found = model(prompts, answers)
    np.testing.assert_allclose(model(prompts[::-1], answers[::-1])[::-1], found, rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        [model([p], [a])[0] for p, a in zip(prompts, answers, strict=True)], found, rtol=0, atol=1e-5
    )
    assert model([], []) == []


def test_empty_texts_have_a_reward(model):
    """A policy that ends at once says nothing, and a context may be empty."""
    found = model(["", "CV: b\nJob:", ""], ["", "", " a"])
    assert np.isfinite(found).all()
    assert len({round(each, 5) for each in found}) == 3


def test_special_tokens_in_a_text_are_letters(model):
    plain, broken = model(["CV\n", "CV\n"], [" a<eos> b", " a< eos> b"])
    assert plain == pytest.approx(broken, abs=1e-6)


def test_bad_texts(model):
    expect_error(DataError, lambda: model(["a"], [" b", " c"]), "1 prompts with 2 completions")
    expect_error(DataError, lambda: model(["a", "b"], [" b", None]), "row 2 of str and NoneType", "expected texts")
    expect_error(
        DataError, lambda: model(["a", "b"], [" b", "c" * 63]), "an answer of 63 tokens in row 2", "into 64", "shorter"
    )
    assert len(model(["a" * 500], ["c" * 62])) == 1


def test_another_base(trained, tiny_model, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    changed = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    changed.get_input_embeddings().weight.data *= 2
    changed.save_pretrained(other)
    expect_error(
        ModelError, lambda: RewardModel.load(trained, model=str(other)), "was made for model", "the model asked"
    )
    moved = tmp_path / "moved"
    shutil.copytree(trained.parent.parent / "base", moved / "base")
    there = RewardModel.load(trained, model=str(moved / "base"), device="cpu", dtype="float32")
    assert len(there(["a"], ["b"])) == 1
    copied = shutil.copytree(trained, tmp_path / "copied")
    about = json.loads((copied / "reward.json").read_text())
    (copied / "reward.json").write_text(json.dumps({**about, "model": str(tmp_path / "gone")}))
    expect_error(ModelError, lambda: RewardModel.load(copied), "no model", "gone")


def test_what_is_no_reward_model(trained, tiny_model, tmp_path):
    expect_error(ModelError, lambda: RewardModel.load(tmp_path), "reward.json", "llmrec train reward", "check the path")
    stage = {"train": [source(tmp_path / "q.jsonl", questions(4))], "epochs": 1}
    values = {"out": tmp_path / "run", "model": str(tiny_model), "device": "cpu", "dtype": "float32", "stages": [stage]}
    adapter = tune(make_config(TallrecRecipe, values)).adapter
    expect_error(ModelError, lambda: RewardModel.load(adapter), "reward.json", "a reward model")
    shutil.copy(trained / "reward.json", adapter / "reward.json")
    expect_error(ModelError, lambda: RewardModel.load(adapter, model=str(tiny_model)), "no weights of a head 'score'")


@pytest.mark.parametrize("how", ["nan", "pickled", "half"])
def test_damaged_weights(trained, tmp_path, how):
    folder = shutil.copytree(trained, tmp_path / "damaged")
    path = folder / "adapter_model.safetensors"
    if how == "nan":
        weights = load_file(path)
        save_file({name: weight * torch.nan if "score" in name else weight for name, weight in weights.items()}, path)
        words = ("NaN or infinity in base_model.model.score",)
    elif how == "pickled":
        path.rename(folder / "adapter_model.bin")
        words = ("a pickled adapter_model.bin",)
    else:
        path.write_bytes(path.read_bytes()[:-100])
        words = ("cannot be read", "a whole safetensors file")
    expect_error(ModelError, lambda: RewardModel.load(folder), *words)
