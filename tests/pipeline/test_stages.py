"""A stage in its place: what it hands on, what it moved, and what becomes of a ranker that fails or is late."""

import logging
from collections import Counter

import numpy as np
import pytest
from funnels import ByNumber, Failing, Slow, Turned

from llmrec.classic.exploration.counts import ThompsonConfig, ThompsonSampling
from llmrec.classic.exploration.explore import Explore, PolicyRanker
from llmrec.classic.reranking.business import RulesConfig
from llmrec.classic.reranking.rules import Rules
from llmrec.config import make_config
from llmrec.data import Candidates, Queries
from llmrec.errors import ConfigError, DataError, EngineError, ModelError
from llmrec.pipeline.limit import TimeLimit
from llmrec.pipeline.stages import Stage, StageRun
from llmrec.testing import expect_error, toy

QUERIES = Queries.from_histories([(9,), (9,)])
ITEMS = np.array([[0, 1, 2, 3], [4, 5, 6, -1]])
CANDIDATES = Candidates(ITEMS, np.where(ITEMS < 0, np.nan, [8.0, 6.0, 2.0, 0.0]))

INSERT = {"rule": "insert", "items": [106], "slots": [1]}


def test_it_ranks_all_and_hands_on_the_first():
    kept, run = Stage("turn", Turned(), 2).run(QUERIES, CANDIDATES)
    assert kept.items.tolist() == [[3, 2], [6, 5]]
    # 3 from place 3 to 0, 2 from 2 to 1; 6 from 2 to 0, 5 stays at 1. Of the first two before: 5 alone.
    assert (run.queries, run.entered, run.left) == (2, 7, 4)
    assert (run.moved, run.stayed, run.firsts) == (3 + 1 + 2 + 0, 1, 2)
    assert (run.shift, run.overlap, run.changed) == (1.5, 0.25, 1.0)
    assert run.skipped == 0
    assert run.counts == {"turned": 2}
    assert run.seconds > 0


def test_counts_are_those_of_the_call():
    stage = Stage("turn", Turned(), 2)
    stage.run(QUERIES, CANDIDATES)
    assert stage.run(QUERIES, CANDIDATES)[1].counts == {"turned": 2}


@pytest.mark.parametrize(
    "error",
    [
        EngineError("no server", expected="one", cure="start it"),
        ModelError("no weights", expected="some", cure="fit it"),
        RuntimeError("CUDA out of memory\nand much more"),
        ConnectionResetError("gone"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_ranker_that_fails_is_skipped_with_the_incoming_order_logged_and_counted(error, caplog):
    with caplog.at_level(logging.WARNING):
        kept, run = Stage("rank", Failing(error), 3).run(QUERIES, CANDIDATES)
    assert kept.items.tolist() == [[0, 1, 2], [4, 5, 6]]
    assert kept.scores.tolist() == [[8, 6, 2], [8, 6, 2]]
    assert (run.skipped, run.moved, run.stayed, run.firsts) == (2, 0, 6, 0)
    said = str(error).split("\n", maxsplit=1)[0] or "MemoryError"
    assert run.error == said
    assert [record.getMessage() for record in caplog.records] == [f"stage rank skipped for 2 queries: {said}"]


@pytest.mark.parametrize("error", [TypeError("no"), KeyError("x"), AssertionError()])
def test_a_bug_is_raised(error):
    with pytest.raises(type(error)):
        Stage("rank", Failing(error), 3).run(QUERIES, CANDIDATES)


def test_a_late_ranker_is_skipped():
    kept, run = Stage("rank", Slow(10), 3, limit=TimeLimit(0.05)).run(QUERIES, CANDIDATES)
    assert kept.items.tolist() == [[0, 1, 2], [4, 5, 6]]
    assert run.skipped == 2
    assert "no result after 0.05 s" in run.error
    assert 0.05 <= run.seconds < 10
    kept, run = Stage("rank", Slow(0), 3, limit=TimeLimit(60)).run(QUERIES, CANDIDATES)
    assert kept.items.tolist() == [[3, 2, 1], [6, 5, 4]]
    assert run.skipped == 0


def test_rows_that_are_missing_skip_the_stage():
    class Loses:
        def rank(self, queries, candidates):
            return candidates.top(2).select(slice(0, 1))

    run = Stage("rank", Loses(), 3).run(QUERIES, CANDIDATES)[1]
    assert run.skipped == 2
    assert "1 rows from the ranker of stage 'rank'" in run.error


def test_a_weight_sets_it_against_the_scores_that_came_in():
    # Standardised over 8 6 2 0 (mean 4, deviation sqrt 10) and 0 0 0 10 (mean 2.5, deviation sqrt 18.75).
    row = CANDIDATES.select(slice(0, 1))
    for weight, order in ((0.25, [0, 1, 3, 2]), (0.9, [3, 0, 1, 2])):
        kept, _ = Stage("rank", ByNumber([0, 0, 0, 10]), 4, weight).run(QUERIES.select(slice(0, 1)), row)
        came, own = np.array([4, 2, -2, -4]) / np.sqrt(10), np.array([-2.5, -2.5, -2.5, 7.5]) / np.sqrt(18.75)
        both = (1 - weight) * came + weight * own
        assert kept.items.tolist() == [order]
        np.testing.assert_allclose(kept.scores, [np.sort(both)[::-1]], rtol=1e-6)


def test_a_ranker_without_any_score_leaves_a_weighted_order():
    class Silent:
        def rank(self, queries, candidates):
            return candidates.with_scores(np.full(candidates.items.shape, np.nan))

    assert Stage("rank", Silent(), 4, 0.7).run(QUERIES, CANDIDATES)[0].items.tolist() == ITEMS.tolist()


def test_runs_of_blocks_add_up_and_survive_json():
    one = StageRun("a", 2, 20, 10, 5, 6, 1, 3, 0.5, 0, Counter(failed=1, read=0), "")
    two = StageRun("a", 1, 10, 5, 1, 2, 0, 1, 0.25, 1, Counter(failed=2), "no server")
    total = StageRun("a", 3, 30, 15, 6, 8, 1, 4, 0.75, 1, Counter(failed=3, read=0), "no server")
    assert one + two == total
    assert StageRun.from_dict(total.to_dict()) == total
    assert total.to_dict()["counts"] == {"failed": 3, "read": 0}


@pytest.mark.parametrize(("keep", "weight"), [(0, 1.0), (1, 0.0), (1, 1.5), (1, float("nan"))])
def test_a_stage_that_makes_no_sense_is_an_error(keep, weight):
    expect_error(ConfigError, lambda: Stage("x", Turned(), keep, weight), "stage 'x'", "keep from 1 on")


class Strict(Turned):
    """Needs a candidate in each row, and one row for each query."""

    def rank(self, queries, candidates):
        candidates.require_filled()
        assert len(queries) == len(candidates)
        return super().rank(queries, candidates)


@pytest.mark.parametrize("weight", [1.0, 0.9])
def test_a_row_without_candidates_stays_empty_and_is_no_reason_to_skip_the_others(weight):
    items = np.array([[-1, -1, -1], [3, 4, 5], [-1, -1, -1], [7, 8, -1]])
    some = Candidates(items, np.where(items < 0, np.nan, 1.0))
    queries = Queries.from_histories([(), (9,), (), (9,)])
    kept, run = Stage("rank", Strict(), 2, weight).run(queries, some)
    assert kept.items.tolist() == [[-1, -1], [5, 4], [-1, -1], [8, 7]]
    assert np.isnan(kept.scores[[0, 2]]).all()
    assert (run.queries, run.entered, run.left, run.skipped, run.counts["turned"]) == (4, 5, 4, 0, 2)
    none = some.select([0, 2])
    assert Stage("rank", Strict(), 2, weight).run(queries.select([0, 2]), none)[1].skipped == 0
    expect_error(DataError, lambda: Strict().rank(queries, some), "row 0")


@pytest.mark.parametrize(
    "ranker",
    [
        Rules(),
        Explore(),
        PolicyRanker(ThompsonSampling(ThompsonConfig(arms=3)), lambda queries: np.zeros((len(queries), 1))),
    ],
    ids=lambda ranker: type(ranker).__name__,
)
def test_no_weight_blurs_an_order_that_must_stand(ranker):
    Stage("last", ranker, 2)
    named = (f"stage 'last' with weight = 0.5 for {type(ranker).__name__}", "weight = 1", "drop the weight")
    expect_error(ConfigError, lambda: Stage("last", ranker, 2, 0.5), *named)


def test_what_a_rule_drops_and_adds_goes_on_as_it_is():
    data = toy()
    rules = Rules(make_config(RulesConfig, {"rules": [{"rule": "block", "items": [102]}, INSERT]})).fit(data)
    queries, rows = Queries.from_histories([(0,), (0,)]), np.array([[1, 2, 3], [2, -1, -1]])
    came = Candidates(rows, np.where(rows < 0, np.nan, [3.0, 2.0, 1.0]))
    kept, run = Stage("rules", rules, 3).run(queries, came)
    assert kept.items.tolist() == [[6, 1, 3], [6, -1, -1]]
    assert (run.entered, run.left, run.counts["blocked"]) == (4, 4, 2)
