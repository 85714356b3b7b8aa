"""What another policy would have earned, told from the log of one: IPS, SNIPS, the direct method, doubly robust."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from llmrec.errors import ConfigError, DataError
from llmrec.eval.logged import Floats, Logged, check_chances, check_finite
from llmrec.eval.significance import bootstrap_interval
from llmrec.eval.yes_no_bootstrap import draw_counts, middle


@dataclass(frozen=True, slots=True)
class Estimate:
    """The mean reward that a policy would have had.

    Attributes:
        value: the estimate.
        low: lower end of its 95 % bootstrap interval over the rows of the log.
        high: upper end.
        effective: rows of equal weight that would say as much (Kish), of those in the log.
        mean_weight: mean importance weight before clipping; about 1 where the log could choose all that the policy
            does. Well below 1, the policy wants what the log never tried, and the value is too low.
        clipped: share of weights that were clipped.
    """

    value: float
    low: float
    high: float
    effective: float
    mean_weight: float
    clipped: float


def ips(log: Logged, chances: ArrayLike, *, clip: float | None = None, samples: int = 2000, seed: int = 0) -> Estimate:
    """Return the mean of rewards, each weighted by how much more probable the policy makes its choice.

    Unbiased without ``clip``, of high variance where the policies differ much; clipping trades variance for a bias
    towards 0.

    Args:
        log: choices of the logging policy.
        chances: (n, k), the policy's probability of each arm of ``log.arms``.
        clip: largest weight; None for no bound.
        samples: bootstrap draws.
        seed: of them.

    Raises:
        DataError: ``chances`` are no probabilities, or give some to what the log could not choose.
        ConfigError: ``clip`` is not above 0.

    Paper: Horvitz, Thompson, JASA 1952; clipped as in Strehl et al., Learning from Logged Implicit Exploration Data,
    NeurIPS 2010, whose bound is on the propensity.
    """
    weights = _weigh(log, _checked(log, chances), clip)
    terms = weights.used * log.rewards
    return weights.estimate(float(terms.mean()), bootstrap_interval(terms, samples=samples, seed=seed))


def snips(
    log: Logged, chances: ArrayLike, *, clip: float | None = None, samples: int = 2000, seed: int = 0
) -> Estimate:
    """Return the weighted mean of rewards: as ``ips``, but over the sum of weights, so that rewards bound it.

    Biased by a term that vanishes with the rows, and of lower variance; adding a constant to all rewards adds it to
    the value. Arguments and errors are those of ``ips``.

    Paper: Swaminathan, Joachims, The Self-Normalized Estimator for Counterfactual Learning, NeurIPS 2015.
    """
    weights = _weigh(log, _checked(log, chances), clip)
    used, both = weights.used, np.column_stack([weights.used * log.rewards, weights.used])
    sums = np.concatenate([counts @ both for counts in draw_counts(len(log), samples, seed)])
    drawn = np.divide(sums[:, 0], sums[:, 1], out=np.full(samples, np.nan), where=sums[:, 1] > 0)
    return weights.estimate(float(used @ log.rewards / used.sum()), middle(drawn))


def direct(log: Logged, chances: ArrayLike, expected: ArrayLike, *, samples: int = 2000, seed: int = 0) -> Estimate:
    """Return the mean over rows of what a model expects of the policy's choice; no reward of the log is read.

    As good as the model: its bias is the policy's. ``effective`` is the log's rows; weights are told but not used.

    Args:
        log: choices of the logging policy.
        chances: (n, k), the policy's probability of each arm of ``log.arms``.
        expected: (n, k), the reward that a model expects of each arm; best of one fitted on other rows.
        samples: bootstrap draws.
        seed: of them.

    Raises:
        DataError: ``chances`` are no probabilities, or ``expected`` do not fit the log.
    """
    wanted = _checked(log, chances)
    terms = (wanted * _predicted(log, expected)).sum(axis=1)
    low, high = bootstrap_interval(terms, samples=samples, seed=seed)
    mean_weight = float((log.at_chosen(wanted) / log.chances).mean())
    return Estimate(float(terms.mean()), low, high, float(len(log)), mean_weight, 0.0)


def doubly_robust(
    log: Logged,
    chances: ArrayLike,
    expected: ArrayLike,
    *,
    clip: float | None = None,
    samples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Return the direct method's value, corrected by the weighted errors that its model makes on the log.

    Unbiased where the propensities or the model are right, and of lower variance than ``ips`` where the model is good.
    Arguments and errors are those of ``ips`` and ``direct``.

    Paper: Dudík, Langford, Li, Doubly Robust Policy Evaluation and Learning, ICML 2011.
    """
    wanted, predicted = _checked(log, chances), _predicted(log, expected)
    weights = _weigh(log, wanted, clip)
    terms = (wanted * predicted).sum(axis=1) + weights.used * (log.rewards - log.at_chosen(predicted))
    return weights.estimate(float(terms.mean()), bootstrap_interval(terms, samples=samples, seed=seed))


@dataclass(frozen=True, eq=False)
class _Weights:
    """Importance weights: ``raw`` as they are, ``used`` after clipping."""

    raw: Floats
    used: Floats

    def estimate(self, value: float, interval: tuple[float, float]) -> Estimate:
        effective = float(self.used.sum() ** 2 / (self.used**2).sum())
        return Estimate(value, *interval, effective, float(self.raw.mean()), float((self.used < self.raw).mean()))


def _weigh(log: Logged, wanted: Floats, clip: float | None) -> _Weights:
    if clip is not None and not clip > 0:
        raise ConfigError(f"clip = {clip:g}", expected="a weight above 0, or None", cure="change it")
    if log.propensities.ndim == 2 and (never := (wanted > 0) & (log.propensities == 0)).any():
        row, place = np.argwhere(never)[0]
        raise DataError(
            f"the policy chooses arm {log.arms[row, place]} in row {row} with probability {wanted[row, place]:g}",
            expected="only arms that the log could choose there, with a propensity above 0",
            cure="log with some exploration, keep to arms that it has, or use the direct method",
        )
    raw = log.at_chosen(wanted) / log.chances
    if not raw.any():
        raise DataError(
            f"the policy makes none of the {len(log):,} logged choices",
            expected="choices in common to tell its rewards from",
            cure="log with some exploration, or use the direct method",
        )
    return _Weights(raw, raw if clip is None else np.minimum(raw, clip))


def _checked(log: Logged, chances: ArrayLike) -> Floats:
    found = np.asarray(chances, np.float64)
    if found.shape != log.arms.shape:
        raise DataError(
            f"the policy's chances of shape {found.shape}",
            expected=f"{log.arms.shape}, one for each arm of each row",
            cure="ask the policy for the arms of the log",
        )
    check_chances(found, log.arms, "the policy's chances")
    return found


def _predicted(log: Logged, expected: ArrayLike) -> Floats:
    found = np.asarray(expected, np.float64)
    if found.shape != log.arms.shape:
        raise DataError(
            f"expected rewards of shape {found.shape}",
            expected=f"{log.arms.shape}, one for each arm of each row",
            cure="ask the model for the arms of the log",
        )
    found = np.where(log.arms >= 0, found, 0)
    check_finite("expected rewards", found)
    return found
