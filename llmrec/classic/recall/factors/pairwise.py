"""Stochastic gradient steps on the pairwise loss of given pairs: what BPR does on pairs that it samples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import expit

from llmrec.data.preferences import Preferences
from llmrec.protocols import FloatArray

PAIRS = 512  # that are stepped together, at most
MEETING = 4  # of a batch that have a user or an item in common, at most on average


def pair_epochs(
    preferences: Preferences, weight: float, *, learning_rate: float, regularization: float, seed: int
) -> Callable[[FloatArray, FloatArray], None]:
    """Return what steps each pair once, in random order, and changes users' and items' vectors in place.

    The loss of a pair is weight * w * (-ln sigmoid(x·(y - z)) + regularization / 2 (|x|² + |y|² + |z|²)), x the user's
    vector, y and z those of the items. The last number of x, 1 for the bias, stays. Pairs of a batch step from the same
    vectors; there are so many batches that few of one user or item meet in one.

    Args:
        preferences: the pairs, each with its w.
        weight: of all of them.
        learning_rate: of a step.
        regularization: weight of the squared norms, those of biases too.
        seed: of the orders.
    """
    rng = np.random.default_rng(seed)
    items = np.bincount(np.concatenate([preferences.chosen, preferences.rejected]))
    busiest = -(-max(np.bincount(preferences.users).max(), items.max()) // MEETING)
    batches = int(min(len(preferences), max(busiest, -(-len(preferences) // PAIRS))))
    scale = (learning_rate * weight * preferences.weights).astype(np.float32)[:, None]

    def step(users: FloatArray, vectors: FloatArray, rows: np.ndarray) -> None:
        one, two, three = preferences.users[rows], preferences.chosen[rows], preferences.rejected[rows]
        x, y, z, size = users[one], vectors[two], vectors[three], scale[rows]
        wrong = expit(((z - y) * x).sum(axis=1, keepdims=True))
        np.add.at(users[:, :-1], one, (size * (wrong * (y - z) - regularization * x))[:, :-1])
        np.add.at(vectors, two, size * (wrong * x - regularization * y))
        np.add.at(vectors, three, size * (-wrong * x - regularization * z))

    def epoch(users: FloatArray, vectors: FloatArray) -> None:
        for rows in np.array_split(rng.permutation(len(preferences)), batches):
            step(users, vectors, rows)

    return epoch
