"""The fake engine keeps the engine contract, and its numbers obey the chain rule."""

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llmrec.errors import EngineError
from llmrec.llm.fake import FakeConfig, FakeEngine
from llmrec.protocols import Prompt, Sampling
from llmrec.testing import EngineContract, expect_error


class TestContract(EngineContract):
    def make(self):
        return FakeEngine()


any_text = st.text(max_size=40)
word = st.text("abc", min_size=1, max_size=5)


@given(any_text, any_text, word, st.lists(word, min_size=1, max_size=3))
def test_the_chain_rule_holds(system, user, first, more):
    engine = FakeEngine()
    rest = "".join(f" {each}" for each in more)
    whole = engine.logprobs([Prompt(user, system)], [[first + rest]])[0][0]
    start = engine.logprobs([Prompt(user, system)], [[first]])[0][0]
    after = engine.logprobs([Prompt(user + first, system)], [[rest]])[0][0]
    np.testing.assert_allclose(whole, start + after, rtol=1e-5)


@given(any_text, word)
def test_a_word_is_worth_between_minus_eight_and_minus_one(prompt, answer):
    score = FakeEngine().logprobs([Prompt(prompt)], [[answer]])[0][0]
    assert -8 <= score <= -1


def test_the_text_before_an_answer_and_the_name_of_the_model_change_its_score():
    asked = [Prompt("a"), Prompt("b"), Prompt("a", system="c")], [["x"]] * 3
    scores = [row[0] for row in FakeEngine().logprobs(*asked)]
    other = [row[0] for row in FakeEngine(FakeConfig(model="other")).logprobs(*asked)]
    assert len({*scores, *other}) == 6
    assert FakeEngine(FakeConfig(model="other")).identity == "fake/other"


@given(st.lists(word, unique=True, max_size=6), st.text(max_size=10))
def test_a_text_is_the_lines_of_its_prompt_in_another_order(lines, system):
    completion = FakeEngine().generate([Prompt("\n".join(lines), system)], Sampling())[0]
    assert sorted(completion.text.splitlines()) == sorted(lines)


def test_a_text_is_cut_at_the_limit():
    completion = FakeEngine().generate([Prompt("one\ntwo\nthree")], Sampling(max_tokens=2))[0]
    assert (completion.output_tokens, completion.finish, len(completion.text.split())) == (2, "length", 2)


def test_words_are_counted():
    assert FakeEngine().count_tokens(["", "Alien", "Alien  Brazil\n", "\n"]) == [0, 1, 3, 1]


def test_an_empty_answer_is_an_error():
    expect_error(EngineError, lambda: FakeEngine().logprobs([Prompt("a")], [["x", ""]]), "empty answer")


def test_the_delay_is_for_each_prompt():
    engine = FakeEngine(FakeConfig(delay=0.02))
    start = time.perf_counter()
    engine.logprobs([Prompt("a")] * 3, [["x"]] * 3)
    engine.generate([Prompt("a")] * 2, Sampling())
    assert time.perf_counter() - start >= 0.1
    assert engine.usage.seconds >= 0.1
