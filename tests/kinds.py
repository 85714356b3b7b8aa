"""The toy films with categories, and lists of them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from llmrec.data import Candidates, Dataset, Interactions, Queries, Vocabulary
from llmrec.testing import RankerContract, assert_same, toy

# Alien, Brazil, Casablanca, Dune, Heat, Fargo, Gattaca
KINDS = (["sci-fi", "horror"], ["sci-fi", "comedy"], ["drama"], ["sci-fi"], ["crime", "drama"], ["crime"], [])


def kinds() -> Dataset:
    """Return the toy data set with the categories in ``KINDS``; nothing is known of the last film."""
    return replace(toy(), item_table=pl.DataFrame({"title": toy().item_table["title"], "categories": list(KINDS)}))


def shelf(categories: Sequence[Sequence[str]], histories: Sequence[Sequence[int]] = ((0,),)) -> Dataset:
    """Return items with these categories, which users had as the histories say, a second after the other."""
    users = [user for user, items in enumerate(histories) for _ in items]
    items = [item for history in histories for item in history]
    return Dataset(
        name="shelf",
        interactions=Interactions.sort(users, items, list(range(len(items)))),
        users=Vocabulary(list(range(len(histories)))),
        items=Vocabulary([f"i{item}" for item in range(len(categories))]),
        item_table=pl.DataFrame({"categories": [list(row) for row in categories]}, schema={"categories": pl.List(str)}),
    )


def ranked(*rows: Sequence[int], scores: Sequence[Sequence[float]] | None = None) -> Candidates:
    """Return candidates, right-padded; without scores these fall in even steps."""
    width = max(map(len, rows))
    items = np.array([[*row, *[-1] * (width - len(row))] for row in rows], np.int32).reshape(len(rows), width)
    if scores is None:
        return Candidates(items, np.where(items < 0, np.nan, -np.arange(width, dtype=float)))
    return Candidates(items, np.array([[*row, *[np.nan] * (width - len(row))] for row in scores], np.float32))


def nobody(n: int) -> Queries:
    """Return n queries without a history."""
    return Queries.from_histories([()] * n)


def order(model, candidates: Candidates, queries: Queries | None = None) -> list[list[int]]:
    """Return each ranked row without its padding."""
    found = model.rank(nobody(len(candidates)) if queries is None else queries, candidates).items
    return [row[row >= 0].tolist() for row in found]


class RerankerContract(RankerContract):
    """What every re-ranker keeps, fitted on ``kinds()``."""

    def test_a_saved_one_comes_back_and_ranks_the_same(self, tmp_path) -> None:
        model = self.make()
        folder = model.save(tmp_path / "model")
        again = type(model).load(folder)
        assert again.config == model.config
        assert_same(again.rank(self.queries(), self.candidates()), model.rank(self.queries(), self.candidates()))
