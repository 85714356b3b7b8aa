"""Listwise ranking by identifiers: read where the model writes freely, a permutation where the engine is held to it."""

import numpy as np
import polars as pl
import pytest

from llmrec.data import Candidates, Dataset, Interactions, Queries, Vocabulary
from llmrec.errors import ConfigError, EngineError
from llmrec.llm.cache import CachedEngine
from llmrec.llm.fake import FakeEngine
from llmrec.llm.permutation import refuse_permutation
from llmrec.llm.transformers import TransformersConfig, TransformersEngine
from llmrec.protocols import Completion
from llmrec.rank.listwise import ListwiseConfig, ListwiseRanker
from llmrec.testing import TOY_TITLES, RankerContract, expect_error

TEMPLATE = "llmrank-identifiers"
HELD = ListwiseConfig(template=TEMPLATE, constrained=True)
ITEMS = np.array([[2, 5, 6, 3], [0, 1, -1, -1], [6, 2, 4, 0], [3, -1, -1, -1]])
CANDIDATES = Candidates(ITEMS, np.where(ITEMS < 0, np.nan, [4.0, 3, 2, 1]))
QUERIES = Queries.from_histories([(0, 1), (), (3,), (1,)])


class TestFakeContract(RankerContract):
    def make(self):
        return self.make_titled(TOY_TITLES)

    def make_titled(self, titles):
        return ListwiseRanker(FakeEngine(), titles, HELD)


class TestTinyContract(RankerContract):
    @pytest.fixture(autouse=True)
    def _folders(self, tiny_model, tmp_path):
        self.folder, self.template = tiny_model, lettered(tmp_path)

    def make(self):
        engine = TransformersEngine(TransformersConfig(model=str(self.folder), device="cpu"))
        config = ListwiseConfig(template=self.template, constrained=True, max_tokens=12)
        return ListwiseRanker(engine, TOY_TITLES, config)


def lettered(folder, **changes):
    path = folder / "short.yaml"
    keys = {"answer": "identifiers", "continuation": '"{{ candidate }}"', "labels": "[A, B, C]"} | changes
    path.write_text(
        "name: short\nversion: 1\ndescription: Short.\n"
        + "".join(f"{key}: {value}\n" for key, value in keys.items() if value)
        + "user: \"{{ history | join(', ') }}\\nRank: {{ candidates | join(', ') }}\\n\"\n"
    )
    return str(path)


class Writer(FakeEngine):
    """Writes the given texts in turn, or what ``order`` says of a permutation, and keeps what it was asked."""

    def __init__(self, *texts, order=sorted):
        super().__init__()
        self.texts, self.order, self.asked = texts, order, []

    def generate(self, prompts, sampling):
        self.asked.append((list(prompts), sampling))
        if sampling.permutation:
            return [Completion("".join(self.order(sampling.permutation))) for _ in prompts]
        return [text if isinstance(text, Completion) else Completion(text) for text in self.texts[: len(prompts)]]


def test_letters_become_the_order_and_what_is_missing_is_counted():
    ranker = ListwiseRanker(Writer("D > B", "B A", "I won't say", "A"), TOY_TITLES, ListwiseConfig(template=TEMPLATE))
    ranked = ranker.rank(QUERIES, CANDIDATES)
    assert ranked.items.tolist() == [[3, 5, 2, 6], [1, 0, -1, -1], [6, 2, 4, 0], [3, -1, -1, -1]]
    assert +ranker.counts == {"partial": 1, "read": 2, "unread": 1, "refused": 1, "missing": 2 + 4}
    shown = ranker.prompter.engine.asked[0][0][0].user
    assert "A. Casablanca\nB. Fargo\nC. Gattaca\nD. Dune\n" in shown


def test_rows_of_one_length_are_asked_for_together_and_go_back_to_their_places():
    engine = Writer(order=lambda texts: sorted(texts, reverse=True))
    ranker = ListwiseRanker(engine, TOY_TITLES, HELD)
    ranked = ranker.rank(QUERIES, CANDIDATES)
    assert ranked.items.tolist() == [[3, 6, 5, 2], [1, 0, -1, -1], [0, 4, 2, 6], [3, -1, -1, -1]]
    asked = [(len(prompts), sampling.permutation, sampling.max_tokens) for prompts, sampling in engine.asked]
    assert asked == [(1, (" A",), 1), (1, (" A", " B"), 2), (2, (" A", " B", " C", " D"), 4)]
    assert +ranker.counts == {"read": 4}


def test_the_cache_tells_a_permutation_from_free_text_and_from_another(tmp_path):
    cached = CachedEngine(FakeEngine(), tmp_path / "answers.sqlite")
    for config in (HELD, ListwiseConfig(template=TEMPLATE, max_tokens=4), HELD):
        ListwiseRanker(cached, TOY_TITLES, config).rank(QUERIES, CANDIDATES)
    assert (cached.usage.cache_misses, cached.usage.cache_hits) == (8, 4)
    cached.close()


def test_a_held_model_ranks_as_the_free_one_where_that_writes_a_permutation(tiny_model, tmp_path):
    engine = TransformersEngine(TransformersConfig(model=str(tiny_model), device="cpu"))
    ranker = ListwiseRanker(engine, TOY_TITLES, ListwiseConfig(template=lettered(tmp_path), constrained=True))
    ranked = ranker.rank(QUERIES, CANDIDATES.top(3))
    np.testing.assert_array_equal(np.sort(ranked.items, axis=1), np.sort(ITEMS[:, :3], axis=1))
    assert +ranker.counts == {"read": 4}
    assert not np.isnan(ranked.scores[ranked.items >= 0]).any()


def test_examples_are_solved_in_letters():
    events = Interactions.sort([0, 0, 1, 1], [0, 1, 2, 3], [1, 2, 3, 4])
    titled = pl.DataFrame({"title": TOY_TITLES})
    train = Dataset("two", events, Vocabulary(["u", "v"]), Vocabulary(range(7)), titled)
    config = ListwiseConfig(template=TEMPLATE, examples=1, example_candidates=3)
    engine = Writer("", "", "", "")
    ListwiseRanker(engine, TOY_TITLES, config, train).rank(QUERIES, CANDIDATES)
    solved = engine.asked[0][0][0].user.split("Ranking:")[1].split("\n\n")[0]
    assert sorted(solved.split()) == ["A", "B", "C"]
    assert solved.startswith(" ")


def test_more_candidates_than_labels_are_an_error(tmp_path):
    ranker = ListwiseRanker(Writer(), TOY_TITLES, ListwiseConfig(template=lettered(tmp_path)))
    expect_error(ConfigError, lambda: ranker.rank(QUERIES, CANDIDATES), "has 3 labels", "at least 4", "window")


def test_labels_of_several_tokens_cannot_be_held_to(tmp_path):
    template = lettered(tmp_path, continuation='"{{ candidate }} it is"')
    ranker = ListwiseRanker(FakeEngine(), TOY_TITLES, ListwiseConfig(template=template, constrained=True))
    expect_error(ConfigError, lambda: ranker.rank(QUERIES, CANDIDATES.top(2)), "label 'A'", "3 tokens")


def test_titles_cannot_be_held_to():
    config = ListwiseConfig(constrained=True)
    expect_error(
        ConfigError, lambda: ListwiseRanker(FakeEngine(), TOY_TITLES, config), "'llmrank-recency'", "'identifiers'"
    )


def test_an_engine_that_cannot_be_held_says_so():
    class Free(FakeEngine):
        def generate(self, prompts, sampling):
            refuse_permutation(sampling, self.identity)
            return super().generate(prompts, sampling)

    ranker = ListwiseRanker(Free(), TOY_TITLES, HELD)
    expect_error(EngineError, lambda: ranker.rank(QUERIES, CANDIDATES), "fake/fake", "constrained = false")


@pytest.mark.parametrize("changes", [{"labels": ""}, {"continuation": ""}])
def test_a_template_of_identifiers_needs_labels_and_how_they_stand(tmp_path, changes):
    config = ListwiseConfig(template=lettered(tmp_path, **changes))
    expect_error(ConfigError, lambda: ListwiseRanker(FakeEngine(), TOY_TITLES, config), next(iter(changes)), "needed")


def test_a_torn_last_line_is_not_read():
    torn = Completion("1. Dune\n2. Casablanca\n3. Gatt", finish="length")
    one = Completion("Brazil, Alien", finish="length")
    ranker = ListwiseRanker(Writer(torn, one), TOY_TITLES)
    ranked = ranker.rank(QUERIES.select(slice(0, 2)), CANDIDATES.select(slice(0, 2)))
    assert ranked.items.tolist() == [[3, 2, 5, 6], [1, 0, -1, -1]]
    assert +ranker.counts == {"partial": 1, "read": 1, "cut_off": 2, "missing": 2}
