"""Fewer events: one of each user-item pair, and the k-core. What every loader of reviews needs."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Interactions
from llmrec.errors import ConfigError, did_you_mean

Repeats = Literal["last", "first", "max", "all"]
RULES: tuple[Repeats, ...] = ("last", "first", "max", "all")


def check_core(repeats: str, k: int) -> None:
    """Raise a ConfigError unless there is such a rule for repeats and k is 1 or more."""
    if repeats not in RULES:
        raise ConfigError(f"repeats = {repeats!r}", expected=", ".join(RULES), cure=did_you_mean(repeats, RULES))
    if k < 1:
        raise ConfigError(f"k_core = {k}", expected="1 or more", cure="choose 1 to keep every user and item")


def without_repeats(events: Interactions, repeats: Repeats) -> Interactions:
    """Return the events with one of each user-item pair, still in time order.

    Args:
        events: n events.
        repeats: which one stays: the ``last`` by time, the ``first``, that of the highest value (``max``; of equal
            ones the newest), or ``all``. Of events in one second, the input's order says which is newer.

    Raises:
        ConfigError: there is no such rule.
    """
    check_core(repeats, 1)
    if repeats == "all" or not len(events):
        return events
    pairs = events.users.astype(np.int64)
    pairs *= int(events.items.max()) + 1
    pairs += events.items
    # Both sorts are stable, so that within a pair, or a pair and a value, the events stay in time order.
    order = np.lexsort((events.values, pairs)) if repeats == "max" else stable_order(pairs)
    pairs = pairs[order]
    new = pairs[1:] != pairs[:-1]
    ends = np.append(True, new) if repeats == "first" else np.append(new, True)
    kept = np.zeros(len(events), np.bool_)
    kept[order[ends]] = True
    return events if kept.all() else events.select(kept)


def stable_order(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``np.argsort(keys, kind="stable")``, several times faster where a key and its row fit into 63 bits.

    There they become one number, since NumPy sorts numbers much faster than it finds their order.
    """
    low, high = (int(keys.min()), int(keys.max())) if len(keys) else (0, 0)
    bits = len(keys).bit_length()
    if (high - low).bit_length() + bits > 63:
        return np.argsort(keys, kind="stable")
    packed = keys - low
    packed <<= bits
    packed |= np.arange(len(keys))
    packed.sort()
    packed &= (1 << bits) - 1
    return packed


def k_core(users: NDArray[np.integer], items: NDArray[np.integer], k: int) -> NDArray[np.bool_]:
    """Return which events (n,) are in the k-core: the most events among which each user and item has at least k.

    Users and items with fewer lose their events, which may leave others with fewer, until nothing changes.

    Args:
        users: user number of each event (n,), 0 or more.
        items: item number of each event (n,), 0 or more.
        k: fewest events; 1 keeps everything.

    Raises:
        ConfigError: k is below 1.
    """
    check_core("all", k)
    core, left = np.zeros(len(users), np.bool_), np.arange(len(users))
    while True:
        enough = (np.bincount(users)[users] >= k) & (np.bincount(items)[items] >= k)
        if enough.all():
            break
        left, users, items = left[enough], users[enough], items[enough]
    core[left] = True
    return core
