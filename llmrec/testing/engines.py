"""What every language-model engine and every embedder keeps."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from llmrec.errors import EngineError
from llmrec.protocols import Embedder, Engine, Prompt, Sampling


class EngineContract:
    """What every language-model engine keeps. ``make`` returns one; ``tolerance`` bounds noise in log-probabilities."""

    tolerance = 1e-4
    prompts = (
        Prompt("Alien\nBrazil"),
        Prompt("Heat", system="Films, in the order they were watched:"),
        Prompt("Dune\nFargo\nAlien"),
    )
    answers = (("\nCasablanca", "\nDune", "\nHeat"), ("\nFargo",), ("\nGattaca", "\nBrazil"))

    @abstractmethod
    def make(self) -> Engine:
        """Return an engine; it may be the same one each time."""

    def test_it_has_the_methods(self) -> None:
        assert isinstance(self.make(), Engine)

    def test_each_answer_gets_a_log_probability(self) -> None:
        scores = self.make().logprobs(self.prompts, self.answers)
        assert [len(row) for row in scores] == [3, 1, 2]
        for row in scores:
            assert row.dtype == np.float32
            assert np.isfinite(row).all()
            assert (row <= 0).all()

    def test_log_probabilities_do_not_depend_on_the_company(self) -> None:
        engine = self.make()
        batch = engine.logprobs(self.prompts, self.answers)
        for prompt, answers, row in zip(self.prompts, self.answers, batch, strict=True):
            alone = [engine.logprobs([prompt], [[answer]])[0][0] for answer in answers]
            np.testing.assert_allclose(alone, row, atol=self.tolerance)

    def test_the_order_of_prompts_and_answers_is_kept(self) -> None:
        engine = self.make()
        forward = engine.logprobs(self.prompts, self.answers)
        turned = engine.logprobs(self.prompts[::-1], [row[::-1] for row in self.answers[::-1]])
        for one, two in zip(forward, turned[::-1], strict=True):
            np.testing.assert_allclose(one, two[::-1], atol=self.tolerance)

    def test_a_longer_answer_is_less_probable_than_its_beginning(self) -> None:
        short, long = self.make().logprobs([self.prompts[0]], [["\nDune", "\nDune\nHeat"]])[0]
        assert long <= short

    def test_generated_text_answers_every_prompt_and_repeats_itself(self) -> None:
        engine, sampling = self.make(), Sampling(max_tokens=5)
        first = engine.generate(self.prompts, sampling)
        assert len(first) == 3
        assert [one.text for one in first] == [one.text for one in engine.generate(self.prompts, sampling)]
        for completion in first:
            assert completion.output_tokens <= 5
            assert completion.prompt_tokens > 0
            assert completion.finish in {"stop", "length"}

    def test_a_seed_makes_sampling_repeatable(self) -> None:
        engine, sampling = self.make(), Sampling(max_tokens=8, temperature=1.0, seed=3)
        assert [one.text for one in engine.generate(self.prompts, sampling)] == [
            one.text for one in engine.generate(self.prompts, sampling)
        ]

    def test_a_permutation_is_kept_to_or_refused(self) -> None:
        engine, texts = self.make(), ("A", "B", "C")
        found, refusal = [], ""
        try:
            found = engine.generate(self.prompts, Sampling(max_tokens=3, permutation=texts))
        except EngineError as error:
            refusal = str(error)
        if refusal:
            assert "permutation" in refusal, f"a refusal must say what of: {refusal}"
            return
        assert [sorted(one.text) for one in found] == [list(texts)] * len(self.prompts)
        assert {(one.output_tokens, one.finish) for one in found} == {(len(texts), "stop")}

    def test_usage_grows_with_work(self) -> None:
        engine = self.make()
        before = engine.usage
        engine.logprobs(self.prompts, self.answers)
        after = engine.usage
        assert after.prompts - before.prompts == 3
        assert after.cache_misses - before.cache_misses == 6
        assert after.prompt_tokens > before.prompt_tokens

    def test_its_identity_is_stable_and_its_tokens_are_counted(self) -> None:
        engine = self.make()
        assert engine.identity == self.make().identity != ""
        short, long = engine.count_tokens(["Alien", "Alien Brazil Casablanca"])
        assert 0 < short < long

    def test_nothing_asked_nothing_answered(self) -> None:
        engine = self.make()
        assert engine.logprobs([], []) == []
        assert engine.generate([], Sampling()) == []


class EmbedderContract:
    """What every embedder keeps. ``make`` returns one; ``tolerance`` bounds noise in a vector's entries."""

    tolerance = 1e-5
    texts = ("Alien", "a film about a shark that eats bathers", "", "Alien", "Casablanca (1942)", " \n ")

    @abstractmethod
    def make(self) -> Embedder:
        """Return an embedder; it may be the same one each time."""

    def test_it_has_the_method(self) -> None:
        assert isinstance(self.make(), Embedder)

    def test_vectors_have_length_1_and_those_of_blank_texts_0(self) -> None:
        vectors = self.make().embed(self.texts)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 0, 1, 1, 0], atol=1e-5)

    def test_a_text_alone_gets_the_vector_it_gets_in_a_batch(self) -> None:
        embedder = self.make()
        batch = embedder.embed(self.texts)
        for text, vector in zip(self.texts, batch, strict=True):
            np.testing.assert_allclose(embedder.embed([text]), [vector], atol=self.tolerance)

    def test_other_texts_get_other_vectors(self) -> None:
        vectors = self.make().embed(self.texts)
        assert np.all((vectors @ vectors[0])[[1, 4]] < 0.99)

    def test_nothing_asked_nothing_answered(self) -> None:
        embedder = self.make()
        assert embedder.embed([]).shape == (0, embedder.embed(["Alien"]).shape[1])
        assert embedder.embed(["", ""]).shape == (2, embedder.embed(["Alien"]).shape[1])
