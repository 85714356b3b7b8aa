"""A Bayesian linear regression for each arm, all at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from llmrec.classic.exploration.chances import Floats

BLOCK_FLOATS = 1 << 20  # 8 MiB of matrices gathered at once
Numbers = NDArray[np.int32]


class Regressions:
    """The posteriors of weights w of n arms: precision A = lambda I + sum x x', moments b = sum r x.

    The weights' mean is A^-1 b, and the deviation of what they expect of x is |L^-1 x| with A = L L', never the root
    of a negative number. After each batch the arms in it are factorised anew from A: nothing drifts, as repeated rank-1
    updates of an inverse would.

    Args:
        precision: float64 (n, d, d), symmetric and positive; it is changed in place.
        moments: float64 (n, d); it is changed in place.

    Raises:
        ValueError: a precision is not positive.
    """

    def __init__(self, precision: Floats, moments: Floats) -> None:
        self.precision, self.moments = precision, moments
        self._whiten, self.weights = np.empty_like(precision), np.empty_like(moments)
        self._factorise(np.arange(len(moments)))

    def add(self, features: Floats, arms: Numbers, rewards: Floats) -> None:
        """Learn the rewards (b,) of arms (b,) at features (b, d)."""
        touched = np.unique(arms)
        for arm in touched:
            rows = arms == arm
            self.precision[arm] += features[rows].T @ features[rows]
            self.moments[arm] += rewards[rows] @ features[rows]
        self._factorise(touched)

    def means(self, features: Floats, arms: Numbers) -> Floats:
        """Return the expected rewards of arms (b, k) at features (b, d)."""
        found: Floats = np.matmul(self.weights[arms], features[:, :, None])[:, :, 0]
        return found

    def deviations(self, features: Floats, arms: Numbers) -> Floats:
        """Return the standard deviations, for noise of variance 1, of the expected rewards of arms (b, k)."""
        rows, flat = np.repeat(np.arange(len(arms)), arms.shape[1]), arms.ravel()
        found = np.empty(len(flat))
        for part in self._blocks(len(flat)):
            white = np.matmul(self._whiten[flat[part]], features[rows[part], :, None])[:, :, 0]
            found[part] = np.linalg.norm(white, axis=1)
        return found.reshape(arms.shape)

    def _factorise(self, arms: NDArray[np.integer]) -> None:
        for part in self._blocks(len(arms)):
            some = arms[part]
            try:
                lower = np.linalg.cholesky(self.precision[some])
            except np.linalg.LinAlgError:
                raise ValueError("a precision that is not positive") from None
            self._whiten[some] = np.linalg.inv(lower)
            white = np.matmul(self._whiten[some], self.moments[some, :, None])
            self.weights[some] = np.matmul(self._whiten[some].transpose(0, 2, 1), white)[:, :, 0]

    def _blocks(self, n: int) -> Iterator[slice]:
        step = max(1, BLOCK_FLOATS // self.precision.shape[1] ** 2)
        for start in range(0, n, step):
            yield slice(start, start + step)


def prior(arms: int, dimension: int, regularization: float) -> tuple[Floats, Floats]:
    """Return precision (n, d, d) and moments (n, d) before anything was learned."""
    return np.tile(regularization * np.eye(dimension), (arms, 1, 1)), np.zeros((arms, dimension))
