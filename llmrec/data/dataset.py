"""A data set: interactions, vocabularies and what is known of items and users, in one folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from llmrec.data.events import Impressions, Interactions
from llmrec.data.files import atomic_folder, ragged_series, read_json, read_parquet, write_json
from llmrec.data.queries import Queries, pad_ragged
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import DataError

SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class Dataset:
    """Interactions with the tables that explain them.

    Attributes:
        name: short name, as in ``movielens-latest-small``.
        interactions: events in user and item numbers, sorted by time.
        users: vocabulary of user ids.
        items: vocabulary of item ids; the whole catalogue, also items without any interaction.
        item_table: row i describes item i (``title``, ``categories``, ``description``, …); no id column.
        user_table: row i describes user i, or None.
        impressions: shown-and-clicked lists, or None.
        source: where the data came from.
        licence: under which terms.
        clock: whether times are Unix seconds; False where they only order the events of each user.

    Raises:
        DataError: a table's height differs from its vocabulary, or an event names no row of it.
    """

    name: str
    interactions: Interactions
    users: Vocabulary
    items: Vocabulary
    item_table: pl.DataFrame
    user_table: pl.DataFrame | None = None
    impressions: Impressions | None = None
    source: str = ""
    licence: str = ""
    clock: bool = True

    def __post_init__(self) -> None:
        for kind, table, vocabulary in (
            ("item", self.item_table, self.items),
            ("user", self.user_table, self.users),
        ):
            if table is not None and table.height != len(vocabulary):
                raise DataError(
                    f"{kind} table of {table.height} rows for {len(vocabulary)} {kind}s",
                    expected="row i to describe number i",
                    cure="join the table to the vocabulary's ids first",
                )
        for kind, numbers, size in (
            ("user", self.interactions.users, len(self.users)),
            ("item", self.interactions.items, len(self.items)),
        ):
            if len(numbers) and (numbers.min() < 0 or numbers.max() >= size):
                wrong = int(numbers.min() if numbers.min() < 0 else numbers.max())
                raise DataError(
                    f"an interaction of {kind} number {wrong}",
                    expected=f"{kind} numbers from 0 to {size - 1}",
                    cure="encode the events with the data set's own vocabulary",
                )

    @cached_property
    def by_user(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Event numbers grouped by user in time order, and where each user's group starts (n_users + 1)."""
        order = np.argsort(self.interactions.users, kind="stable")
        counts = np.bincount(self.interactions.users, minlength=len(self.users))
        return order, np.concatenate([[0], np.cumsum(counts)])

    @cached_property
    def _by_moment(self) -> tuple[NDArray[np.int64], np.int64, np.int64]:
        """One sorted key for user and time of each event, so that a binary search serves all queries at once.

        The key is user * span + time - first; first is the time of the earliest event.
        """
        order, _ = self.by_user
        times = self.interactions.times
        first, span = times[0], times[-1] - times[0] + 2
        return self.interactions.users[order] * span + (times[order] - first), first, span

    def queries(self, users: ArrayLike, *, history: int | None = 50, before: ArrayLike | None = None) -> Queries:
        """Return a query for each user number (q,) with the newest ``history`` items; -1 gets an empty history.

        The history's values come along where they differ, its times where they are Unix seconds.

        Args:
            users: user numbers.
            history: at most so many items; None for all.
            before: (q,) Unix seconds; only events earlier than these count. None counts all.
        """
        asked = np.asarray(users, np.int32)
        order, starts = self.by_user
        ends = np.where(asked >= 0, starts[asked + 1], 0)
        if before is not None and len(order):
            keys, first, span = self._by_moment
            wanted = np.clip(np.asarray(before, np.int64) - first, 0, span - 1)
            ends = np.where(asked >= 0, np.searchsorted(keys, asked * span + wanted), 0)
        lengths = np.where(asked >= 0, ends - starts[asked], 0)
        if history is not None:
            lengths = np.minimum(lengths, history)
        rows = np.repeat(np.arange(len(asked)), lengths)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        events = order[np.repeat(ends - lengths, lengths) + within]
        return ask(asked, rows, self.interactions, events, rated=self.interactions.rated, clock=self.clock)

    def titles(self) -> list[str]:
        """Return the title of each item, in number order.

        Raises:
            DataError: the item table has no title column, or an item has a blank one.
        """
        if "title" not in self.item_table.columns:
            raise DataError(
                f"the item table of {self.name!r} has the columns {', '.join(self.item_table.columns)}",
                expected="a column 'title': language models read items by their titles",
                cure="prepare the data set from files with titles",
            )
        title = self.item_table["title"]
        blank = (title.is_null() | (title.str.strip_chars() == "")).fill_null(value=True)
        if blank.any():
            row = int(blank.arg_true()[0])
            raise DataError(
                f"item {self.items.ids[row]!r} has no title ({int(blank.sum())} of {len(title)} have none)",
                expected="a title for every item",
                cure="fill the titles in, or drop those items",
            )
        return title.to_list()

    def with_interactions(self, interactions: Interactions) -> Dataset:
        """Return the same users and items with other events and no impressions."""
        return replace(self, interactions=interactions, impressions=None)

    def save(self, folder: Path | str) -> Path:
        """Write the data set to ``folder`` as Parquet and ``dataset.json``, whole or not at all."""
        folder = Path(folder)
        with atomic_folder(folder) as temporary:
            events = self.interactions
            pl.DataFrame(
                {"user": events.users, "item": events.items, "time": events.times, "value": events.values}
            ).write_parquet(temporary / "interactions.parquet")
            items = pl.DataFrame([self.items.ids]).hstack(self.item_table)
            items.write_parquet(temporary / "items.parquet")
            users = pl.DataFrame([self.users.ids])
            if self.user_table is not None:
                users = users.hstack(self.user_table)
            users.write_parquet(temporary / "users.parquet")
            if self.impressions is not None:
                _impressions_frame(self.impressions).write_parquet(temporary / "impressions.parquet")
            write_json(
                temporary / "dataset.json",
                {
                    "schema_version": SCHEMA_VERSION,
                    "name": self.name,
                    "source": self.source,
                    "licence": self.licence,
                    "clock": self.clock,
                    "counts": self.counts(),
                },
            )
        return folder

    @classmethod
    def load(cls, folder: Path | str) -> Dataset:
        """Read a folder that ``save`` wrote.

        Raises:
            DataError: a file is missing, truncated, of another schema or inconsistent with the others.
        """
        folder = Path(folder)
        about = read_json(folder / "dataset.json")
        if about.get("schema_version") != SCHEMA_VERSION:
            raise DataError(
                f"{str(folder)!r} has schema version {about.get('schema_version')!r}",
                expected=f"version {SCHEMA_VERSION}",
                cure="run 'llmrec prepare' again",
            )
        events = read_parquet(folder / "interactions.parquet", ["user", "item", "time", "value"])
        items = read_parquet(folder / "items.parquet", ["id"])
        users = read_parquet(folder / "users.parquet", ["id"])
        shown = folder / "impressions.parquet"
        return cls(
            name=str(about.get("name", folder.name)),
            interactions=Interactions(*(events[name].to_numpy() for name in ("user", "item", "time", "value"))),
            users=Vocabulary(users["id"]),
            items=Vocabulary(items["id"]),
            item_table=items.drop("id"),
            user_table=users.drop("id") if users.width > 1 else None,
            impressions=_read_impressions(shown) if shown.exists() else None,
            source=str(about.get("source", "")),
            licence=str(about.get("licence", "")),
            clock=bool(about.get("clock", True)),
        )

    def counts(self) -> dict[str, int]:
        """Return how many users, items, interactions and impressions there are."""
        return {
            "users": len(self.users),
            "items": len(self.items),
            "interactions": len(self.interactions),
            "impressions": 0 if self.impressions is None else len(self.impressions),
        }


def ask(
    users: NDArray[np.int32],
    rows: NDArray[np.integer],
    interactions: Interactions,
    events: NDArray[np.integer],
    *,
    rated: bool,
    clock: bool,
    last: int | None = None,
) -> Queries:
    """Return q queries from events in time order.

    Args:
        users: (q,) user numbers.
        rows: (n,) which query each event belongs to.
        interactions: where the events are.
        events: (n,) rows of ``interactions``.
        rated: take the values along.
        clock: take the times along.
        last: keep only so many newest events of a query.
    """
    history = pad_ragged(rows, interactions.items[events], len(users), last=last)
    values = pad_ragged(rows, interactions.values[events], len(users), last=last, fill=0) if rated else None
    times = pad_ragged(rows, interactions.times[events], len(users), last=last, fill=0) if clock else None
    return Queries(users, history, values, times)


def _impressions_frame(impressions: Impressions) -> pl.DataFrame:
    """Return a row for each list; ``clicked`` is null where nothing is known of it."""
    frame = pl.DataFrame(
        {
            "user": impressions.users,
            "time": impressions.times,
            "items": ragged_series(impressions.items, impressions.offsets),
            "clicked": ragged_series(impressions.clicked, impressions.offsets),
        }
    )
    return frame.with_columns(clicked=pl.when(pl.Series(impressions.labelled)).then("clicked"))


def _read_impressions(path: Path) -> Impressions:
    frame = read_parquet(path, ["user", "time", "items", "clicked"])
    lengths = frame["items"].list.len().to_numpy()
    labelled = frame["clicked"].is_not_null().to_numpy()
    clicked = np.zeros(int(lengths.sum()), np.bool_)
    clicked[np.repeat(labelled, lengths)] = frame["clicked"].drop_nulls().explode(empty_as_null=False).to_numpy()
    return Impressions(
        users=frame["user"].to_numpy(),
        times=frame["time"].to_numpy(),
        offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        items=frame["items"].explode(empty_as_null=False).to_numpy(),
        clicked=clicked,
        labelled=labelled,
    )
