"""Any table of interactions, with tables of items and users beside it: CSV, TSV, JSON or Parquet."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data import Dataset, Interactions, Vocabulary
from llmrec.data_prep.about import encode, known, read_about, require_good, stem
from llmrec.data_prep.core import Repeats, check_core, without_repeats
from llmrec.data_prep.core import k_core as core_of
from llmrec.data_prep.raw.anyfile import read_any
from llmrec.data_prep.raw.delimited import Layout
from llmrec.data_prep.raw.reading import Check, Reading, unix_milliseconds, unix_seconds
from llmrec.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

TimeUnit = Literal["s", "ms", "iso"]
UNITS: tuple[TimeUnit, ...] = ("s", "ms", "iso")

LARGEST = float(np.finfo(np.float32).max)
_ISO = (
    r"^\s*(?P<day>\d{4}-\d{2}-\d{2})(?:[T ](?P<minute>\d{2}:\d{2})(?P<second>:\d{2}(?:\.\d+)?)?)?"
    r"\s*(?P<zone>Z|[+-]\d{2}:?\d{2})?\s*$"
)


@dataclass(frozen=True)
class _Roles:
    """Which column is what."""

    user: str
    item: str
    time: str | None
    value: str | None
    unit: TimeUnit

    def __post_init__(self) -> None:
        names = [name for name in (self.user, self.item, self.time, self.value) if name is not None]
        if len(set(names)) < len(names):
            raise ConfigError(
                f"the columns {', '.join(names)}",
                expected="another for user, item, time and value",
                cure="name each once",
            )
        if self.unit not in UNITS:
            raise ConfigError(f"time_unit = {self.unit!r}", expected=", ".join(UNITS), cure="choose one of them")

    def columns(self) -> dict[str, type[pl.DataType]]:
        """Return the columns that events are read from, with their types."""
        columns: dict[str, type[pl.DataType]] = {self.user: pl.String, self.item: pl.String}
        if self.time is not None:
            columns[self.time] = pl.String if self.unit == "iso" else pl.Float64
        return columns if self.value is None else {**columns, self.value: pl.Float64}

    def checks(self) -> list[Check]:
        """Refuse what is no time, and values that are no finite float32."""
        checks = [] if self.time is None else time_checks(self.time, self.unit)
        if self.value is not None:
            finite = pl.col(self.value).is_between(-LARGEST, LARGEST)
            checks.append(Check(self.value, ~finite, "a finite number"))
        return checks

    def events(self, users: NDArray[np.int32], items: NDArray[np.int32], frame: pl.DataFrame) -> Interactions:
        """Return the events by their exact times, or in the order of their rows where there are none."""
        values = None if self.value is None else frame[self.value].to_numpy()
        if self.time is None:
            return Interactions.sort(users, items, np.arange(len(users)), values)
        exact = frame.select(exact_time(self.time, self.unit)).to_series().to_numpy()
        order = np.argsort(exact, kind="stable")
        seconds = np.floor(exact[order]).astype(np.int64)
        return Interactions.sort(users[order], items[order], seconds, None if values is None else values[order])


def load_table(
    interactions: Path | str,
    items: Path | str | None = None,
    *,
    users: Path | str | None = None,
    user: str = "user",
    item: str = "item",
    time: str | None = None,
    value: str | None = None,
    time_unit: TimeUnit = "s",
    item_id: str | None = None,
    user_id: str | None = None,
    title: str | None = "title",
    layout: Layout | None = None,
    item_layout: Layout | None = None,
    user_layout: Layout | None = None,
    name: str | None = None,
    source: str = "",
    licence: str = "",
    repeats: Repeats = "all",
    k_core: int = 1,
    reading: Reading | None = None,
) -> Dataset:
    """Return the data set of a table with one interaction a row; ``raw.anyfile`` says which formats are read.

    Ids stay integers where all of them, in both files, are written as such; otherwise they are texts. Items and users
    are numbered as their tables list them, or in the order of their ids. Events of one second keep their order within
    it: first by the fraction that the file gives, then by their place in the file.

    Args:
        interactions: the table of events.
        items: table of the catalogue; its further columns are kept, under their names (one called ``id``, which is
            taken, becomes ``id_in_file``).
        users: the same of users.
        user: column of user ids.
        item: column of item ids.
        time: column of times; without one, events are in the order of their rows (``clock`` is False).
        value: column of ratings or weights; without one, each event counts 1.
        time_unit: Unix seconds, Unix milliseconds, or dates as ISO 8601 writes them (UTC where no zone is given).
        item_id: column of ids in ``items``; as ``item`` if None.
        user_id: column of ids in ``users``; as ``user`` if None.
        title: column of titles in ``items``; None where there is none.
        layout: separator, header and encoding of ``interactions`` where its name does not tell them.
        item_layout: the same of ``items``.
        user_layout: the same of ``users``.
        name: of the data set; the file's own by default.
        source: where the data came from.
        licence: under which terms.
        repeats: which event of a user-item pair stays; see ``core.without_repeats``.
        k_core: fewest events of each user and item that stays; from 2 on, the catalogue holds the items of the core.
        reading: which rows may be left out.

    Raises:
        DataError: a file is missing, empty or damaged, a column is absent, or a row is bad and may not be left out: an
            id is blank or not in its table, a table has it twice, a time or value is out of range.
        ConfigError: two roles name one column, or an option is unknown.
    """
    reading, path = reading or Reading(), Path(interactions)
    roles = _Roles(user, item, time, value, time_unit)
    check_core(repeats, k_core)
    catalogue = read_about(items, item_id or item, reading, title=title, layout=item_layout)
    people = read_about(users, user_id or user, reading, layout=user_layout)
    checks = [*known(user, people), *known(item, catalogue), *roles.checks()]
    frame = read_any(path, roles.columns(), reading, checks=checks, layout=layout)
    require_good(frame, path)
    user_ids, user_numbers = encode(frame.drop_in_place(user), people)
    item_ids, item_numbers = encode(frame.drop_in_place(item), catalogue)
    whole = Dataset(
        name=name or stem(path),
        interactions=roles.events(user_numbers, item_numbers, frame),
        users=user_ids,
        items=item_ids,
        item_table=pl.DataFrame(height=len(item_ids)) if catalogue is None else catalogue.table,
        user_table=people.table if people is not None and people.table.width else None,
        source=source,
        licence=licence,
        clock=time is not None,
    )
    return keep_core(whole, repeats, k_core)


def keep_core(data: Dataset, repeats: Repeats, k: int) -> Dataset:
    """Return a data set with one event of each user-item pair and the k-core of those; see ``core``.

    For k of 2 or more, users and items outside the core go, and all others keep their order; for 1 all stay.

    Raises:
        DataError: no event is left.
    """
    events = without_repeats(data.interactions, repeats)
    if k == 1:
        return data.with_interactions(events)
    core = events.select(core_of(events.users, events.items, k))
    logger.info(
        "%s: %d events, %d repeats of a user and an item left out (%s), %d outside the %d-core",
        data.name, len(data.interactions), len(data.interactions) - len(events), repeats, len(events) - len(core), k,
    )  # fmt: skip
    if not len(core):
        raise DataError(
            f"{data.name} has no event in its {k}-core ({len(events)} before)",
            expected=f"users and items with at least {k} events",
            cure="lower k_core",
        )
    users, user_numbers = np.unique(core.users, return_inverse=True)
    items, item_numbers = np.unique(core.items, return_inverse=True)
    return replace(
        data,
        interactions=Interactions.sort(user_numbers, item_numbers, core.times, core.values),
        users=Vocabulary(data.users.ids.gather(users)),
        items=Vocabulary(data.items.ids.gather(items)),
        item_table=data.item_table[items],
        user_table=None if data.user_table is None else data.user_table[users],
    )


def time_checks(column: str, unit: TimeUnit) -> list[Check]:
    """Refuse what is no time in a unit."""
    if unit == "iso":
        expected = "a date from 1970 on as in 2024-05-31, 2024-05-31T18:30:00 or 2024-05-31T18:30:00+02:00"
        return [Check(column, ~(exact_time(column, unit) >= 0), expected)]
    finite = Check(column, ~pl.col(column).is_finite(), "a time")
    if unit == "ms":
        return [finite, *unix_milliseconds(column, "say time_unit='s' if it counts seconds")]
    return [finite, *unix_seconds(column, "say time_unit='ms' if it counts milliseconds")]


def exact_time(column: str, unit: TimeUnit) -> pl.Expr:
    """Return Unix seconds with their fraction, Float64."""
    if unit != "iso":
        return pl.col(column) / (1000 if unit == "ms" else 1)
    part = partial(pl.col(column).str.extract_groups(_ISO).struct.field)
    whole = pl.concat_str(
        part("day"),
        pl.lit(" "),
        part("minute").fill_null("00:00"),
        part("second").fill_null(":00"),
        part("zone").replace("Z", "+00:00").fill_null("+00:00"),
    )
    return whole.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%z", strict=False, time_unit="us").dt.epoch("us") / 1_000_000
