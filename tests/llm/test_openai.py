"""The openai engine asks what it should and reads what it is told, against a real HTTP server on loopback."""

import asyncio
import sys
import time

import numpy as np
import pytest
from local_server import chat, serving, text_reply, toy_completions

from llmrec.config import Part
from llmrec.errors import ConfigError, EngineError, MissingPackageError
from llmrec.llm.cache import CachedEngine
from llmrec.llm.make import make_engine
from llmrec.llm.models import EMBEDDED_MODEL, resolve_model
from llmrec.llm.openai import OpenAIConfig, OpenAIEngine
from llmrec.llm.tokens import PromptTokenizer
from llmrec.protocols import Completion, Prompt, Sampling, Usage
from llmrec.testing import EngineContract, expect_error


def engine_at(url, **settings):
    return OpenAIEngine(OpenAIConfig(model="m", base_url=url, **{"retries": 0, "timeout": 20, **settings}))


class TestContract(EngineContract):
    @pytest.fixture(autouse=True)
    def _server(self):
        with serving(toy_completions) as asked:
            self.asked = asked
            yield

    def make(self):
        return engine_at(self.asked.url, chat=False)


def shout(body, _number):
    return chat(body["messages"][-1]["content"].upper())


def test_a_chat_request_holds_the_prompt_and_the_sampling():
    prompts = [Prompt("Alien", system="Rank."), Prompt("Heat")]
    with serving(shout) as asked:
        engine = engine_at(asked.url, concurrency=1)
        engine.generate(prompts, Sampling(max_tokens=9, temperature=0.5, top_p=0.9, stop=("\n", "."), seed=4))
        engine.generate(prompts[1:], Sampling())
    sampled = {"model": "m", "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "stop": ["\n", "."], "seed": 4}
    system, alien, heat = (
        {"role": "system", "content": "Rank."},
        *({"role": "user", "content": t} for t in ("Alien", "Heat")),
    )
    assert asked.bodies == [
        {**sampled, "messages": [system, alien]},
        {**sampled, "messages": [heat]},
        {"model": "m", "max_tokens": 256, "temperature": 0.0, "messages": [heat]},
    ]
    assert set(asked.paths) == {"/v1/chat/completions"}


def test_a_plain_request_puts_the_instructions_in_front():
    with serving(toy_completions) as asked:
        engine_at(asked.url, chat=False).generate([Prompt("Alien", system="Rank.")], Sampling(max_tokens=2))
    assert asked.bodies == [{"model": "m", "prompt": "Rank.\n\nAlien", "max_tokens": 2, "temperature": 0.0}]
    assert asked.paths == ["/v1/completions"]


def test_the_order_of_prompts_is_kept_and_no_more_is_asked_at_once_than_allowed():
    def late(body, number):
        time.sleep(0.03 * (number % 4 == 0) + 0.01)  # every fourth answer comes after those asked behind it
        return shout(body, number)

    prompts = [Prompt(f"film {number}") for number in range(30)]
    with serving(late) as asked:
        completions = engine_at(asked.url, concurrency=5).generate(prompts, Sampling())
    assert [one.text for one in completions] == [f"FILM {number}" for number in range(30)]
    assert asked.most == 5
    assert len(asked.bodies) == 30


@pytest.mark.parametrize(
    ("reply", "completion"),
    [
        (chat("A"), Completion("A", 7, 3, "stop")),
        (chat("A", finish="length"), Completion("A", 7, 3, "length")),
        (chat("A", finish="tool_calls"), Completion("A", 7, 3, "stop")),
        (chat("A", finish=None), Completion("A", 7, 3, "stop")),
        (chat(None), Completion("", 7, 3, "stop")),
        (chat(None, refusal="I cannot."), Completion("I cannot.", 7, 3, "stop")),
        (chat("Alien", usage=None), Completion("Alien", 3, 1, "stop")),
        ({"choices": [{"message": {"content": "A"}}], "more": 1}, Completion("A", 3, 1, "stop")),
    ],
)
def test_replies_are_read(reply, completion):
    with serving(lambda *_: reply) as asked:
        assert engine_at(asked.url).generate([Prompt("Heat", system="Rank.")], Sampling()) == [completion]


def test_a_permutation_is_refused_since_no_server_keeps_to_one():
    with serving(shout) as asked:
        ask = engine_at(asked.url).generate
        expect_error(
            EngineError, lambda: ask([Prompt("x")], Sampling(permutation=("A", "B"))), "permutation", "openai/"
        )
    assert asked.bodies == []


def test_what_a_content_filter_keeps_back_is_an_error_of_its_row():
    def filtered(body, _):
        return chat("", finish="content_filter") if "Heat" in str(body) else chat("A")

    with serving(filtered) as asked:
        first, second = engine_at(asked.url).generate([Prompt("Heat"), Prompt("Dune")], Sampling())
    assert (first.finish, first.prompt_tokens, second.text) == ("error", 7, "A")
    assert "content filter" in first.error


def test_usage_is_what_the_server_counts():
    with serving(lambda *_: chat("A", usage=(100, 20))) as asked:
        engine = engine_at(asked.url)
        engine.generate([Prompt("Heat")] * 3, Sampling())
    spent = engine.usage
    assert spent.seconds > 0
    assert spent - Usage(seconds=spent.seconds) == Usage(3, 300, 60, 360, 0, 3, 0.0)


def test_a_failed_row_is_asked_again_by_the_next_run(tmp_path):
    def broken(body, number):
        return (400, {}, {"error": {"message": "no"}}) if number == 1 else shout(body, number)

    prompts = [Prompt("a"), Prompt("b"), Prompt("c")]
    with serving(broken) as asked:
        for finish in ("error", "stop"):
            engine = CachedEngine(engine_at(asked.url, concurrency=1), tmp_path / "cache.sqlite")
            found = engine.generate(prompts, Sampling())
            engine.close()
            assert [one.finish for one in found] == ["stop", finish, "stop"]
    assert [body["messages"][0]["content"] for body in asked.bodies] == ["a", "b", "c", "b"]


def test_it_works_where_a_loop_runs_already():
    async def notebook():
        return engine_at(asked.url).generate([Prompt("Heat")], Sampling())

    with serving(shout) as asked:
        assert asyncio.run(notebook())[0].text == "HEAT"


def test_the_registry_makes_it_and_the_environment_says_where(monkeypatch):
    with serving(shout) as asked:
        monkeypatch.setenv("OPENAI_BASE_URL", asked.url)
        monkeypatch.setenv("MY_KEY", " sk-mine\n")
        engine = make_engine(Part(name="openai", parameters={"model": "m", "key_variable": "MY_KEY"}))
        assert engine.generate([Prompt("Heat")], Sampling())[0].text == "HEAT"
    assert asked.headers[0]["authorization"] == "Bearer sk-mine"
    assert engine.identity == f"openai/{asked.url.removeprefix('http://')}/chat/completions/m"
    expect_error(ConfigError, lambda: make_engine(Part(name="openai")), "'model'")


def test_identities_tell_servers_models_and_ways_of_asking_apart(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    one = {
        OpenAIEngine(OpenAIConfig(**settings)).identity
        for settings in (
            {"model": "a/b"},
            {"model": "a/b", "chat": False},
            {"model": "c"},
            {"model": "c", "base_url": "http://localhost:8000/v1/"},
            {"model": "c", "base_url": "http://localhost:8001/v1"},
        )
    }
    assert one == {
        "openai/api.openai.com/v1/chat/completions/a/b",
        "openai/api.openai.com/v1/completions/a/b",
        "openai/api.openai.com/v1/chat/completions/c",
        "openai/localhost:8000/v1/chat/completions/c",
        "openai/localhost:8001/v1/chat/completions/c",
    }


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "ftp://host/v1", "http:///v1", "http://host:port/v1", "http://[::1"]
)
def test_what_is_no_address_is_refused(url):
    expect_error(ConfigError, lambda: engine_at(url), "base_url", "https://")


@pytest.mark.parametrize("url", ["http://me:s3cret@host/v1", "http://s3cret@host", "https://host/v1?key=s3cret"])
def test_an_address_with_a_secret_is_refused_without_showing_it(url):
    with pytest.raises(ConfigError) as caught:
        engine_at(url)
    assert "s3cret" not in str(caught.value)
    assert "key_variable" in str(caught.value)


@pytest.mark.parametrize("key", ["sk-grün", "sk a", "sk-\x07"])
def test_a_key_that_no_header_carries_is_refused_without_showing_it(key, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ConfigError) as caught:
        engine_at("http://localhost/v1")
    assert "OPENAI_API_KEY" in str(caught.value)
    assert key not in str(caught.value)


def test_without_the_sdk_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    expect_error(MissingPackageError, lambda: engine_at("http://localhost/v1"), "pip install 'llmrec[openai]'")


@pytest.mark.parametrize(
    ("text", "length"),
    [("", 0), (" A", 1), ("A", 1), (" yes", 1), ("7", 1), (" No.", 2), ("\nDune", 2), ("[12]", 4), ("Alien, Heat", 3)],
)
def test_tokens_are_estimated(text, length):
    assert engine_at("http://localhost/v1").count_tokens([text]) == [length]


@pytest.mark.slow
@pytest.mark.data
def test_the_estimate_is_near_the_truth(film_titles):
    tokenizer = PromptTokenizer(resolve_model(EMBEDDED_MODEL))
    lists = ["\n".join(film_titles[row : row + 20]) for row in range(0, 3880, 20)]
    ratio = np.array(engine_at("http://localhost/v1").count_tokens(lists)) / np.array(tokenizer.count(lists))
    print(f"estimated by tokens: {ratio.min():.2f} to {ratio.max():.2f}, mean {ratio.mean():.2f}")
    assert ratio.min() > 0.8
    assert ratio.max() < 1.2


def test_a_text_reply_is_read_as_text():
    with serving(lambda *_: text_reply("Heat", finish="length")) as asked:
        found = engine_at(asked.url, chat=False).generate([Prompt("a")], Sampling())
    assert found == [Completion("Heat", 7, 3, "length")]


def test_nothing_is_asked_of_a_server_for_nothing():
    with serving(shout) as asked:
        engine = engine_at(asked.url, chat=False)
        assert [row.tolist() for row in engine.logprobs([Prompt("a"), Prompt("b")], [[], []])] == [[], []]
        assert engine.generate([], Sampling()) == []
    assert asked.bodies == []
