"""Generated texts and matchers as recall: nearest items by hand, cold ones apart, histories left out."""

import numpy as np
import polars as pl
import pytest

from llmrec.config import make_config
from llmrec.errors import DataError
from llmrec.generate.enhance import Matcher
from llmrec.generate.enhance_pairs import Corpus, Pairs
from llmrec.generate.enhance_recall import query_vectors, recall_by_matchers, recall_by_texts
from llmrec.generate.enhance_recipe import EnhanceRecipe, MatcherConfig
from llmrec.generate.enhance_vectors import Vectors
from llmrec.testing import expect_error

ITEMS = np.array([[1, 0], [0, 1], [0.6, 0.8], [0.8, 0.6], [0, 0]], np.float32)
"""The last one has no text; items 2 and 3 are cold."""


def corpus(histories, test: Pairs) -> Corpus:
    n = len(histories)
    contexts = pl.DataFrame({"prompt": [f"p{row}" for row in range(n)], "user": [f"u{row}" for row in range(n)]})
    parts = dict.fromkeys(("train", "valid", "test"), test)
    trained = np.array([True, True, False, False, True])
    items = [f"item {number}" for number in range(5)]
    histories = np.array(histories, np.int32).reshape(n, -1)
    return Corpus(contexts.with_columns(text="prompt"), histories, items, pl.Series(items), trained, parts)


def pairs(*rows: tuple[int, int, bool]) -> Pairs:
    contexts, items, labels = (np.array(column) for column in zip(*rows, strict=True))
    return Pairs(contexts.astype(np.int32), items.astype(np.int32), labels)


def recipe(**settings) -> EnhanceRecipe:
    return make_config(EnhanceRecipe, {"out": "out", "texts": "texts", "metrics": ["recall@1", "recall@2"], **settings})


def cell(evaluation, method, metric, group="all"):
    row = evaluation.table.row(
        by_predicate=(pl.col("method") == method) & (pl.col("metric") == metric) & (pl.col("group") == group),
        named=True,
    )
    return row["mean"]


CONTEXTS = np.array([[1, 0], [0, 1], [0, 1]], np.float32)
GENERATED = np.array([[0.6, 0.8], [0.8, 0.6], [0, 0]], np.float32)
TEST = pairs((0, 2, True), (0, 0, False), (1, 3, True), (1, 1, True), (2, 1, True), (2, 2, False))


def test_queries_by_hand() -> None:
    vectors = Vectors(CONTEXTS, ITEMS, GENERATED)
    some = corpus([[-1, 0], [1, 0], [-1, -1]], TEST)
    found = query_vectors(vectors, some, np.array([0, 1, 2]), "text")
    assert list(found) == ["context", "history", "generated", "context + generated"]
    np.testing.assert_array_equal(found["context"], CONTEXTS)
    newest = np.array([1, 0.6]) / np.hypot(1, 0.6)  # item 0 is newer than item 1
    np.testing.assert_allclose(found["history"], [[1, 0], newest, [np.nan, np.nan]], rtol=1e-6)
    np.testing.assert_array_equal(found["generated"], [GENERATED[0], GENERATED[1], [np.nan, np.nan]])
    np.testing.assert_allclose(found["context + generated"], [[1.6, 0.8], [0.8, 1.6], [0, 1]], rtol=1e-6)
    by_history = query_vectors(vectors, some, np.array([1]), "history")
    assert list(by_history) == ["history", "generated", "history + generated"]
    without = query_vectors(vectors, corpus([[], [], []], TEST), np.array([0]), "text")
    assert list(without) == ["context", "generated", "context + generated"]
    nobody = corpus([[], [], []], TEST)
    expect_error(
        DataError, lambda: query_vectors(vectors, nobody, np.array([0]), "history"), "without histories", "context=text"
    )


def test_texts_find_the_nearest_items_cold_ones_too() -> None:
    """Context 0 asks for item 2, context 1 for 3 and 1, context 2 for 1; nothing was generated for the last."""
    vectors = Vectors(CONTEXTS, ITEMS, GENERATED)
    some = corpus([[], [], []], TEST)
    found = recall_by_texts(vectors, some, recipe(), *some.asked())
    assert found.baseline == "context"
    # context: (1, 0) gets 0, 3; (0, 1) gets 1, 2. generated: (0.6, 0.8) gets 2, 3; (0.8, 0.6) gets 3, 2; nothing.
    assert cell(found, "context", "recall@1") == pytest.approx((0 + 1 / 2 + 1) / 3)
    assert cell(found, "generated", "recall@1") == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert cell(found, "context", "recall@2", "cold items") == 0
    assert cell(found, "generated", "recall@2", "cold items") == 1
    assert cell(found, "context", "recall@1", "warm items") == 1
    assert cell(found, "generated", "recall@2", "warm items") == 0
    assert found.table.filter(group="cold items")["queries"][0] == 2


def test_a_history_is_not_recommended_again() -> None:
    vectors = Vectors(CONTEXTS, ITEMS, GENERATED)
    some = corpus([[2], [-1], [-1]], pairs((0, 3, True), (0, 2, False)))
    found = recall_by_texts(vectors, some, recipe(), *some.asked())
    assert cell(found, "generated", "recall@1") == 1  # item 2 is nearest, and known
    assert found.metrics == ("recall@1", "recall@2")


@pytest.mark.parametrize("form", ["mlp", "dot"])
def test_matchers_rank_the_catalogue(form) -> None:
    vectors = Vectors(CONTEXTS, ITEMS, GENERATED)
    some = corpus([[2], [-1], [-1]], TEST)
    asked, targets = some.asked()
    config = MatcherConfig(hidden=(5,))
    matchers = {
        name: Matcher(form, generated=generated, embedding_dim=2, config=config, seed=seed)
        for name, generated, seed in (("plain", False, 1), ("enhanced", True, 2))
    }
    found = recall_by_matchers(matchers, vectors, some, recipe(), asked, targets)
    assert found.methods == ("plain", "enhanced")
    assert found.baseline == "plain"
    for name, matcher in matchers.items():
        expected = []
        for context, wanted in ((0, {2}), (1, {1, 3}), (2, {1})):
            free = [item for item in range(4) if not (context == 0 and item == 2)]  # no history, no item without text
            every = Pairs(np.full(len(free), context, np.int32), np.array(free, np.int32), np.ones(len(free), np.bool_))
            best = [free[place] for place in np.argsort(-matcher.scores(vectors, every))[:2]]
            expected.append(len(wanted & {*best}) / len(wanted))
        assert cell(found, name, "recall@2") == pytest.approx(np.mean(expected))
