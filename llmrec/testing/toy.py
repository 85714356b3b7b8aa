"""A data set small enough to check by hand, and what contracts assert with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from llmrec.data import Candidates, Dataset, Interactions, Vocabulary
from llmrec.errors import LlmrecError

TOY_TITLES = ("Alien", "Brazil", "Casablanca", "Dune", "Heat", "Fargo", "Gattaca")
TOY_HISTORIES = ((0, 1, 2, 3), (0, 1, 2), (1, 2, 4), (0, 3, 4), (2, 4, 5))


def toy() -> Dataset:
    """Return five users, seven films and sixteen events; nobody has seen the last film, Gattaca.

    ========  =======================  ==================
    user      items, oldest first      times
    ========  =======================  ==================
    u0        Alien Brazil Casablanca  10 20 30 40
              Dune
    u1        Alien Brazil Casablanca  11 21 31
    u2        Brazil Casablanca Heat   12 22 32
    u3        Alien Dune Heat          13 23 33
    u4        Casablanca Heat Fargo    14 24 34
    ========  =======================  ==================
    """
    users = [user for user, items in enumerate(TOY_HISTORIES) for _ in items]
    items = [item for history in TOY_HISTORIES for item in history]
    times = [10 * (place + 1) + user for user, history in enumerate(TOY_HISTORIES) for place in range(len(history))]
    return Dataset(
        name="toy",
        interactions=Interactions.sort(users, items, times),
        users=Vocabulary([f"u{user}" for user in range(len(TOY_HISTORIES))]),
        items=Vocabulary([100 + item for item in range(len(TOY_TITLES))]),
        item_table=pl.DataFrame({"title": TOY_TITLES}),
        source="made by hand",
        licence="CC0",
    )


def expect_error(kind: type[LlmrecError], call: Callable[[], object], *words: str) -> None:
    """Assert that ``call`` raises ``kind`` with a one-line message that holds all ``words``."""
    try:
        call()
    except kind as error:
        message = str(error)
        assert "\n" not in message, f"an error takes one line: {message!r}"
        for word in words:
            assert word in message, f"{word!r} is not in {message!r}"
        return
    raise AssertionError(f"no {kind.__name__} was raised")


def assert_same(one: Candidates, two: Candidates) -> None:
    """Assert equal items and scores (to 1e-5)."""
    np.testing.assert_array_equal(one.items, two.items)
    np.testing.assert_allclose(one.scores, two.scores, rtol=1e-5, atol=1e-5)
