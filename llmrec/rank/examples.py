"""Solved examples for few-shot prompts, from training users only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmrec.data import Dataset
from llmrec.errors import DataError


@dataclass(frozen=True, slots=True)
class Example:
    """What a training user chose last, among items that the user never had.

    Attributes:
        history: item numbers before it, oldest first.
        candidates: item numbers to choose from, the chosen one among them, in random order.
        target: place of the chosen one in ``candidates``.
    """

    history: tuple[int, ...]
    candidates: tuple[int, ...]
    target: int


def draw_examples(train: Dataset, n: int, *, history: int, candidates: int, seed: int) -> list[Example]:
    """Return n examples of distinct users with at least two training events.

    Args:
        train: training events; the last one of a user is what was chosen.
        n: how many.
        history: newest items of each.
        candidates: items to choose from, fewer where the catalogue is smaller; those not chosen are drawn by
            popularity, so that popularity alone does not give the answer away.
        seed: of the draws.

    Raises:
        DataError: fewer than n users have two events.
    """
    order, starts = train.by_user
    users = np.flatnonzero(np.diff(starts) >= 2)
    if len(users) < n:
        raise DataError(
            f"{len(users)} training users with two events", expected=f"{n} examples", cure="lower examples, or use 0"
        )
    rng = np.random.default_rng(seed)
    counts = np.bincount(train.interactions.items, minlength=len(train.items)).astype(np.float64)
    found = []
    for user in rng.choice(users, n, replace=False):
        items = train.interactions.items[order[starts[user] : starts[user + 1]]]
        weights = counts.copy()
        weights[items] = 0
        size = min(candidates - 1, int(np.count_nonzero(weights)))
        shares = weights / max(weights.sum(), 1)
        others: list[int] = rng.choice(len(weights), size, replace=False, p=shares).tolist() if size else []
        shuffled = rng.permutation([items[-1], *others]).tolist()
        past = tuple(items[max(0, len(items) - 1 - history) : -1].tolist())
        found.append(Example(past, tuple(shuffled), shuffled.index(items[-1])))
    return found
