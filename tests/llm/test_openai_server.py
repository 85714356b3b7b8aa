"""Servers that are down, slow, busy, broken or closed: rows fail, runs go on, the key is never shown."""

import logging
import socket
import time

import numpy as np
import pytest
from local_server import chat, serving, text_reply

from llmrec.errors import EngineError
from llmrec.llm.openai import OpenAIConfig, OpenAIEngine
from llmrec.protocols import Prompt, Sampling
from llmrec.testing import expect_error

KEY = "sk-very-secret-0123456789"
PROMPTS = [Prompt(f"film {number}") for number in range(12)]
BUSY = {"error": {"message": "slow down", "type": "rate_limit", "code": None}}


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def engine_at(url, **settings):
    return OpenAIEngine(OpenAIConfig(model="m", base_url=url, **{"retries": 0, "timeout": 20, **settings}))


def generate(url, prompts=PROMPTS, **settings):
    return engine_at(url, **settings).generate(prompts, Sampling())


def shout(body):
    return chat(body["messages"][-1]["content"].upper())


def unused_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_a_server_that_is_down_ends_the_call_with_its_address_and_the_cure():
    url = f"http://127.0.0.1:{unused_port()}/v1"
    expect_error(EngineError, lambda: generate(url), url, "none of 12 requests", "no connection", "start the server")
    ask = engine_at(url).logprobs
    expect_error(EngineError, lambda: ask(PROMPTS[:2], [[" A"], [" B"]]), url, "no connection", "base_url")


def test_a_row_that_takes_too_long_fails_alone():
    def slow(body, _):
        if "film 3" in str(body):
            time.sleep(1)
        return shout(body)

    with serving(slow) as asked:
        found = generate(asked.url, timeout=0.3)
    assert [one.finish for one in found] == ["stop"] * 3 + ["error"] + ["stop"] * 8
    assert found[3].error == "no answer in 0.3 seconds"


def test_a_server_that_takes_too_long_for_all_ends_the_call():
    def slow(body, _):
        time.sleep(0.6)
        return shout(body)

    with serving(slow) as asked:
        expect_error(EngineError, lambda: generate(asked.url, timeout=0.2), "no answer in 0.2 seconds", "timeout")


def test_a_time_out_is_tried_again():
    def slow_at_first(body, number):
        if number == 0:
            time.sleep(0.6)
        return shout(body)

    with serving(slow_at_first) as asked:
        assert generate(asked.url, PROMPTS[:1], timeout=0.2, retries=1)[0].text == "FILM 0"
    assert len(asked.bodies) == 2


def test_a_busy_server_is_asked_again_when_it_says():
    refused = set()

    def busy(body, _):
        text = body["messages"][0]["content"]
        if text in {"film 1", "film 5"} - refused:
            refused.add(text)
            return 429, {"Retry-After": "2"}, BUSY
        return shout(body)

    with serving(busy) as asked:
        start = time.monotonic()
        found = generate(asked.url, retries=1)
        seconds = time.monotonic() - start
    assert [one.text for one in found] == [prompt.user.upper() for prompt in PROMPTS]
    assert len(asked.bodies) == 14
    assert 2 <= seconds < 4  # the first pause would be half a second at most


def test_a_row_that_stays_refused_is_recorded_with_what_the_server_says():
    def busy(body, _):
        return (429, {}, BUSY) if "film 4" in str(body) else shout(body)

    with serving(busy) as asked:
        found = generate(asked.url, retries=1)
    assert found[4].error == "429: slow down"
    assert sum(one.finish == "error" for one in found) == 1
    assert len(asked.bodies) == 13


@pytest.mark.parametrize("status", [500, 502, 503])
def test_errors_of_the_server_are_tried_again(status):
    def broken(body, number):
        return (status, {"Content-Type": "text/html"}, b"<h1>Bad gateway</h1>") if number == 0 else shout(body)

    with serving(broken) as asked:
        assert generate(asked.url, PROMPTS[:1], retries=2)[0].text == "FILM 0"
        assert len(asked.bodies) == 2
    with serving(lambda *_: (status, {}, {"error": {"message": "out of memory"}})) as asked:
        expect_error(EngineError, lambda: generate(asked.url), f"{status}: out of memory", "log")


def test_a_lost_connection_is_tried_again():
    def cut(body, number):
        return (200, {"Content-Length": "1000"}, b'{"choices": [') if number == 0 else shout(body)

    with serving(cut) as asked:
        assert generate(asked.url, PROMPTS[:1], retries=1)[0].text == "FILM 0"
    assert len(asked.bodies) == 2


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((200, {"Content-Type": "text/html"}, b"<html>Please\nlog in</html>"), "<html>Please log in</html>"),
        ((200, {}, b'{"choices": [{"mess'), "no OpenAI reply"),
        ((200, {}, b"\xff\xfe\x00"), "no OpenAI reply"),
        ({"id": "1"}, "choices: field required in {'id': '1'}"),
        ({"choices": []}, "choices: list should have at least 1 item"),
        ({"choices": [{"text": "A"}]}, "choices.0.message"),
        ({"choices": [{"message": {"content": ["A"]}}]}, "choices.0.message.content"),
        ({"error": {"message": "upstream is gone"}}, "upstream is gone"),
        (None, "no OpenAI reply (None)"),
        ([1], "[1]"),
    ],
)
def test_garbage_fails_its_row_and_says_what_came(reply, words):
    def garbage(body, _):
        return reply if "film 2" in str(body) else shout(body)

    with serving(garbage) as asked:
        found = generate(asked.url)
        assert words in found[2].error
        assert [one.finish for one in found].count("error") == 1
        expect_error(EngineError, lambda: generate(asked.url, PROMPTS[2:3]), "no OpenAI reply", "/v1")


def test_a_long_complaint_is_shortened():
    with (
        serving(lambda *_: (200, {"Content-Type": "text/html"}, b"x" * 100_000)) as asked,
        pytest.raises(EngineError) as caught,
    ):
        generate(asked.url)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, ("refused the key (401)", "OPENAI_API_KEY", "key_variable")),
        (403, ("refused the key (403)", "OPENAI_API_KEY")),
        (404, ("no model 'm'", "404: no such thing", "/v1")),
    ],
)
def test_a_wrong_key_or_model_ends_the_call_at_once(status, words):
    with serving(lambda *_: (status, {}, {"error": {"message": "no such thing"}})) as asked:
        expect_error(EngineError, lambda: generate(asked.url, concurrency=1, retries=5), asked.url, *words)
        assert len(asked.bodies) == 1
        ask = engine_at(asked.url, concurrency=1, retries=5).logprobs
        expect_error(EngineError, lambda: ask(PROMPTS, [[" A"]] * 12), *words)
        assert len(asked.bodies) == 2


def test_a_wrong_key_does_not_wait_for_rows_that_wait():
    def mixed(body, _):
        if "film 0" in str(body):
            return 429, {"Retry-After": "30"}, BUSY
        time.sleep(0.2)
        return 401, {}, {}

    with serving(mixed) as asked:
        start = time.monotonic()
        expect_error(EngineError, lambda: generate(asked.url, retries=3), "refused the key")
    assert time.monotonic() - start < 10


def test_without_a_key_the_error_says_so(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with serving(lambda *_: (401, {}, {})) as asked:
        expect_error(EngineError, lambda: generate(asked.url), "a request without a key (401)", "set OPENAI_API_KEY")


@pytest.mark.parametrize("status", [200, 400, 401, 404, 500])
def test_the_key_is_nowhere(status, caplog):
    caplog.set_level(logging.DEBUG)
    said = {"error": {"message": f"your key is {KEY}"}}
    with serving(lambda *_: (status, {}, said)) as asked:
        engine = engine_at(asked.url)
        with pytest.raises(EngineError) as caught:
            engine.generate(PROMPTS, Sampling())
    assert asked.headers[0]["authorization"] == f"Bearer {KEY}"
    shown = [
        str(caught.value),
        repr(caught.value),
        caplog.text,
        engine.identity,
        repr(engine),
        repr(engine.config),
        engine.config.model_dump_json(),
        str(vars(engine)),
        str(vars(engine._server)),
    ]
    assert [text for text in shown if KEY in text] == []


def test_a_row_that_is_refused_for_what_it_is_is_not_tried_again_and_ends_nothing():
    def picky(body, _):
        if int(body["messages"][0]["content"].split()[1]) < 40:
            return 400, {}, {"error": {"message": "too long for 1024 tokens"}}
        return shout(body)

    prompts = [Prompt(f"film {number}") for number in range(50)]
    with serving(picky) as asked:
        found = generate(asked.url, prompts, concurrency=2, retries=5)
    assert [one.error for one in found[:40]] == ["400: too long for 1024 tokens"] * 40
    assert [one.text for one in found[40:]] == [f"FILM {number}" for number in range(40, 50)]
    assert len(asked.bodies) == 50


def test_a_server_that_fails_again_and_again_is_given_up_and_what_was_answered_stands():
    def dies(body, number):
        return shout(body) if number < 10 else (500, {}, {"error": {"message": "died"}})

    prompts = [Prompt(f"film {number}") for number in range(200)]
    with serving(dies) as asked:
        found = generate(asked.url, prompts, concurrency=1)
    assert [one.text for one in found[:10]] == [f"FILM {number}" for number in range(10)]
    assert {one.error for one in found[10:]} == {"500: died"}
    assert len(asked.bodies) == 10 + 16


def test_half_a_character_fails_its_row_alone():
    with serving(lambda body, _: shout(body)) as asked:
        found = generate(asked.url, [Prompt("film \ud800"), Prompt("film 1")])
    assert [one.finish for one in found] == ["error", "stop"]
    assert "half a character" in found[0].error


def test_scores_fail_row_by_row_too():
    def broken(body, number):
        return (
            (500, {}, {})
            if number == 0
            else text_reply(body["prompt"], {"tokens": ["a", " b c"], "token_logprobs": [None, -1.0]})
        )

    with serving(broken) as asked:
        found = engine_at(asked.url, chat=False, concurrency=1).logprobs([Prompt("a")] * 2, [[" b c"], [" b c"]])
    assert np.isnan(found[0]).all()
    assert found[1].tolist() == [-1.0]
