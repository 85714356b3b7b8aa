"""Solved examples for few-shot prompts, from training users only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Dataset
from llmrec.errors import DataError


@dataclass(frozen=True, slots=True)
class Example:
    """What a training user chose last, among items that the user never had.

    Attributes:
        history: item numbers before it, oldest first.
        candidates: item numbers to choose from, the chosen one among them, in random order.
        target: place of the chosen one in ``candidates``.
        liked: whether each item of the history was.
        yes: whether the chosen one was.
    """

    history: tuple[int, ...]
    candidates: tuple[int, ...]
    target: int
    liked: tuple[bool, ...]
    yes: bool


def draw_examples(
    train: Dataset, n: int, *, history: int, candidates: int, seed: int, like_above: float | None = None
) -> list[Example]:
    """Return n examples of distinct users with at least two training events.

    Args:
        train: training events; the last one of a user is what was chosen.
        n: how many.
        history: newest items of each.
        candidates: items to choose from, fewer where the catalogue is smaller; those not chosen are drawn by
            popularity, so that popularity alone does not give the answer away.
        seed: of the draws.
        like_above: half of the examples (rounded up) are users who rated what they chose above it, the others are not,
            in random order; None takes all events for likes.

    Raises:
        DataError: too few users have two events.
    """
    order, starts = train.by_user
    events = train.interactions
    liked = np.ones(len(events), np.bool_) if like_above is None else events.values > like_above
    rng = np.random.default_rng(seed)
    counts = np.bincount(train.interactions.items, minlength=len(train.items)).astype(np.float64)
    found = []
    for user in _draw_users(train, n, rng, None if like_above is None else liked):
        at = order[starts[user] : starts[user + 1]]
        items = events.items[at]
        weights = counts.copy()
        weights[items] = 0
        size = min(candidates - 1, int(np.count_nonzero(weights)))
        shares = weights / max(weights.sum(), 1)
        others: list[int] = rng.choice(len(weights), size, replace=False, p=shares).tolist() if size else []
        shuffled = rng.permutation([items[-1], *others]).tolist()
        past = slice(max(0, len(items) - 1 - history), -1)
        likes = liked[at]
        found.append(
            Example(
                history=tuple(items[past].tolist()),
                candidates=tuple(shuffled),
                target=shuffled.index(items[-1]),
                liked=tuple(likes[past].tolist()),
                yes=bool(likes[-1]),
            )
        )
    return found


def _draw_users(train: Dataset, n: int, rng: np.random.Generator, liked: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    """Return n users with two events; with ``liked`` (n_events,), half of them liked the last one."""
    order, starts = train.by_user
    users = np.flatnonzero(np.diff(starts) >= 2)
    if liked is None:
        return _choose(rng, users, n, "")
    yes = liked[order[starts[users + 1] - 1]]
    both = (
        _choose(rng, users[yes], n - n // 2, ", the last one liked"),
        _choose(rng, users[~yes], n // 2, ", the last one not liked"),
    )
    return rng.permutation(np.concatenate(both))


def _choose(rng: np.random.Generator, users: NDArray[np.int64], n: int, which: str) -> NDArray[np.int64]:
    if len(users) < n:
        raise DataError(
            f"{len(users)} training users with two events{which}",
            expected=f"{n} examples",
            cure="lower examples, or use 0",
        )
    return rng.choice(users, n, replace=False)
