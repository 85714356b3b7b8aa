"""Business rules: what is never shown, what has its place, how much of a kind there is and how far apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.classic.recall.base.columns import text_lists
from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.rules import DAY, column_dates, first_times, require_clock
from llmrec.classic.reranking.base import Reranker
from llmrec.classic.reranking.business import Block, Distance, Fresh, Insert, Pin, Quota, RulesConfig, of_kind
from llmrec.classic.reranking.choosing import counted_down, relevance
from llmrec.classic.reranking.filling import Apart, Filling, Tally
from llmrec.classic.reranking.likeness import category_arrays, vectors_of
from llmrec.config import Config
from llmrec.data import Candidates, Dataset, Queries
from llmrec.errors import DataError, did_you_mean
from llmrec.protocols import Watch

YEARS = 10_000  # numbers below it are no Unix seconds
Mask = NDArray[np.bool_]
Items = NDArray[np.int32]


class Rules(Reranker[RulesConfig]):
    """Keeps the incoming order as far as the rules allow.

    Scores are scaled to 0..1 in each list, ``fresh`` adds its bonus, and that is the order. Blocked items go, pinned
    and inserted ones take their places, and the others fill the free places from the first on: the best candidate that
    breaks no rule. Where every one breaks a rule, distance gives way first, then what quotas allow at most, then what
    they ask at least. A block wins over all else.

    With ``block`` and ``insert`` the result is no permutation: blocked items are dropped, which may leave a row empty,
    and inserted ones are added, which makes all rows as much wider. So rules come last.

    ``counts`` has what could not be done: ``too near`` places, lists in which a ``quota of …`` is not met, ``empty
    slots`` that no insert was left for, ``empty lists``; and how many candidates were ``blocked``.
    """

    name: ClassVar[str] = "rules"
    config_class: ClassVar[type[Config]] = RulesConfig
    final: ClassVar[bool] = True

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:  # noqa: ARG002 - nothing is random
        rules, blocked = self.config.rules, np.zeros(len(data.items), np.bool_)
        for block in of_kind(rules, Block):
            blocked[_numbers(data, block.items)] = True
            for category in block.categories:
                blocked |= _having(data, block.column, category)
        pinned = _numbers(data, [pin.item for pin in of_kind(rules, Pin)])
        arrays: dict[str, NDArray[Any]] = {"blocked": blocked, "pinned": pinned}
        for number, insert in enumerate(of_kind(rules, Insert)):
            arrays[f"insert.{number}"] = _numbers(data, insert.items)
        for number, quota in enumerate(of_kind(rules, Quota)):
            arrays[f"quota.{number}"] = _having(data, quota.column, quota.category)
        for number, distance in enumerate(of_kind(rules, Distance)):
            found = category_arrays(data, distance.column)
            arrays |= {f"distance.{number}.{name}": array for name, array in found.items()}
        bonus = [_freshness(data, fresh) for fresh in of_kind(rules, Fresh)]
        return {**arrays, "bonus": sum(bonus, np.zeros(len(data.items)))}

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        rules = self.config.rules
        self.blocked, self.bonus, self.pinned = arrays["blocked"], arrays["bonus"], arrays["pinned"]
        if len(self.blocked) != n_items or len(self.bonus) != n_items:
            raise ValueError(f"rules of {len(self.blocked)} items")
        self.inserts = [arrays[f"insert.{number}"] for number in range(len(of_kind(rules, Insert)))]
        self.quotas = [arrays[f"quota.{number}"] for number in range(len(of_kind(rules, Quota)))]
        self.distances = []
        for number in range(len(of_kind(rules, Distance))):
            start = f"distance.{number}."
            own = {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
            self.distances.append(vectors_of(own, n_items))

    def _floats(self, width: int) -> int:
        return width * (1 + 2 * sum(each.widest(2 * width) for each in self.distances))

    def _order(self, queries: Queries, candidates: Candidates) -> Candidates:
        pool = self._pool(candidates)
        grid = self._fixed(queries, pool)
        wide = pool.shape[1] + sum(len(each.slots) for each in of_kind(self.config.rules, Insert))
        pool = np.where(np.isin(_keys(pool), _keys(grid)), -1, pool)  # what has its place is in no other
        filling = Filling(pool, grid, self._tallies(pool, grid), self._apart(pool, grid))
        items = filling.fill()[:, :wide]
        self.counts["too near"] += filling.too_near
        for rule, tally in zip(of_kind(self.config.rules, Quota), filling.tallies, strict=True):
            self.counts[f"quota of {rule.category}"] += tally.broken()
        self.counts["empty lists"] += int((items < 0).all(axis=1).sum())
        self.counts = +self.counts  # only what happened
        return counted_down(items)

    def _pool(self, candidates: Candidates) -> Items:
        """Return the candidates (b, n) by score and freshness; -1 in place of blocked ones."""
        items = candidates.items
        worth = relevance(candidates) + np.where(items >= 0, self.bonus[items], -np.inf)
        pool = np.take_along_axis(items, np.argsort(-worth, axis=1, kind="stable"), axis=1)
        blocked = (pool >= 0) & self.blocked[pool]
        self.counts["blocked"] += int(blocked.sum())
        return np.where(blocked, -1, pool)

    def _fixed(self, queries: Queries, pool: Items) -> Items:
        """Return pinned and inserted items in their places (b, g), -1 where a place is free."""
        pins, inserts = of_kind(self.config.rules, Pin), of_kind(self.config.rules, Insert)
        last = max([0, *(pin.place for pin in pins), *(max(insert.slots) for insert in inserts)])
        grid = np.full((len(pool), max(last, pool.shape[1] + sum(len(each.slots) for each in inserts))), -1, np.int32)
        for pin, item in zip(pins, self.pinned, strict=True):
            grid[(pool == item).any(axis=1), pin.place - 1] = item
        for insert, items in zip(inserts, self.inserts, strict=True):
            slots = np.sort(insert.slots) - 1
            free = ~(queries.history[:, :, None] == items).any(axis=1) & ~self.blocked[items]
            turn = np.cumsum(free, axis=1) - 1
            rows, used = np.nonzero(free & (turn < len(slots)))
            grid[rows, slots[turn[rows, used]]] = items[used]
            self.counts["empty slots"] += len(slots) * len(pool) - len(rows)
        return grid

    def _tallies(self, pool: Items, grid: Items) -> list[Tally]:
        quotas = of_kind(self.config.rules, Quota)
        return [
            Tally(rule.at_least, rule.at_most, rule.of, (pool >= 0) & has[pool], (grid >= 0) & has[grid])
            for rule, has in zip(quotas, self.quotas, strict=True)
        ]

    def _apart(self, pool: Items, grid: Items) -> list[Apart]:
        distances = of_kind(self.config.rules, Distance)
        both = [each.gather(np.hstack([pool, grid])) for each in self.distances]
        return [
            Apart(rule.apart, rule.of, vectors[:, : pool.shape[1]], vectors[:, pool.shape[1] :].copy())
            for rule, vectors in zip(distances, both, strict=True)
        ]


def _keys(items: Items) -> NDArray[np.int64]:
    """Return a number for each item of a row (b, n), another one in each row; padding has negative ones."""
    rows = np.arange(len(items), dtype=np.int64)[:, None] << 32
    return np.where(items >= 0, rows + items, -1 - np.arange(items.shape[1]))


def _numbers(data: Dataset, ids: Sequence[int | str]) -> Items:
    """Return the numbers of items; a DataError for an id that is none of the data set."""
    numbers = data.items.numbers(list(map(str, ids)))
    if (numbers < 0).any():
        raise DataError(
            f"a rule names item {ids[int(np.argmin(numbers))]!r}",
            expected=f"items of data set {data.name!r}",
            cure="mend or drop the rule",
        )
    return numbers


def _having(data: Dataset, column: str, category: str) -> Mask:
    """Return which items have a category, (n_items,); a DataError where none has."""
    lists = text_lists(data.item_table, column, where=f"the item table of {data.name!r}")
    found: Mask = lists.list.contains(category.strip()).to_numpy()
    if not found.any():
        known: Iterable[str] = lists.explode(empty_as_null=False).unique().to_list()
        raise DataError(
            f"a rule names category {category!r}",
            expected=f"one that an item has in column {column!r} of {data.name!r}",
            cure=did_you_mean(category, known),
        )
    return found


def _freshness(data: Dataset, rule: Fresh) -> NDArray[np.float64]:
    """Return the bonus of each item, 0 where it has no date, (n_items,)."""
    require_clock(data, "drop the fresh rule, or prepare the data from files with times")
    dates = first_times(data) if rule.column is None else column_dates(data, rule.column)
    seconds = dates.cast(pl.Datetime("us")).dt.epoch("s") if dates.dtype.is_temporal() else dates.cast(pl.Int64)
    small = dates.drop_nulls() < YEARS if dates.dtype.is_numeric() else pl.Series([], dtype=pl.Boolean)
    if rule.column is not None and len(small) and small.all():
        raise DataError(
            f"column {rule.column!r} of {data.name!r} holds years",
            expected="dates or Unix seconds, from which days can be told",
            cure="turn it into dates first, for example with polars' pl.date",
        )
    ages = (int(data.interactions.times.max(initial=0)) - seconds.cast(pl.Float64).to_numpy()) / DAY
    return np.nan_to_num(rule.weight * 0.5 ** (np.maximum(ages, 0) / rule.half_life))
