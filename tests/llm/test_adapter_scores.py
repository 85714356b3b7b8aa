"""Scores and texts with an adapter are those of a model into whose weights its products were written by hand."""

import math
import warnings

import numpy as np
import pytest
import torch
from lora import add_by_hand, change_config, change_weights, make_adapter
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from llmrec.errors import ModelError
from llmrec.protocols import Prompt, Sampling
from llmrec.testing import EngineContract, expect_error

PROMPTS = ("a", "Alien\nBrazil", "A history that is longer than the window of eight tokens\n")
ANSWERS = ("\nDune", "\nDune\nHeat", "x", " something quite different")


def naive_scores(naive):
    return np.array([[naive.logprob(prompt, answer) for answer in ANSWERS] for prompt in PROMPTS])


def scores(engine):
    return np.array(engine.logprobs([Prompt(prompt) for prompt in PROMPTS], [ANSWERS] * len(PROMPTS)))


@pytest.fixture(scope="module")
def adapter(tiny_model, tmp_path_factory):
    return make_adapter(tiny_model, tmp_path_factory.mktemp("adapters") / "one")


@pytest.fixture(scope="module")
def tuned(tiny_model, adapter, make_engine):
    return make_engine(tiny_model, adapter=str(adapter))


class TestContract(EngineContract):
    @pytest.fixture(autouse=True)
    def _engine(self, tuned):
        self.engine = tuned

    def make(self):
        return self.engine


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({}, 8 / 4),
        ({"r": 3, "lora_alpha": 4}, 4 / 3),
        ({"r": 6, "lora_alpha": 5, "use_rslora": True}, 5 / math.sqrt(6)),
        ({"targets": ("q_proj", "v_proj"), "layers_to_transform": [1]}, 8 / 4),
    ],
)
def test_scores_are_those_of_weights_changed_by_hand(
    tiny_model, naive, make_engine, naive_model, tmp_path, settings, scale
):
    adapter = make_adapter(tiny_model, tmp_path / "adapter", seed=1, **settings)
    expected = naive_scores(naive_model(add_by_hand(tiny_model, adapter, tmp_path / "by-hand", scale)))
    np.testing.assert_allclose(scores(make_engine(tiny_model, adapter=str(adapter))), expected, atol=1e-4)
    assert np.abs(expected - naive_scores(naive)).min() > 1e-3


def test_a_model_that_keeps_weights_the_other_way_round(tiny_model, make_engine, naive_model, tmp_path):
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=200,
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=512,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
    )
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path / "gpt2")
    adapter = make_adapter(tmp_path / "gpt2", tmp_path / "adapter", targets=("c_attn", "c_fc"), fan_in_fan_out=True)
    expected = naive_scores(naive_model(add_by_hand(tmp_path / "gpt2", adapter, tmp_path / "by-hand", 2.0)))
    np.testing.assert_allclose(scores(make_engine(tmp_path / "gpt2", adapter=str(adapter))), expected, atol=1e-4)


def test_a_head_that_is_tied_to_the_embeddings_leaves_them_alone(tiny_model, make_engine, naive_model, tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")
        adapter = make_adapter(tiny_model, tmp_path / "adapter", targets=("lm_head", "q_proj"))
    tensors = load_file(adapter / "adapter_model.safetensors")
    product = 2 * tensors["base_model.model.lm_head.lora_B.weight"] @ tensors["base_model.model.lm_head.lora_A.weight"]
    change = {"base_model.model.lm_head.lora_B.weight", "base_model.model.lm_head.lora_A.weight"}
    adapted = make_engine(tiny_model, adapter=str(adapter))
    rest = make_adapter(tiny_model, tmp_path / "rest", targets=("q_proj",))
    change_weights(rest, lambda _: {name: tensor for name, tensor in tensors.items() if name not in change})
    oracle = naive_model(add_by_hand(tiny_model, rest, tmp_path / "by-hand", 2.0))
    head = oracle.model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach() + product)  # a weight of its own from here on
    assert oracle.model.get_input_embeddings().weight is not head.weight
    np.testing.assert_allclose(scores(adapted), naive_scores(oracle), atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_half_formats_keep_the_model_as_it_is_beside_the_adapter(tiny_model, adapter, tuned, make_engine, dtype):
    engine, plain = make_engine(tiny_model, adapter=str(adapter), dtype=dtype), make_engine(tiny_model, dtype=dtype)
    np.testing.assert_allclose(scores(engine), scores(tuned), rtol=0.05 if dtype != "float32" else 1e-6)
    base = plain.model.model.layers[0].mlp.up_proj.weight
    weights = dict(engine.model.named_parameters())
    if dtype == "float32":
        assert not any("lora_" in name for name in weights)
        assert not torch.equal(weights["model.layers.0.mlp.up_proj.weight"], base)
    else:
        assert torch.equal(weights["model.layers.0.mlp.up_proj.base_layer.weight"], base)


def test_an_adapter_finer_than_the_number_format_still_counts(tiny_model, make_engine, tmp_path):
    # bfloat16 has eight binary digits: of a weight of about a half, what changes less than 0.001 is nothing
    adapter = make_adapter(tiny_model, tmp_path / "fine", size=1.0, r=1, lora_alpha=1)
    change_weights(adapter, lambda tensors: {name: tensor * 0.02 for name, tensor in tensors.items()})
    engine, plain = (make_engine(tiny_model, dtype="bfloat16", **more) for more in ({"adapter": str(adapter)}, {}))
    exact, without = (make_engine(tiny_model, **more) for more in ({"adapter": str(adapter)}, {}))
    assert 0 < np.abs(scores(exact) - scores(without)).max() < 0.1
    assert not np.array_equal(scores(engine), scores(plain))


def test_greedy_text_is_that_of_weights_changed_by_hand(writer_model, make_engine, naive_model, tmp_path):
    adapter = make_adapter(writer_model, tmp_path / "adapter", size=0.2)
    oracle = naive_model(add_by_hand(writer_model, adapter, tmp_path / "by-hand", 2.0))
    asked = [Prompt(prompt) for prompt in PROMPTS], Sampling(max_tokens=12)
    tuned, plain = (
        make_engine(writer_model, adapter=str(adapter)).generate(*asked),
        make_engine(writer_model).generate(*asked),
    )
    assert [one.text for one in tuned] == [oracle.greedy(prompt, 12) for prompt in PROMPTS]
    assert all(one.text != other.text for one, other in zip(tuned, plain, strict=True))
    assert [one.prompt_tokens for one in tuned] == [one.prompt_tokens for one in plain]


def test_usage_is_that_of_the_plain_model(tiny_model, adapter, make_engine):
    engines = make_engine(tiny_model), make_engine(tiny_model, adapter=str(adapter))
    for engine in engines:
        scores(engine)
    one, two = ((engine.usage.prompts, engine.usage.prompt_tokens, engine.usage.output_tokens) for engine in engines)
    assert one == two


def test_weights_that_the_settings_ask_for_and_the_file_lacks_are_one_line(tiny_model, make_engine, tmp_path):
    adapter = make_adapter(tiny_model, tmp_path / "adapter", targets=("q_proj",))
    change_config(adapter, target_modules=["q_proj", "v_proj"])
    engine = make_engine(tiny_model, adapter=str(adapter))
    expect_error(ModelError, lambda: scores(engine), str(adapter), "missing adapter keys", "v_proj", "trained on")


def test_layers_that_the_settings_do_not_name_are_one_line(tiny_model, make_engine, tmp_path):
    adapter = make_adapter(tiny_model, tmp_path / "adapter", targets=("q_proj",))
    change_config(adapter, target_modules=["nothing"])
    engine = make_engine(tiny_model, adapter=str(adapter))
    expect_error(ModelError, lambda: scores(engine), str(adapter), "nothing", "made for this model")


def test_products_that_overflow_are_one_line(tiny_model, make_engine, tmp_path):
    adapter = make_adapter(tiny_model, tmp_path / "adapter", size=1e30)
    engine = make_engine(tiny_model, adapter=str(adapter))
    expect_error(ModelError, lambda: scores(engine), str(adapter), "NaNs")


def test_the_model_on_disk_is_left_alone(tiny_model, adapter, make_engine, naive):
    make_engine(tiny_model, adapter=str(adapter)).logprobs([Prompt("a")], [["b"]])
    again = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    for one, two in zip(again.parameters(), naive.model.parameters(), strict=True):
        assert torch.equal(one, two)
