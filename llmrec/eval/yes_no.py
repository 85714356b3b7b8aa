"""Predictions of yes/no questions and their metrics: AUC and GAUC (order), log-loss (probability), calibration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from scipy.stats import rankdata

from llmrec.data.files import atomic_file, read_parquet, require_columns
from llmrec.errors import ConfigError, DataError

COLUMNS = ("row", "user", "item", "label", "score")
BINS = 10

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Questions with what is true and what was predicted, one a row.

    Columns: ``row``, which example it was; ``user`` and ``item``, null where unknown; ``label``; ``score``, the natural
    log-odds of yes, so that the probability is its sigmoid. A score that is not finite is a failure.

    Attributes:
        frame: the table.
        where: what it is called in messages.

    Raises:
        DataError: no row, a column is missing or of another type, or only some rows have a label or a user.
    """

    frame: pl.DataFrame
    where: str = "the table of predictions"

    def __post_init__(self) -> None:
        frame, where = self.frame, self.where
        require_columns(frame, COLUMNS, where=where)
        kinds = {name: str(frame.schema[name]) for name in ("label", "score")}
        if frame.is_empty() or kinds["label"] != "Boolean" or not frame.schema["score"].is_numeric():
            found = ", ".join(f"{name} of {kind}" for name, kind in kinds.items())
            raise _broken(f"{where} has {frame.height} rows, {found}", "at least one row, a Boolean and a number")
        if frame["label"].null_count():
            raise _broken(f"{where} has {frame['label'].null_count():,} rows without a label", "a label in each")
        if 0 < frame["user"].null_count() < frame.height:
            found = f"{where} has {frame['user'].null_count():,} of {frame.height:,} rows without a user"
            raise _broken(found, "a user in every row or in none")

    @classmethod
    def of(cls, questions: pl.DataFrame, scores: Floats, *, where: str = "the table of predictions") -> Self:
        """Return the predictions of a table of questions: ``row``, ``label``, user and item where they are known."""
        unknown = [pl.lit(None, pl.String).alias(name) for name in ("user", "item") if name not in questions.columns]
        table = questions.with_columns(*unknown, pl.col("row").cast(pl.Int64), score=pl.Series(scores))
        return cls(table.select(COLUMNS), where)

    @property
    def labels(self) -> Mask:
        """What is true, (n,)."""
        return self.frame["label"].to_numpy()

    @property
    def scores(self) -> Floats:
        """Log-odds of yes, (n,), NaN where there is none."""
        return self.frame["score"].cast(pl.Float64).fill_null(np.nan).to_numpy()

    @property
    def users(self) -> Numbers | None:
        """The users as numbers from 0, (n,), or None where they are not known."""
        users = self.frame["user"]
        return None if users.null_count() else users.rank("dense").to_numpy().astype(np.int64) - 1

    @property
    def failed(self) -> Mask:
        """Which rows have no score, (n,)."""
        return ~np.isfinite(self.scores)

    def select(self, rows: Mask) -> Predictions:
        """Return some rows."""
        return Predictions(self.frame.filter(rows), self.where)

    def __len__(self) -> int:
        return self.frame.height

    def save(self, path: Path | str) -> Path:
        """Write Parquet, whole or not at all."""
        with atomic_file(Path(path)) as temporary:
            self.frame.write_parquet(temporary)
        return Path(path)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what ``save`` wrote.

        Raises:
            DataError: the file is missing, truncated or holds something else.
        """
        return cls(read_parquet(Path(path), COLUMNS), str(path))


@dataclass(frozen=True, slots=True)
class GroupedAuc:
    """AUC by users.

    Attributes:
        value: mean of the users' AUCs, each weighted by the user's rows.
        users: how many have both labels, and so an AUC.
        left_out: how many have one label only.
    """

    value: float
    users: int
    left_out: int


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the share of pairs of a yes and a no in which the yes scores higher; a tie counts half.

    Args:
        labels: (n,) what is true.
        scores: (n,) any finite number that grows with yes.

    Raises:
        DataError: only one label, or a score is not finite.
    """
    truth, found = _checked(labels, scores)
    if truth.all() or not truth.any():
        raise DataError(
            f"{len(truth):,} rows of label {'yes' if truth[0] else 'no'} only",
            expected="rows of both labels to tell apart",
            cure="evaluate on more rows",
        )
    return float(auc_by_user(truth, found, np.zeros(len(truth), np.int64))[0])


def gauc(labels: ArrayLike, scores: ArrayLike, users: ArrayLike) -> GroupedAuc:
    """Return the mean of each user's own AUC, weighted by the user's rows; users with one label have none.

    Paper: Zhu et al., Optimized Cost per Click in Taobao Display Advertising, KDD 2017, which weighs by impressions or
    by clicks and groups by user and position; here the weight is the rows (impressions), and there is one position.

    Args:
        labels: (n,) what is true.
        scores: (n,) any finite number that grows with yes.
        users: (n,) numbers from 0.

    Raises:
        DataError: no user has both labels, or a score is not finite.
    """
    truth, found = _checked(labels, scores)
    numbers = np.asarray(users, np.int64)
    each, rows = auc_by_user(truth, found, numbers), np.bincount(numbers)
    both = ~np.isnan(each)
    asked = int((rows > 0).sum())
    if not both.any():
        raise DataError(
            f"{asked:,} users of one label each",
            expected="a user with both labels",
            cure="evaluate on more rows of each user, or by AUC",
        )
    value = float(rows[both] @ each[both] / rows[both].sum())
    return GroupedAuc(value, int(both.sum()), asked - int(both.sum()))


def auc_by_user(labels: Mask, scores: Floats, users: Numbers) -> Floats:
    """Return each user's AUC, NaN where there is one label only, (largest user number + 1,)."""
    order = np.lexsort((scores, users))
    user, score, yes = users[order], scores[order], labels[order].astype(np.int64)
    new = np.ones(len(order), np.bool_)  # where another user or another score begins: rows that tie stay together
    new[1:] = (user[1:] != user[:-1]) | (score[1:] != score[:-1])
    starts = np.flatnonzero(new)
    wins, losses = np.add.reduceat(yes, starts), np.add.reduceat(1 - yes, starts)
    owner = user[starts]
    n_yes, n_no = (np.bincount(users, weights=each, minlength=users.max() + 1) for each in (labels, ~labels))
    below = np.cumsum(losses) - losses - (np.cumsum(n_no) - n_no)[owner]  # of the same user
    won = np.bincount(owner, weights=wins * (below + losses / 2), minlength=len(n_yes))
    pairs = n_yes * n_no
    return np.where(pairs > 0, won / np.maximum(pairs, 1), np.nan)


def log_loss(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the mean negative natural log-probability of what is true.

    Args:
        labels: (n,) what is true.
        scores: (n,) finite log-odds of yes.
    """
    return float(row_losses(*_checked(labels, scores)).mean())


def row_losses(labels: Mask, scores: Floats) -> Floats:
    """Return -log p of what is true, (n,), exact also where p rounds to 0 or 1."""
    losses: Floats = np.logaddexp(0, np.where(labels, -scores, scores))
    return losses


def calibration(labels: ArrayLike, scores: ArrayLike, *, bins: int = BINS) -> pl.DataFrame:
    """Return for bins of about as many rows each, from the lowest score on: rows, mean probability, share of yes.

    Rows of one score share a bin, so that bins may be of unlike size, and fewer.

    Args:
        labels: (n,) what is true.
        scores: (n,) finite log-odds of yes.
        bins: how many.

    Raises:
        ConfigError: ``bins`` is below 1.
        DataError: a score is not finite.
    """
    truth, found = _checked(labels, scores)
    frame = pl.DataFrame({"bin": equal_mass(found, bins) + 1, "predicted": expit(found), "yes": truth})
    made = frame.group_by("bin").agg(pl.len().alias("rows").cast(pl.Int64), pl.col("predicted", "yes").mean())
    return made.sort("bin")


def calibration_error(labels: ArrayLike, scores: ArrayLike, *, bins: int = BINS) -> float:
    """Return the expected calibration error: the mean over rows of their bin's |mean probability - share of yes|.

    Naeini, Cooper, Hauskrecht, AAAI 2015; bins of equal mass as in Nguyen, O'Connor, EMNLP 2015.

    Args:
        labels: (n,) what is true.
        scores: (n,) finite log-odds of yes.
        bins: how many.

    Raises:
        ConfigError: ``bins`` is below 1.
        DataError: a score is not finite.
    """
    made = calibration(labels, scores, bins=bins)
    gaps = np.abs(made["predicted"].to_numpy() - made["yes"].to_numpy())
    return float(np.average(gaps, weights=made["rows"].to_numpy()))


def equal_mass(scores: Floats, bins: int) -> Numbers:
    """Return each row's bin, from 0, by its rank among the scores; equal scores share their mean rank."""
    if bins < 1:
        raise ConfigError(f"bins = {bins}", expected="at least 1", cure="change it")
    place: Floats = (rankdata(scores) - 0.5) / len(scores)
    return (place * bins).astype(np.int64)


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[Mask, Floats]:
    truth, found = np.asarray(labels, np.bool_), np.asarray(scores, np.float64)
    if truth.ndim != 1 or truth.shape != found.shape or not len(truth):
        raise DataError(
            f"labels of shape {truth.shape} with scores of shape {found.shape}",
            expected="one label and one score for each of at least one row",
            cure="pass the labels that the scores were made for",
        )
    if failed := int((~np.isfinite(found)).sum()):
        raise DataError(
            f"{failed:,} of {len(found):,} scores are not finite",
            expected="a score for each row",
            cure="score the failed rows again, or leave them out",
        )
    return truth, found


def _broken(found: str, expected: str) -> DataError:
    return DataError(found, expected=expected, cure="write it with llmrec score")
