"""Is a difference more than chance: bootstrap intervals, the paired randomisation test, Holm's correction.

Metrics mostly take few distinct values over the queries (a hit rate has two). Then both resampling schemes draw how
often each *distinct* value occurs, a multinomial or binomial count, instead of drawing every query: the distribution
is exactly the same, and a million queries cost no more than a thousand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmrec.errors import DataError

BLOCK = 1 << 20  # draws in memory at once: 8 MiB
COUNTED = 16  # with so many queries a distinct value, drawing counts is faster than drawing queries
EXACT = 12  # up to so many differing queries all 2^n sign patterns are enumerated
DECIMALS = 12  # differences of metrics below this share of their size are rounding, not differences


@dataclass(frozen=True, slots=True)
class PairedTest:
    """One method against another over the same queries.

    Attributes:
        difference: mean of a - b.
        low: lower end of its 95 % bootstrap interval.
        high: upper end.
        p: two-sided p-value of the randomisation test.
    """

    difference: float
    low: float
    high: float
    p: float


def bootstrap_interval(
    values: ArrayLike, *, confidence: float = 0.95, samples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval (low, high) of the mean over queries.

    Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 1979.

    Args:
        values: (q,) one finite number a query.
        confidence: share of the bootstrap distribution inside, in (0, 1).
        samples: how often the queries are drawn with replacement.
        seed: of the draws.

    Raises:
        DataError: no values, or one is not finite.
    """
    drawn = _checked(values)
    distinct, counts = np.unique(drawn, return_counts=True)
    generator = np.random.default_rng(seed)
    n = len(drawn)
    means = np.empty(samples)
    counted = len(distinct) * COUNTED <= n
    for start, stop in _blocks(samples, len(distinct) if counted else n):
        if counted:
            means[start:stop] = generator.multinomial(n, counts / n, size=stop - start) @ distinct / n
        else:
            means[start:stop] = drawn[generator.integers(0, n, (stop - start, n))].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def paired_test(a: ArrayLike, b: ArrayLike, *, samples: int = 10_000, seed: int = 0) -> PairedTest:
    """Test whether a and b differ in the mean, by flipping the signs of the paired differences at random.

    Under the null hypothesis the two labels of a query can be swapped. The p-value is exact, over all sign patterns,
    where at most ``EXACT`` queries differ; else it is (c + 1) / (samples + 1) with c patterns at least as extreme
    as the one seen, which is never 0 (Smucker, Allan, Carterette, CIKM 2007; Phipson, Smyth, SAGMB 2010).

    Args:
        a: (q,) one finite number a query.
        b: (q,) the same queries.
        samples: how many random sign patterns.
        seed: of the draws.

    Raises:
        DataError: no values, one is not finite, or the lengths differ.
    """
    one, two = _checked(a), _checked(b)
    if len(one) != len(two):
        raise DataError(
            f"{len(one)} values against {len(two)}",
            expected="values of the same queries",
            cure="evaluate both methods on the same targets",
        )
    scale = max(float(np.abs(one).max()), float(np.abs(two).max())) or 1.0
    differences = np.round((one - two) / scale, DECIMALS) * scale
    low, high = bootstrap_interval(differences, seed=seed)
    return PairedTest(float(differences.mean()), low, high, _sign_flip(differences, samples, seed))


def _sign_flip(differences: NDArray[np.float64], samples: int, seed: int) -> float:
    """Return the two-sided p-value of the sum of differences under random signs."""
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    total, largest = int(counts.sum()), float(counts @ sizes)
    extreme = abs(float(differences.sum())) - 1e-9 * largest  # sums in another order differ by rounding
    if total == 0:
        return 1.0
    if total <= EXACT:
        signs = 1 - 2 * ((np.arange(1 << total)[:, None] >> np.arange(total)) & 1)
        return float(np.mean(np.abs(signs @ np.repeat(sizes, counts)) >= extreme))
    generator = np.random.default_rng(seed)
    counted = len(sizes) * COUNTED <= total
    as_extreme = 0
    for start, stop in _blocks(samples, len(sizes) if counted else total):
        if counted:  # sizes run along the first axis: the generator prepares each binomial once, not once a draw
            positive = sizes @ generator.binomial(counts[:, None], 0.5, size=(len(sizes), stop - start))
        else:
            bits = np.frombuffer(generator.bytes((stop - start) * total // 8 + 1), np.uint8)
            flipped = np.unpackbits(bits, count=(stop - start) * total).reshape(-1, total)
            positive = flipped.astype(np.float64) @ np.repeat(sizes, counts)
        as_extreme += int((np.abs(2 * positive - largest) >= extreme).sum())
    return (as_extreme + 1) / (samples + 1)


def holm(p_values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values corrected for their number, in the order given.

    They hold the chance of any false finding in the family below the level that they are compared with, whatever the
    dependence (Holm, Scandinavian Journal of Statistics 1979).

    Args:
        p_values: (m,) in [0, 1].
    """
    raw = np.asarray(p_values, np.float64)
    order = np.argsort(raw, kind="stable")
    stepped = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    corrected = np.empty_like(raw)
    corrected[order] = np.minimum(stepped, 1)
    return corrected


def _checked(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        bad = f", {int((~np.isfinite(array)).sum())} of them not finite" if array.size else ""
        raise DataError(
            f"values of shape {array.shape}{bad}",
            expected="a finite number for each of at least one query",
            cure="leave queries without a value out",
        )
    return array


def _blocks(samples: int, width: int) -> list[tuple[int, int]]:
    """Return the bounds of blocks of samples so that a block times ``width`` stays within BLOCK."""
    step = max(1, BLOCK // max(width, 1))
    return [(start, min(start + step, samples)) for start in range(0, samples, step)]
