import json
from math import log2
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from llmrec.data import Candidates, Queries, Targets
from llmrec.errors import DataError, UnknownNameError
from llmrec.eval.evaluate import TABLE, Evaluation, evaluate, item_groups, standard_groups, user_groups
from llmrec.eval.significance import bootstrap_interval, holm, paired_test
from llmrec.testing import TOY_HISTORIES, expect_error, toy

METRICS = ("hr@2", "ndcg@2", "coverage@2")


def candidates(rows: list[list[int]]) -> Candidates:
    return Candidates(np.array(rows), np.zeros(np.shape(rows)))


def targets() -> Targets:
    """Toy users 0 to 3 and an unseen one with two films behind them; Gattaca (6) is the cold item."""
    histories = [*TOY_HISTORIES[:4], (0, 1)]
    return Targets(
        Queries.from_histories(histories, [0, 1, 2, 3, -1]), np.array([[4, 6], [3, -1], [6, -1], [5, 1], [6, 2]])
    )


GOOD = candidates([[4, 6], [0, 3], [0, 1], [5, 1], [6, 2]])
POOR = candidates([[0, 6], [0, 1], [0, 1], [1, 0], [0, 1]])


def cell(evaluation: Evaluation, method: str, metric: str, group: str = "all") -> dict[str, object]:
    return evaluation.table.row(
        by_predicate=(pl.col("method") == method) & (pl.col("metric") == metric) & (pl.col("group") == group),
        named=True,
    )


def test_means_by_hand() -> None:
    found = evaluate({"good": GOOD, "poor": POOR}, targets(), n_items=7, metrics=METRICS)
    assert found.table.schema == TABLE
    assert found.table.height == 6
    assert (found.methods, found.metrics, found.groups) == (("good", "poor"), METRICS, ("all",))
    assert cell(found, "good", "hr@2")["mean"] == 4 / 5
    assert cell(found, "poor", "hr@2")["mean"] == 2 / 5
    best = 1 + 1 / log2(3)
    assert cell(found, "good", "ndcg@2")["mean"] == pytest.approx((1 + 1 / log2(3) + 0 + 1 + 1) / 5)
    assert cell(found, "poor", "ndcg@2")["mean"] == pytest.approx((1 / log2(3) / best + 0 + 0 + 1 / best + 0) / 5)
    assert cell(found, "good", "coverage@2")["mean"] == 7 / 7
    assert cell(found, "poor", "coverage@2")["mean"] == 3 / 7
    assert found.table["queries"].unique().to_list() == [5]
    assert found.table["p"].null_count() == 6


def test_a_baseline_brings_differences_and_paired_tests() -> None:
    third = candidates([[4, 0], [0, 1], [0, 1], [1, 0], [6, 1]])
    found = evaluate(
        {"poor": POOR, "good": GOOD, "third": third}, targets(), n_items=7, metrics=METRICS, baseline="poor", seed=7
    )
    hits = {"poor": [1, 0, 0, 1, 0], "good": [1, 1, 0, 1, 1], "third": [1, 0, 0, 1, 1]}
    test = paired_test(hits["good"], hits["poor"], seed=7)
    row = cell(found, "good", "hr@2")
    assert (row["difference"], row["diff_low"], row["diff_high"], row["p"]) == (2 / 5, test.low, test.high, 0.5)
    assert (row["low"], row["high"]) == bootstrap_interval(hits["good"], seed=7)
    both = holm([0.5, paired_test(hits["third"], hits["poor"]).p])
    assert [row["p_holm"], cell(found, "third", "hr@2")["p_holm"]] == both.tolist()
    own = cell(found, "poor", "hr@2")
    assert own["low"] is not None
    assert own["difference"] is own["p"] is own["p_holm"] is None
    share = cell(found, "good", "coverage@2")
    assert share["difference"] == pytest.approx(4 / 7)
    assert share["low"] is share["p"] is None


def test_query_groups_by_hand() -> None:
    groups = {"first": np.arange(5) < 2, "nobody": np.zeros(5, bool)}
    found = evaluate(
        {"poor": POOR, "good": GOOD}, targets(), n_items=7, metrics=METRICS, baseline="poor", groups=groups
    )
    assert found.groups == ("all", "first", "nobody")
    assert cell(found, "good", "hr@2", "first")["mean"] == 1
    assert cell(found, "poor", "hr@2", "first")["mean"] == 1 / 2
    assert cell(found, "poor", "coverage@2", "first")["mean"] == 3 / 7
    assert cell(found, "good", "hr@2", "first")["queries"] == 2
    empty = cell(found, "good", "hr@2", "nobody")
    assert empty["queries"] == 0
    assert all(empty[name] is None for name in ("mean", "low", "high", "difference", "p"))
    assert cell(found, "good", "coverage@2", "nobody")["mean"] is None


def test_item_groups_count_only_their_own_items() -> None:
    data, asked = toy(), targets()
    groups = item_groups(data, asked)
    assert groups["cold items"].tolist() == [
        [False, True],
        [False, False],
        [True, False],
        [False, False],
        [True, False],
    ]
    assert groups["warm items"].tolist() == [[True, False], [True, False], [False, False], [True, True], [False, True]]
    found = evaluate({"good": GOOD, "poor": POOR}, asked, n_items=7, metrics=["recall@2", "mrr@2"], groups=groups)
    cold, warm = (cell(found, "good", "recall@2", group) for group in ("cold items", "warm items"))
    assert (cold["queries"], cold["mean"]) == (3, pytest.approx(2 / 3))
    assert (warm["queries"], warm["mean"]) == (4, 1)
    # Gattaca at ranks 2, none, 1; the warm item above it stays in the list and counts as a miss.
    assert cell(found, "good", "mrr@2", "cold items")["mean"] == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert cell(found, "poor", "recall@2", "cold items")["mean"] == pytest.approx(1 / 3)


def test_user_groups_by_history_length() -> None:
    # Lengths 4, 3, 3, 3 and 2 for the unseen user: the median is 3.
    assert user_groups(toy(), targets())["tail users"].tolist() == [False, False, False, False, True]
    assert user_groups(toy(), targets())["head users"].tolist() == [True, True, True, True, False]
    # A history cut to one item does not make a known user one of the tail.
    short = Targets(targets().queries.last(1), targets().relevant)
    assert user_groups(toy(), short)["tail users"].tolist() == [False, False, False, False, True]
    assert list(standard_groups(toy(), targets())) == ["head users", "tail users", "warm items", "cold items"]


def test_values_of_each_query_are_kept() -> None:
    found = evaluate({"good": GOOD, "poor": POOR}, targets(), n_items=7, metrics=METRICS).per_query
    assert found.columns == ["query", "method", "metric", "value"]
    assert found.height == 5 * 2 * 2
    poor = found.filter(method="poor", metric="hr@2")
    assert poor["query"].to_list() == [0, 1, 2, 3, 4]
    assert poor["value"].to_list() == [1, 0, 0, 1, 0]


def test_an_evaluation_is_saved_beside_other_files(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    found = evaluate({"good": GOOD, "poor": POOR}, targets(), n_items=7, metrics=METRICS, baseline="poor")
    assert found.save(tmp_path) == tmp_path
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.yaml",
        "metrics.parquet",
        "metrics.json",
        "per_query.parquet",
    }
    assert pl.read_parquet(tmp_path / "metrics.parquet").equals(found.table)
    assert pl.read_parquet(tmp_path / "per_query.parquet").equals(found.per_query)
    text = json.loads((tmp_path / "metrics.json").read_text())
    assert text["baseline"] == "poor"
    assert text["metrics"] == found.table.to_dicts()


def test_the_same_seed_gives_the_same_table() -> None:
    tables = [evaluate({"good": GOOD}, targets(), n_items=7, seed=1).table for _ in range(2)]
    assert tables[0].equals(tables[1])


def test_errors() -> None:
    methods = {"good": GOOD}
    expect_error(UnknownNameError, lambda: evaluate(methods, targets(), n_items=7, baseline="god"), "'god'", "'good'")
    expect_error(UnknownNameError, lambda: evaluate(methods, targets(), n_items=7, metrics=["hr"]), "'hr'", "'hr@10'")
    expect_error(DataError, lambda: evaluate({}, targets(), n_items=7), "0 methods on 5 targets")
    expect_error(DataError, lambda: evaluate(methods, targets().select(slice(0, 0)), n_items=7), "on 0 targets")
    few = {"good": GOOD, "few": GOOD.select(slice(0, 2))}
    expect_error(DataError, lambda: evaluate(few, targets(), n_items=7), "'few' has 2 rows", "5 targets")
    expect_error(DataError, lambda: evaluate(methods, targets(), n_items=3), "item number 6", "0 to 2")
    for name, mask in (
        ("a", np.ones(4, bool)),
        ("a", np.arange(5)),
        ("a", np.ones((5, 3), bool)),
        ("all", np.ones(5, bool)),
    ):
        expect_error(
            DataError,
            lambda name=name, mask=mask: evaluate(methods, targets(), n_items=7, groups={name: mask}),
            f"group {name!r}",
            "(5,)",
            "(5, 2)",
        )
