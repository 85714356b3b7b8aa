"""The bootstrap over users against a plain loop over the same draws, and what a comparison says."""

import itertools
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn import metrics

from llmrec.errors import DataError, UnknownNameError
from llmrec.eval import yes_no_bootstrap
from llmrec.eval.significance import holm
from llmrec.eval.yes_no import Predictions, auc, calibration_error, gauc, log_loss
from llmrec.eval.yes_no_bootstrap import Resampled, bootstrap, draw_counts, two_sided
from llmrec.eval.yes_no_compare import METRICS, YesNoEvaluation, evaluate_yes_no
from llmrec.testing import expect_error

N, USERS = 90, 12


def labels() -> np.ndarray:
    return np.random.default_rng(0).random(N) < 0.45


def users() -> np.ndarray:
    return np.sort(np.random.default_rng(1).integers(0, USERS, N))


def scores(seed: int, strength: float = 1.0) -> np.ndarray:
    """Log-odds in steps, so that many tie."""
    noise = np.random.default_rng(seed).normal(size=N)
    return np.round(2 * (noise + strength * labels())) / 2


def predictions(found: np.ndarray, *, known: bool = True) -> Predictions:
    user = [f"u{number:02}" for number in users()] if known else pl.Series([None] * N, dtype=pl.String)
    rows = np.arange(N)
    return Predictions(pl.DataFrame({"row": rows, "user": user, "item": rows, "label": labels(), "score": found}))


def row(found: YesNoEvaluation, method: str, metric: str) -> dict[str, float]:
    table = found.evaluation.table
    return table.row(by_predicate=(pl.col("method") == method) & (pl.col("metric") == metric), named=True)


def test_draws_are_rows_repeated() -> None:
    """Each draw against metrics of the rows of the users drawn, as often as they were drawn."""
    truth, found, unit = labels(), scores(2), users()
    draws = bootstrap({"a": Resampled(truth, found, unit, 5)}, 60, 3)["a"]
    bins = yes_no_bootstrap.equal_mass(found, 5)
    probability = 1 / (1 + np.exp(-found))
    counts = np.concatenate(list(draw_counts(USERS, 60, 3)))
    assert counts.shape == (60, USERS)
    assert (counts.sum(axis=1) == USERS).all()
    for draw, times in zip(draws, counts.astype(int), strict=True):
        rows = np.repeat(np.arange(N), times[unit])
        y, s, p, b = truth[rows], found[rows], probability[rows], bins[rows]
        # A user drawn twice is two users with the same answers, so that each counts with its own rows.
        own = [
            (times[user] * (unit == user).sum(), metrics.roc_auc_score(truth[unit == user], found[unit == user]))
            for user in range(USERS)
            if times[user] and 0 < truth[unit == user].sum() < (unit == user).sum()
        ]
        weights, values = zip(*own, strict=True)
        gaps = [abs((p[b == each] - y[b == each]).sum()) for each in range(5)]
        expected = [
            metrics.roc_auc_score(y, s),
            np.average(values, weights=weights),
            metrics.log_loss(y, p),
            sum(gaps) / len(rows),
        ]
        np.testing.assert_allclose(draw, expected, rtol=1e-9)


def test_an_interval_by_hand_from_the_draws() -> None:
    found = evaluate_yes_no(
        {"a": predictions(scores(2)), "b": predictions(scores(3))}, baseline="a", samples=400, seed=5
    )
    a, b = (Resampled(labels(), scores(seed), users(), 10) for seed in (2, 3))
    draws = bootstrap({"a": a, "b": b}, 400, 5)
    for place, metric in enumerate(METRICS[:3]):
        cell = row(found, "b", metric)
        assert (cell["low"], cell["high"]) == pytest.approx(np.quantile(draws["b"][:, place], [0.025, 0.975]))
        differences = draws["b"][:, place] - draws["a"][:, place]
        assert (cell["diff_low"], cell["diff_high"]) == pytest.approx(np.quantile(differences, [0.025, 0.975]))
        rarer = min((differences <= 0).sum(), (differences >= 0).sum())
        assert cell["p"] == pytest.approx(min(1, 2 * (rarer + 1) / 401))
        assert cell["difference"] == pytest.approx(cell["mean"] - row(found, "a", metric)["mean"])
    # The calibration error's draws are mirrored at its value.
    cell, value = row(found, "b", "ece"), calibration_error(labels(), scores(3))
    low, high = np.quantile(draws["b"][:, 3], [0.025, 0.975])
    assert cell["mean"] == pytest.approx(value)
    assert (cell["low"], cell["high"]) == pytest.approx((max(2 * value - high, 0), max(2 * value - low, value)))


def test_all_draws_of_three_users_are_equally_likely() -> None:
    """The bootstrap's distribution against all 27 ways to draw three users from three."""
    truth = np.array([True, False, True, False, False, True])
    found, unit = np.array([2.0, 1, 0, 1, -1, 3]), np.array([0, 0, 1, 1, 2, 2])
    every = []
    for drawn in itertools.product(range(3), repeat=3):
        rows = np.concatenate([np.flatnonzero(unit == user) for user in drawn])
        every.append(metrics.roc_auc_score(truth[rows], found[rows]))
    draws = bootstrap({"a": Resampled(truth, found, unit, 2)}, 27_000, 0)["a"][:, 0]
    for value in set(np.round(every, 9)):
        expected = np.isclose(every, value).sum()
        # 1,000 draws a way: five standard deviations.
        assert abs(np.isclose(draws, value).sum() - 1000 * expected) < 5 * np.sqrt(1000 * expected)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(draw_counts(7, 50, 4)))
    monkeypatch.setattr(yes_no_bootstrap, "BLOCK", 20)
    blocks = list(draw_counts(7, 50, 4))
    assert len(blocks) == 25
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    assert not np.array_equal(np.concatenate(list(draw_counts(7, 50, 5))), whole)


def test_values_are_those_of_the_metrics() -> None:
    found = evaluate_yes_no({"a": predictions(scores(2))}, samples=100)
    expected = {
        "auc": auc(labels(), scores(2)),
        "gauc": gauc(labels(), scores(2), users()).value,
        "log-loss": log_loss(labels(), scores(2)),
        "ece": calibration_error(labels(), scores(2)),
    }
    assert {metric: row(found, "a", metric)["mean"] for metric in found.evaluation.metrics} == pytest.approx(expected)
    assert (found.drawn, found.users, found.one_label, found.yes) == ("users", 12, 0, labels().sum())
    assert found.evaluation.per_query["value"].mean() == pytest.approx(expected["log-loss"])
    assert found.calibration["rows"].sum() == N


def test_without_users_rows_are_drawn_and_there_is_no_gauc() -> None:
    found = evaluate_yes_no({"a": predictions(scores(2), known=False)}, samples=300)
    assert (found.drawn, found.users) == ("rows", 0)
    assert found.evaluation.metrics == ("auc", "log-loss", "ece")
    draws = bootstrap({"a": Resampled(labels(), scores(2), np.arange(N), 10)}, 300, 0)["a"][:, 0]
    assert row(found, "a", "auc")["low"] == pytest.approx(np.quantile(draws, 0.025))


def test_rows_of_one_user_are_no_new_evidence() -> None:
    """Every row ten times, as the same user's, leaves the interval as wide as it was; as rows it would be narrower."""
    truth, found, unit = np.repeat(labels(), 10), np.repeat(scores(2), 10), np.repeat(np.arange(N), 10)
    once, tenfold = (
        bootstrap({"a": Resampled(*made, 10)}, 400, 0)["a"][:, 0]
        for made in ((labels(), scores(2), np.arange(N)), (truth, found, unit))
    )
    np.testing.assert_allclose(once, tenfold)
    as_rows = bootstrap({"a": Resampled(truth, found, np.arange(10 * N), 10)}, 400, 0)["a"][:, 0]
    assert as_rows.std() < 0.5 * tenfold.std()


def test_a_better_method_is_marked_better_on_every_metric_and_holm_corrects() -> None:
    methods = {"poor": predictions(scores(2, 0)), "good": predictions(scores(3, 3)), "same": predictions(scores(2, 0))}
    found = evaluate_yes_no(methods, baseline="poor", samples=999)
    assert found.evaluation.lower_is_better == ("log-loss", "ece")
    for metric, better in (("auc", 1), ("gauc", 1), ("log-loss", -1)):
        good, same = row(found, "good", metric), row(found, "same", metric)
        assert good["difference"] * better > 0
        assert good["p"] == 2 / 1000
        assert (same["difference"], same["diff_low"], same["diff_high"], same["p"]) == (0, 0, 0, 1)
        np.testing.assert_allclose([good["p_holm"], same["p_holm"]], holm([good["p"], same["p"]]))
        assert row(found, "poor", metric)["p"] is None


def test_p_by_hand() -> None:
    # Of nine draws two are not above 0 and one is not defined: 2 * (2 + 1) / (9 + 1).
    assert two_sided(np.array([1.0, 2, 3, 4, 5, 6, 7, -1, 0, np.nan])) == pytest.approx(0.6)
    assert two_sided(np.zeros(5)) == 1


def test_failed_rows_are_an_error_or_left_out_for_all() -> None:
    holes = scores(2)
    holes[[3, 40]] = np.nan, np.inf
    methods = {"a": predictions(scores(3)), "b": predictions(holes)}
    expect_error(
        DataError, lambda: evaluate_yes_no(methods), "'b' has 2 of 90 rows without a score", "skip_failed=true"
    )
    found = evaluate_yes_no(methods, skip_failed=True, samples=100)
    assert found.failed == {"a": 0, "b": 2}
    kept = np.isfinite(holes)
    assert row(found, "a", "auc")["mean"] == auc(labels()[kept], scores(3)[kept])
    assert row(found, "b", "auc")["queries"] == 88
    empty = {"a": predictions(np.full(N, np.nan))}
    expect_error(DataError, lambda: evaluate_yes_no(empty, skip_failed=True), "90 of 90 rows without a score")


def test_errors() -> None:
    one, other = predictions(scores(2)), predictions(scores(2), known=False)
    expect_error(DataError, lambda: evaluate_yes_no({}), "no predictions", "at least one method")
    expect_error(UnknownNameError, lambda: evaluate_yes_no({"tuned": one}, baseline="tund"), "'tund'", "'tuned'?")
    expect_error(DataError, lambda: evaluate_yes_no({"a": one, "b": other}), "'b' has 90 rows", "the 90 of 'a'")
    single = Predictions(one.frame.with_columns(label=pl.lit(value=True)))
    expect_error(DataError, lambda: evaluate_yes_no({"a": single}), "label yes only")


def test_a_folder_holds_numbers_without_a_nan(tmp_path: Path) -> None:
    found = evaluate_yes_no({"a": predictions(scores(2)), "b": predictions(scores(3))}, baseline="a", samples=100)
    found.save(tmp_path)
    names = {"metrics.json", "metrics.parquet", "per_query.parquet", "calibration.parquet"}
    assert {path.name for path in tmp_path.iterdir()} == names
    record = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert len(record["metrics"]) == 8
    assert pl.read_parquet(tmp_path / "calibration.parquet").columns == ["method", "bin", "rows", "predicted", "yes"]
