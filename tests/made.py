"""Small data sets made of (user, item, time) rows, and splits read back as plain lists."""

import numpy as np
import polars as pl

from llmrec.data import Dataset, Interactions, Split, Targets, Vocabulary

Event = tuple[int, int, int]  # user, item, time


def dataset(rows: list[Event], *, n_users: int = 6, n_items: int = 8) -> Dataset:
    """Return a data set whose values number the events as given."""
    users, items, times = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    return Dataset(
        name="made",
        interactions=Interactions.sort(users, items, times, np.arange(len(rows))),
        users=Vocabulary([f"u{user}" for user in range(n_users)]),
        items=Vocabulary(range(n_items)),
        item_table=pl.DataFrame({"title": [str(item) for item in range(n_items)]}),
    )


def asked(targets: Targets) -> dict[int, tuple[list[int], list[int]]]:
    """Return user -> (history, relevant)."""
    relevant = [row[row >= 0].tolist() for row in targets.relevant]
    users = targets.queries.users.tolist()
    assert users == sorted(set(users))
    return dict(zip(users, zip(targets.queries.lists(), relevant, strict=True), strict=True))


def train_events(split: Split) -> list[int]:
    """Return the numbers of the training events, in the order in which they were made."""
    return sorted(split.train.interactions.values.astype(int).tolist())
