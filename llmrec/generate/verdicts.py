"""From preferences to a win rate with its interval and test, and how far two judges agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from llmrec.errors import DataError
from llmrec.eval.significance import bootstrap_interval, paired_test
from llmrec.prompts.votes import LOST, TIED, WON


@dataclass(frozen=True, slots=True)
class WinRate:
    """How often the first of two generators wins.

    Attributes:
        judge: who says so.
        wins: pairs in which the first text is preferred.
        ties: pairs in which none is.
        losses: pairs in which the second is.
        rate: mean over contexts of what their pairs count: 1 a win, 0.5 a tie.
        low: lower end of its 95 % bootstrap interval over contexts.
        high: upper end.
        p: two-sided p-value of the randomisation test over contexts, of a rate of 0.5.
        contexts: how many have a pair that was judged.
    """

    judge: str
    wins: int
    ties: int
    losses: int
    rate: float
    low: float
    high: float
    p: float
    contexts: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two judges agree on the pairs that neither calls a tie.

    Attributes:
        judge: the one.
        other: the other.
        pairs: how many such pairs there are.
        share: of them on which both prefer the same text; None of none.
        kappa: Cohen's, agreement beyond chance (1960); None of none, or where each prefers one side only.
    """

    judge: str
    other: str
    pairs: int
    share: float | None
    kappa: float | None


def win_rate(scores: ArrayLike, contexts: ArrayLike, *, judge: str = "judge", seed: int = 0) -> WinRate | None:
    """Return how often the first text wins; None where no pair was judged.

    Args:
        scores: (n,) ``WON``, ``TIED`` or ``LOST``, NaN for pairs that were not judged.
        contexts: (n,) the context of each; pairs of one are no independent evidence and count together.
        judge: who says so.
        seed: of interval and test.

    Raises:
        DataError: scores and contexts differ in number.
    """
    found, owners = np.asarray(scores, np.float64), np.asarray(contexts)
    if found.shape != owners.shape or found.ndim != 1:
        raise DataError(
            f"scores of shape {found.shape} with contexts of shape {owners.shape}",
            expected="one each",
            cure="pair them",
        )
    known = ~np.isnan(found)
    found, owners = found[known], owners[known]
    if not len(found):
        return None
    frame = pl.DataFrame({"context": owners, "score": found})
    means = frame.group_by("context", maintain_order=True).agg(pl.col("score").mean())["score"].to_numpy()
    low, high = bootstrap_interval(means, seed=seed)
    p = paired_test(means, 1 - means, seed=seed).p
    wins, ties, losses = (int((found == value).sum()) for value in (WON, TIED, LOST))
    return WinRate(judge, wins, ties, losses, float(means.mean()), low, high, p, len(means))


def agreement(one: ArrayLike, two: ArrayLike, *, judge: str = "judge", other: str = "other") -> Agreement:
    """Compare what two judges say of the same pairs.

    Args:
        one: (n,) ``WON``, ``TIED`` or ``LOST``, NaN for pairs that were not judged.
        two: (n,) the same.
        judge: who says the one.
        other: who says the other.
    """
    first, second = np.asarray(one, np.float64), np.asarray(two, np.float64)
    decided = np.isin(first, (WON, LOST)) & np.isin(second, (WON, LOST))
    first, second = first[decided], second[decided]
    if not len(first):
        return Agreement(judge, other, 0, None, None)
    share = float((first == second).mean())
    chance = float(first.mean() * second.mean() + (1 - first.mean()) * (1 - second.mean()))
    kappa = None if chance == 1 else (share - chance) / (1 - chance)
    return Agreement(judge, other, len(first), share, kappa)
