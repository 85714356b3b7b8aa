"""Recall and stages as one recommender, numbers by hand."""

import numpy as np
import pytest
from funnels import ByNumber, Failing, Fixed, Turned

from llmrec.classic.recall.neighbours import ItemKNN
from llmrec.data import Queries
from llmrec.errors import ConfigError, DataError
from llmrec.llm.fake import FakeEngine
from llmrec.pipeline.funnel import Pipeline
from llmrec.pipeline.stages import Stage
from llmrec.protocols import Recommender
from llmrec.rank.likelihood import LikelihoodRanker
from llmrec.testing import TOY_HISTORIES, assert_same, expect_error, toy

QUERIES = Queries.from_histories([(9,), (0,)])
RECALL = Fixed([0, 1, 2, 3, 4, 5])
WORTH = ByNumber([0, 5, 4, 1, 3, 2])


def test_each_stage_ranks_what_the_one_before_handed_on():
    pipeline = Pipeline(RECALL, 5, (Stage("worth", WORTH, 3), Stage("turn", Turned(), 2)))
    relevant = np.array([[4, 0, 4], [5, 3, -1]])
    funnel = pipeline.run(QUERIES, relevant=relevant)
    assert [one.items.tolist() for one in funnel.lists] == [
        [[0, 1, 2, 3, 4], [1, 2, 3, 4, -1]],  # 0 is in the second history
        [[1, 2, 4], [1, 2, 4]],
        [[4, 2], [4, 2]],
    ]
    assert funnel.candidates is funnel.lists[-1]
    recall, worth, turn = funnel.runs
    assert (recall.name, recall.queries, recall.entered, recall.left, recall.found) == ("recall", 2, 0, 9, 3)
    # First row: 1 from 1 to 0, 2 from 2 to 1, 4 from 4 to 2; second: 4 from 3 to 2 alone.
    assert (worth.entered, worth.left, worth.moved, worth.stayed, worth.firsts) == (9, 6, 1 + 1 + 2 + 1, 2 + 2, 1)
    assert (turn.entered, turn.left, turn.moved, turn.stayed, turn.firsts) == (6, 4, 2 * 2, 2, 2)
    assert (worth.found, turn.found) == (1, 1)


def test_the_order_of_stages_is_the_recipes():
    one, two = Stage("worth", WORTH, 3), Stage("turn", Turned(), 3)
    assert Pipeline(RECALL, 5, (one, two)).recommend(QUERIES, 3).items[0].tolist() == [4, 2, 1]
    assert Pipeline(RECALL, 5, (two, one)).recommend(QUERIES, 3).items[0].tolist() == [2, 4, 3]


def test_it_is_a_recommender_that_leaves_seen_items_out_unless_asked_for():
    pipeline = Pipeline(RECALL, 6, (Stage("worth", WORTH, 6),))
    assert isinstance(pipeline, Recommender)
    assert pipeline.recommend(QUERIES, 6).items.tolist() == [[1, 2, 4, 5, 3, 0], [1, 2, 4, 5, 3, -1]]
    assert pipeline.recommend(QUERIES, 6, exclude_seen=False).items.tolist() == [[1, 2, 4, 5, 3, 0]] * 2


def test_a_pipeline_can_be_the_recall_of_another():
    inner = Pipeline(RECALL, 5, (Stage("worth", WORTH, 4),))
    assert Pipeline(inner, 4, (Stage("turn", Turned(), 2),)).recommend(QUERIES, 2).items.tolist() == [[3, 4], [3, 4]]


def test_a_failing_stage_leaves_the_others_their_work_and_recall_is_not_skipped():
    pipeline = Pipeline(RECALL, 5, (Stage("rank", Failing(), 3), Stage("worth", WORTH, 2)))
    funnel = pipeline.run(QUERIES)
    assert funnel.candidates.items.tolist() == [[1, 2], [1, 2]]
    assert [run.skipped for run in funnel.runs] == [0, 2, 0]

    class Down:
        def recommend(self, queries, k, *, exclude_seen=True):
            raise DataError("no index", expected="one", cure="build it")

    expect_error(DataError, lambda: Pipeline(Down(), 5).run(QUERIES), "no index")


def test_stages_are_told_of_before_they_begin():
    told = []
    Pipeline(RECALL, 5, (Stage("worth", WORTH, 3), Stage("turn", Turned(), 2))).run(QUERIES, entering=told.append)
    assert told == ["recall", "worth", "turn"]


def test_no_query_is_no_error():
    none = Queries.from_histories([])
    funnel = Pipeline(RECALL, 5, (Stage("worth", WORTH, 3),)).run(none, relevant=np.zeros((0, 1), np.int32))
    assert len(funnel.candidates) == 0
    assert [run.skipped for run in funnel.runs] == [0, 0]


def test_a_language_model_stands_in_any_place():
    data = toy()
    queries = Queries.from_histories([*TOY_HISTORIES, (0, 1), ()], [0, 1, 2, 3, 4, -1, -1])
    recall = ItemKNN().fit(data)
    model = LikelihoodRanker(FakeEngine(), data.titles())
    first = Pipeline(recall, 7, (Stage("llm", model, 3), Stage("turn", Turned(), 3)))
    by_hand = Turned().rank(queries, model.rank(queries, recall.recommend(queries, 7)).top(3))
    assert_same(first.recommend(queries, 3), by_hand)
    last = Pipeline(recall, 7, (Stage("turn", Turned(), 3), Stage("llm", model, 3)))
    assert_same(
        last.recommend(queries, 3), model.rank(queries, Turned().rank(queries, recall.recommend(queries, 7)).top(3))
    )


@pytest.mark.parametrize("k", [0, 3])
def test_more_than_the_last_stage_hands_on_is_an_error(k):
    expect_error(
        DataError, lambda: Pipeline(RECALL, 5, (Stage("a", WORTH, 2),)).recommend(QUERIES, k), f"k = {k}", "1 to 2"
    )


def test_stages_that_grow_or_share_a_name_are_an_error():
    two, three = Stage("a", WORTH, 2), Stage("b", WORTH, 3)
    expect_error(ConfigError, lambda: Pipeline(RECALL, 5, (two, three)), "stage 'b' keeps 3", "at most 2, what 'a'")
    expect_error(ConfigError, lambda: Pipeline(RECALL, 1, (two,)), "stage 'a' keeps 2", "'recall'")
    expect_error(ConfigError, lambda: Pipeline(RECALL, 5, (two, two)), "two stages called 'a'")
    expect_error(ConfigError, lambda: Pipeline(RECALL, 5, (Stage("recall", WORTH, 2),)), "two stages called 'recall'")
