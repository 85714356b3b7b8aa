"""Authors or categories: what is popular among items like those of the history, and what nobody has touched there."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_matrix

from llmrec.classic.recall.base.columns import text_lists
from llmrec.classic.recall.base.history import HistoryRecommender, history_matrix, popularity
from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.neighbourhood.nearest import best_of_rows, popularity_tail, put_tail, ranges
from llmrec.classic.recall.rules import check_shape, recent_users
from llmrec.config import Config
from llmrec.data import Dataset, Queries
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import DataError
from llmrec.protocols import FloatArray, Watch

Numbers = NDArray[np.int64]


class FollowedConfig(Config):
    """What can be followed."""

    column: str = "categories"
    """Column of the item table with the authors, categories or brands of an item: one value or a list."""
    follows: int = Field(5, ge=1)
    """Values that a user follows, at most: the most frequent of the history."""
    history: int = Field(10, ge=1)
    """Newest items that follows are read from."""
    days: float | None = Field(None, gt=0)
    """Popularity is counted over so many days before the last training event; null counts all of them."""


class Followed(HistoryRecommender[FollowedConfig]):
    """Proposes the most popular unseen items of the values that a user follows, in turns by how often each occurs.

    A user follows the values that most items of the history have; of equally frequent ones those with the more popular
    items. The r-th unseen item of a value that makes up the share s of what is followed scores s / r: D'Hondt's
    quotients, which hand out places as seats go to parties. An item of several followed values scores its best; a
    seen item scores as the next unseen one. Within a value the order is by users in the last ``days``, then by users of
    all time, then by item number, so new items of a small value are served too. Items of no followed value come
    after, by popularity, with scores from -1 to 0.
    """

    name: ClassVar[str] = "followed"
    config_class: ClassVar[type[Config]] = FollowedConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:  # noqa: ARG002 - counted
        items, values = item_values(data, self.config.column)
        recent, users = recent_users(data, self.config.days), popularity(data)
        weight = np.bincount(values, users[items])
        rank = np.empty(len(weight), np.int64)
        rank[np.argsort(-weight, kind="stable")] = np.arange(len(weight))
        values = rank[values]
        order = np.lexsort((items, -users[items], -recent[items], values))
        starts = np.concatenate([[0], np.cumsum(np.bincount(values))])
        return {"items": items[order].astype(np.int32), "starts": starts}

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        self._items: Numbers = arrays["items"].astype(np.int64)
        self._starts: Numbers = arrays["starts"]
        lengths = np.diff(self._starts)
        self._has = csr_matrix(
            (np.ones(len(self._items), np.float32), (self._items, np.repeat(np.arange(len(lengths)), lengths))),
            shape=(n_items, len(lengths)),
        )
        self._tail = popularity_tail(arrays["popularity"])

    def _score(self, queries: Queries) -> FloatArray:
        unseen = np.ones((len(queries), self.catalogue.n_items), np.bool_)
        unseen[history_matrix(queries, self.catalogue.n_items).nonzero()] = False
        scores = np.zeros(unseen.shape, np.float32)
        rows, values, shares, turns = self._follows(queries)
        for turn in range(int(turns.max(initial=-1)) + 1):
            now = turns == turn
            self._hand_out(scores, unseen, rows[now], values[now], shares[now])
        return put_tail(scores, self._tail)

    def _follows(self, queries: Queries) -> tuple[Numbers, Numbers, FloatArray, Numbers]:
        """Return query, value, share of what the query follows, and place among it (from 0), of each follow."""
        counts = history_matrix(queries.last(self.config.history), self.catalogue.n_items) @ self._has
        rows = np.repeat(np.arange(len(queries)), np.diff(counts.indptr))
        kept = best_of_rows(rows, counts.indices, counts.data, self.config.follows)
        rows, values, times = rows[kept], counts.indices[kept].astype(np.int64), counts.data[kept]
        turns = np.arange(len(rows)) - np.searchsorted(rows, rows)
        shares = times / np.bincount(rows, times, len(queries))[rows]
        return rows, values, shares.astype(np.float32), turns

    def _hand_out(
        self, scores: FloatArray, unseen: NDArray[np.bool_], rows: Numbers, values: Numbers, shares: FloatArray
    ) -> None:
        """Raise ``scores`` (q, n_items) to the quotients of one value for each of some queries."""
        lengths = self._starts[values + 1] - self._starts[values]
        items, row = self._items[ranges(self._starts[values], lengths)], np.repeat(rows, lengths)
        new = unseen[row, items]
        ahead: Numbers = np.cumsum(new) - new
        ahead -= np.repeat(ahead[np.cumsum(lengths) - lengths], lengths)
        quotients = np.repeat(shares, lengths) / (ahead + 1)
        scores[row, items] = np.maximum(scores[row, items], quotients)


class CategoryPopularConfig(Config):
    """What a category is."""

    column: str = "categories"
    """Column of the item table with an item's categories, authors or brands: one value or a list."""


class CategoryPopular(HistoryRecommender[CategoryPopularConfig]):
    """Scores an item by how popular it is, or is to be expected to be, and by the share of the history like it.

    An item without events is expected to be as popular as the items with some in its categories are on average: the
    mean over categories of the mean number of users. That is times the mean, over the item's categories, of the share
    of the history's items that are of it: what a shop without any model does with a new item. Items of no category of
    the history come after, by popularity, with scores from -1 to 0.
    """

    name: ClassVar[str] = "category-popular"
    config_class: ClassVar[type[Config]] = CategoryPopularConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:  # noqa: ARG002 - counted
        items, values = item_values(data, self.config.column)
        users, order = popularity(data), np.lexsort((values, items))
        items, values = items[order], values[order]
        has = users[items] > 0
        totals, counts = (np.bincount(values[has], each, int(values.max()) + 1) for each in (users[items[has]], None))
        means = totals / np.maximum(counts, 1)
        sizes = np.bincount(items, minlength=len(users))
        expected = np.bincount(items, means[values], len(users)) / np.maximum(sizes, 1)
        return {
            "expected": np.where(users > 0, users, expected).astype(np.float32),
            "values": values.astype(np.int32),
            "starts": np.concatenate([[0], np.cumsum(sizes)]),
        }

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        check_shape("expected", arrays["expected"], n_items)
        self.expected: FloatArray = arrays["expected"]
        values, starts = arrays["values"], arrays["starts"]
        width = int(values.max(initial=-1)) + 1
        self._has = csr_matrix((np.ones(len(values), np.float32), values, starts), (n_items, width))
        self._has.check_format(full_check=True)
        self._tail = popularity_tail(arrays["popularity"])

    def _score(self, queries: Queries) -> FloatArray:
        histories = history_matrix(queries, self.catalogue.n_items)
        lengths, sizes = (np.maximum(np.diff(each.indptr), 1).astype(np.float32) for each in (histories, self._has))
        shares = (histories @ self._has) @ self._has.T
        scores: FloatArray = shares.toarray() * (self.expected / sizes) / lengths[:, None]
        return put_tail(scores, self._tail)


def item_values(data: Dataset, column: str) -> tuple[Numbers, Numbers]:
    """Return the pairs of item number and value number in a column of the item table, each once.

    Raises:
        DataError: the column is not there, holds what is no text, or is blank throughout.
    """
    where = f"the item table of {data.name!r}"
    lists = text_lists(data.item_table, column, where=where)
    pairs = pl.DataFrame({"item": np.arange(len(lists)), "value": lists}).explode("value").drop_nulls().unique()
    if not pairs.height:
        raise DataError(
            f"column {column!r} of {where} is blank throughout",
            expected="values that users can follow",
            cure="name another column",
        )
    _, values = Vocabulary.encode(pairs["value"])
    return pairs["item"].to_numpy(), values.astype(np.int64)
