"""Rules: the plain channels of an industrial funnel. Here what was popular lately, and what is new."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from llmrec.classic.recall.base.history import HistoryRecommender, popularity
from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.neighbourhood.nearest import popularity_tail
from llmrec.config import Config
from llmrec.data import Dataset, Queries
from llmrec.data.files import require_columns
from llmrec.errors import DataError
from llmrec.protocols import FloatArray, Watch

DAY = 86_400  # seconds


class PopularWindowConfig(Config):
    """How long ago still counts."""

    days: float = Field(365.0, gt=0)
    """Events of so many days before the last training event count."""
    half_life: float | None = Field(None, gt=0)
    """Days in which the weight of an event halves; null weighs all the same."""


class PopularWindow(HistoryRecommender[PopularWindowConfig]):
    """Scores an item by how many users had it in the last days of the training data.

    Each user counts once an item; with ``half_life`` as 2^(-age / half_life), the age being that of the user's newest
    event with it. Items without an event in the window follow by all-time popularity, with scores from -1 to 0.
    Everybody gets the same.
    """

    name: ClassVar[str] = "popular-window"
    config_class: ClassVar[type[Config]] = PopularWindowConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:  # noqa: ARG002 - counted
        return {"recent": recent_users(data, self.config.days, self.config.half_life)}

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        check_shape("recent", arrays["recent"], n_items)
        self.recent: FloatArray = arrays["recent"]
        self._scores = np.where(self.recent > 0, self.recent, popularity_tail(arrays["popularity"]))

    def _score(self, queries: Queries) -> FloatArray:
        return np.tile(self._scores, (len(queries), 1))


class NewItemsConfig(Config):
    """What makes an item new."""

    column: str | None = None
    """Column of the item table with dates, years or Unix seconds; null takes the time of an item's first event."""


class NewItems(HistoryRecommender[NewItemsConfig]):
    """Proposes the newest items first, of equally new ones those that most users had.

    The oldest and least popular items score 1, and each next pair of date and popularity 1 more, so that fusing by
    score sees even steps. Items without a date follow by popularity, with scores from -1 to 0. Where a column has the
    dates, items that nobody has touched yet are served too, also those dated after the training data. Everybody gets
    the same.
    """

    name: ClassVar[str] = "new-items"
    config_class: ClassVar[type[Config]] = NewItemsConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:  # noqa: ARG002 - sorted
        dates = first_times(data) if self.config.column is None else column_dates(data, self.config.column)
        dated = dates.is_not_null().to_numpy()
        table = pl.DataFrame({"date": dates, "users": popularity(data)}).filter(dated)
        newness = np.full(len(dates), -1, np.int32)
        newness[dated] = table.select(pl.struct("date", "users").rank("dense")).to_series().to_numpy()
        return {"newness": newness}

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        check_shape("newness", arrays["newness"], n_items)
        self.newness: NDArray[np.int32] = arrays["newness"]
        undated = popularity_tail(arrays["popularity"])
        self._scores: FloatArray = np.where(self.newness > 0, self.newness, undated).astype(np.float32)

    def _score(self, queries: Queries) -> FloatArray:
        return np.tile(self._scores, (len(queries), 1))


def recent_users(data: Dataset, days: float | None, half_life: float | None = None) -> FloatArray:
    """Return how many users had each item lately, float32 (n_items,).

    Args:
        data: a data set with interactions.
        days: how long before the last event; None counts all events.
        half_life: days in which a user's weight halves, from the user's newest event with the item; None weighs 1.

    Raises:
        DataError: the data set's times are no clock times.
    """
    events = data.interactions
    if days is None and half_life is None:
        return popularity(data)
    require_clock(
        data, "count all events (days=null, or the recommender 'popular'), or prepare the data from files with times"
    )
    ages = (events.times[-1] - events.times) / DAY
    start = 0 if days is None else int(np.searchsorted(-ages, -days))
    pairs = events.users[start:].astype(np.int64) * len(data.items) + events.items[start:]
    newest = pl.Series(pairs).is_last_distinct().to_numpy()
    weights = None if half_life is None else 0.5 ** (ages[start:][newest] / half_life)
    return np.bincount(events.items[start:][newest], weights, len(data.items)).astype(np.float32)


def first_times(data: Dataset) -> pl.Series:
    """Return the time of each item's first event, null where it has none; a DataError without clock times."""
    require_clock(data, "name a column of the item table with dates")
    first = np.full(len(data.items), -1, np.int64)
    first[data.interactions.items[::-1]] = data.interactions.times[::-1]  # the earliest is written last
    touched = np.zeros(len(first), np.bool_)
    touched[data.interactions.items] = True
    return pl.Series(first).set(pl.Series(~touched), None)


def column_dates(data: Dataset, column: str) -> pl.Series:
    """Return a column of dates or numbers of the item table, null where there is none.

    Raises:
        DataError: the column is not there, or of another type.
    """
    require_columns(data.item_table, [column], where=f"the item table of {data.name!r}")
    dates = data.item_table[column]
    if not (dates.dtype.is_temporal() or dates.dtype.is_numeric()):
        raise DataError(
            f"column {column!r} of {data.name!r} holds {dates.dtype}",
            expected="dates, years or Unix seconds",
            cure="turn it into dates first, for example with polars' str.to_date",
        )
    return dates.fill_nan(None) if dates.dtype.is_float() else dates


def require_clock(data: Dataset, cure: str) -> None:
    """Raise a DataError if the times of different users cannot be compared."""
    if not data.clock:
        raise DataError(
            f"the times of {data.name!r} only order each user's events (clock is False)",
            expected="times that compare between users, Unix seconds",
            cure=cure,
        )


def check_shape(name: str, array: NDArray[np.generic], n_items: int) -> None:
    """Raise a ValueError unless there is one number an item."""
    if array.shape != (n_items,):
        raise ValueError(f"{name} of shape {array.shape}")
