"""A method with several runs, such as seeds: what it is worth at a query is their mean."""

import numpy as np
import pytest

from llmrec.data import Candidates, Queries, Targets
from llmrec.errors import DataError
from llmrec.eval.evaluate import evaluate
from llmrec.testing import expect_error

TARGETS = Targets(Queries.from_histories([(0,), (0,)]), np.array([[1], [2]]))


def lists(*rows):
    items = np.array(rows)
    return Candidates(items, np.zeros(items.shape))


HIT_HIT, HIT_MISS, MISS_MISS = lists([1, 3], [2, 3]), lists([1, 3], [4, 3]), lists([5, 3], [4, 3])


def test_runs_are_the_mean_by_query():
    found = evaluate(
        {"one": HIT_MISS, "both": [HIT_HIT, MISS_MISS]},
        TARGETS,
        n_items=6,
        metrics=("recall@2", "coverage@2"),
        baseline="one",
    )
    rows = {(row["method"], row["metric"]): row for row in found.table.iter_rows(named=True)}
    assert rows["both", "recall@2"]["mean"] == 0.5
    assert rows["both", "recall@2"]["difference"] == 0
    assert (rows["both", "recall@2"]["low"], rows["both", "recall@2"]["high"]) == (0.5, 0.5)
    assert rows["both", "coverage@2"]["mean"] == pytest.approx((3 / 6 + 3 / 6) / 2)
    per_query = found.per_query.filter(method="both")["value"].to_list()
    assert per_query == [0.5, 0.5]
    # One run alone is what it is without a list.
    alone = evaluate({"one": [HIT_MISS]}, TARGETS, n_items=6, metrics=("recall@2",))
    assert alone.table["mean"].to_list() == [0.5]


def test_runs_must_fit_the_targets():
    short = lists([1, 3])
    expect_error(DataError, lambda: evaluate({"a": [HIT_HIT, short]}, TARGETS, n_items=6), "method 'a' has 1 rows")
    expect_error(DataError, lambda: evaluate({"a": []}, TARGETS, n_items=6), "0 methods on 2 targets")
