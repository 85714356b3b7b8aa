"""Negatives: items to say no to, drawn for many rows at once by a named rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from llmrec.data import Dataset
from llmrec.errors import ConfigError, DataError, UnknownNameError, did_you_mean

Rule = Literal["random", "popular", "mismatched", "disliked", "shown"]
_TRIES = 16
"""Draws that may fail before a row's free items are listed one by one."""
_CELLS = 1 << 22
"""Size of a block of temporary arrays."""


@dataclass(frozen=True, eq=False)
class Pool:
    """Items to draw from, many for each row.

    Attributes:
        rows: (m,) row number of each item.
        items: int32 (m,), item numbers.
    """

    rows: NDArray[np.int64]
    items: NDArray[np.int32]


def draw_negatives(
    data: Dataset,
    users: ArrayLike,
    *,
    exclude: NDArray[np.int32],
    rule: str = "random",
    n: int | NDArray[np.int64] = 1,
    like_above: float | None = None,
    shown: Pool | None = None,
    seed: int = 0,
) -> NDArray[np.int32]:
    """Return negatives int32 (q, n) in random order, right-padded with -1 where a row has too few to draw from.

    No row holds an item twice or one that it excludes. With ``random``, ``popular`` and ``mismatched`` it holds no item
    either that its user has an event with in ``data``: pass training events only, so that nothing later is learnt.

    Args:
        data: the catalogue and the events.
        users: (q,) user numbers, -1 for unseen ones.
        exclude: int32 (q, e), item numbers that must not be drawn (the positives, the history), padded with -1.
        rule: ``random``, all items alike; ``popular``, in proportion to their events; ``mismatched``, what other users
            liked, in proportion to how often; ``disliked``, what this user did not like; ``shown``, those of ``shown``.
        n: how many for each row, one number or (q,).
        like_above: events with a value above it are likes; None likes all. ``disliked`` needs it.
        shown: what users were shown and did not choose; ``shown`` needs it.
        seed: of the draws.

    Raises:
        UnknownNameError: no such rule.
        ConfigError: the rule lacks what it needs, or n is negative.
        DataError: no event to draw from.
    """
    asked = np.asarray(users, np.int32)
    wanted = np.broadcast_to(np.asarray(n, np.int64), asked.shape)
    check_rule(rule)
    if (wanted < 0).any():
        raise ConfigError(f"n = {int(wanted.min())}", expected="0 or more negatives a row", cure="change it")
    random = np.random.default_rng(seed)
    if rule == "shown":
        if shown is None:
            raise ConfigError(
                "rule 'shown' without shown items",
                expected="impressions: lists of items that users were shown",
                cure="use the rule 'random', or a data set with impressions",
            )
        return _from_pool(shown, exclude, wanted, random)
    if rule == "disliked":
        return _from_pool(_disliked(data, asked, like_above), exclude, wanted, random)
    return _from_catalogue(_Seen.of(data), asked, exclude, wanted, _weights(data, rule, like_above), random)


def check_rule(rule: str) -> None:
    """Raise an UnknownNameError unless ``rule`` is one of negatives."""
    if rule not in get_args(Rule):
        raise UnknownNameError(
            f"unknown rule of negatives {rule!r}", expected="a known rule", cure=did_you_mean(rule, get_args(Rule))
        )


def _weights(data: Dataset, rule: str, like_above: float | None) -> NDArray[np.float64]:
    """Return how likely each item (n_items,) is drawn, up to a factor."""
    events = data.interactions
    counted = events.items if rule == "popular" or like_above is None else events.items[events.values > like_above]
    n_items = len(data.items)
    weights = np.ones(n_items) if rule == "random" else np.bincount(counted, minlength=n_items).astype(np.float64)
    if not weights.any():
        raise DataError(
            f"{data.name!r} has no {'item' if rule == 'random' else 'event'} for negatives by the rule {rule!r}",
            expected="items to draw",
            cure="take a larger data set, or the rule 'random'",
        )
    return weights


@dataclass(frozen=True, eq=False)
class _Seen:
    """Which items each user has an event with: keys user * n_items + item, sorted, each once."""

    keys: NDArray[np.int64]
    n_items: int

    @classmethod
    def of(cls, data: Dataset) -> _Seen:
        events, n_items = data.interactions, len(data.items)
        return cls(np.unique(events.users.astype(np.int64) * n_items + events.items), n_items)

    def has(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.bool_]:
        if not len(self.keys):
            return np.zeros(len(users), np.bool_)
        wanted = users.astype(np.int64) * self.n_items + items
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        known: NDArray[np.bool_] = self.keys[place] == wanted
        return known & (users >= 0)

    def pairs(self, users: NDArray[np.int32]) -> Pool:
        """Return the items of each user (q,) as a pool of q rows."""
        starts = np.searchsorted(self.keys, users.astype(np.int64) * self.n_items)
        ends = np.searchsorted(self.keys, (users.astype(np.int64) + 1) * self.n_items)
        rows, flat = ranges(starts, np.where(users >= 0, ends, starts))
        return Pool(rows, (self.keys[flat] % self.n_items).astype(np.int32))


def _from_catalogue(
    seen: _Seen,
    users: NDArray[np.int32],
    exclude: NDArray[np.int32],
    wanted: NDArray[np.int64],
    weights: NDArray[np.float64],
    random: np.random.Generator,
) -> NDArray[np.int32]:
    """Draw and reject; rows that stay short are finished over the list of all items that they may have."""
    drawn = np.full((len(users), int(wanted.max(initial=0))), -1, np.int32)
    edges = np.cumsum(weights)
    last = int(np.flatnonzero(weights)[-1])  # where a spot goes that rounding puts behind all items
    for place in range(drawn.shape[1]):
        open_rows = np.flatnonzero(wanted > place)
        for _ in range(_TRIES):
            spots = random.random(len(open_rows)) * edges[-1]
            items = np.minimum(np.searchsorted(edges, spots, side="right"), last).astype(np.int32)
            barred = seen.has(users[open_rows], items)
            barred |= _in_row(exclude, open_rows, items) | _in_row(drawn[:, :place], open_rows, items)
            drawn[open_rows[~barred], place] = items[~barred]
            open_rows = open_rows[barred]
            if not len(open_rows):
                break
    short = np.flatnonzero((drawn >= 0).sum(axis=1) < wanted)
    block = max(1, _CELLS // len(weights))
    for begin in range(0, len(short), block):
        rows = short[begin : begin + block]
        barred_items = np.concatenate([exclude[rows], drawn[rows]], axis=1)
        more = _over_all_items(seen.pairs(users[rows]), barred_items, weights, drawn.shape[1], random)
        both = np.concatenate([drawn[rows], more], axis=1)
        both = np.take_along_axis(both, np.argsort(both < 0, axis=1, kind="stable"), 1)[:, : drawn.shape[1]]
        drawn[rows] = np.where(np.arange(drawn.shape[1]) < wanted[rows][:, None], both, -1)
    return drawn


def _over_all_items(
    seen: Pool, barred: NDArray[np.int32], weights: NDArray[np.float64], n: int, random: np.random.Generator
) -> NDArray[np.int32]:
    """Return up to n free items a row without replacement: the largest of log weight + Gumbel noise."""
    with np.errstate(divide="ignore"):
        keys = np.log(weights) + random.gumbel(size=(len(barred), len(weights)))
    keys[seen.rows, seen.items] = -np.inf
    row, column = np.nonzero(barred >= 0)
    keys[row, barred[row, column]] = -np.inf
    best = np.argsort(-keys, axis=1, kind="stable")[:, :n]
    return np.where(np.take_along_axis(keys, best, 1) > -np.inf, best, -1).astype(np.int32)


def _from_pool(
    pool: Pool, exclude: NDArray[np.int32], wanted: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.int32]:
    """Shuffle each row's own items and take the first ones."""
    free = ~_in_row(exclude, pool.rows, pool.items)
    rows, items = pool.rows[free], pool.items[free]
    first = pl.DataFrame({"row": rows, "item": items}).select(pl.struct("row", "item").is_first_distinct())
    rows, items = rows[first.to_series().to_numpy()], items[first.to_series().to_numpy()]
    order = np.lexsort((random.random(len(rows)), rows))
    rows, items = rows[order], items[order]
    counts = np.bincount(rows, minlength=len(wanted))
    place = np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows]
    drawn = np.full((len(wanted), int(wanted.max(initial=0))), -1, np.int32)
    kept = place < wanted[rows]
    drawn[rows[kept], place[kept]] = items[kept]
    return drawn


def _disliked(data: Dataset, users: NDArray[np.int32], like_above: float | None) -> Pool:
    """Return what each user (q,) did not like."""
    if like_above is None:
        raise ConfigError(
            "rule 'disliked' without like_above", expected="the value above which an event is a like", cure="pass it"
        )
    events = data.interactions.select(data.interactions.values <= like_above)
    order = np.argsort(events.users, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(events.users, minlength=len(data.users)))])
    rows, flat = ranges(starts[users], np.where(users >= 0, starts[users + 1], starts[users]))
    return Pool(rows, events.items[order][flat])


def ranges(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers from each start up to its end, and the row that each belongs to."""
    lengths = ends - starts
    rows = np.repeat(np.arange(len(starts)), lengths)
    return rows, np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + np.repeat(starts, lengths)


def _in_row(table: NDArray[np.int32], rows: NDArray[np.int64], items: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return whether each item is in its row of ``table`` (q, e), in blocks that keep memory small."""
    found = np.zeros(len(rows), np.bool_)
    block = max(1, _CELLS // max(1, table.shape[1]))
    for begin in range(0, len(rows), block):
        part = slice(begin, begin + block)
        found[part] = (table[rows[part]] == items[part, None]).any(axis=1)
    return found
