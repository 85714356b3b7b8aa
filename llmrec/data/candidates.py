"""What a recommender proposes and a ranker orders: items with scores, best first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data.events import frozen_array
from llmrec.data.files import require_columns
from llmrec.errors import DataError

if TYPE_CHECKING:
    from llmrec.data.dataset import Dataset
    from llmrec.data.queries import Queries

COLUMNS = ("query", "user", "rank", "item", "score")


@dataclass(frozen=True, eq=False)
class Candidates:
    """Proposed items for q queries, best first.

    Attributes:
        items: int32 (q, k), item numbers, right-padded with -1; no item twice in a row.
        scores: float32 (q, k), higher is better, NaN where there is no item or no score.
    """

    items: NDArray[np.int32]
    scores: NDArray[np.float32]

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", frozen_array(self.items, np.int32))
        object.__setattr__(self, "scores", frozen_array(self.scores, np.float32))
        if self.items.ndim != 2 or self.items.shape != self.scores.shape:
            raise DataError(
                f"candidate items {self.items.shape} with scores {self.scores.shape}",
                expected="two arrays of one shape (q, k)",
                cure="pass one score for each item",
            )
        ordered = np.sort(self.items, axis=1)
        twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
        if twice.any():
            row, column = np.argwhere(twice)[0]
            raise DataError(
                f"item number {ordered[row, column + 1]} occurs twice in candidate row {row}",
                expected="each item once a row",
                cure="drop the repeated candidates",
            )

    @classmethod
    def best(cls, scores: NDArray[np.float32], k: int) -> Candidates:
        """Return the k best items of dense scores (q, n_items); equal scores go to the lower item number.

        ``-inf`` and ``NaN`` mean "never": such places come back as padding. The order is exact and the same
        everywhere.

        Raises:
            DataError: k is larger than the catalogue or below 1.
        """
        check_k(k, scores.shape[1])
        scores = np.fmax(np.asarray(scores, np.float32), np.float32(-np.inf))  # NaN becomes -inf
        if 4 * k < scores.shape[1]:
            least = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
            chosen, level = scores > least, scores == least
            # Of those that tie for the last places the first are taken.
            room = k - chosen.sum(axis=1)
            tied = level.sum(axis=1) > room
            level[tied] &= np.cumsum(level[tied], axis=1) <= room[tied, None]
            items = np.nonzero(chosen | level)[1].reshape(-1, k)
        else:
            items = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
        found = np.take_along_axis(scores, items, axis=1)
        order = np.argsort(-found, axis=1, kind="stable")[:, :k]
        items, found = np.take_along_axis(items, order, axis=1), np.take_along_axis(found, order, axis=1)
        padding = found == -np.inf
        return cls(np.where(padding, -1, items), np.where(padding, np.nan, found))

    def with_scores(self, scores: NDArray[np.float32]) -> Candidates:
        """Return the same items ordered by new scores (q, k), best first; ties and NaN keep the incoming order."""
        scores = np.where(self.items < 0, np.nan, np.asarray(scores, np.float32))
        unscored = np.isnan(scores)
        key = np.where(unscored, 0, -scores)
        # Unscored items go behind scored ones (-inf too), padding behind both: a stable sort, last key first.
        order = np.lexsort((key, unscored, self.items < 0), axis=1)
        return Candidates(np.take_along_axis(self.items, order, 1), np.take_along_axis(scores, order, 1))

    def top(self, k: int) -> Candidates:
        """Return the first k of each row (all of them where a row has fewer)."""
        return Candidates(self.items[:, :k], self.scores[:, :k])

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Candidates:
        """Return some rows."""
        return Candidates(self.items[rows], self.scores[rows])

    def require_filled(self, first: int = 0) -> None:
        """Raise a DataError if a row has no candidate at all; rows are counted from ``first``."""
        empty = ~(self.items >= 0).any(axis=1)
        if empty.any():
            raise DataError(
                f"candidate row {first + int(np.argmax(empty))} is empty ({int(empty.sum())} of {len(self)} rows are)",
                expected="at least one candidate a row",
                cure="drop the query, or recall more items for it",
            )

    def to_frame(self, dataset: Dataset, queries: Queries) -> pl.DataFrame:
        """Return a long table with ids: query, user (null if unseen), rank (from 1), item, score."""
        row, place = np.nonzero(self.items >= 0)
        frame = pl.DataFrame(
            {
                "query": row.astype(np.int32),
                "user": dataset.users.decode(queries.users[row]),
                "rank": (place + 1).astype(np.int32),
                "item": dataset.items.decode(self.items[row, place]),
                "score": self.scores[row, place],
            }
        )
        return frame.select(COLUMNS)

    @classmethod
    def from_frame(
        cls, frame: pl.DataFrame, dataset: Dataset, queries: Queries, *, first: int = 0, where: str = "the table"
    ) -> Candidates:
        """Return the candidates of a long table, one row for each query of ``queries``; rank orders them.

        Args:
            frame: what ``to_frame`` gave.
            dataset: the data set that the items are of.
            queries: whose candidates they are.
            first: the number that the table gives the first of ``queries``.
            where: the table's name for messages.

        Raises:
            DataError: a column is missing, an item is not in the data set or twice at a query, or a query has no row.
        """
        require_columns(frame, COLUMNS, where=where)
        frame = frame.sort("query", "rank", maintain_order=True)
        items = dataset.items.numbers(frame["item"])
        if (items < 0).any():
            raise DataError(
                f"{where} has item {frame['item'][int(np.argmin(items))]!r}",
                expected=f"items of data set {dataset.name!r}",
                cure="use the data set that the candidates were made from",
            )
        rows = frame["query"].to_numpy() - first
        if len(rows) and (rows.min() < 0 or rows.max() >= len(queries)):
            raise DataError(
                f"{where} has query {first + int(rows.max() if rows.max() >= len(queries) else rows.min())}",
                expected=f"query numbers from {first} to {first + len(queries) - 1}",
                cure="rank the part (valid or test) that the candidates were recalled for",
            )
        asked = dataset.users.numbers(frame["user"])
        if (asked != queries.users[rows]).any():
            row = int(np.argmax(asked != queries.users[rows]))
            raise DataError(
                f"{where} has user {frame['user'][row]!r} at query {first + rows[row]}",
                expected=f"user {dataset.users.decode(queries.users[rows[row : row + 1]])[0]!r}",
                cure="rank the part (valid or test) that the candidates were recalled for",
            )
        twice = frame.select("query", "item").is_duplicated().arg_true()
        if len(twice):
            raise DataError(
                f"{where} has item {frame['item'][twice[0]]!r} twice at query {frame['query'][twice[0]]}",
                expected="each item once a query",
                cure="drop the repeated candidates",
            )
        counts = np.bincount(rows, minlength=len(queries))
        place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        padded = np.full((len(queries), int(counts.max(initial=0))), -1, np.int32)
        scores = np.full(padded.shape, np.nan, np.float32)
        padded[rows, place], scores[rows, place] = items, frame["score"].to_numpy()
        candidates = cls(padded, scores)
        candidates.require_filled(first)
        return candidates

    def __len__(self) -> int:
        return len(self.items)


def check_k(k: int, n_items: int) -> None:
    """Raise a DataError unless 1 <= k <= n_items."""
    if not 1 <= k <= n_items:
        raise DataError(
            f"k = {k}", expected=f"1 to {n_items}, the size of the catalogue", cure="ask for fewer candidates"
        )
