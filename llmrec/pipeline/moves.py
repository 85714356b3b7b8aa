"""What a stage moved: lists before and after compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Candidates

Items = NDArray[np.int32]


def places(listed: Items, asked: Items) -> NDArray[np.int64]:
    """Return at which place (from 0) of its row in ``listed`` (q, k) each of ``asked`` (q, n) is, -1 where nowhere."""
    span = int(max(listed.max(initial=0), asked.max(initial=0))) + 1
    rows = np.arange(len(listed), dtype=np.int64)[:, None] * span
    keys, there = (rows + listed)[listed >= 0], np.nonzero(listed >= 0)[1]
    order = np.argsort(keys)
    keys, there = np.append(keys[order], -1), np.append(there[order], -1)
    wanted = rows + asked
    found = np.searchsorted(keys[:-1], wanted)
    return np.where((asked >= 0) & (keys[found] == wanted), there[found], -1)


def moves(before: Candidates, after: Candidates) -> tuple[int, int, int]:
    """Return what was moved between two lists of each query.

    Returns:
        Places that the candidates of ``after`` moved, up or down, added up; how many of them were among as many first
        ones before; in how many rows another candidate is the first.
    """
    came = places(before.items, after.items)
    sizes = (after.items >= 0).sum(axis=1, keepdims=True)
    known = came >= 0
    moved = np.abs(came - np.arange(after.items.shape[1]))[known].sum()
    first = (came[:, :1] != 0) & (sizes > 0)
    return int(moved), int((known & (came < sizes)).sum()), int(first.sum())
