"""Rows with labels: events with sampled negatives, ratings above or below a threshold, or impressions."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmrec.classic.ranking.base.rows import Histories, Rows, flatten
from llmrec.classic.ranking.base.search import Mask, Numbers, contains
from llmrec.config import Config
from llmrec.data import Dataset, Impressions, Targets
from llmrec.errors import DataError
from llmrec.protocols import FloatArray

Labels = Literal["impressions", "ratings", "negatives"]
ROUNDS = 50  # of drawing again what a user had; who still has no negative then had about everything


class ExamplesConfig(Config):
    """What a ranker learns to tell apart."""

    labels: Labels | None = None
    """Clicks told from shown, likes from other ratings, or events from negatives; null: the first or the last."""
    like_above: float = 3.0
    """Ratings above it are likes."""
    negatives: int = Field(4, ge=1)
    """Items that the user never had, drawn for each event; only read with labels=negatives."""
    power: float = Field(0.5, ge=0, le=1)
    """Negatives are drawn by this power of an item's events: 0 is uniformly, 1 by popularity."""


class Negatives:
    """Draws items that somebody did not have, among those that anybody had.

    Args:
        counts: (n_items,), events of each item.
        power: of the counts that items are drawn by.
    """

    def __init__(self, counts: NDArray[np.integer], power: float) -> None:
        self.n_items = len(counts)
        chances = np.where(counts > 0, counts.astype(np.float64) ** power, 0)
        self._cumulative = np.cumsum(chances) / max(chances.sum(), np.finfo(np.float64).tiny)

    def draw(self, owners: Numbers, had: Numbers, rng: np.random.Generator) -> Numbers:
        """Return an item for each of the owners (n,), int64; -1 where none was found.

        Args:
            owners: numbers from 0.
            had: sorted owner * n_items + item of what must not be drawn.
            rng: of the draws.
        """
        found = np.full(len(owners), -1, np.int64)
        open_rows = np.arange(len(owners))
        for _ in range(ROUNDS):
            drawn = np.searchsorted(self._cumulative, rng.random(len(open_rows)), side="right")
            drawn = np.minimum(drawn, self.n_items - 1)
            fits = ~contains(had, owners[open_rows] * self.n_items + drawn)
            found[open_rows[fits]] = drawn[fits]
            open_rows = open_rows[~fits]
            if not len(open_rows):
                break
        return found


def chosen_labels(data: Dataset, config: ExamplesConfig) -> Labels:
    """Return what kind of labels is learned from.

    Raises:
        DataError: the data set does not have it.
    """
    there = data.impressions is not None and bool(data.impressions.labelled.any())
    if config.labels is None:
        return "impressions" if there else "negatives"
    if config.labels == "impressions" and not there:
        raise _without(data, "impressions with clicks", "labels = 'impressions'")
    if config.labels == "ratings" and not data.interactions.rated:
        raise _without(data, "values that differ", "labels = 'ratings'")
    return config.labels


def likes_above(data: Dataset, config: ExamplesConfig) -> float | None:
    """Return the value above which an event is a like, None where values do not differ."""
    return config.like_above if data.interactions.rated else None


def event_rows(data: Dataset, config: ExamplesConfig, rng: np.random.Generator) -> Rows:
    """Return the rows that a data set gives, in the order of their lists, labels of both kinds among them.

    Raises:
        DataError: no event, or no row of either label.
    """
    events = data.interactions
    if not len(events):
        raise DataError(
            f"data set {data.name!r} has no interaction", expected="events to learn from", cure="check how it was split"
        )
    kind, histories = chosen_labels(data, config), Histories(data, likes_above(data, config))
    if kind == "impressions" and data.impressions is not None:
        return _checked(data, _impression_rows(data.impressions, histories))
    if kind == "ratings":
        order, _ = data.by_user  # a user's rows together: lists to be ordered
        given = events.values[order]
        users, items, times = events.users[order], events.items[order], events.times[order]
        labels = (given > config.like_above).astype(np.float32)
        return _checked(data, _rows(histories, users, items, times, labels, users.astype(np.int64), given))
    had = np.unique(events.users * np.int64(len(data.items)) + events.items)
    sampler = Negatives(np.bincount(events.items, minlength=len(data.items)), config.power)
    repeated = np.repeat(np.arange(len(events)), 1 + config.negatives)
    items = events.items[repeated].astype(np.int64)
    negative = np.arange(len(repeated)) % (1 + config.negatives) > 0
    items[negative] = sampler.draw(events.users[repeated[negative]].astype(np.int64), had, rng)
    kept = items >= 0
    repeated, negative = repeated[kept], negative[kept]
    labels = (~negative).astype(np.float32)
    values = _given(events.values[repeated], negative) if events.rated else None
    users, times = events.users[repeated], events.times[repeated]
    return _checked(data, _rows(histories, users, items[kept].astype(np.int32), times, labels, repeated, values))


def target_rows(
    targets: Targets, kind: Labels, config: ExamplesConfig, counts: NDArray[np.integer], rng: np.random.Generator
) -> Rows:
    """Return the rows that early stopping judges: what training rows are, of later queries and without times.

    Args:
        targets: queries with what was relevant.
        kind: labels, as ``chosen_labels`` of the training data says.
        config: how negatives are drawn and what a like is.
        counts: (n_items,), events of each item in training.
        rng: of the draws.

    Raises:
        DataError: it is not known what was shown, or what the values are, or all labels are alike.
    """
    asked, places = np.nonzero(targets.relevant >= 0)
    relevant = targets.relevant[asked, places].astype(np.int64)
    values = None if targets.values is None or kind == "impressions" else targets.values[asked, places]
    if kind == "ratings":
        if values is None:
            raise DataError(
                "validation targets without values", expected="ratings", cure="split the rated data set again"
            )
        lists, items = asked, relevant
        labels = values > config.like_above
    elif kind == "impressions":
        shown = targets.candidates().items
        lists, places = np.nonzero(shown >= 0)
        items = shown[lists, places].astype(np.int64)
        labels = contains(np.sort(asked * len(counts) + relevant), lists * len(counts) + items)
    else:
        entries, items, labels = _sampled_targets(targets, relevant, Negatives(counts, config.power), config, rng)
        lists, values = asked[entries], None if values is None else _given(values[entries], ~labels)
    timeline, starts, ends = flatten(targets.queries, config.like_above)
    rows = Rows(
        timeline,
        starts[lists],
        ends[lists],
        targets.queries.users[lists],
        items.astype(np.int32),
        None,
        labels.astype(np.float32),
        lists,
        values,
    )
    return _both("the validation part", rows)


def _sampled_targets(
    targets: Targets, relevant: Numbers, sampler: Negatives, config: ExamplesConfig, rng: np.random.Generator
) -> tuple[Numbers, Numbers, Mask]:
    """Return entries of ``relevant``, each followed by its negatives: its number, the item, whether it is relevant."""
    asked, (owners, seen) = np.nonzero(targets.relevant >= 0)[0], targets.queries.entries
    had = np.unique(np.concatenate([owners * sampler.n_items + seen, asked * sampler.n_items + relevant]))
    entries = np.repeat(np.arange(len(asked)), 1 + config.negatives)
    items = relevant[entries]
    negative = np.arange(len(entries)) % (1 + config.negatives) > 0
    items[negative] = sampler.draw(asked[entries[negative]], had, rng)
    kept = items >= 0
    return entries[kept], items[kept], ~negative[kept]


def _given(values: FloatArray, negative: Mask) -> FloatArray:
    """Return the values with NaN for what is no event."""
    return np.where(negative, np.float32(np.nan), values)


def _impression_rows(shown: Impressions, histories: Histories) -> Rows:
    lists = np.repeat(np.arange(len(shown)), np.diff(shown.offsets))
    known = shown.labelled[lists]
    lists, items = lists[known], shown.items[known]
    labels = shown.clicked[known].astype(np.float32)
    return _rows(histories, shown.users[lists], items, shown.times[lists], labels, lists)


def _rows(
    histories: Histories,
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    times: Numbers,
    labels: FloatArray,
    lists: Numbers,
    values: FloatArray | None = None,
) -> Rows:
    first, last = histories.before(users, times)
    return Rows(histories.timeline, first, last, users, items, times, labels, lists, values)


def _checked(data: Dataset, rows: Rows) -> Rows:
    return _both(f"data set {data.name!r}", rows)


def _both(where: str, rows: Rows) -> Rows:
    """Return the rows, seen to hold labels of both kinds."""
    labels = rows.labels
    if labels is None or labels.all() or not labels.any():
        only = "no" if labels is None or not len(labels) else f"only label {int(labels[0])} in {len(labels):,}"
        raise DataError(
            f"{where} has {only} rows",
            expected="rows of both labels to tell apart",
            cure="change labels or like_above, or take more data",
        )
    return rows


def _without(data: Dataset, what: str, setting: str) -> DataError:
    return DataError(
        f"data set {data.name!r} without {what} for {setting}",
        expected=what,
        cure="choose other labels: negatives needs events only",
    )
