"""How probable each arm is to be chosen: the largest value, a random one now and then, or the best of random ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

BLOCK_FLOATS = 1 << 16  # 512 KiB at once, which caches hold
NODES = 65  # between which the integral is straight
ROUNDS = 5  # times that they are moved to where the distribution is steep
REACH = 8.0  # standard deviations beyond which a normal has no mass to speak of
LEAST = 1e-9  # deviation of what is certain, against 1 + its size: a step that no grid would find otherwise
LEVELS = (1 - np.cos(np.linspace(0, np.pi, NODES))) / 2  # quantiles, closer together at both ends


def greedy(values: Floats, real: Mask) -> Floats:
    """Return equal chances for the arms of the highest value (b, k), 0 for all others; 0 throughout without any arm."""
    top = np.where(real, values, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    best = real & (values == top)
    shares: Floats = best / np.maximum(best.sum(axis=1, keepdims=True), 1)
    return shares


def uniform(real: Mask) -> Floats:
    """Return equal chances for all real arms, (b, k)."""
    shares: Floats = real / np.maximum(real.sum(axis=1, keepdims=True), 1)
    return shares


def epsilon_greedy(values: Floats, real: Mask, epsilon: float) -> Floats:
    """Return the chances (b, k) of a uniform draw in ``epsilon`` of all cases, and of the best value in the others."""
    return epsilon * uniform(real) + (1 - epsilon) * greedy(values, real)


def best_of_normals(means: Floats, deviations: Floats, real: Mask) -> Floats:
    """Return how probable each of k independent normals is to be the largest, (b, k).

    Args:
        means: (b, k).
        deviations: (b, k), standard deviations; where all are 0 the largest means share the chance.
        real: which there are; the others get 0.
    """
    wide = np.maximum(deviations, LEAST * (1 + np.abs(means)))
    reach = REACH * wide
    return best_of(lambda x, mean, each: ndtr((x - mean) / each), (means, wide), means - reach, means + reach, real)


def best_of(cdf: Callable[..., Floats], parameters: Sequence[Floats], low: Floats, high: Floats, real: Mask) -> Floats:
    """Return how probable each of k independent variables is to be the largest, (b, k).

    With F their distributions, that is the integral of prod_{b≠a} F_b over F_a. It is summed by trapezoids between
    nodes at quantiles of the largest, whose distribution is prod F, and extrapolated from the sum over every second
    node. Inverse interpolation finds the quantiles, again and again, so that nodes gather where a variable of little
    variance makes the product jump. Errors are below 5e-4, and chances below that may be 0; what is drawn by these
    chances has them as its propensities all the same.

    Args:
        cdf: from places (b, 1, n) and parameters (b, k, 1) to each variable's distribution there, (b, k, n).
        parameters: of the variables, each (b, k).
        low: (b, k), each variable is below it with next to no probability.
        high: (b, k), or above it.
        real: which there are; the others get 0.
    """
    step, found = max(1, BLOCK_FLOATS // (NODES * max(1, real.shape[1]))), np.zeros(real.shape)
    for start in range(0, len(real), step):
        rows = slice(start, start + step)
        own = [each[rows, :, None] for each in parameters]
        found[rows] = _best_of(partial(_filled, cdf, own, real[rows, :, None]), low[rows], high[rows], real[rows])
    return found


def _filled(cdf: Callable[..., Floats], parameters: Sequence[Floats], real: Mask, places: Floats) -> Floats:
    """Return the distributions at places (b, n), (b, k, n); 1 where a variable is not real."""
    return np.where(real, cdf(places[:, None, :], *parameters), 1)


def _best_of(cdf: Callable[[Floats], Floats], low: Floats, high: Floats, real: Mask) -> Floats:
    first, last = (np.where(real, each, -np.inf).max(axis=1, initial=-np.inf)[:, None] for each in (low, high))
    some = real.any(axis=1, keepdims=True)
    first, last = np.where(some, first, 0), np.where(some, last, 1)
    nodes = first + (last - first) * np.linspace(0, 1, NODES)
    for _ in range(ROUNDS):
        nodes = _quantiles(nodes, cdf(nodes).prod(axis=1))
        nodes[:, :1], nodes[:, -1:] = first, last
    own = cdf(nodes)
    before, after = np.ones_like(own), np.ones_like(own)
    np.cumprod(own[:, :-1], axis=1, out=before[:, 1:])
    np.cumprod(own[:, :0:-1], axis=1, out=after[:, -2::-1])
    others = before * after
    fine, coarse = _trapezoids(own, others), _trapezoids(own[:, :, ::2], others[:, :, ::2])
    found: Floats = np.where(real, np.maximum((4 * fine - coarse) / 3, 0), 0)
    found /= np.where(some, found.sum(axis=1, keepdims=True), 1)
    return found


def _trapezoids(own: Floats, others: Floats) -> Floats:
    """Return the integral of ``others`` over ``own``, both (b, k, n), from nodes on a line."""
    found: Floats = (np.diff(own, axis=2) * (others[:, :, 1:] + others[:, :, :-1]) / 2).sum(axis=2)
    return found


def _quantiles(nodes: Floats, cdf: Floats) -> Floats:
    """Return where straight lines through ``cdf`` (b, n) at ``nodes`` (b, n) reach ``LEVELS`` of their range."""
    levels = cdf[:, :1] + (cdf[:, -1:] - cdf[:, :1]) * LEVELS
    after = np.clip((cdf[:, None, :] < levels[:, :, None]).sum(axis=2), 1, NODES - 1)
    y0, y1 = (np.take_along_axis(cdf, after - back, 1) for back in (1, 0))
    x0, x1 = (np.take_along_axis(nodes, after - back, 1) for back in (1, 0))
    share = np.divide(levels - y0, y1 - y0, out=np.full(y0.shape, 0.5), where=y1 > y0)
    return np.maximum.accumulate(x0 + np.clip(share, 0, 1) * (x1 - x0), axis=1)


def draw(chances: Floats, uniforms: Floats) -> NDArray[np.intp]:
    """Return a place for each row of chances (b, k), drawn with uniforms (b,) in [0, 1); only what has a chance."""
    sums = np.cumsum(chances, axis=1)
    total = sums[:, -1]
    reached = np.minimum(uniforms * total, np.nextafter(total, 0))
    places: NDArray[np.intp] = np.argmax(sums > reached[:, None], axis=1)
    return places
