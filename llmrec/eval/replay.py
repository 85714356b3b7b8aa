"""A policy that learns as it goes, run over a log of uniformly drawn choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmrec.errors import ConfigError, DataError
from llmrec.eval.logged import Floats, Logged
from llmrec.eval.significance import bootstrap_interval

UNIFORM = 1e-6  # propensities nearer to 1 / k than that share of it are uniform


@dataclass(frozen=True, eq=False)
class Choices:
    """What a policy chose for b contexts.

    Attributes:
        arms: int32 (b,), arm numbers.
        propensities: float64 (b,), how probable each choice was, in (0, 1].
    """

    arms: NDArray[np.int32]
    propensities: Floats

    def __len__(self) -> int:
        return len(self.arms)


@runtime_checkable
class Policy(Protocol):
    """Chooses one arm for each context and learns from the rewards."""

    def choose(self, contexts: ArrayLike, arms: ArrayLike) -> Choices:
        """Return a choice for contexts (b, d) among arms: (k,) for all, or (b, k) right-padded with -1."""
        ...

    def update(self, contexts: ArrayLike, arms: ArrayLike, rewards: ArrayLike) -> None:
        """Learn the rewards (b,) of arms (b,) in contexts (b, d)."""
        ...


@dataclass(frozen=True, eq=False)
class Replayed:
    """What a policy was rewarded with.

    Attributes:
        rows: int64 (m,), the rows of the log at which it chose what the log holds, in order.
        rewards: float64 (m,), their rewards.
        value: mean reward.
        low: lower end of its 95 % bootstrap interval.
        high: upper end.
    """

    rows: NDArray[np.int64]
    rewards: Floats
    value: float
    low: float
    high: float


def replay(log: Logged, policy: Policy, *, batch_size: int = 1, seed: int = 0) -> Replayed:
    """Run a policy over a log: rows at which it chooses what the log holds count, and it learns from those alone.

    The log's choices were drawn uniformly and say nothing of the reward, so that the rows kept are distributed as if
    the policy had been in charge: the mean reward is unbiased for a policy that does not learn. For one that learns it
    is that of as many steps as rows were kept, about one in k, and the interval leaves out what other luck early on
    would have made it learn.

    Args:
        log: choices in the order in which they were made.
        policy: learns in place.
        batch_size: rows between two updates; above 1 feedback comes late, and a policy that does not learn is faster.
        seed: of the bootstrap.

    Raises:
        DataError: the log is not uniform, or the policy never chose what it holds.
        ConfigError: ``batch_size`` is below 1.

    Paper: Li, Chu, Langford, Wang, Unbiased Offline Evaluation of Contextual-bandit-based News Article Recommendation
    Algorithms, WSDM 2011, algorithm 2.
    """
    _check_uniform(log)
    if batch_size < 1:
        raise ConfigError(f"batch_size = {batch_size}", expected="at least 1", cure="change it")
    kept = [np.zeros(0, np.int64)]
    for start in range(0, len(log), batch_size):
        part = slice(start, start + batch_size)
        contexts, chosen = log.contexts[part], log.chosen[part]
        same = np.flatnonzero(policy.choose(contexts, log.arms[part]).arms == chosen)
        if len(same):
            policy.update(contexts[same], chosen[same], log.rewards[part][same])
            kept.append((start + same).astype(np.int64))
    rows = np.concatenate(kept)
    if not len(rows):
        raise DataError(
            f"none of {len(log):,} logged choices is the policy's",
            expected="some to evaluate it by",
            cure="use a longer log, or one of fewer arms",
        )
    rewards = log.rewards[rows]
    return Replayed(rows, rewards, float(rewards.mean()), *bootstrap_interval(rewards, seed=seed))


def _check_uniform(log: Logged) -> None:
    uniform = 1 / (log.arms >= 0).sum(axis=1)
    off = np.abs(log.chances - uniform) > UNIFORM * uniform
    if off.any():
        row = int(np.argmax(off))
        raise DataError(
            f"row {row} of the log was chosen with propensity {log.chances[row]:g}",
            expected=f"{uniform[row]:g}, a uniform draw from its arms, which replay needs",
            cure="use ips, snips or doubly_robust for this log",
        )
