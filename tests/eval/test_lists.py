"""Metrics of lists by hand and against scikit-learn or their definitions."""

from math import log2, sqrt

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kinds import kinds, ranked
from scipy.sparse import csr_matrix
from sklearn.metrics.pairwise import cosine_distances

from llmrec.cli.evaluate import EvaluateRecipe, run
from llmrec.config import make_config
from llmrec.data import Queries, Split, Targets
from llmrec.errors import DataError, UnknownNameError
from llmrec.eval.evaluate import evaluate
from llmrec.eval.lists import ItemFacts, list_metrics
from llmrec.eval.metrics import compute, gini
from llmrec.eval.vectors import ItemVectors
from llmrec.testing import expect_error

# sci-fi, horror, comedy, drama, crime
TABLE = csr_matrix(
    np.array(
        [[1, 1, 0, 0, 0], [1, 0, 1, 0, 0], [0, 0, 0, 1, 0], [1, 0, 0, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 0, 1], [0] * 5]
    ).astype(np.float32)
)
FACTS = ItemFacts.of(kinds(), ItemVectors(TABLE))


def asked(histories, relevant=None):
    relevant = [[0]] * len(histories) if relevant is None else relevant
    wide = max(map(len, relevant))
    return Targets(Queries.from_histories(histories), np.array([[*row, *[-1] * (wide - len(row))] for row in relevant]))


def values(metric, candidates, targets, facts=FACTS):
    return list_metrics(candidates, targets, [metric], facts)[metric]


def test_facts_count_each_user_once():
    assert FACTS.users == 5
    assert FACTS.counts.tolist() == [3, 3, 4, 2, 3, 1, 0]
    twice = kinds().with_interactions(kinds().interactions.select(np.repeat(np.arange(16), 2)))
    assert ItemFacts.of(twice).counts.tolist() == FACTS.counts.tolist()


def test_diversity_by_hand():
    lists = ranked([0, 1, 3], [0, 2], [4], [], [0, 6, 3, 5])
    found = values("diversity@3", lists, asked([()] * 5))
    # Alien and Brazil are 1/2 alike, either and Dune 1/sqrt(2).
    expected = [1 - (0.5 + 2 * sqrt(0.5)) / 3, 1, 0, 0, 1 - sqrt(0.5) / 3]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@given(st.integers(0, 10**6), st.integers(1, 8))
def test_diversity_is_the_mean_distance_of_scikit_learn(seed, k):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(7, 4)).astype(np.float32)
    facts = ItemFacts(5, FACTS.counts, ItemVectors(vectors))
    lists = [rng.permutation(7)[: rng.integers(2, 8)] for _ in range(4)]
    found = values(f"diversity@{k}", ranked(*lists), asked([()] * 4), facts)
    for row, value in zip(lists, found, strict=True):
        some = row[:k]
        distances = cosine_distances(vectors[some].astype(float))[np.triu_indices(len(some), 1)]
        assert value == pytest.approx(distances.mean() if len(some) > 1 else 0, abs=1e-9)


def test_novelty_by_hand():
    found = values("novelty@2", ranked([2, 0, 5], [5], [6, 3], []), asked([()] * 4))
    expected = [(log2(5 / 4) + log2(5 / 3)) / 2, log2(5), (log2(5) + log2(5 / 2)) / 2, 0]
    np.testing.assert_allclose(found, expected)


def test_lift_by_hand():
    # Of what the mean event is about, (9 + 9 + 16 + 4 + 9 + 1) / 16 = 3 users had the item.
    histories = [(2, 3), (5,), (), (6,), (0,)]
    found = values("lift@2", ranked([2, 0, 5], [2, 2 + 1], [5], [2, 0], []), asked(histories))
    np.testing.assert_allclose(found, [3.5 / 3 - 1, 3 / 1 - 1, 1 / 3 - 1, 3.5 / 3 - 1, 0])


def test_serendipity_by_hand():
    # Relevant among the first three, and how unlike the mean of the history each is.
    histories, relevant = [(3, 6), (0, 1), (), (5,)], [[0, 2], [3, 5], [4], [6]]
    found = values("serendipity@3", ranked([0, 1, 2, 3], [3, 2, 4, 5], [4], [0]), asked(histories, relevant))
    first = (1 - sqrt(0.5) / 2) + 1
    np.testing.assert_allclose(found, np.array([first, 1 - sqrt(0.5), 1, 0]) / 3, atol=1e-12)


def test_a_list_alone_has_what_it_has_in_a_batch(monkeypatch):
    rng = np.random.default_rng(0)
    lists, targets = ranked(*(rng.permutation(7) for _ in range(9))), asked([(0, 1), (2,), ()] * 3, [[1, 4]] * 9)
    names = ["diversity@4", "novelty@4", "lift@4", "serendipity@4"]
    whole = list_metrics(lists, targets, names, FACTS)
    monkeypatch.setattr("llmrec.eval.lists.BLOCK", 1)
    for name, found in list_metrics(lists, targets, names, FACTS).items():
        np.testing.assert_allclose(found, whole[name], err_msg=name)
    for name, found in list_metrics(lists.select(slice(0, 0)), targets.select(slice(0, 0)), names, FACTS).items():
        assert found.shape == (0,), name


def test_gini_by_hand():
    # Among the first two of four items: shown 3, 1, 0 and 0 times.
    assert gini(ranked([0, 1, 2], [0], [0]), 2, 4) == pytest.approx((-3 * 0 - 1 * 0 + 1 * 1 + 3 * 3) / (4 * 4))
    assert gini(ranked([0, 1], [2, 3]), 2, 4) == 0
    assert gini(ranked([3], [3]), 1, 4) == 0.75
    assert gini(ranked([3]).select(slice(0, 0)), 1, 4) == 0
    expect_error(DataError, lambda: gini(ranked([4]), 1, 4), "item number 4", "0 to 3")


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_gini_is_half_the_relative_mean_difference(shown):
    times = np.bincount(shown, minlength=6)
    expected = np.abs(times[:, None] - times).sum() / (2 * 6**2 * times.mean())
    assert gini(ranked(*([each] for each in shown)), 1, 6) == pytest.approx(expected)


def test_an_evaluation_has_them_and_says_which_is_better_low():
    targets = asked([(3,), (0, 1)], [[0], [2]])
    methods = {"one": ranked([0, 2], [0, 1]), "two": ranked([5, 0], [2, 4])}
    names = ("ndcg@2", "diversity@2", "serendipity@2", "novelty@2", "lift@2", "gini@2", "coverage@2")
    found = evaluate(methods, targets, n_items=7, metrics=names, baseline="one", facts=FACTS)
    assert found.metrics == names
    assert found.lower_is_better == ("lift@2", "gini@2")
    means = {(row["method"], row["metric"]): row["mean"] for row in found.table.iter_rows(named=True)}
    assert means["two", "diversity@2"] == pytest.approx((1 + 1 - sqrt(0.5)) / 2)
    # Shown 0, 0, 0, 0, 1, 1, 2 times of 7 items, and 0, 0, 0, 1, 1, 1, 1.
    assert means["one", "gini@2"] == pytest.approx((2 * 1 + 4 * 1 + 6 * 2) / (7 * 4))
    assert means["two", "gini@2"] == pytest.approx((0 * 1 + 2 * 1 + 4 * 1 + 6 * 1) / (7 * 4))
    table = found.table.filter((found.table["method"] == "two") & (found.table["metric"] == "gini@2"))
    assert table["difference"][0] == pytest.approx((12 - 18) / 28)
    assert table["p"][0] is None
    assert set(found.per_query["metric"]) == set(names[:5])


def test_what_is_not_known_is_an_error():
    lists, targets = ranked([0, 1]), asked([()])
    expect_error(
        DataError,
        lambda: evaluate({"a": lists}, targets, n_items=7, metrics=["novelty@2"]),
        "'novelty@2' without facts",
        "ItemFacts.of",
    )
    for name in ("diversity@2", "serendipity@2"):
        expect_error(
            DataError, lambda name=name: values(name, lists, targets, ItemFacts.of(kinds())), "no item vectors"
        )
    expect_error(DataError, lambda: values("novelty@1", ranked([7]), targets), "item number 7", "0 to 6")
    expect_error(UnknownNameError, lambda: values("ndcg@1", lists, targets), "'ndcg@1'", "compute()")
    expect_error(UnknownNameError, lambda: compute(lists, targets, ["lift@1"]), "'lift@1'", "list_metrics()")
    expect_error(UnknownNameError, lambda: compute(lists, targets, ["gini@1"]), "gini()")
    expect_error(UnknownNameError, lambda: compute(lists, targets, ["diversty@1"]), "did you mean 'diversity'?")


def test_the_command_measures_lists_where_they_are_asked_for(tmp_path):
    data, targets = kinds(), Targets(kinds().queries([0, 4]), np.array([[4], [0]]))
    Split(data, targets, targets).save(tmp_path / "data" / "split")
    for name, lists in {"one": ranked([4, 5], [0, 3]), "two": ranked([5, 6], [0, 1])}.items():
        lists.to_frame(data, targets.queries).write_parquet(tmp_path / f"{name}.parquet")
    recipe = {
        "dataset": tmp_path / "data",
        "out": tmp_path / "report",
        "methods": {name: tmp_path / f"{name}.parquet" for name in ("one", "two")},
        "metrics": ["ndcg@2", "diversity@2", "serendipity@2", "gini@2", "novelty@2", "lift@2"],
    }
    page = run(make_config(EvaluateRecipe, recipe)).read_text()
    assert all(name in page for name in recipe["metrics"])
    table = pl.read_parquet(tmp_path / "report" / "metrics.parquet").filter(pl.col("group") == "all")
    means = {(row["method"], row["metric"]): row["mean"] for row in table.iter_rows(named=True)}
    assert means["one", "diversity@2"] == pytest.approx(1 - sqrt(0.5))
    assert means["two", "diversity@2"] == pytest.approx((1 + 0.5) / 2)
    # User 0 had nothing of crime but one drama of four items; user 4 had neither sci-fi nor horror.
    assert means["one", "serendipity@2"] == pytest.approx(((1 - sqrt(0.5) / 4) / 2 + 1 / 2) / 2)
    untyped = make_config(EvaluateRecipe, {**recipe, "likeness": {"column": "kind"}})
    expect_error(DataError, lambda: run(untyped), "'kind'")
    assert run(make_config(EvaluateRecipe, {**recipe, "metrics": ["gini@2"], "likeness": {"column": "kind"}})).exists()
