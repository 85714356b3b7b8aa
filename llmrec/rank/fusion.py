"""Fusion of recall with a language model: how much each counts is fitted on validation and saved with the run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import minimize
from scipy.special import logsumexp

from llmrec.classic.recall.fuse import weighted_fusion
from llmrec.config import Config
from llmrec.data import Candidates, Targets
from llmrec.data.files import atomic_file
from llmrec.errors import DataError
from llmrec.eval.metrics import compute

Floats = NDArray[np.float64]
FEATURES = ("recall score", "model score", "recall rank", "model rank", "popularity")
WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))


class FusionConfig(Config):
    """How a fusion is fitted."""

    method: Literal["weight", "logistic"] = "weight"
    """One weight of the language model against recall, or a logistic model on the scores, ranks and popularity."""
    metric: str = "ndcg@10"
    """What the weight is chosen by; of equally good ones the smallest is taken."""
    regularization: float = Field(1.0, gt=0)
    """Weight of the logistic model's squared coefficients, against the sum over queries."""


class Fusion(Config):
    """What was fitted."""

    method: Literal["weight", "logistic"]
    """See ``FusionConfig``."""
    coefficients: tuple[float, ...]
    """The language model's weight (recall has the rest); or one for each of ``FEATURES``."""
    queries: int
    """Validation queries that it was fitted on: those among whose candidates a relevant item was."""

    def fuse(self, recalled: Candidates, ranked: Candidates, popularity: NDArray[np.floating]) -> Candidates:
        """Return the candidates of recall, best first.

        Args:
            recalled: (q, k).
            ranked: the same candidates as the language model orders them; those without a score count as its last.
            popularity: (n_items,), how many users had each item.

        Raises:
            DataError: ``ranked`` are other candidates.
        """
        check_same(recalled, ranked)
        if self.method == "weight":
            (weight,) = self.coefficients
            k = recalled.items.shape[1]
            return weighted_fusion([recalled, ranked], [1 - weight, weight], k, normalise="zscore")
        scores = features(recalled, ranked, popularity) @ np.array(self.coefficients)
        return recalled.with_scores(np.where(recalled.items >= 0, scores, np.nan).astype(np.float32))

    def save(self, path: Path) -> Path:
        """Write it as JSON."""
        with atomic_file(path) as temporary:
            temporary.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return path


def fit_fusion(
    recalled: Candidates,
    ranked: Candidates,
    targets: Targets,
    popularity: NDArray[np.floating],
    config: FusionConfig | None = None,
) -> Fusion:
    """Return the fusion that serves validation targets best.

    Queries whose relevant item recall did not find say nothing: every fusion has the same value there. Without any
    other the language model weighs 0. The logistic model is a conditional one: the log-likelihood of the relevant
    candidate among all of its query (of several, each).

    Args:
        recalled: (q, k), recall's candidates for the validation queries.
        ranked: the same candidates as the language model orders them.
        targets: the validation targets.
        popularity: (n_items,), how many users had each item.
        config: method, metric.

    Raises:
        DataError: ``ranked`` are other candidates.

    Paper: McFadden, Conditional Logit Analysis of Qualitative Choice Behavior, 1974, for ``logistic``.
    """
    config = config or FusionConfig()
    check_same(recalled, ranked)
    relevant = (recalled.items[:, :, None] == targets.relevant[:, None, :]).any(axis=2) & (recalled.items >= 0)
    rows = np.flatnonzero(relevant.any(axis=1))
    recalled, ranked, targets = recalled.select(rows), ranked.select(rows), targets.select(rows)
    if config.method == "logistic":
        found = _logistic(features(recalled, ranked, popularity), recalled.items >= 0, relevant[rows], config)
        return Fusion(method="logistic", coefficients=tuple(found.tolist()), queries=len(rows))
    weight = 0.0
    if len(rows):
        trials = [Fusion(method="weight", coefficients=(each,), queries=len(rows)) for each in WEIGHTS]
        means = [
            compute(trial.fuse(recalled, ranked, popularity), targets, [config.metric])[config.metric].mean()
            for trial in trials
        ]
        weight = WEIGHTS[int(np.argmax(means))]
    return Fusion(method="weight", coefficients=(weight,), queries=len(rows))


def features(recalled: Candidates, ranked: Candidates, popularity: NDArray[np.floating]) -> Floats:
    """Return ``FEATURES`` of recall's candidates (q, k, 5), each standardised over its row; zeros in the padding.

    Ranks are 1 / log2(1 + rank), popularity log(1 + users).
    """
    real = recalled.items >= 0
    of_model = _places(recalled, ranked)
    discount = 1 / np.log2(2 + np.arange(recalled.items.shape[1]))
    columns = [
        _filled(recalled.scores, real),
        _filled(np.take_along_axis(ranked.scores, of_model, 1), real),
        np.broadcast_to(discount, real.shape),
        discount[of_model],
        np.log1p(popularity[np.maximum(recalled.items, 0)]),
    ]
    return np.stack([_standardised(column.astype(np.float64), real) for column in columns], axis=2)


def check_same(recalled: Candidates, ranked: Candidates) -> None:
    """Raise a DataError unless each row of both holds the same items."""
    if recalled.items.shape != ranked.items.shape:
        raise DataError(
            f"recall's candidates {recalled.items.shape} and the model's {ranked.items.shape}",
            expected="the same candidates in another order",
            cure="rank what recall proposed, all of it",
        )
    other = np.flatnonzero((np.sort(recalled.items, axis=1) != np.sort(ranked.items, axis=1)).any(axis=1))
    if len(other):
        raise DataError(
            f"other items in row {other[0]} of the model's candidates than in recall's",
            expected="the same candidates in another order",
            cure="rank what recall proposed, all of it",
        )


def _places(recalled: Candidates, ranked: Candidates) -> NDArray[np.int64]:
    """Return where the model has each of recall's candidates, (q, k)."""
    mine, its = np.argsort(recalled.items, axis=1, kind="stable"), np.argsort(ranked.items, axis=1, kind="stable")
    places = np.empty(recalled.items.shape, np.int64)
    np.put_along_axis(places, mine, its, axis=1)
    return places


def _filled(scores: NDArray[np.float32], real: NDArray[np.bool_]) -> Floats:
    """Return scores with those that are missing just below the row's lowest by one standard deviation."""
    there = real & np.isfinite(scores)
    known = np.where(there, scores, 0).astype(np.float64)
    count = np.maximum(there.sum(axis=1, keepdims=True), 1)
    mean = known.sum(axis=1, keepdims=True) / count
    spread = np.sqrt((np.where(there, known - mean, 0) ** 2).sum(axis=1, keepdims=True) / count)
    low = np.min(known, axis=1, keepdims=True, where=there, initial=np.inf)
    filled: Floats = np.where(there, known, np.where(np.isfinite(low), low, 0) - spread)
    return filled


def _standardised(values: Floats, real: NDArray[np.bool_]) -> Floats:
    """Return rows of mean 0 and standard deviation 1 over what is real, zeros elsewhere and where all are equal."""
    count = np.maximum(real.sum(axis=1, keepdims=True), 1)
    centred = np.where(real, values - np.where(real, values, 0).sum(axis=1, keepdims=True) / count, 0)
    spread = np.sqrt((centred**2).sum(axis=1, keepdims=True) / count)
    standardised: Floats = centred / np.where(spread > 1e-12, spread, 1)
    return standardised


def _logistic(values: Floats, real: NDArray[np.bool_], relevant: NDArray[np.bool_], config: FusionConfig) -> Floats:
    """Return the coefficients (f,) of the conditional logit with the largest penalised likelihood."""
    weight = relevant / np.maximum(relevant.sum(axis=1, keepdims=True), 1)

    def loss(coefficients: Floats) -> tuple[float, Floats]:
        scores = np.where(real, values @ coefficients, -np.inf)
        log_p = scores - logsumexp(scores, axis=1, keepdims=True) if len(scores) else scores
        value = -np.where(weight > 0, weight * log_p, 0).sum() + config.regularization / 2 * coefficients @ coefficients
        slope = np.einsum("qk,qkf->f", np.exp(log_p) - weight, values) + config.regularization * coefficients
        return float(value), slope

    found: Floats = minimize(loss, np.zeros(values.shape[2]), jac=True, method="L-BFGS-B").x
    return found
