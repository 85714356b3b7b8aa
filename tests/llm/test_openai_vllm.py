"""The openai engine against a real vLLM server on loopback, with the tiny model: scores are those of transformers."""

from importlib.util import find_spec

import numpy as np
import pytest
from vllm_server import serve, widen

from llmrec.errors import EngineError
from llmrec.llm.openai import OpenAIConfig, OpenAIEngine
from llmrec.protocols import Prompt, Sampling
from llmrec.testing import EngineContract, expect_error

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed (on a CPU: make vllm)"),
]
TEMPLATE = "<bos>{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
PROMPTS = [Prompt("Alien\nBrazil"), Prompt("Is Heat next?", system="Films:"), Prompt("Dune\nFargo\nAlien, Amélie")]


@pytest.fixture(scope="module")
def model(tiny_model, tmp_path_factory):
    return widen(tiny_model, tmp_path_factory.mktemp("models") / "served")


@pytest.fixture(scope="module")
def transformers(model, make_engine):
    """The transformers engine on the same model."""
    return make_engine(model, dtype="float32")


@pytest.fixture(scope="module")
def url(model, tmp_path_factory):
    """A vLLM server of the model: its address."""
    folder = tmp_path_factory.mktemp("vllm")
    (folder / "chat.jinja").write_text(TEMPLATE)
    options = ["--chat-template", folder / "chat.jinja", "--api-key", "sk-right"]
    with serve(model, folder / "log", *options) as address:
        yield address


@pytest.fixture
def engine(url, monkeypatch):
    """A function that returns an engine on the server."""
    monkeypatch.setenv("LLMREC_TEST_KEY", "sk-right")

    def make(**settings):
        config = {"model": "tiny", "base_url": url, "key_variable": "LLMREC_TEST_KEY", "chat": False, **settings}
        return OpenAIEngine(OpenAIConfig(**config))

    return make


class TestContract(EngineContract):
    tolerance = 1e-3

    @pytest.fixture(autouse=True)
    def _engine(self, engine):
        self.engine = engine

    def make(self):
        return self.engine()


def test_answers_score_as_with_transformers(engine, transformers):
    # letters are tokens here: " A" is two, "A" is one and is looked up among the first tokens where it is listed
    answers = [["\nCasablanca", "\nDune", " A"], list("ABCDEyn 7?"), ["\nGattaca\n", "é", "\nAmélie"]]
    ours, theirs = engine().logprobs(PROMPTS, answers), transformers.logprobs(PROMPTS, answers)
    worst = max(float(np.abs(one - two).max()) for one, two in zip(ours, theirs, strict=True))
    print(f"largest difference over 16 answers: {worst:.2e}")
    assert worst <= 1e-3


def test_greedy_text_and_tokens_are_those_of_transformers(engine, transformers):
    sampling = Sampling(max_tokens=6)
    ours, theirs = engine().generate(PROMPTS, sampling), transformers.generate(PROMPTS, sampling)
    assert [(one.prompt_tokens, one.output_tokens) for one in ours] == [
        (one.prompt_tokens, one.output_tokens) for one in theirs
    ]
    assert [one.text for one in ours] == [one.text for one in theirs]


def test_a_chat_scores_what_is_listed_as_with_transformers(engine, transformers):
    chat = engine(chat=True)
    letters = [chr(code) for code in range(ord("A"), ord("Z") + 1)]
    found = chat.logprobs([Prompt("Is Heat next?", system="Films:")], [letters])[0]
    # the template puts a line break behind each message
    exact = transformers.logprobs([Prompt("Films:\nIs Heat next?\n")], [letters])[0]
    listed = np.abs(found - exact) <= 1e-3
    assert 0 < listed.sum() == len(letters) - chat.unlisted
    assert (found[~listed] >= exact[~listed]).all()
    assert chat.generate(PROMPTS, Sampling(max_tokens=3))[0].output_tokens == 3


def test_what_the_server_refuses_is_told(engine, monkeypatch):
    long = engine().generate([Prompt("x" * 300), PROMPTS[0]], Sampling(max_tokens=4))
    assert [one.finish for one in long] == ["error", "length"]
    assert "256" in long[0].error
    ask = lambda **settings: engine(**settings).generate(PROMPTS, Sampling(max_tokens=2))  # noqa: E731
    expect_error(EngineError, lambda: ask(model="other"), "no model 'other'", "404")
    monkeypatch.setenv("LLMREC_TEST_KEY", "sk-wrong")
    expect_error(EngineError, ask, "refused the key (401)", "LLMREC_TEST_KEY")
