"""A data set small enough to check by hand, and contract tests for authors of extensions.

Derive a test class from a contract, say how to make the part, and pytest runs the rest::

    class TestMyModel(RecommenderContract):
        def make(self) -> MyModel:
            return MyModel()
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llmrec.data import Candidates, Dataset, Interactions, Queries, Vocabulary
from llmrec.errors import DataError, LlmrecError
from llmrec.protocols import Embedder, Engine, Prompt, Ranker, Recommender, Sampling, Storable, Trainable

TOY_TITLES = ("Alien", "Brazil", "Casablanca", "Dune", "Heat", "Fargo", "Gattaca")
TOY_HISTORIES = ((0, 1, 2, 3), (0, 1, 2), (1, 2, 4), (0, 3, 4), (2, 4, 5))


def toy() -> Dataset:
    """Return five users, seven films and sixteen events; nobody has seen the last film, Gattaca.

    ========  =======================  ==================
    user      items, oldest first      times
    ========  =======================  ==================
    u0        Alien Brazil Casablanca  10 20 30 40
              Dune
    u1        Alien Brazil Casablanca  11 21 31
    u2        Brazil Casablanca Heat   12 22 32
    u3        Alien Dune Heat          13 23 33
    u4        Casablanca Heat Fargo    14 24 34
    ========  =======================  ==================
    """
    users = [user for user, items in enumerate(TOY_HISTORIES) for _ in items]
    items = [item for history in TOY_HISTORIES for item in history]
    times = [10 * (place + 1) + user for user, history in enumerate(TOY_HISTORIES) for place in range(len(history))]
    return Dataset(
        name="toy",
        interactions=Interactions.sort(users, items, times),
        users=Vocabulary([f"u{user}" for user in range(len(TOY_HISTORIES))]),
        items=Vocabulary([100 + item for item in range(len(TOY_TITLES))]),
        item_table=pl.DataFrame({"title": TOY_TITLES}),
        source="made by hand",
        licence="CC0",
    )


def expect_error(kind: type[LlmrecError], call: Callable[[], object], *words: str) -> None:
    """Assert that ``call`` raises ``kind`` with a one-line message that holds all ``words``."""
    try:
        call()
    except kind as error:
        message = str(error)
        assert "\n" not in message, f"an error takes one line: {message!r}"
        for word in words:
            assert word in message, f"{word!r} is not in {message!r}"
        return
    raise AssertionError(f"no {kind.__name__} was raised")


def assert_same(one: Candidates, two: Candidates) -> None:
    """Assert equal items and scores (to 1e-5)."""
    np.testing.assert_array_equal(one.items, two.items)
    np.testing.assert_allclose(one.scores, two.scores, rtol=1e-5, atol=1e-5)


class RecommenderContract:
    """What every recommender keeps. ``make`` returns one that is not fitted yet."""

    @abstractmethod
    def make(self) -> Any:  # noqa: ANN401 - a Recommender that is Trainable and Storable at once
        """Return a new, unfitted recommender."""

    def fitted(self) -> Any:  # noqa: ANN401
        """Return one fitted on the toy data."""
        return self.make().fit(toy(), seed=0)

    def queries(self) -> Queries:
        """All users of the toy data, one unseen user with a history, and one about whom nothing is known."""
        return Queries.from_histories([*TOY_HISTORIES, (0, 1), ()], [0, 1, 2, 3, 4, -1, -1])

    def test_it_has_the_methods(self) -> None:
        model = self.make()
        assert isinstance(model, Recommender)
        assert isinstance(model, Trainable)
        assert isinstance(model, Storable)

    def test_every_query_gets_k_items_best_first_and_none_twice(self) -> None:
        found = self.fitted().recommend(self.queries(), 3)
        assert found.items.shape == (7, 3)
        assert (found.items >= 0).all()
        assert (np.diff(found.scores, axis=1) <= 0).all()

    def test_seen_items_are_left_out_unless_asked_for(self) -> None:
        model, queries = self.fitted(), self.queries()
        for row, history in zip(model.recommend(queries, 7).items, queries.lists(), strict=True):
            assert not set(row.tolist()) & set(history)
            assert sum(row >= 0) == 7 - len(history)
        assert (model.recommend(queries, 7, exclude_seen=False).items >= 0).all()

    def test_a_query_alone_gets_what_it_gets_in_a_batch(self) -> None:
        model, queries = self.fitted(), self.queries()
        batch = model.recommend(queries, 3)
        for row in range(len(queries)):
            assert_same(model.recommend(queries.select(slice(row, row + 1)), 3), batch.select(slice(row, row + 1)))

    def test_an_unseen_user_gets_what_a_known_one_with_that_history_gets(self) -> None:
        model, known = self.fitted(), toy().queries([0, 1, 2])
        unseen = Queries(np.full(3, -1), known.history, known.values, known.times)
        assert_same(model.recommend(unseen, 3), model.recommend(known, 3))

    def test_the_same_seed_gives_the_same_numbers(self) -> None:
        assert_same(self.fitted().recommend(self.queries(), 3), self.fitted().recommend(self.queries(), 3))

    def test_a_saved_model_comes_back_with_the_same_scores(self, tmp_path: Path) -> None:
        model = self.fitted()
        folder = model.save(tmp_path / "model")
        assert_same(type(model).load(folder).recommend(self.queries(), 3), model.recommend(self.queries(), 3))
        assert not list(folder.rglob("*.pkl"))

    def test_k_above_the_catalogue_is_an_error(self) -> None:
        expect_error(DataError, lambda: self.fitted().recommend(self.queries(), 8), "k = 8", "7")

    def test_no_query_is_no_error(self) -> None:
        assert len(self.fitted().recommend(self.queries().select(slice(0, 0)), 3)) == 0


class RankerContract:
    """What every ranker keeps. ``make`` returns one that can rank the toy data set."""

    @abstractmethod
    def make(self) -> Ranker:
        """Return a ranker for ``toy()``."""

    def queries(self) -> Queries:
        """Three toy users and one without a history."""
        return Queries.from_histories([TOY_HISTORIES[0], TOY_HISTORIES[2], (5,), ()], [0, 2, -1, -1])

    def candidates(self) -> Candidates:
        """Candidates of several lengths, padded with -1."""
        items = np.array([[4, 5, 6], [0, 3, -1], [6, -1, -1], [2, 0, 1]])
        return Candidates(items, np.where(items < 0, np.nan, [3.0, 2.0, 1.0]))

    def test_it_has_the_method(self) -> None:
        assert isinstance(self.make(), Ranker)

    def test_the_result_is_a_permutation_of_each_row(self) -> None:
        candidates = self.candidates()
        ranked = self.make().rank(self.queries(), candidates)
        np.testing.assert_array_equal(np.sort(ranked.items, axis=1), np.sort(candidates.items, axis=1))
        scores = np.where(ranked.items < 0, -np.inf, np.nan_to_num(ranked.scores, nan=-np.inf))
        assert np.all(scores[:, :-1] >= scores[:, 1:])

    def test_padding_stays_behind(self) -> None:
        ranked = self.make().rank(self.queries(), self.candidates())
        assert (ranked.items[1] >= 0).tolist() == [True, True, False]
        assert (ranked.items[2] >= 0).tolist() == [True, False, False]

    def test_a_row_alone_is_ranked_as_in_a_batch(self) -> None:
        ranker, queries, candidates = self.make(), self.queries(), self.candidates()
        batch = ranker.rank(queries, candidates)
        for row in range(len(queries)):
            alone = ranker.rank(queries.select(slice(row, row + 1)), candidates.select(slice(row, row + 1)))
            np.testing.assert_array_equal(alone.items, batch.items[row : row + 1])

    def test_an_empty_row_is_an_error(self) -> None:
        empty = Candidates(np.array([[0, 1], [-1, -1]]), np.array([[1.0, 0.5], [np.nan, np.nan]]))
        queries = self.queries().select(slice(0, 2))
        expect_error(DataError, lambda: self.make().rank(queries, empty), "row 1", "empty")

    def test_no_query_is_no_error(self) -> None:
        assert len(self.make().rank(self.queries().select(slice(0, 0)), self.candidates().select(slice(0, 0)))) == 0


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
