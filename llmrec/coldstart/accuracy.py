"""How often simulated preferences are right, where it is known what users took."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec.coldstart.items import ColdStart
from llmrec.coldstart.pairs import Pairs
from llmrec.data import Targets
from llmrec.data.preferences import Preferences
from llmrec.errors import DataError
from llmrec.eval.significance import bootstrap_interval


@dataclass(frozen=True, slots=True)
class PairAccuracy:
    """How often the chosen item of a pair is the one that was taken.

    Attributes:
        pairs: preferences of which the truth is known: the user took one of the two items, and not the other.
        users: whose they are.
        accuracy: share of them that are right, the mean over users.
        low: lower end of its 95 % bootstrap interval over users.
        high: upper end.
        by_user: float64 (users,), the share of each, by ascending user number.
    """

    pairs: int
    users: int
    accuracy: float
    low: float
    high: float
    by_user: NDArray[np.float64]


def pair_accuracy(preferences: Preferences, targets: Targets, *, seed: int = 0) -> PairAccuracy:
    """Return how often preferences agree with what users took afterwards.

    Args:
        preferences: from a simulation or a control.
        targets: what was taken.
        seed: of the bootstrap.

    Raises:
        DataError: of no pair is the truth known.
    """
    took, left = _taken(targets, preferences.users, preferences.chosen, preferences.rejected)
    known = took ^ left
    if not known.any():
        raise DataError(
            f"no truth is known of {len(preferences):,} pairs",
            expected="users who took one item of a pair and not the other",
            cure="ask about pairs_with_truth, or about more pairs",
        )
    _, rows = np.unique(preferences.users[known], return_inverse=True)
    by_user = np.bincount(rows, took[known]) / np.bincount(rows)
    low, high = bootstrap_interval(by_user, seed=seed)
    return PairAccuracy(int(known.sum()), len(by_user), float(by_user.mean()), low, high, by_user)


def pairs_with_truth(world: ColdStart, targets: Targets, *, per_user: int = 5, seed: int = 0) -> Pairs:
    """Return pairs of a cold item that a user took and one that the user did not, in random order.

    They are for measuring only: which users and items are asked about comes from the targets, so nothing may learn from
    the answers. The other item is drawn from those that somebody took, as often as they were: popularity gives nothing
    away.

    Args:
        world: users, cold items.
        targets: what was taken.
        per_user: pairs of a user, fewer where the user took fewer cold items.
        seed: of the draws.

    Raises:
        DataError: no user with a history took a cold item and left another.
    """
    rng = np.random.default_rng(seed)
    real = targets.relevant >= 0
    rows, places = np.nonzero(real & np.isin(targets.relevant, world.items))
    users, items = targets.queries.users[rows], targets.relevant[rows, places]
    shuffled = rng.permutation(len(users))
    shuffled = shuffled[np.argsort(users[shuffled], kind="stable")]
    starts = np.searchsorted(users[shuffled], users[shuffled])
    drawn = shuffled[np.arange(len(shuffled)) - starts < per_user]
    drawn = drawn[np.isin(users[drawn], world.users)]
    others = items[rng.integers(len(items), size=(len(drawn), 32))] if len(items) else np.zeros((0, 32), np.int32)
    taken, _ = _taken(targets, np.repeat(users[drawn], 32), others.ravel(), others.ravel())
    free = ~taken.reshape(others.shape)
    place, some = free.argmax(axis=1), free.any(axis=1)
    if not some.any():
        raise DataError(
            f"no user of {world.train.name!r} with a history took a cold item and left another",
            expected="targets among cold items",
            cure="take a later part, or a larger data set",
        )
    drawn, one, two = drawn[some], items[drawn[some]], others[some, place[some]]
    swap = rng.random(len(drawn)) < 0.5
    return Pairs(users[drawn], np.where(swap, two, one), np.where(swap, one, two))


def _taken(
    targets: Targets, users: NDArray[np.int32], *items: NDArray[np.int32]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return whether each user (n,) took each of two items (n,): as a target, or before it."""
    seen = np.concatenate([targets.queries.history, targets.relevant], axis=1)
    rows, places = np.nonzero(seen >= 0)
    size = 1 + max(int(each.max(initial=-1)) for each in (seen, *items))
    known = targets.queries.users[rows].astype(np.int64) * size + seen[rows, places]
    one, two = (np.isin(users.astype(np.int64) * size + each, known) for each in items)
    return one, two
