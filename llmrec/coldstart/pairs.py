"""Who is asked about which two cold items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmrec.coldstart.items import ColdStart, Numbers
from llmrec.data.events import frozen_array
from llmrec.errors import DataError

Rule = Literal["random", "active", "content"]
_TIRES = 64
"""Draws for each pair that is wanted after which there seem to be no others."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Questions which of two items a user would take.

    Attributes:
        users: int32 (n,), user numbers.
        first: int32 (n,), item numbers.
        second: int32 (n,), item numbers.
    """

    users: Numbers
    first: Numbers
    second: Numbers

    def __post_init__(self) -> None:
        for name in ("users", "first", "second"):
            object.__setattr__(self, name, frozen_array(getattr(self, name), np.int32))
        shapes = [each.shape for each in (self.users, self.first, self.second)]
        if len(set(shapes)) > 1 or len(shapes[0]) != 1:
            raise DataError(
                f"users and items of shapes {', '.join(map(str, shapes))}",
                expected="three arrays (n,)",
                cure="pass one user and two items for each pair",
            )

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Pairs:
        """Return some pairs."""
        return Pairs(self.users[rows], self.first[rows], self.second[rows])

    def __len__(self) -> int:
        return len(self.users)


def draw_pairs(
    world: ColdStart,
    n: int,
    *,
    rule: Rule = "random",
    per_user: int = 5,
    near: NDArray[np.int32] | None = None,
    seed: int = 0,
) -> Pairs:
    """Return n distinct questions about two cold items each; fewer where there are no more.

    The first of n questions are those of a smaller n: a larger budget asks more, nothing else. Questions of one user
    stand together, up to ``per_user`` of them, so that engines read the history once. Once all users had their turn
    they have another.

    Args:
        world: users, cold items.
        n: how many.
        rule: ``random`` takes users in random order, ``active`` those with the most training events first. ``content``
            draws a cold item and one of the users nearest to it, who is asked about it and other ones.
        per_user: questions of a user's turn.
        near: for ``content``: int32 (c, k), users near each of the cold items, padded with -1 (``nearest_users``).
        seed: of the draws.

    Raises:
        DataError: there is only one cold item, or nobody is near to any.
    """
    if len(world.items) < 2:
        raise DataError(
            f"one cold item of {world.train.name!r} that has a title",
            expected="two to choose between",
            cure="train on a smaller fraction, or simulate interactions instead of pairs",
        )
    turns = _near(near, seed) if rule == "content" else _in_turn(world, rule, seed)
    size = 2 * n + 16
    while True:
        users, anchors = turns(-(-size // per_user))
        drawn = _distinct(np.repeat(users, per_user)[:size], *_places(np.repeat(anchors, per_user)[:size], world, seed))
        if len(drawn) >= n or size > _TIRES * n:
            break
        size *= 2
    rows = drawn.select(slice(n))
    return Pairs(rows.users, world.items[rows.first], world.items[rows.second])


Turns = Callable[[int], tuple[NDArray[np.int32], NDArray[np.int64]]]
"""Takes a number of turns, returns for each a user, and the place of the cold item that it is about, -1 for any."""


def _in_turn(world: ColdStart, rule: Rule, seed: int) -> Turns:
    random = np.random.default_rng([seed, 0]).permutation(world.users)
    order = random if rule == "random" else world.users[np.argsort(-world.activity, kind="stable")]
    return lambda n: (np.resize(order, n), np.full(n, -1))


def _near(near: NDArray[np.int32] | None, seed: int) -> Turns:
    """Draw cold items that somebody is near to, and of each one of those users."""
    if near is None or not (near >= 0).any():
        raise DataError(
            f"rule = 'content' with {'nothing known of who is near' if near is None else 'nobody near'} to a cold item",
            expected="users near the items",
            cure="pass near=nearest_users(…), of a model that has vectors of both",
        )
    counts = (near >= 0).sum(axis=1)
    known = np.flatnonzero(counts)

    def turns(n: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        items, places = (np.random.default_rng([seed, stream]).random(n) for stream in (1, 2))
        anchors = known[(items * len(known)).astype(np.int64)]
        return near[anchors, (places * counts[anchors]).astype(np.int64)], anchors

    return turns


def _places(anchors: NDArray[np.int64], world: ColdStart, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places of two cold items for each row, in random order; one is the anchor's where there is one."""
    n = len(world.items)
    one, two, turned = (np.random.default_rng([seed, stream]).random(len(anchors)) for stream in (3, 4, 5))
    first = np.where(anchors >= 0, anchors, (one * n).astype(np.int64))
    second = (two * (n - 1)).astype(np.int64)
    second += second >= first
    swap = turned < 0.5
    return np.where(swap, second, first), np.where(swap, first, second)


def _distinct(users: NDArray[np.int32], first: NDArray[np.int64], second: NDArray[np.int64]) -> Pairs:
    """Return the rows that no earlier one equals, whichever item stands first."""
    n = int(max(first.max(initial=0), second.max(initial=0))) + 1
    keys = (users.astype(np.int64) * n + np.minimum(first, second)) * n + np.maximum(first, second)
    _, kept = np.unique(keys, return_index=True)
    kept.sort()
    return Pairs(users[kept], first[kept].astype(np.int32), second[kept].astype(np.int32))
