"""Answers that are a permutation: greedy takes the best of what is left, sampling draws from it, company or not."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from llmrec.errors import EngineError
from llmrec.llm.fake import FakeEngine
from llmrec.llm.permutation import refuse_permutation
from llmrec.llm.sampling import PermutationOnly
from llmrec.protocols import Prompt, Sampling
from llmrec.testing import expect_error

LETTERS = ("A", "B", "C", "D", "E")
PROMPTS = [Prompt(text) for text in ("Alien\nBrazil\nCasablanca", "a", "", "Dune\n" * 8, "Fargo")]


@pytest.fixture(scope="module")
def writer(writer_model, make_engine):
    return make_engine(writer_model)


def by_hand(oracle, prompt):
    """The best letter, then the best of those that are left behind it, and so on."""
    order = ""
    while len(order) < len(LETTERS):
        chances = oracle.next_token(prompt + order)
        left = [letter for letter in LETTERS if letter not in order]
        order += max(left, key=lambda letter: float(chances[oracle.tokenizer.convert_tokens_to_ids(letter)]))
    return order


@pytest.mark.parametrize("batch_tokens", [1, 60, 8192])
def test_greedy_is_the_best_of_what_is_left(writer_model, make_engine, naive_model, batch_tokens):
    engine, oracle = make_engine(writer_model, batch_tokens=batch_tokens), naive_model(writer_model)
    found = engine.generate(PROMPTS, Sampling(max_tokens=2, stop=("A",), permutation=LETTERS))
    assert [one.text for one in found] == [by_hand(oracle, prompt.user) for prompt in PROMPTS]
    assert {(one.output_tokens, one.finish) for one in found} == {(5, "stop")}
    assert len({one.text for one in found}) > 1


def test_sampling_draws_the_first_from_the_chances_of_the_letters(writer, writer_model, naive_model):
    sampled = Counter(
        writer.generate([Prompt("Alien")], Sampling(temperature=1.0, seed=seed, permutation=LETTERS))[0].text[0]
        for seed in range(400)
    )
    oracle = naive_model(writer_model)
    chances = oracle.next_token("Alien")[oracle.tokenizer.convert_tokens_to_ids(list(LETTERS))].numpy()
    expected = 400 * chances / chances.sum()
    common = expected >= 5
    observed = np.array([sampled[letter] for letter in LETTERS])
    fold = [*observed[common], observed[~common].sum()], [*expected[common], expected[~common].sum()]
    assert chisquare(*([one[:-1] if common.all() else one for one in fold])).pvalue > 1e-4


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_permutation_does_not_depend_on_its_company(writer, temperature):
    sampling = Sampling(temperature=temperature, top_p=0.7, seed=3, permutation=LETTERS)
    together = writer.generate(PROMPTS, sampling)
    assert [writer.generate([prompt], sampling)[0] for prompt in PROMPTS] == together
    assert all(sorted(one.text) == list(LETTERS) for one in together)


@pytest.mark.parametrize("texts", [("A", "Alien"), ("A", "B", "A")])
def test_texts_of_several_tokens_or_the_same_are_an_error(writer, texts):
    expect_error(
        EngineError, lambda: writer.generate(PROMPTS, Sampling(permutation=texts)), "permutation of 'A'", "one token"
    )


def test_the_fake_engine_keeps_to_it_too():
    prompts = [Prompt(str(number)) for number in range(300)]
    found = FakeEngine().generate(prompts, Sampling(permutation=(" A", " B", " C")))
    counts = Counter(one.text for one in found)
    assert set(counts) == {" A B C", " A C B", " B A C", " B C A", " C A B", " C B A"}
    assert chisquare(list(counts.values())).pvalue > 1e-4


def test_an_engine_that_cannot_says_which_can():
    refuse_permutation(Sampling(), "openai/x")
    expect_error(
        EngineError,
        lambda: refuse_permutation(Sampling(permutation=LETTERS), "openai/x"),
        "openai/x",
        "transformers, vllm or fake",
        "constrained = false",
    )


def test_what_is_not_left_is_impossible():
    only = PermutationOnly(torch.tensor([[3, 5], [4, 5]]), start=2)
    scores = only(torch.tensor([[5, 3, 5], [0, 0, 4]]), torch.zeros(2, 7))
    assert (scores == 0).nonzero().tolist() == [[0, 3], [1, 5]]
