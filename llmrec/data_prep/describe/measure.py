"""Describe a data set: counts, long tail, time span, values, text, and what is cold in its split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data import Dataset, Impressions, Interactions, Split, Targets
from llmrec.data_prep.describe.description import (
    Bars,
    Curve,
    Cut,
    Description,
    LongTail,
    Part,
    Shown,
    Spread,
    TextColumn,
    Timeline,
    TimeSpan,
    Values,
)

LEVELS = 20  # with more distinct values than this, a histogram takes the place of a count for each
STEP = 1 << 22  # events counted at once
POINTS = 200  # of a curve
FEWEST = 24  # bars of a timeline, where a smaller unit of time gives so many
UNITS = {"year": "Y", "month": "M", "week": "W", "day": "D", "hour": "h", "minute": "m"}  # NumPy's codes
EARLIEST, LATEST = np.datetime64("1900", "s"), np.datetime64("2200", "s")  # no event is told by a clock outside


def describe(data: Dataset, split: Split | None = None) -> Description:
    """Count what a data set holds, and with a split what its parts ask and how much of that is cold."""
    events, n_users, n_items = data.interactions, len(data.users), len(data.items)
    per_user, per_item = _counts(events.users, n_users), _counts(events.items, n_items)
    per_user, per_item = per_user[per_user > 0], per_item[per_item > 0]
    repeated = _repeated_pairs(events, n_items)
    cells = len(per_user) * len(per_item)
    known = {"users_with_events": len(per_user), "items_with_events": len(per_item)}
    return Description(
        name=data.name,
        source=data.source,
        licence=data.licence,
        clock=data.clock,
        counts={**data.counts(), **known},
        density=(len(events) - repeated) / cells if cells else None,
        repeated_pairs=repeated,
        per_user=_spread(per_user),
        per_item=_spread(per_item),
        users_by_events=_log_bars(per_user) if len(per_user) else None,
        long_tail=_long_tail(per_item) if len(per_item) else None,
        time=_time_span(events) if data.clock and len(events) else None,
        values=_values(events.values),
        text=(*_text("item", data.item_table), *_text("user", data.user_table)),
        impressions=None if data.impressions is None else _shown(data.impressions),
        split=None if split is None else _cut(split),
    )


def _counts(numbers: NDArray[np.int32], size: int) -> NDArray[np.int64]:
    """Return how often each number below ``size`` occurs; in steps, as ``bincount`` copies what it counts."""
    counts = np.zeros(size, np.int64)
    step = max(size, STEP)
    for start in range(0, len(numbers), step):
        counts += np.bincount(numbers[start : start + step], minlength=size)
    return counts


def _spread(numbers: NDArray[np.number]) -> Spread | None:
    if not len(numbers):
        return None
    least, lower, middle, upper, most = np.quantile(numbers, [0, 0.25, 0.5, 0.75, 1]).tolist()
    return Spread(least, lower, middle, float(numbers.mean(dtype=np.float64)), upper, most)


def _repeated_pairs(events: Interactions, n_items: int) -> int:
    keys = events.users.astype(np.int64)
    keys *= n_items
    keys += events.items
    keys.sort()
    return int(np.count_nonzero(keys[1:] == keys[:-1]))


def _shared_seconds(events: Interactions) -> int:
    """Return how many events share their second with another one of the same user."""
    later = np.cumsum(events.times[1:] != events.times[:-1])  # number of the second, from the next event on
    keys = events.users.astype(np.int64)
    keys *= len(keys)  # more than there are seconds, and far from an overflow
    keys[1:] += later
    del later
    keys.sort()
    same = keys[1:] == keys[:-1]
    return int(np.count_nonzero(np.append(same, False) | np.append(False, same)))


def _log_bars(counts: NDArray[np.int64]) -> Bars:
    """Return bars whose ends are the powers of the square root of two, made whole."""
    steps = int(2 * np.log2(counts.max())) + 3
    edges = np.unique(np.round(2 ** (np.arange(steps + 1) / 2)))
    first, last = np.searchsorted(edges, [counts.min(), counts.max()], side="right")
    edges = edges[first - 1 : last + 1]
    return _bars(counts, edges, logarithmic=True)


def _bars(numbers: NDArray[np.number], edges: NDArray[np.float64], *, logarithmic: bool) -> Bars:
    return Bars(tuple(edges.tolist()), tuple(np.histogram(numbers, edges)[0].tolist()), logarithmic)


def _long_tail(per_item: NDArray[np.int64]) -> LongTail:
    events = np.sort(per_item)[::-1]
    n, sums = len(events), np.append(0, np.cumsum(events))
    total = sums[-1]
    points = np.unique(np.linspace(0, n, POINTS + 1).round().astype(np.int64))
    ranks = np.unique(np.geomspace(1, n, POINTS).round().astype(np.int64))
    top = {percent: float(sums[-(-n * percent // 100)] / total) for percent in (1, 10, 20)}
    return LongTail(
        top_1_percent=top[1],
        top_10_percent=top[10],
        top_20_percent=top[20],
        gini=float(((n - 1 - 2 * np.arange(n)) * events).sum() / (n * total)),
        items_for_80_percent=int(np.searchsorted(5 * sums, 4 * total)),
        shares=Curve(tuple((points / n).tolist()), tuple((sums[points] / total).tolist())),
        ranks=Curve(tuple(ranks.tolist()), tuple(events[ranks - 1].tolist())),
    )


def _time_span(events: Interactions) -> TimeSpan:
    first, last = events.times[[0, -1]].astype("datetime64[s]")
    told_by_a_clock = EARLIEST <= first <= last < LATEST
    return TimeSpan(
        first=str(first.astype("datetime64[D]")),
        last=str(last.astype("datetime64[D]")),
        days=float((int(events.times[-1]) - int(events.times[0])) / 86400),
        shared_seconds=_shared_seconds(events),
        timeline=_timeline(events.times) if told_by_a_clock else None,
    )


def _timeline(times: NDArray[np.int64]) -> Timeline:
    """Return bars of the largest unit that gives enough of them, or of the smallest one."""
    ends = times[[0, -1]].astype("datetime64[s]")
    rounded = {unit: ends.astype(f"datetime64[{code}]") for unit, code in UNITS.items()}
    bars = {unit: int(np.diff(pair).astype(np.int64)[0]) + 1 for unit, pair in rounded.items()}
    unit = next((unit for unit in UNITS if bars[unit] >= FEWEST), "minute")
    edges = (rounded[unit][0] + np.arange(bars[unit] + 1)).astype("datetime64[s]")
    counts = np.diff(np.searchsorted(times, edges.astype(np.int64)))
    return Timeline(unit, tuple(np.datetime_as_string(edges[:-1]).tolist()), tuple(counts.tolist()))


def _values(values: NDArray[np.float32]) -> Values:
    finite = np.isfinite(values)
    known = values if finite.all() else values[finite]
    distinct, counts = np.unique(known, return_counts=True)
    few = len(distinct) <= LEVELS
    # As text a float32 is 0.1, as a wider float 0.10000000149.
    levels = tuple(zip(map(float, distinct.astype(str)), counts.tolist(), strict=True)) if few else ()
    return Values(len(distinct), len(values) - len(known), _spread(known), levels, None if few else _value_bars(known))


def _value_bars(values: NDArray[np.float32]) -> Bars:
    """Return twenty bars of one width, or of one ratio where the largest value is far from the others."""
    least, most = float(values.min()), float(values.max())
    far = least > 0 and most > 50 * float(np.median(values))
    edges = np.geomspace(least, most, LEVELS + 1) if far else np.linspace(least, most, LEVELS + 1)
    edges[0], edges[-1] = least, most
    return _bars(values, edges, logarithmic=far)


def _text(kind: Literal["item", "user"], table: pl.DataFrame | None) -> Iterator[TextColumn]:
    for column in () if table is None else table.iter_columns():
        if column.dtype in (pl.String, pl.Categorical, pl.Enum):
            lengths = column.cast(pl.String).str.strip_chars().str.len_chars()
        elif column.dtype == pl.List:
            lengths = column.list.len()
        else:
            continue
        full = lengths.filter(lengths > 0).to_numpy()
        yield TextColumn(
            table=kind,
            name=column.name,
            unit="entries" if column.dtype == pl.List else "characters",
            filled=len(full) / len(column) if len(column) else None,
            median=float(np.median(full)) if len(full) else None,
        )


def _shown(impressions: Impressions) -> Shown:
    lengths = np.diff(impressions.offsets)
    seen = int(lengths[impressions.labelled].sum())
    return Shown(
        lists=len(impressions),
        labelled=int(impressions.labelled.sum()),
        length=_spread(lengths),
        click_through_rate=int(impressions.clicked.sum()) / seen if seen else None,
    )


def _cut(split: Split) -> Cut:
    train = split.train.interactions
    # One more place, always False, for number -1: a user whom nobody has seen.
    users = np.append(_counts(train.users, len(split.train.users)) > 0, False)
    items = np.append(_counts(train.items, len(split.train.items)) > 0, False)
    return Cut(len(train), _part(split.valid, users, items), _part(split.test, users, items), dict(split.rule))


def _part(targets: Targets, users: NDArray[np.bool_], items: NDArray[np.bool_]) -> Part:
    real = targets.relevant >= 0
    per_query = real.sum(axis=1)
    n = int(per_query.sum())
    cold_users = int(per_query[~users[targets.queries.users]].sum())
    cold_items = int(np.count_nonzero(~items[targets.relevant[real]]))
    return Part(len(targets), n, cold_users / n if n else None, cold_items / n if n else None)
