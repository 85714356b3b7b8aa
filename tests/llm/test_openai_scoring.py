"""Answers are scored exactly where a server gives what that takes, and honestly where it does not."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_server import chat, first_tokens, serving, text_reply, toy_completions, word_value

from llmrec.errors import EngineError
from llmrec.llm.openai import OpenAIConfig, OpenAIEngine
from llmrec.llm.openai_replies import Reply, score_echo, score_first
from llmrec.protocols import Prompt, Usage
from llmrec.testing import expect_error


def engine_at(url, **settings):
    return OpenAIEngine(
        OpenAIConfig(model="m", base_url=url, **{"retries": 0, "timeout": 20, "chat": False, **settings})
    )


def echo_of(tokens, values, offsets=()):
    return Reply("".join(tokens), tokens=tokens, logprobs=values, offsets=offsets)


class TestEcho:
    @pytest.mark.parametrize("begin", ["<bos>", ""])
    def test_the_tokens_of_the_answer_are_summed(self, begin):
        with serving(lambda body, _: toy_completions(body, begin=begin)) as asked:
            engine = engine_at(asked.url, concurrency=1)
            found = engine.logprobs([Prompt("I saw Heat", system="Films:")], [[" Dune and Alien", "\nHeat"]])[0]
        # " Dune" -6/8, " and" -5/8, " Alien" -7/8; "\n" -2/8, "Heat" -5/8
        assert found.tolist() == [-2.25, -0.875]
        assert found.dtype == np.float32
        wanted = {"model": "m", "max_tokens": 0, "temperature": 0, "echo": True, "logprobs": 0}
        assert asked.bodies == [
            {**wanted, "prompt": "Films:\n\nI saw Heat Dune and Alien"},
            {**wanted, "prompt": "Films:\n\nI saw Heat\nHeat"},
        ]

    def test_usage_tells_what_was_read_from_what_was_scored(self):
        with serving(toy_completions) as asked:
            engine = engine_at(asked.url)
            engine.logprobs([Prompt("I saw Heat")], [[" Dune and Alien", "\nHeat"]])
        spent = engine.usage
        assert spent - Usage(seconds=spent.seconds) == Usage(1, 8, 5, 13, 0, 2)  # <bos> I saw Heat, twice; 3 + 2 tokens

    def test_an_echo_that_the_server_shortened_is_refused(self):
        with serving(lambda *_: text_reply("", {"tokens": [], "token_logprobs": []})) as asked:
            engine = engine_at(asked.url)
            expect_error(EngineError, lambda: engine.logprobs([Prompt("a")], [[" b c"]]), asked.url, "echo", "listwise")

    def test_log_probabilities_of_written_text_are_not_taken_for_an_echo(self):
        reply = text_reply(" d", {"tokens": [" d"], "token_logprobs": [-1.0], "text_offset": [0]})
        with serving(lambda *_: reply) as asked:
            engine = engine_at(asked.url)
            expect_error(EngineError, lambda: engine.logprobs([Prompt("a")], [[" b c"]]), "does not repeat its input")

    def test_an_answer_within_a_token_of_the_prompt_is_a_failure_and_no_number(self):
        def merged(body, number):
            reply = toy_completions(body, number)
            if "\n" not in body["prompt"]:
                reply["choices"][0]["logprobs"] = {"tokens": ["I", " saw it"], "token_logprobs": [None, -1.0]}
            return reply

        with serving(merged) as asked:
            engine = engine_at(asked.url)
            found = engine.logprobs([Prompt("I saw"), Prompt("I saw\nall")], [["w it"], ["\nDune"]])
            assert np.isnan(found[0]).all()
            assert found[1].tolist() == [-0.875]
            expect_error(
                EngineError, lambda: engine.logprobs([Prompt("I saw")], [["w it"]]), "'w it'", "without a space"
            )

    def test_bytes_of_a_character_belong_to_the_answer(self):
        reply = echo_of(["<bos>", "a", "", "", "影", "b"], [None, -1.0, -2.0, -4.0, -8.0, -16.0])
        assert score_echo(reply, "影b") == (-30.0, 4)
        assert score_echo(reply, "b") == (-16.0, 1)

    def test_offsets_are_read_where_the_texts_of_tokens_are_not_the_text(self):
        reply = Reply("I saw it", tokens=["_I", "_saw", "_it"], logprobs=[None, -1.0, -2.0], offsets=[0, 1, 5])
        assert score_echo(reply, " saw it") == (-3.0, 2)
        assert score_echo(reply, "aw it") is None
        beyond = Reply("I saw it", tokens=["id:1", "id:2", "id:3"], logprobs=[None, -1.0, -2.0], offsets=[0, 5, 10])
        assert score_echo(beyond, " it") is None

    def test_a_token_without_a_number_is_no_score(self):
        assert score_echo(echo_of([" a", " b"], [None, -1.0]), " a b") is None
        assert score_echo(echo_of([" a", " b"], [-1.0, math.nan]), " a b") is None
        assert score_echo(echo_of([" a", " b"], [-1.0, -2.0]), " a b") == (-3.0, 2)

    @given(
        st.lists(st.text("ab \n影", max_size=3), max_size=6),
        st.lists(st.text("ab \n影", min_size=1, max_size=3), min_size=1),
    )
    def test_whatever_the_tokens_the_answer_gets_its_own(self, before, answer):
        while before and not before[-1]:
            before = before[:-1]  # bytes in front of the answer are its own
        tokens = ["<bos>", *before, *answer]
        values = [None, *(-float(2 + place) for place in range(len(tokens) - 1))]
        assert score_echo(echo_of(tokens, values), "".join(answer)) == (sum(values[-len(answer) :]), len(answer))


class TestFirstTokens:
    def test_one_request_scores_all_that_are_listed_and_an_echo_each_of_the_others(self):
        with serving(toy_completions) as asked:
            engine = engine_at(asked.url, concurrency=1)
            found = engine.logprobs([Prompt("Good?"), Prompt("Bad?")], [[" Yes", " No"], [" No", " Perhaps"]])
        assert [row.tolist() for row in found] == [[-0.625, -0.5], [-0.5, word_value(" Perhaps")]]
        first = {"model": "m", "max_tokens": 1, "temperature": 0, "logprobs": 20}
        assert asked.bodies == [
            {**first, "prompt": "Good?"},
            {**first, "prompt": "Bad?"},
            {"model": "m", "max_tokens": 0, "temperature": 0, "echo": True, "logprobs": 0, "prompt": "Bad? Perhaps"},
        ]

    def test_a_list_of_the_server_is_no_need(self):
        def without(body, number):
            reply = toy_completions(body, number)
            if not body.get("echo"):
                reply["choices"][0]["logprobs"] = None
            return reply

        with serving(without) as asked:
            assert engine_at(asked.url).logprobs([Prompt("Good?")], [[" Yes"]])[0].tolist() == [-0.625]
        assert len(asked.bodies) == 2

    def test_usage(self):
        with serving(toy_completions) as asked:
            engine = engine_at(asked.url)
            engine.logprobs([Prompt("Good one?")], [[" Yes", " No"]])
        spent = engine.usage
        # read once: <bos> Good one ?; one token written; submitted once for each answer
        assert spent - Usage(seconds=spent.seconds) == Usage(1, 4, 1, 10, 0, 2)


class TestChat:
    def test_the_labels_of_a_prompt_are_one_request(self):
        with serving(lambda *_: first_tokens([("B", -0.5), ("A", -1.0)])) as asked:
            engine = engine_at(asked.url, chat=True)
            found = engine.logprobs([Prompt("Which?", system="Choose.")], [[" A", " B"]])[0]
        assert found.tolist() == [-1.0, -0.5]
        body = asked.bodies[0]
        assert len(asked.bodies) == 1
        assert (body["max_tokens"], body["temperature"], body["logprobs"], body["top_logprobs"]) == (1, 0, True, 20)
        assert [message["role"] for message in body["messages"]] == ["system", "user"]
        assert engine.unlisted == 0
        assert engine.usage.submitted_tokens == 16

    def test_the_same_answer_with_other_white_space_adds_up(self):
        listed = {"A": math.log(0.5), " A": math.log(0.125), "\nA": math.log(0.125), "B": math.log(0.1), "a": -5.0}
        score, exact = score_first(listed, " A")
        assert exact
        assert score == pytest.approx(math.log(0.75))
        assert score_first({"A": 0.0, " A": 0.0}, "A")[0] == 0  # rounding never makes a probability above one

    def test_an_unlisted_answer_is_at_most_as_probable_as_the_last_listed_one(self):
        assert score_first({"A": math.log(0.4), "B": math.log(0.1)}, " C") == (math.log(0.1), False)

    def test_and_at_most_what_the_listed_ones_leave_over(self):
        score, exact = score_first({"A": math.log(0.75), "B": math.log(0.2)}, " C")
        assert not exact
        assert score == pytest.approx(math.log(0.05))
        assert score_first({"A": 0.0, "B": math.log(0.01)}, "C")[0] == pytest.approx(math.log(1e-6))

    def test_bounds_are_counted_and_told_once(self, caplog):
        with serving(lambda *_: first_tokens([("A", math.log(0.5)), ("B", math.log(0.25))])) as asked:
            engine = engine_at(asked.url, chat=True)
            first = engine.logprobs([Prompt("Which?")], [[" A", " C", " D"]])[0]
            engine.logprobs([Prompt("Which?")], [[" D"]])
        assert first[1] == first[2] < first[0]
        assert engine.unlisted == 3
        assert [record.levelname for record in caplog.records if record.name == "llmrec.llm.openai_scoring"] == [
            "WARNING"
        ]

    def test_a_longer_answer_is_refused_before_anything_is_asked(self):
        with serving(lambda *_: first_tokens([("A", -1.0)])) as asked:
            ask = engine_at(asked.url, chat=True).logprobs
            expect_error(
                EngineError,
                lambda: ask([Prompt("x"), Prompt("y")], [[" A"], [" B", "\nHeat (1995)"]]),
                "Heat (1995)",
                "one-token",
                "listwise",
                "chat=false",
            )
        assert asked.bodies == []

    def test_a_server_without_log_probabilities_is_refused(self):
        with serving(lambda *_: chat("A")) as asked:
            ask = engine_at(asked.url, chat=True).logprobs
            expect_error(EngineError, lambda: ask([Prompt("x")], [[" A"]]), "lists no log-probabilities", "listwise")


@pytest.mark.parametrize("chats", [True, False])
def test_an_empty_answer_is_refused(chats):
    ask = engine_at("http://127.0.0.1:9/v1", chat=chats).logprobs
    expect_error(EngineError, lambda: ask([Prompt("x")], [[" A", ""]]), "empty answer", "title")


def test_a_failed_request_leaves_nan_and_the_others_stand():
    def broken(body, number):
        if body["prompt"].startswith("bad"):
            return 400, {}, {"error": {"message": "too long"}}
        return toy_completions(body, number)

    with serving(broken) as asked:
        engine = engine_at(asked.url)
        prompts = [Prompt("bad"), Prompt("good"), Prompt("bad")]
        found = engine.logprobs(prompts, [[" Yes", "\nHeat"], [" Yes"], [" Yes"]])
        assert [row.tolist() for row in found][1] == [-0.625]
        assert np.isnan(np.concatenate([found[0], found[2]])).all()
        n_asked = len(asked.bodies)
        assert n_asked == 4  # what could not be looked up is not asked again by echo
        expect_error(EngineError, lambda: engine.logprobs(prompts[:1], [[" Yes"]]), "none of 1 requests", "too long")
