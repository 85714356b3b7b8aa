"""Metrics of yes/no predictions against scikit-learn, against plain loops, and by hand."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn import metrics

from llmrec.errors import ConfigError, DataError
from llmrec.eval.yes_no import Predictions, auc, calibration, calibration_error, gauc, log_loss
from llmrec.testing import expect_error

# Few distinct scores, so that most pairs of rows tie; and any others.
tied = st.integers(-3, 3).map(float)
smooth = st.floats(-15, 15, allow_nan=False)
rows = st.lists(st.tuples(st.booleans(), tied | smooth, st.integers(0, 4)), min_size=2, max_size=60)


def columns(made: list[tuple[bool, float, int]]) -> list[np.ndarray]:
    return [np.array(column) for column in zip(*made, strict=True)]


@settings(max_examples=200, deadline=None)
@given(rows)
def test_auc_is_scikit_learn_s(made: list[tuple[bool, float, int]]) -> None:
    labels, scores, _ = columns(made)
    assume(0 < labels.sum() < len(labels))
    assert auc(labels, scores) == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(rows)
def test_gauc_is_a_loop_over_users(made: list[tuple[bool, float, int]]) -> None:
    labels, scores, users = columns(made)
    each = {user: (labels[users == user], scores[users == user]) for user in set(users.tolist())}
    both = {user: part for user, part in each.items() if 0 < part[0].sum() < len(part[0])}
    assume(both)
    own = [metrics.roc_auc_score(*part) for part in both.values()]
    found = gauc(labels, scores, users)
    assert found.value == pytest.approx(np.average(own, weights=[len(part[0]) for part in both.values()]), abs=1e-12)
    assert (found.users, found.left_out) == (len(both), len(each) - len(both))


def test_gauc_by_hand() -> None:
    # User 0: yes 2 over no 1 and tied with no 2: (1 + 0.5) / 2 = 0.75, three rows. User 1: yes below no: 0, two rows.
    # User 2: only yes, left out. Number 3 asked nothing and is nobody. User 4: yes over no: 1, two rows.
    labels = [True, False, False, True, False, True, True, False]
    scores = [2.0, 1.0, 2.0, 0.0, 5.0, 9.0, 3.0, -3.0]
    found = gauc(labels, scores, [0, 0, 0, 1, 1, 2, 4, 4])
    assert found.value == pytest.approx((3 * 0.75 + 2 * 0 + 2 * 1) / 7)
    assert (found.users, found.left_out) == (3, 1)


@settings(max_examples=200, deadline=None)
@given(rows)
def test_log_loss_is_scikit_learn_s(made: list[tuple[bool, float, int]]) -> None:
    labels, scores, _ = columns(made)
    expected = metrics.log_loss(labels, expit(scores), labels=[False, True])
    assert log_loss(labels, scores) == pytest.approx(expected, rel=1e-9)


def test_log_loss_of_sure_answers_stays_finite() -> None:
    # p(no) of 1,000 log-odds is e^-1000, which no float holds; its logarithm does.
    assert log_loss([False], [1000.0]) == 1000
    assert log_loss([True, False], [0.0, 0.0]) == pytest.approx(np.log(2))


def test_calibration_by_hand() -> None:
    # Two bins of two: 0.1 and 0.3 with no yes (0.2 against 0), 0.6 and 0.8 with one yes (0.7 against 0.5).
    labels, scores = [False, False, True, False], logit([0.3, 0.1, 0.6, 0.8])
    found = calibration(labels, scores, bins=2)
    assert found["bin"].to_list() == [1, 2]
    assert found["rows"].to_list() == [2, 2]
    assert found["predicted"].to_list() == pytest.approx([0.2, 0.7])
    assert found["yes"].to_list() == [0, 0.5]
    assert calibration_error(labels, scores, bins=2) == pytest.approx((2 * 0.2 + 2 * 0.2) / 4)
    # One bin: 0.45 against 0.25.
    assert calibration_error(labels, scores, bins=1) == pytest.approx(0.2)


def test_rows_of_one_score_share_a_bin() -> None:
    # Four of six rows tie at ranks 1 to 4, mean 2.5: (2.5 - 0.5) / 6 is in the second third, which takes all four.
    scores = [0.0, 0.0, 0.0, 0.0, 1.0, 2.0]
    found = calibration([True, False, False, False, True, True], scores, bins=3)
    assert found["bin"].to_list() == [2, 3]
    assert found["rows"].to_list() == [4, 2]
    assert found["yes"].to_list() == [0.25, 1]
    assert calibration([True, False], [0.0, 0.0])["rows"].to_list() == [2]


@settings(max_examples=50, deadline=None)
@given(rows, st.integers(1, 12))
def test_bins_are_of_equal_mass_where_nothing_ties(made: list[tuple[bool, float, int]], bins: int) -> None:
    labels, scores, _ = columns(made)
    scores = np.random.default_rng(0).permutation(len(scores)).astype(float)
    sizes = calibration(labels, scores, bins=bins)["rows"].to_list()
    assert sum(sizes) == len(labels)
    assert len(sizes) == min(bins, len(labels))
    assert max(sizes) - min(sizes) <= 1


def test_the_order_of_rows_changes_nothing() -> None:
    random = np.random.default_rng(0)
    labels, scores, users = random.random(80) < 0.4, random.integers(-4, 4, 80) / 2.0, random.integers(0, 9, 80)
    order = random.permutation(80)
    assert auc(labels, scores) == auc(labels[order], scores[order])
    assert gauc(labels, scores, users) == gauc(labels[order], scores[order], users[order])
    assert calibration_error(labels, scores) == pytest.approx(calibration_error(labels[order], scores[order]))


def test_errors_of_metrics() -> None:
    expect_error(DataError, lambda: auc([True, True], [0.0, 1.0]), "2 rows of label yes only", "both labels")
    expect_error(DataError, lambda: auc([False], [0.0]), "1 rows of label no only")
    expect_error(DataError, lambda: gauc([True, False], [0, 1], [0, 3]), "2 users of one label each", "by AUC")
    for bad in (np.nan, np.inf):
        expect_error(DataError, lambda bad=bad: log_loss([True, False], [0, bad]), "1 of 2 scores are not finite")
    expect_error(DataError, lambda: log_loss([True], [0.0, 1.0]), "(1,)", "(2,)")
    expect_error(DataError, lambda: log_loss([], []), "at least one row")
    expect_error(ConfigError, lambda: calibration([True], [0.0], bins=0), "bins = 0")


def table(**changed: object) -> pl.DataFrame:
    made = {
        "row": [0, 1, 2],
        "user": ["b", "a", "b"],
        "item": [7, 8, 9],
        "label": [True, False, True],
        "score": [0.5, None, float("inf")],
    }
    return pl.DataFrame(made | changed)


def test_predictions_keep_what_they_hold(tmp_path: Path) -> None:
    made = Predictions(table())
    again = Predictions.load(made.save(tmp_path / "a.parquet"))
    assert again.frame.equals(made.frame)
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
    assert again.labels.tolist() == [True, False, True]
    assert again.users.tolist() == [1, 0, 1]
    assert again.failed.tolist() == [False, True, True]
    assert len(again.select(~again.failed)) == 1
    assert Predictions(table(user=[None] * 3)).users is None
    assert Predictions(table(user=[30, 10, 20])).users.tolist() == [2, 0, 1]


def test_errors_of_predictions(tmp_path: Path) -> None:
    expect_error(DataError, lambda: Predictions(table().drop("label")), "no column 'label'")
    expect_error(DataError, lambda: Predictions(table().clear()), "0 rows", "at least one row", "llmrec score")
    expect_error(DataError, lambda: Predictions(table(label=[1, 0, 1])), "label of Int64", "a Boolean and a number")
    expect_error(DataError, lambda: Predictions(table(score=["a", "b", "c"])), "score of String")
    expect_error(DataError, lambda: Predictions(table(label=[True, None, False])), "1 rows without a label")
    expect_error(
        DataError, lambda: Predictions(table(user=["a", None, "b"])), "1 of 3 rows without a user", "or in none"
    )
    expect_error(DataError, lambda: Predictions.load(tmp_path / "no.parquet"), "no file", "no.parquet")
