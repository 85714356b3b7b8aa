"""Data that recall tests make."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import pytest

from llmrec.data import Dataset, Interactions, Vocabulary

MakeData = Callable[[Sequence[Sequence[int]], int], Dataset]


@pytest.fixture
def make_data() -> MakeData:
    """Return a function from each user's items and the size of the catalogue to a data set."""

    def make(histories: Sequence[Sequence[int]], n_items: int) -> Dataset:
        users = [user for user, items in enumerate(histories) for _ in items]
        items = [item for row in histories for item in row]
        return Dataset(
            "made",
            Interactions.sort(users, items, range(len(items))),
            Vocabulary(range(len(histories))),
            Vocabulary(range(n_items)),
            pl.DataFrame({"title": [f"item {item}" for item in range(n_items)]}),
        )

    return make


@pytest.fixture
def random_data(make_data: MakeData) -> Dataset:
    """Return 60 users with 12 to 20 distinct items of 40; each item has a user."""
    rng = np.random.default_rng(4)
    histories = [rng.permutation(40)[: rng.integers(12, 21)].tolist() for _ in range(60)]
    assert len({item for row in histories for item in row}) == 40
    return make_data(histories, 40)
