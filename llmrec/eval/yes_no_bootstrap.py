"""The bootstrap over users of yes/no metrics: rows are sorted once, and a draw is a weighting of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from scipy.special import expit

from llmrec.eval.yes_no import Floats, Mask, Numbers, auc_by_user, equal_mass, row_losses

BLOCK = 1 << 17  # counts in memory at once: 1 MiB, which stays in a processor's cache


def bootstrap(methods: Mapping[str, Resampled], samples: int, seed: int) -> dict[str, Floats]:
    """Return the metrics of each draw, (samples, 4); the draws are the same for all methods."""
    draws: dict[str, list[Floats]] = {name: [] for name in methods}
    n_units = next(iter(methods.values())).n_units
    for counts in draw_counts(n_units, samples, seed):
        for name, each in methods.items():
            draws[name].append(each.draw(counts))
    return {name: np.concatenate(each) for name, each in draws.items()}


def draw_counts(n: int, samples: int, seed: int) -> Iterator[Floats]:
    """Yield blocks (b, n) of how often each of n is drawn, n draws with replacement in a row."""
    generator = np.random.default_rng(seed)
    step = max(1, BLOCK // n)
    for start in range(0, samples, step):
        rows = min(step, samples - start)
        drawn = generator.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


class Resampled:
    """One method's rows, sorted and summed once, so that a draw is a weighting of them.

    Args:
        labels: (n,) what is true.
        scores: (n,) log-odds of yes.
        units: (n,) which user (or row) is drawn, from 0.
        bins: of the calibration, cut once and kept in all draws.
    """

    def __init__(self, labels: Mask, scores: Floats, units: Numbers, bins: int) -> None:
        self.n_units = int(units.max()) + 1
        order = np.argsort(scores, kind="stable")
        yes, no = order[labels[order]], order[~labels[order]]
        self.yes, self.no = units[yes], units[no]
        # Of the rows of no, in order: how many score below each yes, and how many not above it.
        self.below, self.upto = (np.searchsorted(scores[no], scores[yes], side) for side in ("left", "right"))
        self.sums = self._sums(labels, scores, units, bins)

    def _sums(self, labels: Mask, scores: Floats, units: Numbers, bins: int) -> Floats:
        """Return each unit's rows, loss, rows and wins in GAUC, and each bin's predicted less true yes, (u, 4 + b)."""
        rows = np.bincount(units).astype(np.float64)
        own = auc_by_user(labels, scores, units)
        both = np.where(np.isnan(own), 0, rows)
        losses = np.bincount(units, row_losses(labels, scores))
        gaps, cell = expit(scores) - labels, units * bins + equal_mass(scores, bins)
        by_bin = np.bincount(cell, gaps, minlength=self.n_units * bins).reshape(-1, bins)
        return np.column_stack([rows, losses, both, both * np.nan_to_num(own), by_bin])

    def draw(self, counts: Floats) -> Floats:
        """Return AUC, GAUC, log-loss and calibration error of draws (d, u), NaN where one is not defined, (d, 4)."""
        sums = counts @ self.sums
        with np.errstate(invalid="ignore"):
            return np.column_stack(
                [
                    [self._auc(each) for each in counts],
                    sums[:, 3] / sums[:, 2],
                    sums[:, 1] / sums[:, 0],
                    np.abs(sums[:, 4:]).sum(axis=1) / sums[:, 0],
                ]
            )

    def _auc(self, counts: Floats) -> Floats:
        before = np.zeros(len(self.no) + 1)
        np.cumsum(counts[self.no], out=before[1:])
        yes = counts[self.yes]
        share: Floats = yes @ (before[self.below] + before[self.upto]) / (2 * yes.sum() * before[-1])
        return share


def middle(draws: Floats) -> tuple[float, float]:
    """Return the bounds of the middle 95 % of the draws that are defined."""
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return float(low), float(high)


def two_sided(differences: Floats) -> float:
    """Return twice the share of draws whose difference has the rarer sign or is none, as (c + 1) / (samples + 1)."""
    defined = differences[~np.isnan(differences)]
    rarer = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(defined) + 1))
