"""Statistics of items and users at a row's moment: only events in earlier seconds count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec.classic.ranking.base.rows import Rows
from llmrec.classic.ranking.base.search import Mask, Numbers, places
from llmrec.protocols import FloatArray

Floats = NDArray[np.float64]
STRENGTH = 10  # events that the mean rate of all items counts like in an item's rate
BLOCK = 1 << 18  # rows whose categories are looked up at once


@dataclass(frozen=True, eq=False)
class Totals:
    """What is known of items at a moment: arrays of one shape, or one number for all.

    Attributes:
        count: events of the item.
        yes: how many of them were a yes.
        all_count: events of all items.
        all_yes: how many of them were a yes.
    """

    count: Floats
    yes: Floats
    all_count: Floats | np.float64
    all_yes: Floats | np.float64


class Tally:
    """How often each item occurred, and how often with a yes, before any moment.

    Args:
        items: (n,) item numbers of events, in any order.
        times: (n,) Unix seconds.
        yes: (n,) bool.
        n_items: size of the catalogue.
    """

    def __init__(self, items: NDArray[np.int32], times: Numbers, yes: Mask, n_items: int) -> None:
        self.count = np.bincount(items, minlength=n_items).astype(np.float64)
        self.yes = np.bincount(items, yes, minlength=n_items).astype(np.float64)
        self._origin = int(times.min(initial=0))
        self._span = int(times.max(initial=0)) - self._origin + 2
        keys = items * np.int64(self._span) + (times - self._origin)
        by_item, by_time = np.argsort(keys, kind="stable"), np.argsort(times, kind="stable")
        self._keys, self._times = keys[by_item], times[by_time] - self._origin
        self._yes, self._all_yes = cumulative(yes[by_item]), cumulative(yes[by_time])
        self._starts = np.searchsorted(self._keys, np.arange(n_items) * np.int64(self._span))

    @property
    def final(self) -> Totals:
        """What is known of all items after all events."""
        return Totals(self.count, self.yes, self.count.sum(), self.yes.sum())

    def before(self, items: NDArray[np.integer], times: Numbers) -> Totals:
        """Return what was known of items (n,) just before times (n,)."""
        moments = np.clip(times - self._origin, 0, self._span - 1)
        starts = self._starts[items]
        ends = places(self._keys, items * np.int64(self._span) + moments)
        passed = places(self._times, moments)
        return Totals(
            (ends - starts).astype(np.float64),
            self._yes[ends] - self._yes[starts],
            passed.astype(np.float64),
            self._all_yes[passed],
        )


def cumulative(yes: Mask) -> Floats:
    """Return how many of the first 0, 1, …, n are true, (n + 1,)."""
    return np.concatenate([np.zeros(1), np.cumsum(yes, dtype=np.float64)])


def popularity(totals: Totals, n_items: int) -> FloatArray:
    """Return ln(1 + an item's events over those of the mean item), so that it does not grow with time; 0 before any."""
    mean = totals.all_count / n_items
    values: FloatArray = np.log1p(totals.count / np.where(mean > 0, mean, 1)).astype(np.float32)
    return values


def rate(totals: Totals) -> FloatArray:
    """Return the share of yes among an item's events, drawn towards that of all events (½ before any)."""
    mean = np.where(totals.all_count > 0, totals.all_yes / np.maximum(totals.all_count, 1), 0.5)
    values: FloatArray = ((totals.yes + STRENGTH * mean) / (totals.count + STRENGTH)).astype(np.float32)
    return values


def activity(rows: Rows, history: int) -> FloatArray:
    """Return ln(1 + events of the history), at most ``history`` of them counted, (n,)."""
    values: FloatArray = np.log1p(np.minimum(rows.last - rows.first, history)).astype(np.float32)
    return values


def user_rate(rows: Rows, history: int) -> FloatArray:
    """Return (likes + 1) / (events + 2) of the newest ``history`` events, (n,); ½ where likes are not known."""
    if rows.timeline.likes is None:
        return np.full(len(rows), 0.5, np.float32)
    first, likes = np.maximum(rows.first, rows.last - history), cumulative(rows.timeline.likes)
    values: FloatArray = ((likes[rows.last] - likes[first] + 1) / (rows.last - first + 2)).astype(np.float32)
    return values


def category_shares(rows: Rows, members: NDArray[np.integer], history: int) -> tuple[FloatArray, FloatArray]:
    """Return what the newest ``history`` events say of the categories of each row's item.

    Args:
        rows: n rows.
        members: (n_items, m), the numbers of each item's categories, right-padded with -1.
        history: newest events that count.

    Returns:
        The mean over the item's categories of their share of the events, 0 without events or categories; and their
        likes + 1 over their events + 2, ½ where likes are not known. Both float32 (n,).
    """
    events = len(rows.timeline.items)
    of_event = members[rows.timeline.items]
    place, _ = np.nonzero(of_event >= 0)
    keys = of_event[of_event >= 0] * np.int64(events + 1) + place
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    likes = None if rows.timeline.likes is None else cumulative(rows.timeline.likes[place[order]])
    shares, rates = np.zeros(len(rows), np.float32), np.full(len(rows), 0.5, np.float32)
    for start in range(0, len(rows), BLOCK):
        part = slice(start, start + BLOCK)
        first, last = np.maximum(rows.first[part], rows.last[part] - history), rows.last[part]
        wanted = members[rows.items[part]]
        owner, base = np.nonzero(wanted >= 0)[0], wanted[wanted >= 0] * np.int64(events + 1)
        low, high = (places(keys, base + each[owner]) for each in (first, last))
        asked = np.bincount(owner, minlength=len(first))
        count = np.bincount(owner, high - low, minlength=len(first))
        shares[part] = count / np.maximum((last - first) * asked, 1)
        if likes is not None:
            liked = np.bincount(owner, likes[high] - likes[low], minlength=len(first))
            rates[part] = (liked + 1) / (count + 2)
    return shares, rates
