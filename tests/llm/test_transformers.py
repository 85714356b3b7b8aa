"""The transformers engine's log-probabilities against one plain forward pass for each prompt and answer."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AutoTokenizer,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from llmrec.errors import EngineError
from llmrec.protocols import Prompt
from llmrec.testing import EngineContract, expect_error

SIZES = (1, 9, 40, 120, 8192)
PROMPTS = ("", "a", "Alien\nBrazil", "A history that is much longer than the window of eight tokens\n" * 3)
ANSWERS = (
    ("\nDune", "\nDune\nHeat", "\nDune", "\nD", " something quite different, and long: " * 3),
    ("x",),
    ("Heat", "Heat"),
    (),
)


@pytest.fixture(scope="module")
def engines(tiny_model, make_engine):
    return {size: make_engine(tiny_model, batch_tokens=size) for size in SIZES}


def assert_naive(engine, naive, prompts, answers, *, atol=1e-4):
    """Compare all log-probabilities with the oracle's; return the largest difference."""
    scores = engine.logprobs([Prompt(text) for text in prompts], answers)
    expected = [[naive.logprob(text, answer) for answer in row] for text, row in zip(prompts, answers, strict=True)]
    assert [len(row) for row in scores] == [len(row) for row in expected]
    for row, right in zip(scores, expected, strict=True):
        np.testing.assert_allclose(row, right, rtol=0, atol=atol)


class TestContract(EngineContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tiny_engine):
        self.engine = tiny_engine

    def make(self):
        return self.engine


@pytest.mark.parametrize("size", SIZES)
def test_log_probabilities_are_those_of_a_plain_forward_pass(engines, naive, size):
    prompts = [prompt for prompt in PROMPTS for _ in ANSWERS]
    assert_naive(engines[size], naive, prompts, list(ANSWERS) * len(PROMPTS))


text = st.text("ab\n", max_size=30)
answer = st.one_of(st.text("ab\n", min_size=1, max_size=4), st.text("ab", min_size=1, max_size=25))


@given(
    rows=st.lists(st.tuples(text, st.lists(answer, max_size=5)), min_size=1, max_size=4),
    size=st.sampled_from(SIZES),
)
def test_any_prompts_and_answers_in_any_batches_score_as_alone(engines, naive, rows, size):
    assert_naive(engines[size], naive, [prompt for prompt, _ in rows], [answers for _, answers in rows])


def test_a_system_text_stands_before_the_prompt(tiny_engine, naive):
    scores = tiny_engine.logprobs([Prompt("Heat\n", system="Films:")], [["Dune"]])
    np.testing.assert_allclose(scores[0], naive.logprob("Films:\n\nHeat\n", "Dune"), atol=1e-4)


def test_equal_answers_get_equal_scores_and_a_batch_repeats_exactly(tiny_engine):
    prompts, answers = [Prompt("Alien\n")] * 2, [["Dune", "Heat", "Dune"]] * 2
    first, second = tiny_engine.logprobs(prompts, answers)
    assert first[0] == first[2]
    np.testing.assert_array_equal(first, tiny_engine.logprobs(prompts, answers)[0])
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_scoring_leaves_the_model_as_it_was(tiny_model, make_engine, naive):
    engine = make_engine(tiny_model)
    ids = torch.tensor([naive.tokenizer("Alien\nBrazil\nCasablanca").input_ids])
    engine.logprobs([Prompt("Alien")], [["\nDune", "\nHeat"]])
    with torch.inference_mode():
        plain = engine.model(ids).logits
        expected = naive.model(ids).logits
    assert plain.shape == (1, ids.shape[1], 200)
    torch.testing.assert_close(plain, expected)
    new = engine.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False)
    assert naive.tokenizer.decode(new[0, ids.shape[1] :], skip_special_tokens=True) == naive.greedy(
        "Alien\nBrazil\nCasablanca", 6
    )


def test_a_failed_forward_pass_does_not_leave_the_head_cut(tiny_model, make_engine):
    engine = make_engine(tiny_model)
    engine.logprobs([Prompt("a")], [["b"]])
    with pytest.raises(IndexError):
        engine._scorer._forward(
            (torch.tensor([5]), torch.tensor([0])), input_ids=torch.tensor([[1, 2]]), use_cache=False
        )
    assert engine.model(torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, 200)


def llama(**sizes):
    return LlamaForCausalLM(LlamaConfig(num_key_value_heads=2, **sizes))


def gemma2_with_softcapping(**sizes):
    config = Gemma2Config(
        head_dim=8,
        num_key_value_heads=2,
        sliding_window=8,
        final_logit_softcapping=3.0,
        query_pre_attn_scalar=8,
        **sizes,
    )
    return Gemma2ForCausalLM(config)


def gpt2(*, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, **sizes):
    return GPT2LMHeadModel(
        GPT2Config(n_embd=hidden_size, n_layer=num_hidden_layers, n_head=num_attention_heads, n_positions=512, **sizes)
    )


@pytest.mark.parametrize("build", [llama, gemma2_with_softcapping, gpt2])
def test_other_architectures_score_as_a_plain_forward_pass(build, tiny_model, tmp_path, make_engine, naive_model):
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = build(vocab_size=200, initializer_range=0.5, bos_token_id=1, eos_token_id=2, **sizes)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    engine, oracle = make_engine(tmp_path, batch_tokens=150), naive_model(tmp_path)
    assert_naive(engine, oracle, PROMPTS, ANSWERS)
    assert engine.model(torch.tensor([[1, 5, 6]])).logits.shape == (1, 3, 200)


def test_a_chat_template_renders_the_prompt(tiny_model, tmp_path, make_engine, naive):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[bot]{% endif %}"
    )
    naive.model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    scores = make_engine(tmp_path).logprobs([Prompt("Heat", system="Films"), Prompt("Heat")], [["Dune"], ["Dune"]])
    whole = naive.logprob("[system]Films[user]Heat[bot]", "Dune", special=False)
    np.testing.assert_allclose(scores[0], whole, atol=1e-4)
    np.testing.assert_allclose(scores[1], naive.logprob("[user]Heat[bot]", "Dune", special=False), atol=1e-4)


def test_bfloat16_is_close_to_float32(tiny_model, tiny_engine, make_engine):
    engine = make_engine(tiny_model, dtype="bfloat16")
    prompts, answers = [Prompt("Alien\n"), Prompt("Heat\nDune\n")], [["Brazil", "Dune"], ["Fargo", "Alien"]]
    for half, full in zip(engine.logprobs(prompts, answers), tiny_engine.logprobs(prompts, answers), strict=True):
        np.testing.assert_allclose(half, full, rtol=0.05)
    assert engine.model.dtype == torch.bfloat16
    assert engine.identity != tiny_engine.identity


def test_tokens_are_counted_without_special_ones(tiny_engine):
    assert tiny_engine.count_tokens(["", "a", "Alien\n"]) == [0, 1, 6]
    assert tiny_engine.count_tokens([]) == []


def test_tokens_and_answers_of_a_call_are_counted(tiny_model, make_engine):
    engine = make_engine(tiny_model)
    engine.logprobs([Prompt("abc"), Prompt("")], [["xy", "xyz"], ["\n"]])
    usage = engine.usage
    # BOS and three letters, then BOS alone; "xy" is shared and scored once, "z" and the line break once each.
    assert (usage.prompts, usage.prompt_tokens, usage.output_tokens, usage.cache_misses) == (2, 5, 4, 3)
    assert usage.seconds > 0


def test_the_context_holds_prompt_and_answer_to_the_last_token(tiny_model, make_engine, naive):
    engine = make_engine(tiny_model)
    prompt = "ab" * 250  # BOS and 500 letters; the context has 512 places
    np.testing.assert_allclose(
        engine.logprobs([Prompt(prompt)], [["x" * 11, "y"]])[0],
        [naive.logprob(prompt, "x" * 11), naive.logprob(prompt, "y")],
        atol=1e-4,
    )
    spent = engine.usage
    too_long = [["x" * 12, "y"]]
    expect_error(EngineError, lambda: engine.logprobs([Prompt(prompt)], too_long), "501 tokens", "12", "512")
    assert engine.usage == spent


def test_an_empty_answer_is_an_error(tiny_engine):
    expect_error(EngineError, lambda: tiny_engine.logprobs([Prompt("a")], [["b", ""]]), "empty answer", "title")
