"""Lists of the same queries side by side: which distinct items a row has, and where each list holds them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Candidates
from llmrec.errors import DataError

Columns = NDArray[np.intp]


def union(lists: Sequence[Candidates]) -> tuple[NDArray[np.int32], list[Columns]]:
    """Return the distinct items of each row, and the column at which each item of each list stands there.

    A table with one column more than there are items takes what is said of the padding in its last: -1 points there.

    Args:
        lists: candidates of the same q queries, each (q, its own k).

    Returns:
        Items (q, u) in ascending order, right-padded with -1; for each list its columns (q, k), -1 in the padding.
    """
    items = np.concatenate([one.items for one in lists], axis=1)
    order = np.argsort(items, axis=1, kind="stable")
    ordered = np.take_along_axis(items, order, axis=1)
    new = ordered >= 0
    new[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    sorted_columns = np.cumsum(new, axis=1) - 1
    distinct = np.full((len(items), int(sorted_columns.max(initial=-1)) + 1), -1, np.int32)
    distinct[np.nonzero(new)[0], sorted_columns[new]] = ordered[new]
    columns = np.empty(items.shape, np.intp)
    np.put_along_axis(columns, order, sorted_columns, axis=1)
    return distinct, np.split(columns, np.cumsum([one.items.shape[1] for one in lists])[:-1], axis=1)


def check_lists(lists: Sequence[Candidates], k: int) -> None:
    """Raise a DataError unless there is a list, all are of as many queries, and k is 1 or more."""
    if not lists or len({len(one) for one in lists}) > 1:
        raise DataError(
            f"lists of {[len(one) for one in lists]} queries",
            expected="at least one list, all of the same queries",
            cure="recall each for the same queries",
        )
    if k < 1:
        raise DataError(f"k = {k}", expected="1 or more", cure="ask for at least one candidate")


def pad(candidates: Candidates, k: int) -> Candidates:
    """Return exactly k places a row: the first k, padded with -1 where there are fewer."""
    gap = ((0, 0), (0, max(0, k - candidates.items.shape[1])))
    return Candidates(
        np.pad(candidates.items[:, :k], gap, constant_values=-1),
        np.pad(candidates.scores[:, :k], gap, constant_values=np.float32(np.nan)),
    )
