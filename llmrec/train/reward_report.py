"""What rewards are worth on pairs or labels that were held out, and how much of them is length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import rankdata

from llmrec.eval.yes_no import Predictions, calibration, calibration_error, row_losses
from llmrec.eval.yes_no_compare import evaluate_yes_no
from llmrec.train.rows import ROW, TokenRows

Floats = NDArray[np.float64]
SAMPLES = 2000
"""Draws of a bootstrap."""


@dataclass(frozen=True, slots=True)
class LengthPenalty:
    """What is subtracted from a reward for the length of its answer: ``slope`` x (tokens - ``mean``).

    By default nothing. Fitted by least squares, it takes away what length alone explains of the rewards it was fitted
    on, whose correlation (Pearson's) with length is 0 then and whose mean is kept. Where better answers are longer in
    truth, that is taken away too.

    Attributes:
        slope: reward for one more token.
        mean: tokens that cost nothing.
    """

    slope: float = 0.0
    mean: float = 0.0

    @classmethod
    def fit(cls, rewards: Floats, lengths: Floats) -> Self:
        """Return the penalty of rewards (n,) with answers of these tokens (n,)."""
        centred = lengths - lengths.mean()
        spread = float(centred @ centred)
        return cls(float(centred @ rewards) / spread if spread else 0.0, float(lengths.mean()))

    def apply(self, rewards: Floats, lengths: Floats) -> Floats:
        """Return the rewards (n,) less what their lengths (n,) cost."""
        return rewards - self.slope * (lengths - self.mean)


@dataclass(frozen=True, eq=False)
class Judged:
    """Rewards of the texts of some rows.

    Attributes:
        rows: int (n,), each text's row; the chosen answer of a row stands first, before its rejected ones.
        answers: int (n,), its place in the row, 0 the chosen one.
        lengths: (n,), tokens of its answer, the end too.
        rewards: (n,).
    """

    rows: NDArray[np.int64]
    answers: NDArray[np.int64]
    lengths: Floats
    rewards: Floats

    def frame(self, rows: TokenRows) -> pl.DataFrame:
        """Return a table of the rewards: ``row`` of the source, ``answer``, ``tokens``, ``reward``."""
        source = rows.frame[ROW].to_numpy()[self.rows].astype(np.int64)
        tokens = self.lengths.astype(np.int64)
        return pl.DataFrame({"row": source, "answer": self.answers, "tokens": tokens, "reward": self.rewards})


@dataclass(frozen=True, eq=False)
class RewardReport:
    """How good rewards are.

    Attributes:
        metrics: rows of ``metric``, ``mean`` and its 95 % interval, ``low`` to ``high``, null where none is drawn.
        calibration: bins of about as many rows, from the least certain on: ``rows``, ``predicted`` and ``yes``, the
            share of those that were right.
        pearson: correlation of reward and length over all texts; None where either is the same for all.
        spearman: that of their ranks.
        texts: how many there are.
    """

    metrics: list[dict[str, Any]]
    calibration: list[dict[str, Any]]
    pearson: float | None
    spearman: float | None
    texts: int

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        return asdict(self)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return what ``to_dict`` made."""
        return cls(**values)


def texts_of(rows: TokenRows) -> tuple[list[list[int]], Judged]:
    """Return all texts of some rows as tokens, each once, with rewards still to be filled in."""
    rejected = rows.rejected if rows.rejected is not None else [[]] * len(rows)
    answers = [[one, *those] for one, those in zip(rows.answers, rejected, strict=True)]
    texts = [prompt + each for prompt, every in zip(rows.prompts, answers, strict=True) for each in every]
    owners = np.repeat(np.arange(len(rows)), [len(every) for every in answers])
    places = np.concatenate([np.arange(len(every)) for every in answers])
    lengths = np.array([len(each) for every in answers for each in every], np.float64)
    return texts, Judged(owners, places, lengths, np.full(len(texts), np.nan))


def report_pairs(judged: Judged, rows: TokenRows) -> RewardReport:
    """Return accuracy, log-loss and calibration of pairs, each a chosen answer against one of its rejected ones.

    A pair is a question whose answer is right where the chosen one is ahead, answered with the probability
    sigmoid(|margin|); a tie is half right. Intervals come from drawing whole contexts anew: their pairs are not
    independent.

    Args:
        judged: rewards of all texts.
        rows: what they are of.
    """
    first = judged.rewards[judged.answers == 0]
    others = judged.answers > 0
    owners = judged.rows[others]
    margins = first[owners] - judged.rewards[others]
    contexts = pl.Series(map(str, rows.prompts)).rank("dense").to_numpy()[owners]
    right, certain = margins > 0, np.abs(margins)
    values = {"accuracy": right + (margins == 0) / 2, "log-loss": row_losses(np.ones(len(margins), np.bool_), margins)}
    metrics = [
        dict(zip(("metric", "mean", "low", "high"), (name, float(each.mean()), *interval(each, contexts)), strict=True))
        for name, each in values.items()
    ]
    metrics.append({"metric": "ece", "mean": calibration_error(right, certain), "low": None, "high": None})
    return _with_lengths(metrics, calibration(right, certain), judged)


def report_labels(judged: Judged, rows: TokenRows) -> RewardReport:
    """Return AUC, log-loss and calibration of labels, the reward being the log-odds of yes; arguments as above."""
    found = evaluate_yes_no({"reward": predictions(judged.rewards, rows)})
    return _with_lengths(
        found.evaluation.table.select("metric", "mean", "low", "high").to_dicts(),
        found.calibration.drop("method"),
        judged,
    )


def predictions(rewards: Floats, rows: TokenRows) -> Predictions:
    """Return rewards as answers to the questions of rows with labels.

    Raises:
        DataError: only some rows have a user.
    """
    return Predictions.of(rows.frame.with_columns(row=pl.col(ROW)), rewards, where="the test")


def interval(values: Floats, groups: NDArray[Any], *, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a mean (Efron, 1979), whole groups drawn anew.

    Args:
        values: (n,).
        groups: (n,) what belongs together.
        seed: of the draws.
    """
    _, group = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(group, values), np.bincount(group)
    rng = np.random.default_rng(seed)
    draws = (rng.integers(0, len(sums), len(sums)) for _ in range(SAMPLES))
    low, high = np.quantile([sums[drawn].sum() / sizes[drawn].sum() for drawn in draws], (0.025, 0.975))
    return float(low), float(high)


def _with_lengths(metrics: list[dict[str, Any]], bins: pl.DataFrame, judged: Judged) -> RewardReport:
    lengths, rewards = judged.lengths, judged.rewards
    ranks = (np.asarray(rankdata(each), np.float64) for each in (lengths, rewards))
    return RewardReport(metrics, bins.to_dicts(), _correlation(lengths, rewards), _correlation(*ranks), len(rewards))


def _correlation(one: Floats, two: Floats) -> float | None:
    if np.ptp(one) == 0 or np.ptp(two) == 0:
        return None
    return float(np.corrcoef(one, two)[0, 1])
