"""One adapter on three engines: transformers, vLLM in this process, and a vLLM server that serves it under a name."""

from importlib.util import find_spec

import numpy as np
import pytest
from lora import add_by_hand, change_config, make_adapter
from vllm_server import serve, widen

from llmrec.errors import ModelError
from llmrec.llm.openai import OpenAIConfig, OpenAIEngine
from llmrec.llm.vllm import VLLMConfig, VLLMEngine
from llmrec.protocols import Prompt, Sampling
from llmrec.testing import EngineContract, expect_error

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # vLLM's own imports warn
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed (on a CPU: make vllm)"),
]
# Longer than vLLM's blocks of 32 tokens, so that the prefix cache holds them.
PROMPTS = [
    Prompt("Alien\nBrazil\nCasablanca\nDune\nHeat\nFargo\nGattaca" * 3),
    Prompt("Is Heat next?", system="Films:"),
]
ANSWERS = [["\nCasablanca", "\nDune", " A"], list("ABCDEyn 7?")]


@pytest.fixture(scope="module")
def model(tiny_model, tmp_path_factory):
    return widen(tiny_model, tmp_path_factory.mktemp("models") / "served")


@pytest.fixture(scope="module")
def adapter(model, tmp_path_factory):
    """An adapter of rank 20, for which vLLM makes room for 32; left alone it makes room for 16."""
    return make_adapter(model, tmp_path_factory.mktemp("adapters") / "tuned", r=20, lora_alpha=30, size=0.06)


@pytest.fixture(scope="module")
def right(model, adapter, naive_model, tmp_path_factory):
    """The scores of weights that were changed by hand, and of the plain model."""
    tuned = add_by_hand(model, adapter, tmp_path_factory.mktemp("models") / "by-hand", 30 / 20)
    texts = ["\n\n".join(part for part in (prompt.system, prompt.user) if part) for prompt in PROMPTS]
    return [
        [np.array([oracle.logprob(text, answer) for answer in row]) for text, row in zip(texts, ANSWERS, strict=True)]
        for oracle in (naive_model(tuned), naive_model(model))
    ]


@pytest.fixture(scope="module")
def transformers(model, adapter, make_engine):
    return make_engine(model, adapter=str(adapter))


@pytest.fixture(scope="module")
def vllm(model, adapter, two_threads):
    return VLLMEngine(VLLMConfig(model=str(model), adapter=str(adapter), dtype="float32", max_model_len=256))


@pytest.fixture(scope="module")
def url(model, adapter, tmp_path_factory):
    """A vLLM server of the model as ``tiny``, with the adapter as ``tuned``: its address."""
    options = ["--enable-lora", "--lora-modules", f"tuned={adapter}", "--max-lora-rank", 32]
    with serve(model, tmp_path_factory.mktemp("vllm") / "log", *options) as address:
        yield address


def served(url, name):
    return OpenAIEngine(OpenAIConfig(model=name, base_url=url, key_variable="LLMREC_NO_KEY", chat=False))


def worst(found, right):
    return max(float(np.abs(one - two).max()) for one, two in zip(found, right, strict=True))


def cached_tokens(engine):
    """How many tokens of the first prompt, which has over a hundred, vLLM finds in its prefix cache."""
    params = engine._vllm.SamplingParams(max_tokens=1)
    return engine._run([engine.tokens.encode(PROMPTS[0], room=1)], params)[0].num_cached_tokens


class TestContract(EngineContract):
    tolerance = 1e-3

    @pytest.fixture(autouse=True)
    def _engine(self, vllm):
        self.engine = vllm

    def make(self):
        return self.engine


def test_all_engines_score_as_weights_changed_by_hand(right, transformers, vllm, url):
    tuned, plain = right
    assert worst(tuned, plain) > 0.1
    for engine in (transformers, vllm, served(url, "tuned")):
        difference = worst(engine.logprobs(PROMPTS, ANSWERS), tuned)
        print(f"{engine.identity}: largest difference over 13 answers {difference:.2e}")
        assert difference <= 1e-3


def test_the_prefix_cache_keeps_an_adapter_and_the_plain_model_apart(right, vllm, url):
    tuned, plain = right
    lora = vllm._lora
    try:
        for _ in range(3):
            for request, expected in ((lora, tuned), (None, plain)):
                vllm._lora = request
                assert worst(vllm.logprobs(PROMPTS, ANSWERS), expected) <= 1e-3
                assert cached_tokens(vllm) >= 96  # what was read before is not read anew
    finally:
        vllm._lora = lora
    for _ in range(3):
        for name, expected in (("tiny", plain), ("tuned", tuned)):
            assert worst(served(url, name).logprobs(PROMPTS, ANSWERS), expected) <= 1e-3


def test_greedy_text_is_that_of_transformers_on_all_engines(transformers, vllm, url):
    sampling = Sampling(max_tokens=6)
    texts = [one.text for one in transformers.generate(PROMPTS, sampling)]
    assert [one.text for one in vllm.generate(PROMPTS, sampling)] == texts
    assert [one.text for one in served(url, "tuned").generate(PROMPTS, sampling)] == texts


def test_the_adapter_is_in_the_identity(model, adapter, vllm):
    plain = VLLMEngine(VLLMConfig(model=str(model), dtype="float32", max_model_len=256))
    assert vllm.identity.startswith(f"{plain.identity}+lora@")
    assert plain._lora is None


def test_what_vllm_itself_refuses_is_one_line(model, adapter, tmp_path):
    other = make_adapter(model, tmp_path / "other", targets=("q_proj",))
    change_config(other, use_qalora=True)
    engine = VLLMEngine(VLLMConfig(model=str(model), adapter=str(other), dtype="float32", max_model_len=256))
    expect_error(ModelError, lambda: engine.logprobs(PROMPTS, ANSWERS), f"adapter {str(other)!r}", "QALoRA", "merge it")
