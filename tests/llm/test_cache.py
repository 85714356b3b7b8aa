"""The cache answers what it holds, computes the rest once, and never stores a failure."""

import sqlite3

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.errors import DataError
from llmrec.llm.cache import CachedEngine
from llmrec.llm.fake import FakeConfig, FakeEngine
from llmrec.llm.store import AnswerStore
from llmrec.protocols import Completion, Prompt, Sampling, Usage
from llmrec.testing import EngineContract, expect_error

PROMPTS = [Prompt("Alien\nHeat"), Prompt("Dune"), Prompt("Fargo", system="films")]
ANSWERS = [["a", "b"], ["a"], ["c", "d", "e"]]


class TestContract(EngineContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder, self.made = tmp_path, 0

    def make(self):
        self.made += 1
        return CachedEngine(FakeEngine(), self.folder / f"{self.made}.sqlite", commit_every=2)


@pytest.fixture
def make(tmp_path):
    """A function that returns a cached engine on one store, and the engine that it asks."""

    def cached(engine=None, **settings):
        return CachedEngine(engine or FakeEngine(), tmp_path / "answers.sqlite", **settings)

    return cached


def hits_and_misses(engine):
    return engine.usage.cache_hits, engine.usage.cache_misses


def assert_scores(scores, prompts, answers):
    for row, expected in zip(scores, FakeEngine().logprobs(prompts, answers), strict=True):
        np.testing.assert_array_equal(row, expected)


def test_what_is_stored_is_not_computed_again(make):
    first = make()
    assert_scores(first.logprobs(PROMPTS, ANSWERS), PROMPTS, ANSWERS)
    assert hits_and_misses(first) == (0, 6)
    again = make()
    assert_scores(again.logprobs(PROMPTS, ANSWERS), PROMPTS, ANSWERS)
    assert hits_and_misses(again) == (6, 0)
    assert again.engine.usage == Usage()
    assert (again.usage.prompts, again.usage.prompt_tokens, again.usage.output_tokens) == (3, 0, 0)


def test_one_more_candidate_is_one_more_computation(make):
    make().logprobs(PROMPTS, ANSWERS)
    more = [["a", "new", "b"], *ANSWERS[1:]]
    engine = make()
    assert_scores(engine.logprobs(PROMPTS, more), PROMPTS, more)
    assert hits_and_misses(engine) == (6, 1)
    assert engine.engine.usage.cache_misses == 1
    assert engine.engine.usage.prompts == 1


@pytest.mark.parametrize("commit_every", [1, 2, 64])
def test_equal_questions_in_one_call_are_computed_once(make, commit_every):
    prompts, answers = [PROMPTS[0], PROMPTS[0], PROMPTS[1]], [["a", "b", "a"], ["b", "c"], ["a"]]
    engine = make(commit_every=commit_every)
    assert_scores(engine.logprobs(prompts, answers), prompts, answers)
    assert engine.engine.usage.cache_misses == 4
    assert hits_and_misses(engine) == (2, 4)
    texts = engine.generate(prompts, Sampling())
    assert texts == FakeEngine().generate(prompts, Sampling())
    assert hits_and_misses(engine) == (3, 6)


rows = st.lists(
    st.tuples(st.text("ab", max_size=2), st.lists(st.text("xy", min_size=1, max_size=2), max_size=4)), max_size=6
)


@given(st.lists(rows, max_size=3), st.integers(1, 4))
def test_any_calls_score_right_and_compute_each_question_once(tmp_path_factory, calls, commit_every):
    engine = CachedEngine(FakeEngine(), tmp_path_factory.mktemp("store") / "s.sqlite", commit_every=commit_every)
    for call in calls:
        prompts, answers = [Prompt(text) for text, _ in call], [row for _, row in call]
        assert_scores(engine.logprobs(prompts, answers), prompts, answers)
    asked = [(text, answer) for call in calls for text, row in call for answer in row]
    assert hits_and_misses(engine) == (len(asked) - len(set(asked)), len(set(asked)))
    assert engine.engine.usage.cache_misses == len(engine.store) == len(set(asked))


def test_texts_are_stored_with_their_sampling(make):
    sampling = Sampling(max_tokens=3, temperature=1.0, seed=1, stop=("x",))
    first = make().generate(PROMPTS, sampling)
    again = make()
    assert again.generate(PROMPTS, sampling) == first == FakeEngine().generate(PROMPTS, sampling)
    assert hits_and_misses(again) == (3, 0)
    for other in (
        Sampling(4, 1.0, seed=1, stop=("x",)),
        Sampling(3, 0.5, seed=1, stop=("x",)),
        Sampling(3, 1.0, top_p=0.9, seed=1, stop=("x",)),
        Sampling(3, 1.0, seed=2, stop=("x",)),
        Sampling(3, 1.0, seed=1),
    ):
        engine = make()
        assert engine.generate(PROMPTS, other) == FakeEngine().generate(PROMPTS, other)
        assert hits_and_misses(engine) == (0, 3)


def test_prompt_system_model_and_kind_of_question_are_told_apart(make):
    make().logprobs([Prompt("ab", system="c")], [["d"]])
    for prompt, answer, config in (
        (Prompt("abd", system="c"), "d", None),
        (Prompt("b", system="ca"), "d", None),
        (Prompt("ab"), "d", None),
        (Prompt("ab", system="c"), "e", None),
        (Prompt("ab", system="c"), "d", FakeConfig(model="other")),
    ):
        engine = make(FakeEngine(config))
        engine.logprobs([prompt], [[answer]])
        assert hits_and_misses(engine) == (0, 1)
    engine = make()
    engine.generate([Prompt("ab", system="c")], Sampling())
    assert hits_and_misses(engine) == (0, 1)


def test_any_text_can_be_asked(make):
    prompts, answers = [Prompt("\ud800\x00'\"; DROP TABLE answers")], [["\udfff", "é\x00"]]
    assert_scores(make().logprobs(prompts, answers), prompts, answers)
    assert_scores(make().logprobs(prompts, answers), prompts, answers)


class Flaky(FakeEngine):
    """An engine that fails the prompts named ``bad`` until it is mended: errors when writing, NaN when scoring."""

    mended = False

    def generate(self, prompts, sampling):
        texts = super().generate(prompts, sampling)
        bad = Completion("", finish="error", error="overloaded")
        return [
            bad if one.user == "bad" and not self.mended else text for one, text in zip(prompts, texts, strict=True)
        ]

    def logprobs(self, prompts, answers):
        scores = super().logprobs(prompts, answers)
        for prompt, row in zip(prompts, scores, strict=True):
            if prompt.user == "bad" and not self.mended:
                row[0] = np.nan
        return scores


def test_a_failed_text_is_returned_but_asked_again_next_time(make):
    engine, prompts = make(Flaky()), [Prompt("good"), Prompt("bad")]
    first = engine.generate(prompts, Sampling())
    assert [one.finish for one in first] == ["stop", "error"]
    assert first[1].error == "overloaded"
    assert len(engine.store) == 1
    engine.engine.mended = True
    assert [one.finish for one in engine.generate(prompts, Sampling())] == ["stop", "stop"]
    assert hits_and_misses(engine) == (1, 3)
    assert len(engine.store) == 2


def test_a_score_that_is_no_number_is_returned_but_asked_again_next_time(make):
    engine, prompts, answers = make(Flaky()), [Prompt("bad"), Prompt("good")], [["a", "b"], ["a"]]
    assert np.isnan(engine.logprobs(prompts, answers)[0]).tolist() == [True, False]
    assert len(engine.store) == 2
    engine.engine.mended = True
    assert_scores(engine.logprobs(prompts, answers), prompts, answers)
    assert hits_and_misses(engine) == (2, 4)


def test_minus_infinity_is_a_score(make):
    class Certain(FakeEngine):
        def logprobs(self, prompts, answers):
            return [np.full(len(row), -np.inf, np.float32) for row in answers]

    make(Certain()).logprobs(PROMPTS, ANSWERS)
    again = make(Certain())
    assert all(np.isneginf(row).all() for row in again.logprobs(PROMPTS, ANSWERS))
    assert hits_and_misses(again) == (6, 0)


def test_what_was_committed_before_a_failure_stays(make):
    class Dying(FakeEngine):
        def logprobs(self, prompts, answers):
            if any(prompt.user == "Dune" for prompt in prompts):
                raise MemoryError
            return super().logprobs(prompts, answers)

    engine = make(Dying(), commit_every=1)
    with pytest.raises(MemoryError):
        engine.logprobs(PROMPTS, ANSWERS)
    again = make()
    assert_scores(again.logprobs(PROMPTS, ANSWERS), PROMPTS, ANSWERS)
    assert hits_and_misses(again) == (2, 4)


def test_a_dry_run_counts_the_tokens_of_what_is_missing_and_stores_nothing(make):
    make().logprobs(PROMPTS[:1], ANSWERS[:1])
    dry = make(dry_run=True)
    scores = dry.logprobs(PROMPTS, [["a", "b b"], *ANSWERS[1:]])
    assert np.isnan(np.concatenate(scores)).tolist() == [False, True, True, True, True, True]
    # Missing: two words of "Alien\nHeat" for "b b", one of Dune for "a", one and its system text for c, d and e.
    assert dry.usage.prompt_tokens == 2 + 1 + 2
    assert dry.usage.output_tokens == 2 + 1 + 3
    assert hits_and_misses(dry) == (1, 5)
    assert [one.text for one in dry.generate(PROMPTS, Sampling(max_tokens=7))] == ["", "", ""]
    assert dry.usage.output_tokens == 6 + 21
    assert dry.engine.usage == Usage()
    assert len(dry.store) == 2


@pytest.mark.parametrize("commit_every", [1, 2, 64])
def test_a_dry_run_foresees_what_the_real_run_counts(make, commit_every):
    prompts, answers = [*PROMPTS, PROMPTS[0]], [*ANSWERS, ["a", "z"]]
    dry, real = make(dry_run=True, commit_every=commit_every), make(commit_every=commit_every)
    for engine in (dry, real):
        engine.logprobs(prompts, answers)
        engine.generate(prompts, Sampling())
    assert hits_and_misses(dry) == hits_and_misses(real)


def test_progress_is_told_after_each_commit(make):
    seen = []
    engine = make(commit_every=2, progress=lambda done, total: seen.append((done, total, len(engine.store))))
    engine.logprobs(PROMPTS, ANSWERS)
    engine.generate(PROMPTS, Sampling())
    assert seen == [(2, 3, 3), (3, 3, 6), (2, 3, 8), (3, 3, 9)]


@pytest.mark.parametrize("content", [b"not a database" * 100, b"PAR1"])
def test_a_file_that_is_no_store_is_an_error_and_stays(tmp_path, content):
    path = tmp_path / "x.sqlite"
    path.write_bytes(content)
    expect_error(DataError, lambda: AnswerStore(path), str(path), "SQLite", "another file")
    assert path.read_bytes() == content


def test_a_folder_or_a_path_below_a_file_is_an_error(tmp_path):
    expect_error(DataError, lambda: AnswerStore(tmp_path), str(tmp_path), "cannot be opened")
    (tmp_path / "file").write_text("x")
    expect_error(DataError, lambda: AnswerStore(tmp_path / "file" / "below.sqlite"), "cannot be opened")


def test_another_programs_table_is_an_error(tmp_path):
    with sqlite3.connect(tmp_path / "other.sqlite") as db:
        db.execute("CREATE TABLE answers (question TEXT)")
    expect_error(DataError, lambda: AnswerStore(tmp_path / "other.sqlite"), "cannot be opened")


def test_many_keys_are_looked_up(tmp_path):
    store = AnswerStore(tmp_path / "deep" / "er" / "store.sqlite")
    keys = [str(number).encode() for number in range(1201)]
    store.put((key, float(number)) for number, key in enumerate(keys))
    assert store.get([*keys, b"unknown"]) == {key: float(number) for number, key in enumerate(keys)}
    assert len(store) == 1201


def test_a_failed_write_leaves_the_store_usable(tmp_path):
    store = AnswerStore(tmp_path / "store.sqlite")
    with pytest.raises(ZeroDivisionError):
        store.put((str(number).encode(), 1 / (3 - number)) for number in range(5))
    assert len(store) == 0
    store.put([(b"a", 1.0)])
    assert AnswerStore(tmp_path / "store.sqlite").get([b"a"]) == {b"a": 1.0}
