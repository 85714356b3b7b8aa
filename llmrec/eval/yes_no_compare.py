"""Compare methods on the same yes/no questions: metrics with bootstrap intervals over users, paired differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from llmrec.data.files import atomic_file
from llmrec.errors import DataError, UnknownNameError, did_you_mean
from llmrec.eval.evaluate import ALL, TABLE, Evaluation
from llmrec.eval.significance import holm
from llmrec.eval.yes_no import (
    BINS,
    Floats,
    Mask,
    Numbers,
    Predictions,
    auc,
    auc_by_user,
    calibration,
    calibration_error,
    gauc,
    log_loss,
    row_losses,
)
from llmrec.eval.yes_no_bootstrap import Resampled, bootstrap, middle, two_sided

AUC, GAUC, LOG_LOSS, ECE = METRICS = ("auc", "gauc", "log-loss", "ece")
DECIMALS = 12  # differences below are rounding
_QUESTION = ("row", "user", "item", "label")


@dataclass(frozen=True, eq=False)
class YesNoEvaluation:
    """What ``evaluate_yes_no`` found.

    Attributes:
        evaluation: the table of methods and metrics, as ``evaluate`` makes it; a query is a question. GAUC is there
            where a user has both labels. ``per_query`` holds each question's log-loss.
        calibration: for each method and bin, ``rows``, mean probability ``predicted`` and share of ``yes``.
        yes: how many questions have the answer yes.
        drawn: what the bootstrap draws: ``users``, or ``rows`` where users are not known.
        users: how many users there are, 0 where they are not known.
        one_label: how many of these have one label only, and so no part in GAUC.
        failed: how many rows each method has no score for; rows that one method failed at are left out for all.
    """

    evaluation: Evaluation
    calibration: pl.DataFrame
    yes: int
    drawn: str
    users: int
    one_label: int
    failed: Mapping[str, int]

    def save(self, folder: Path | str) -> Path:
        """Write what ``Evaluation.save`` does, and ``calibration.parquet``, into ``folder``."""
        folder = self.evaluation.save(folder)
        with atomic_file(folder / "calibration.parquet") as temporary:
            self.calibration.write_parquet(temporary)
        return folder


def evaluate_yes_no(
    methods: Mapping[str, Predictions],
    *,
    baseline: str | None = None,
    bins: int = BINS,
    samples: int = 2000,
    skip_failed: bool = False,
    seed: int = 0,
) -> YesNoEvaluation:
    """Evaluate predictions of several methods for the same questions.

    Whole users are drawn anew with their rows, the same ones for all methods: rows of one user are not independent.
    Intervals hold the middle 95 % of the draws. Drawing anew adds noise to each bin, which makes the calibration error
    larger on average: its draws are mirrored at the value seen (the basic interval; Davison, Hinkley, Bootstrap Methods
    and their Application, 1997, section 5.2), and its interval is widened to hold that value.

    p is twice the share of draws in which the difference has the rarer sign or is none, as (c + 1) / (samples + 1),
    never 0; Holm corrects it for the number of methods compared on a metric.

    Args:
        methods: name -> predictions; row i of all of them is one question.
        baseline: the method that all others are compared with.
        bins: of the calibration.
        samples: how often users are drawn.
        skip_failed: leave rows out, for all methods, that one of them has no score for; otherwise they are an error.
        seed: of the draws.

    Raises:
        DataError: nothing to evaluate, other rows, a row without a score, or one label only.
        UnknownNameError: no such baseline.
        ConfigError: ``bins`` is below 1.
    """
    failed = {name: int(each.failed.sum()) for name, each in methods.items()}
    kept = _check(methods, baseline, failed, skip_failed=skip_failed)
    first = next(iter(methods.values())).select(kept)
    labels, users = first.labels, first.users
    scores = {name: each.scores[kept] for name, each in methods.items()}
    units = np.arange(len(labels)) if users is None else users
    values = {name: _values(labels, each, users, bins) for name, each in scores.items()}
    draws = bootstrap({name: Resampled(labels, each, units, bins) for name, each in scores.items()}, samples, seed)
    table = _table(values, draws, baseline, len(labels))
    n_users = 0 if users is None else int(users.max()) + 1
    found = np.zeros(0) if users is None else auc_by_user(labels, next(iter(scores.values())), users)
    return YesNoEvaluation(
        Evaluation(table, _long(labels, scores), baseline, lower_is_better=(LOG_LOSS, ECE)),
        pl.concat([_calibration(name, labels, each, bins) for name, each in scores.items()]),
        int(labels.sum()),
        "rows" if users is None else "users",
        n_users,
        int(np.isnan(found).sum()),
        failed,
    )


def _check(
    methods: Mapping[str, Predictions], baseline: str | None, failed: Mapping[str, int], *, skip_failed: bool
) -> Mask:
    """Return which rows all methods have a score for."""
    if not methods:
        raise DataError("no predictions", expected="those of at least one method", cure="name a file")
    if baseline is not None and baseline not in methods:
        raise UnknownNameError(
            f"unknown baseline {baseline!r}", expected="one of the methods", cure=did_you_mean(baseline, methods)
        )
    (name, first), *others = methods.items()
    for other, each in others:
        if not each.frame.select(_QUESTION).equals(first.frame.select(_QUESTION)):
            raise DataError(
                f"{other!r} has {len(each):,} rows that are not the {len(first):,} of {name!r}",
                expected="predictions for the same examples in the same order",
                cure="score one file of examples with each model",
            )
    kept: Mask = ~np.logical_or.reduce([each.failed for each in methods.values()])
    if not kept.all() and not (skip_failed and kept.any()):
        worst = max(failed, key=lambda each: failed[each])
        raise DataError(
            f"{worst!r} has {failed[worst]:,} of {len(first):,} rows without a score",
            expected="a score for each row",
            cure="run llmrec score again, which asks what failed, or leave some such rows out with skip_failed=true",
        )
    return kept


def _table(
    values: Mapping[str, Mapping[str, float]], draws: Mapping[str, Floats], baseline: str | None, n_rows: int
) -> pl.DataFrame:
    """Return the table of ``Evaluation``, metric by metric; one that is not defined has no row."""
    rows: list[dict[str, object]] = []
    for place, metric in enumerate(METRICS):
        found = {name: each[metric] for name, each in values.items() if metric in each}
        cells = _compare(found, {name: each[:, place] for name, each in draws.items()}, metric, baseline)
        about = {"metric": metric, "group": ALL, "queries": n_rows}
        rows += [{"method": name, **about, **cell} for name, cell in cells.items()]
    return pl.DataFrame(rows, schema=TABLE)


def _values(labels: Mask, scores: Floats, users: Numbers | None, bins: int) -> dict[str, float]:
    found = {
        AUC: auc(labels, scores),
        LOG_LOSS: log_loss(labels, scores),
        ECE: calibration_error(labels, scores, bins=bins),
    }
    if users is not None and not np.isnan(auc_by_user(labels, scores, users)).all():
        found[GAUC] = gauc(labels, scores, users).value
    return found


def _compare(
    values: Mapping[str, float], draws: Mapping[str, Floats], metric: str, baseline: str | None
) -> dict[str, dict[str, float]]:
    """Return the numbers of one metric for each method."""
    if metric == ECE:
        draws = {name: 2 * values[name] - each for name, each in draws.items()}
    cells: dict[str, dict[str, float]] = {}
    for name, value in values.items():
        low, high = middle(draws[name])
        cells[name] = {"mean": value, "low": min(max(low, 0), value), "high": max(high, value)}
        if baseline is not None and name != baseline:
            differences = np.round(draws[name] - draws[baseline], DECIMALS)
            low, high = middle(differences)
            against = {"difference": round(value - values[baseline], DECIMALS), "diff_low": low, "diff_high": high}
            cells[name] |= {**against, "p": two_sided(differences)}
    others = [name for name in cells if "p" in cells[name]]
    for name, corrected in zip(others, holm([cells[name]["p"] for name in others]), strict=True):
        cells[name]["p_holm"] = float(corrected)
    return cells


def _calibration(method: str, labels: Mask, scores: Floats, bins: int) -> pl.DataFrame:
    return calibration(labels, scores, bins=bins).select(pl.lit(method).alias("method"), pl.all())


def _long(labels: Mask, scores: Mapping[str, Floats]) -> pl.DataFrame:
    """Return the long table query, method, metric, value of the log-losses."""
    return pl.concat(
        pl.DataFrame({"query": np.arange(len(labels), dtype=np.int32), "value": row_losses(labels, each)}).select(
            "query", method=pl.lit(name), metric=pl.lit(LOG_LOSS), value="value"
        )
        for name, each in scores.items()
    )
