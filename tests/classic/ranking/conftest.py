"""Data in which only an interaction tells what users like."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from llmrec.data import Dataset, Interactions, Split, Targets, Vocabulary

KINDS = 4


@pytest.fixture(scope="session")
def planted() -> Split:
    """Return ratings of 120 users for 40 items: 5 where user and item are of one kind, else 1; later ones are valid.

    A user's kind is in a column of the user table, an item's in one of the item table. Every user and every item has
    likes in the same share, so that what is linear in users and items says nothing.
    """
    rng, users, items = np.random.default_rng(7), 120, 40
    rated = np.concatenate([np.stack([np.full(items, user), rng.permutation(items)], 1) for user in range(users)])
    rated = rated[rng.permutation(len(rated))]
    values = np.where(rated[:, 0] % KINDS == rated[:, 1] % KINDS, 5.0, 1.0)
    cut = len(rated) * 3 // 4
    events = Interactions.sort(rated[:, 0], rated[:, 1], 100 + np.arange(len(rated)), values)
    data = Dataset(
        "planted",
        events.select(np.arange(cut)),
        Vocabulary(range(users)),
        Vocabulary(range(items)),
        pl.DataFrame({"kind": [f"k{item % KINDS}" for item in range(items)]}),
        pl.DataFrame({"kind": [f"k{user % KINDS}" for user in range(users)]}),
    )
    later = rated[cut:]
    queries = data.queries(np.arange(users), history=None)
    width = int(np.bincount(later[:, 0]).max())
    relevant, given = np.full((users, width), -1), np.zeros((users, width))
    for user in range(users):
        mine = later[:, 0] == user
        relevant[user, : mine.sum()] = later[mine, 1]
        given[user, : mine.sum()] = values[cut:][mine]
    there = (relevant >= 0).any(axis=1)
    targets = Targets(queries, relevant, values=given) if there.all() else Targets(queries, relevant).select(there)
    return Split(data, targets, targets)
