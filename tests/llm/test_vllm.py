"""The vLLM engine keeps the engine contract and agrees with the transformers engine."""

from importlib.util import find_spec

import numpy as np
import pytest

from llmrec.errors import EngineError, MissingPackageError
from llmrec.llm.transformers import TransformersConfig, TransformersEngine
from llmrec.llm.vllm import VLLMConfig, VLLMEngine, _branches
from llmrec.protocols import Prompt, Sampling
from llmrec.testing import EngineContract, expect_error

INSTALLED = find_spec("vllm") is not None
needs_vllm = [
    pytest.mark.vllm,
    pytest.mark.timeout(1200),
    pytest.mark.filterwarnings("ignore"),  # vLLM's own imports warn
    pytest.mark.skipif(not INSTALLED, reason="vllm is not installed (on a CPU: make vllm)"),
]
TITLES = ("Alien", "Dune", "Brazil", "Fargo")
SAMPLED = Sampling(max_tokens=12, temperature=1.0, seed=4)


@pytest.fixture(scope="module")
def vllm(two_threads):
    """The embedded model in vLLM, started once for all tests here."""
    return VLLMEngine(VLLMConfig(dtype="float32", max_model_len=1024))


@pytest.fixture(scope="module")
def transformers():
    return TransformersEngine(TransformersConfig(dtype="float32"))


def largest_difference(one, two):
    return max(float(np.abs(a - b).max()) for a, b in zip(one, two, strict=True))


class TestContract(EngineContract):
    tolerance = 1e-3
    pytestmark = needs_vllm

    @pytest.fixture(autouse=True)
    def _engine(self, vllm):
        self.engine = vllm

    def make(self):
        return self.engine


class TestAgreement:
    pytestmark = needs_vllm

    @pytest.mark.data
    def test_one_token_answers_score_as_with_transformers(self, vllm, transformers, film_titles):
        prompts = [
            Prompt(f"Somebody watched {', '.join(film_titles[row * 5 : row * 5 + 1 + row % 12])}. Will they like it?")
            for row in range(100)
        ]
        answers = [(" Yes", " No")] * len(prompts)
        assert {len(ids) for ids in transformers.tokens.encode_answers(prompts[0], answers[0])} == {1}
        worst = largest_difference(vllm.logprobs(prompts, answers), transformers.logprobs(prompts, answers))
        print(f"largest difference over {len(prompts)} prompts, one token: {worst:.2e}")
        assert worst <= 1e-3

    @pytest.mark.data
    def test_titles_score_as_with_transformers(self, vllm, transformers, film_titles):
        prompts = [
            Prompt("".join(f"{title}\n" for title in film_titles[row * 20 : row * 20 + row])) for row in range(10)
        ]
        answers = [[f"{title}\n" for title in film_titles[300 + row * 9 : 312 + row * 9]] for row in range(10)]
        worst = largest_difference(vllm.logprobs(prompts, answers), transformers.logprobs(prompts, answers))
        print(f"largest difference over 120 titles: {worst:.2e}")
        assert worst <= 2e-3

    def test_more_choices_than_a_request_takes(self, vllm, transformers):
        letters = [chr(code) + "x" for code in range(0x4E00, 0x4E00 + 200)]
        assert len({ids[0] for ids in vllm.tokens.encode_answers(Prompt("A"), letters)}) > 128
        scores = vllm.logprobs([Prompt("A")], [letters])
        assert largest_difference(scores, transformers.logprobs([Prompt("A")], [letters])) <= 2e-3

    @pytest.mark.data
    def test_greedy_text_is_that_of_transformers(self, vllm, transformers, film_titles):
        prompts = [Prompt("".join(f"{title}\n" for title in film_titles[row : row + 5])) for row in range(0, 40, 5)]
        sampling = Sampling(max_tokens=24, stop=("\n",))
        ours, theirs = vllm.generate(prompts, sampling), transformers.generate(prompts, sampling)
        assert [one.text for one in ours] == [one.text for one in theirs]
        assert [one.finish for one in ours] == [one.finish for one in theirs]
        assert not any("\n" in one.text for one in ours)

    @pytest.mark.data
    def test_a_sampled_text_does_not_depend_on_its_company(self, vllm, film_titles):
        prompts = [Prompt(title) for title in film_titles[:6]]
        together = vllm.generate(prompts, SAMPLED)
        assert [vllm.generate([prompt], SAMPLED)[0].text for prompt in prompts] == [one.text for one in together]

    def test_a_permutation_is_that_of_transformers(self, vllm, transformers):
        prompts = [Prompt(f"A. {first}\nB. Heat\nC. {last}\nIn order:") for first in TITLES for last in TITLES]
        sampling = Sampling(permutation=(" A", " B", " C"))
        ours, theirs = vllm.generate(prompts, sampling), transformers.generate(prompts, sampling)
        assert [one.text for one in ours] == [one.text for one in theirs]
        drawn = vllm.generate(prompts, Sampling(temperature=1.0, permutation=(" A", " B", " C")))
        assert all(sorted(one.text.split()) == ["A", "B", "C"] for one in drawn)

    def test_the_context_is_kept(self, vllm):
        prompt = [Prompt("film " * 1020)]
        expect_error(EngineError, lambda: vllm.logprobs(prompt, [[" one two three four five six"]]), "1024")


@pytest.mark.skipif(INSTALLED, reason="vllm is installed")
def test_without_vllm_the_error_names_the_cure():
    expect_error(MissingPackageError, VLLMEngine, "'vllm' is not installed", "pip install 'llmrec[vllm]'", "make vllm")


def test_each_beginning_is_one_request():
    answers = [[1, 2, 3], [1, 2], [1, 4], [5]]
    assert list(_branches(7, answers)) == [(7, (), [1, 5]), (7, (1,), [2, 4]), (7, (1, 2), [3])]


def test_many_choices_are_split():
    requests = list(_branches(0, [[token] for token in range(300)]))
    assert [len(choices) for _, _, choices in requests] == [128, 128, 44]
    assert [token for _, _, choices in requests for token in choices] == list(range(300))
