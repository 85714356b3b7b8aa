"""The noun behind ``llmrec data describe``: what a data set holds, in numbers that JSON can carry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Spread:
    """How n numbers lie; quantiles are interpolated between neighbours."""

    minimum: float
    lower_quartile: float
    median: float
    mean: float
    upper_quartile: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Bars:
    """A histogram.

    Attributes:
        edges: bar i reaches from ``edges[i]`` up to, but not to, ``edges[i + 1]``; the last one has its end too.
        counts: what lies in each bar.
        logarithmic: whether the bars have one width on a logarithmic scale, rather than on a plain one.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    logarithmic: bool


@dataclass(frozen=True, slots=True)
class Curve:
    """At most some 200 points (x, y), x rising."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LongTail:
    """How unevenly events fall on the items that have any.

    Attributes:
        top_1_percent: share of events by the most popular 1 % of these items, their number rounded up.
        top_10_percent: by the top 10 %.
        top_20_percent: by the top 20 %.
        gini: Gini coefficient of the items' events: 0 where all have equally many, near 1 where one has nearly all.
        items_for_80_percent: how many items, the most popular first, make up 80 % of events.
        shares: x share of items, the most popular first; y the share of events that they make up.
        ranks: x rank of an item, y its events.
    """

    top_1_percent: float
    top_10_percent: float
    top_20_percent: float
    gini: float
    items_for_80_percent: int
    shares: Curve
    ranks: Curve


@dataclass(frozen=True, slots=True)
class Timeline:
    """Events over time.

    Attributes:
        unit: what a bar covers: a year, month, week, day, hour or minute.
        starts: ISO 8601 start of each bar, in UTC.
        counts: events in each bar.
    """

    unit: str
    starts: tuple[str, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """When events happened, in UTC.

    Attributes:
        first: date of the first event, ISO 8601.
        last: of the last one.
        days: between the two events.
        shared_seconds: events that share their second with another event of their user: nothing orders these.
        timeline: None where the times lie outside the years 1900 to 2199, so that no clock told them.
    """

    first: str
    last: str
    days: float
    shared_seconds: int
    timeline: Timeline | None


@dataclass(frozen=True, slots=True)
class Values:
    """Ratings or weights of events.

    Attributes:
        distinct: how many different values there are.
        missing: events whose value is no finite number; they count nowhere else here.
        spread: of the values.
        levels: each value and its events, where there are at most 20 values.
        bars: a histogram, where there are more.
    """

    distinct: int
    missing: int
    spread: Spread | None
    levels: tuple[tuple[float, int], ...]
    bars: Bars | None


@dataclass(frozen=True, slots=True)
class TextColumn:
    """What a column of the item or user table has to read.

    Attributes:
        table: ``item`` or ``user``.
        name: of the column.
        unit: ``characters`` of a text, ``entries`` of a list.
        filled: share of rows with a text that is not blank, or a list that is not empty.
        median: length of those.
    """

    table: Literal["item", "user"]
    name: str
    unit: Literal["characters", "entries"]
    filled: float | None
    median: float | None


@dataclass(frozen=True, slots=True)
class Shown:
    """Impressions.

    Attributes:
        lists: how many.
        labelled: in how many it is known what was clicked.
        length: shown items of a list.
        click_through_rate: clicked of the items shown in labelled lists.
    """

    lists: int
    labelled: int
    length: Spread | None
    click_through_rate: float | None


@dataclass(frozen=True, slots=True)
class Part:
    """Targets of a split; a target is a query with one of its relevant items.

    Attributes:
        queries: how many.
        targets: how many; 0 where the labels are unknown.
        cold_users: share of targets whose user has no training event.
        cold_items: share of targets whose item has no training event.
    """

    queries: int
    targets: int
    cold_users: float | None
    cold_items: float | None


@dataclass(frozen=True, slots=True)
class Cut:
    """A split: training events, the targets of its parts, and the rule that cut it."""

    train_events: int
    valid: Part
    test: Part
    rule: Mapping[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Description:
    """A data set in numbers; None where there is nothing to count.

    Attributes:
        counts: users, items, interactions, impressions, and users_with_events and items_with_events.
        density: share of the pairs of a user and an item, both with events, that occur; sparsity is what it lacks to 1.
        repeated_pairs: events whose user and item occur together in another event before.
        per_user: events of the users that have any.
        per_item: events of the items that have any.
        users_by_events: how many users have so many events.
        time: None also where the data has no clock.
    """

    name: str
    source: str
    licence: str
    clock: bool
    counts: Mapping[str, int]
    density: float | None
    repeated_pairs: int
    per_user: Spread | None
    per_item: Spread | None
    users_by_events: Bars | None
    long_tail: LongTail | None
    time: TimeSpan | None
    values: Values
    text: tuple[TextColumn, ...]
    impressions: Shown | None
    split: Cut | None

    def to_dict(self) -> dict[str, Any]:
        """Return nested dictionaries, lists and numbers, as JSON has them."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return plain
