"""What the lint of a split looks at: every event with its side, every target with the time at which it happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data import Dataset, Interactions, Split
from llmrec.data_prep.split.impressions import lists_of_parts
from llmrec.errors import DataError

Moments = NDArray[np.int64]
KEY = ("user", "item", "time")
TRAIN, VALID, TEST, NOWHERE = range(4)
PARTS = {"valid": VALID, "test": TEST}
NEVER = np.iinfo(np.int64).max
EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """One thing that the lint found.

    Attributes:
        rule: which rule found it, as in ``future-in-training``.
        severity: ``leak`` makes results wrong; ``caution`` may be meant and should be said beside them.
        count: how many events, targets, items or users it concerns.
        message: one line for a reader.
        examples: the first few, by their ids.
    """

    rule: str
    severity: Literal["leak", "caution"]
    count: int
    message: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Evidence:
    """A split beside the data set that it was cut from.

    Attributes:
        data: the whole data set.
        split: what was cut from it.
        events: user, item, time and side of each event (VALID or TEST of a target, else TRAIN or NOWHERE).
        targets: side, row (of the part's queries), user, item and time of each target.
        moments: int64 (q,) of each part: the first target of each query; NEVER where that is not known.
    """

    data: Dataset
    split: Split
    events: pl.DataFrame
    targets: pl.DataFrame
    moments: dict[str, Moments]

    @property
    def by_time(self) -> bool:
        """Whether the rule cuts through everybody's time at once."""
        return self.split.rule.get("name") in {"global-time-cut", "impression-time"}

    def name(self, user: int, item: int) -> str:
        """Return two numbers by their ids."""
        return f"user {self.data.users.ids[int(user)]!r}, item {self.data.items.ids[int(item)]!r}"


def gather(data: Dataset, split: Split) -> Evidence:
    """Return the evidence.

    Raises:
        DataError: the split was not cut from ``data``.
    """
    if split.train.users != data.users or split.train.items != data.items:
        raise _other_data(data, "the split has other users or items")
    trained = _frame(split.train.interactions).unique().with_columns(trained=True)
    events = _frame(data.interactions).join(trained, on=KEY, how="left", maintain_order="left")
    events = events.with_columns(pl.col("trained").fill_null(value=False))
    if split.rule.get("name") == "impression-time":
        moments = _impression_moments(data, split)
        targets = pl.concat(
            _flat(split, part).with_columns(time=moments[part][_flat(split, part)["row"]]) for part in PARTS
        )
    else:
        targets = _timed(data, split, events)
        moments = {part: _moments(split, targets, part) for part in PARTS}
    sides = targets.group_by(KEY).agg(pl.col("side").min())
    events = events.join(sides, on=KEY, how="left", maintain_order="left").select(
        *KEY, side=pl.coalesce("side", pl.when("trained").then(TRAIN), pl.lit(NOWHERE))
    )
    return Evidence(data, split, events, targets, moments)


def _frame(events: Interactions) -> pl.DataFrame:
    return pl.DataFrame({"user": events.users, "item": events.items, "time": events.times})


def _flat(split: Split, part: str) -> pl.DataFrame:
    """Return the targets of known users: side, row, user, item."""
    targets = split.part(part)
    row, column = np.nonzero((targets.relevant >= 0) & (targets.queries.users >= 0)[:, None])
    frame = pl.DataFrame({"row": row, "user": targets.queries.users[row], "item": targets.relevant[row, column]})
    return frame.select(pl.lit(PARTS[part]).alias("side"), "row", "user", "item")


def _timed(data: Dataset, split: Split, events: pl.DataFrame) -> pl.DataFrame:
    """Return the targets of both parts with their times, looked up among the events."""
    after = np.full(len(data.users), np.iinfo(np.int64).min)
    timed = []
    for part in PARTS:
        targets = _placed(_flat(split, part), events, after)
        if targets["time"].null_count():
            row = targets.filter(pl.col("time").is_null()).row(0, named=True)
            raise _other_data(
                data,
                f"{part} has the target {data.items.ids[row['item']]!r} of user {data.users.ids[row['user']]!r}, an "
                "event that is not there",
            )
        np.maximum.at(after, targets["user"].to_numpy(), targets["time"].to_numpy())
        timed.append(targets)
    return pl.concat(timed)


def _placed(targets: pl.DataFrame, events: pl.DataFrame, after: Moments) -> pl.DataFrame:
    """Return targets with ``time``: of the first event outside training after the user's ``after``, else of any."""
    targets = targets.with_columns(floor=after[targets["user"]]).with_row_index()
    free = pl.col("time").filter(~pl.col("trained"))
    late = pl.col("time").filter(~pl.col("trained") & (pl.col("time") > pl.col("floor")))
    found = (
        targets.join(events, on=["user", "item"], how="inner")
        .group_by("index")
        .agg(time=pl.coalesce(late.min(), free.min(), pl.col("time").max()))
    )
    return targets.join(found, on="index", how="left", maintain_order="left").drop("index", "floor")


def _moments(split: Split, targets: pl.DataFrame, part: str) -> Moments:
    moments = np.full(len(split.part(part)), NEVER)
    some = targets.filter(side=PARTS[part])
    np.minimum.at(moments, some["row"].to_numpy(), some["time"].to_numpy())
    return moments


def _impression_moments(data: Dataset, split: Split) -> dict[str, Moments]:
    """Return the times of the impressions that the split asks about."""
    moments = {}
    for part, number in PARTS.items():
        asked = split.part(part).queries.users
        if data.impressions is None or not {"valid_from", "test_from"} <= split.rule.keys():
            raise _other_data(data, "the rule 'impression-time' needs its moments and the impressions")
        lists = lists_of_parts(data.impressions, int(split.rule["valid_from"]), int(split.rule["test_from"]))[number]
        if not np.array_equal(data.impressions.users[lists], asked):
            raise _other_data(data, f"the {len(asked)} {part} queries are not the {int(lists.sum())} impressions there")
        moments[part] = data.impressions.times[lists]
    return moments


def _other_data(data: Dataset, found: str) -> DataError:
    return DataError(
        f"{found} ({data.name!r})",
        expected="the whole data set that the split was cut from",
        cure="pass that data set, and the split with all of its queries",
    )
