"""The transformers engine writes text: greedily, by seeded sampling, to a stop."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from llmrec.errors import EngineError
from llmrec.llm.sampling import SeededSampling, cut_at_stop
from llmrec.protocols import Prompt, Sampling
from llmrec.testing import expect_error

TEXTS = ("Alien\nBrazil\nCasablanca", "a", "", "Dune\n" * 8, "Fargo")
PROMPTS = [Prompt(text) for text in TEXTS]


@pytest.fixture(scope="module")
def writer(writer_model, make_engine):
    return make_engine(writer_model)


@pytest.fixture(scope="module")
def oracle(writer_model, naive_model):
    return naive_model(writer_model)


def texts(completions):
    return [completion.text for completion in completions]


@pytest.mark.parametrize("batch_tokens", [1, 60, 8192])
def test_greedy_text_is_that_of_generate_alone(writer_model, make_engine, oracle, batch_tokens):
    engine = make_engine(writer_model, batch_tokens=batch_tokens)
    found = engine.generate(PROMPTS, Sampling(max_tokens=12))
    assert texts(found) == [oracle.greedy(text, 12) for text in TEXTS]
    assert [one.prompt_tokens for one in found] == [len(text) + 1 for text in TEXTS]
    assert {one.output_tokens for one in found} == {12}
    assert {one.finish for one in found} == {"length"}


def test_a_text_ends_at_the_end_token_whatever_its_company(writer_model, make_engine, oracle):
    engine = make_engine(writer_model)
    long = engine.generate(PROMPTS, Sampling(max_tokens=8))
    # The token that the first text goes on with becomes the end token of the model.
    token = oracle.tokenizer(long[0].text, add_special_tokens=False).input_ids[3]
    engine.model.generation_config.eos_token_id = token
    ended = engine.generate(PROMPTS, Sampling(max_tokens=8))
    letter = oracle.tokenizer.decode([token])
    assert ended[0].finish == "stop"
    for before, after, prompt in zip(long, ended, PROMPTS, strict=True):
        assert after.text == before.text.split(letter)[0]
        assert after.finish == ("stop" if letter in before.text else "length")
        assert after.output_tokens == len(after.text)
        assert engine.generate([prompt], Sampling(max_tokens=8)) == [after]


def test_stop_texts_cut_and_are_not_counted_by_the_company(writer):
    free = writer.generate(PROMPTS, Sampling(max_tokens=20))
    stop = free[0].text[4:6]
    sampling = Sampling(max_tokens=20, stop=(stop, "never written"))
    together = writer.generate(PROMPTS, sampling)
    assert together[0].finish == "stop"
    for before, after, prompt in zip(free, together, PROMPTS, strict=True):
        assert after.text == before.text.split(stop)[0]
        assert after.finish == ("stop" if stop in before.text else "length")
        assert after.output_tokens == min(20, len(after.text) + len(stop))
        assert writer.generate([prompt], sampling) == [after]


@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=3), max_size=3))
def test_cutting_leaves_no_stop_text(text, stop):
    cut, stopped = cut_at_stop(text, stop)
    assert text.startswith(cut)
    assert stopped == any(one in text for one in stop) == (cut != text)
    assert not any(one in cut for one in stop)


@pytest.mark.parametrize("batch_tokens", [1, 70, 8192])
def test_a_sampled_text_does_not_depend_on_its_company(writer_model, writer, make_engine, batch_tokens):
    sampling = Sampling(max_tokens=10, temperature=1.0, seed=5)
    alone = [writer.generate([prompt], sampling)[0] for prompt in PROMPTS]
    engine = make_engine(writer_model, batch_tokens=batch_tokens)
    assert engine.generate(PROMPTS, sampling) == alone
    assert engine.generate(PROMPTS[::-1], sampling) == alone[::-1]


def test_seeds_and_prompts_draw_different_texts(writer):
    found = [texts(writer.generate(PROMPTS, Sampling(10, 1.0, seed=seed))) for seed in range(3)]
    assert len({text for row in found for text in row}) == 3 * len(PROMPTS)


def test_sampling_leaves_the_global_random_state_alone(writer):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    writer.generate(PROMPTS, Sampling(max_tokens=3, temperature=1.0))
    assert torch.equal(before, torch.get_rng_state())


def draws(engine, prompt, n, **sampling):
    """First tokens of ``n`` seeds."""
    tokens = [
        engine.tokens.tokenizer.convert_tokens_to_ids(
            engine.generate([Prompt(prompt)], Sampling(1, seed=seed, **sampling))[0].text or "<pad>"
        )
        for seed in range(n)
    ]
    return Counter(tokens)


def assert_drawn_from(counts, probabilities):
    """Pearson's chi-square with rare tokens put together; one in ten thousand fair samples fails."""
    n = sum(counts.values())
    observed = np.array([counts[token] for token in range(len(probabilities))])
    common = probabilities * n >= 5
    assert common.sum() >= 3
    rare = probabilities[~common].sum() * n
    if rare == 0:
        assert observed[~common].sum() == 0
        observed, expected = observed[common], probabilities[common] * n
    else:
        observed = np.append(observed[common], observed[~common].sum())
        expected = np.append(probabilities[common] * n, rare)
    assert chisquare(observed, expected * (n / expected.sum())).pvalue > 1e-4


def test_the_first_token_is_drawn_from_the_softmax(writer, oracle):
    probabilities = oracle.next_token("Alien").numpy()
    # Special tokens have no text: they are counted at place 0 together.
    probabilities[0] = probabilities[:4].sum()
    probabilities[1:4] = 0
    assert_drawn_from(draws(writer, "Alien", 300, temperature=1.0), probabilities)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_noise_draws_from_the_softmax_at_a_temperature(temperature):
    logits = torch.linspace(-2, 2, 12)[None]
    n = 4000
    drawn = Counter(
        int(SeededSampling(Sampling(temperature=temperature, seed=seed), [[1, 2]])(None, logits).argmax())
        for seed in range(n)
    )
    assert_drawn_from(drawn, (logits[0].double() / temperature).softmax(0).numpy())


def test_each_prompt_has_a_random_stream_of_its_own():
    logits = torch.zeros(2, 1000)
    processor = SeededSampling(Sampling(temperature=1.0), [[1, 2], [1, 3]])
    one, two = processor(None, logits).argmax(1).tolist()
    assert one != two
    # The stream goes on from step to step, and begins anew with the same seed and prompt.
    assert processor(None, logits).argmax(1).tolist() != [one, two]
    assert SeededSampling(Sampling(temperature=1.0), [[1, 2]])(None, logits[:1]).argmax(1).tolist() == [one]


def test_top_p_keeps_the_smallest_set_that_reaches_it_and_its_proportions():
    probabilities = np.array([0.05, 0.4, 0.15, 0.3, 0.1])
    logits = torch.tensor(probabilities).log()[None].float()
    drawn = Counter(
        int(SeededSampling(Sampling(temperature=1.0, top_p=0.75, seed=seed), [[3]])(None, logits).argmax())
        for seed in range(3000)
    )
    # 0.4 + 0.3 = 0.7 does not reach 0.75, so that 0.15 belongs to it too.
    assert set(drawn) == {1, 2, 3}
    assert_drawn_from(drawn + Counter(), np.array([0, 0.4, 0.15, 0.3, 0]) / 0.85)


def test_top_p_restricts_the_engine(writer, oracle):
    probabilities = oracle.next_token("Heat\n").numpy()
    order = np.argsort(-probabilities)
    top_p = float(probabilities[order[:3]].sum() - probabilities[order[2]] / 2)
    drawn = draws(writer, "Heat\n", 60, temperature=1.0, top_p=top_p)
    assert set(drawn) <= {token if token > 3 else 0 for token in order[:3].tolist()}
    assert len(drawn) > 1


def test_a_prompt_that_leaves_no_room_is_an_error(writer):
    prompt = [Prompt("a" * 500)]
    assert writer.generate(prompt, Sampling(max_tokens=11))[0].output_tokens == 11
    expect_error(EngineError, lambda: writer.generate(prompt, Sampling(max_tokens=12)), "501", "12", "512")
