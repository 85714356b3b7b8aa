import warnings
from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from llmrec.data import Candidates, Queries, Targets
from llmrec.errors import DataError, UnknownNameError
from llmrec.eval.metrics import Metric, compute, coverage
from llmrec.testing import expect_error

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # ranx and numba warn about themselves at import
    import ranx

RANX = {"hr": "hit_rate", "recall": "recall", "precision": "precision", "ndcg": "ndcg", "mrr": "mrr", "map": "map"}


def candidates(*rows: list[int]) -> Candidates:
    items = np.array(rows)
    return Candidates(items, np.where(items < 0, np.nan, -np.arange(items.shape[1], dtype=float)))


def targets(*rows: list[int]) -> Targets:
    return Targets(Queries.from_histories([()] * len(rows)), np.array(rows))


def test_values_by_hand() -> None:
    # Query 0 finds its two items at ranks 2 and 4 of 4, query 1 its only item at rank 1, query 2 nothing.
    found = compute(
        candidates([9, 1, 8, 2], [5, 6, 7, 8], [3, 4, -1, -1]),
        targets([1, 2], [5, -1], [0, 6]),
        ["hr@3", "recall@3", "precision@3", "mrr@3", "map@3", "map@4", "ndcg@4"],
    )
    assert {name: values.tolist() for name, values in found.items()} == {
        "hr@3": [1, 1, 0],
        "recall@3": [0.5, 1, 0],
        "precision@3": pytest.approx([1 / 3, 1 / 3, 0]),
        "mrr@3": [0.5, 1, 0],
        "map@3": [0.25, 1, 0],
        "map@4": [0.5, 1, 0],
        "ndcg@4": pytest.approx([(1 / log2(3) + 1 / log2(5)) / (1 + 1 / log2(3)), 1, 0]),
    }


def test_map_is_divided_by_all_relevant_items_even_beyond_k_and_ndcg_is_not() -> None:
    found = compute(candidates([1, 2]), targets([1, 2, 3, 4]), ["map@2", "ndcg@2", "recall@2"])
    assert found["map@2"] == 0.5
    assert found["ndcg@2"] == 1
    assert found["recall@2"] == 0.5


def test_places_that_are_missing_are_misses() -> None:
    found = compute(candidates([7, 1]), targets([1]), ["precision@10", "hr@10", "ndcg@10"])
    assert found["precision@10"] == 0.1
    assert found["hr@10"] == 1
    assert found["ndcg@10"] == pytest.approx(1 / log2(3))


def test_padding_never_hits_and_neither_does_another_query_s_item() -> None:
    assert compute(candidates([-1, -1], [0, 4]), targets([4, -1], [1, -1]), ["hr@2"])["hr@2"].tolist() == [0, 0]


def test_a_relevant_item_listed_twice_counts_once() -> None:
    found = compute(candidates([1, 9]), targets([1, 1, -1]), ["recall@2", "ndcg@2", "map@2", "precision@2"])
    assert [values[0] for values in found.values()] == [1, 1, 1, 0.5]


def test_no_query_and_no_candidate_are_no_errors() -> None:
    none = targets([1]).select(slice(0, 0))
    assert compute(candidates([1]).select(slice(0, 0)), none, ["ndcg@2"])["ndcg@2"].shape == (0,)
    empty = Candidates(np.zeros((1, 0)), np.zeros((1, 0)))
    assert compute(empty, targets([1]), ["mrr@2"])["mrr@2"].tolist() == [0]


def test_coverage_is_the_share_of_the_catalogue_among_the_first_k() -> None:
    found = candidates([0, 1, 2], [1, 3, -1])
    assert coverage(found, 1, 5) == 2 / 5
    assert coverage(found, 2, 5) == 3 / 5
    assert coverage(found, 10, 5) == 4 / 5
    expect_error(DataError, lambda: coverage(found, 2, 3), "item number 3", "0 to 2")


def test_names() -> None:
    assert Metric.parse("ndcg@20") == Metric("ndcg", 20)
    assert str(Metric("ndcg", 20)) == "ndcg@20"
    expect_error(UnknownNameError, lambda: Metric.parse("ndgc@10"), "'ndgc@10'", "did you mean 'ndcg'?")
    for wrong in ("ndcg", "ndcg@0", "ndcg@x", "ndcg@1@2", "ndcg@-1"):
        expect_error(UnknownNameError, lambda wrong=wrong: Metric.parse(wrong), repr(wrong), "'ndcg@10'")
    expect_error(UnknownNameError, lambda: compute(candidates([1]), targets([1]), ["coverage@1"]), "coverage()")


def test_other_rows_are_an_error() -> None:
    expect_error(
        DataError, lambda: compute(candidates([1]), targets([1], [2]), ["hr@1"]), "1 rows of candidates for 2 targets"
    )


@st.composite
def rankings(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]], int]:
    q, k, n = draw(st.integers(1, 5)), draw(st.integers(1, 8)), 12
    order = st.permutations(range(n))
    relevant = st.lists(st.integers(0, n - 1), min_size=1, max_size=9, unique=True)
    return [draw(order)[:k] for _ in range(q)], [draw(relevant) for _ in range(q)], draw(st.integers(1, 10))


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=40, deadline=None)
@given(rankings())
def test_values_are_those_of_ranx(case: tuple[list[list[int]], list[list[int]], int]) -> None:
    ranked, relevant, k = case
    qrels = ranx.Qrels({str(q): {f"i{item}": 1 for item in items} for q, items in enumerate(relevant)})
    run = ranx.Run({str(q): {f"i{i}": float(-p) for p, i in enumerate(items)} for q, items in enumerate(ranked)})
    names = [f"{name}@{k}" for name in RANX.values()]
    ranx.evaluate(qrels, run, names)
    wide = max(map(len, relevant))
    ours = compute(candidates(*ranked), targets(*([*row, *[-1] * (wide - len(row))] for row in relevant)), names_of(k))
    for mine, theirs in zip(names_of(k), names, strict=True):
        expected = [run.scores[theirs][str(q)] for q in range(len(ranked))]
        np.testing.assert_allclose(ours[mine], expected, atol=1e-12, err_msg=mine)


def names_of(k: int) -> list[str]:
    return [f"{name}@{k}" for name in RANX]


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(8)), st.sets(st.integers(0, 7), min_size=1), st.integers(1, 8))
def test_values_are_those_of_scikit_learn(ranked: list[int], relevant: set[int], k: int) -> None:
    truth = np.isin(np.arange(8), list(relevant)).astype(int)
    score = np.zeros(8)
    score[ranked] = -np.arange(8)
    ours = compute(candidates(ranked), targets(sorted(relevant)), [f"ndcg@{k}", "map@8"])
    assert ours[f"ndcg@{k}"][0] == pytest.approx(ndcg_score(truth[None], score[None], k=k))
    assert ours["map@8"][0] == pytest.approx(average_precision_score(truth, score))


def test_targets_without_labels_are_refused():
    hidden = Targets(Queries.from_histories([[0]]), np.zeros((1, 0), np.int32))
    ranked = Candidates(np.array([[1]]), np.array([[1.0]]))
    expect_error(DataError, lambda: compute(ranked, hidden, ["hr@1"]), "targets without labels", "evaluate 'valid'")
