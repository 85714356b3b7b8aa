"""Lint of tables: statistics, vocabularies and texts of items and users that training could not have had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data import Interactions, Vocabulary
from llmrec.data.files import require_columns
from llmrec.data_prep.lint.evidence import EXAMPLES, NEVER, Evidence, Finding
from llmrec.data_prep.split.parts import Mask, Numbers, cold_items, cold_users
from llmrec.errors import DataError

DATES = ("date", "published", "text_date")
LEVELS = 3  # different counts or means; two would be followed by chance
WORDS_OF_A_CV = 20  # users share short texts, such as an occupation

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Side:
    """Items or users: the table, and counts and mean values (n,) over all events and over training events."""

    kind: str
    table: pl.DataFrame
    vocabulary: Vocabulary
    counts: Floats
    means: Floats
    train_counts: Floats
    train_means: Floats
    cold: Numbers

    def ids(self, numbers: Numbers | NDArray[np.int64]) -> tuple[str, ...]:
        return tuple(f"{self.kind} {one!r}" for one in self.vocabulary.decode(numbers[:EXAMPLES]))


def table_findings(evidence: Evidence, text_date: str | None) -> Iterator[Finding]:
    """Yield the findings of the rules after ``unstable-ties``."""
    sides = (_items(evidence), _users(evidence))
    for side in sides:
        yield from _popularity(side)
        yield from _numbering(side)
    for side in sides:
        yield from _vocabulary(side)
    texts = [name for name in ("title", "description") if evidence.data.item_table.schema.get(name) == pl.String]
    if texts:
        yield from _duplicates(sides[0], texts, words=1, severe=False)
    for name in _text_columns(sides[1].table):
        yield from _duplicates(sides[1], [name], words=WORDS_OF_A_CV, severe=True)
    yield from _newer_texts(evidence, text_date)


def _items(evidence: Evidence) -> _Side:
    data, train = evidence.data, evidence.split.train.interactions
    every = _statistics(data.interactions, data.interactions.items, len(data.items))
    trained = _statistics(train, train.items, len(data.items))
    return _Side("item", data.item_table, data.items, *every, *trained, cold_items(evidence.split))


def _users(evidence: Evidence) -> _Side:
    data, train = evidence.data, evidence.split.train.interactions
    every = _statistics(data.interactions, data.interactions.users, len(data.users))
    trained = _statistics(train, train.users, len(data.users))
    table = pl.DataFrame() if data.user_table is None else data.user_table
    return _Side("user", table, data.users, *every, *trained, cold_users(evidence.split))


def _statistics(events: Interactions, numbers: Numbers, size: int) -> tuple[Floats, Floats]:
    """Return counts and mean values (size,); the mean is NaN where there is no event."""
    counts = np.bincount(numbers, minlength=size).astype(np.float64)
    sums = np.bincount(numbers, weights=events.values, minlength=size)
    return counts, np.divide(sums, counts, out=np.full(size, np.nan), where=counts > 0)


def _popularity(side: _Side) -> Iterator[Finding]:
    for name, dtype in side.table.schema.items():
        if not dtype.is_numeric():
            continue
        column = side.table[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        known = np.isfinite(column) & (side.counts > 0)
        column, counts, means = column[known], side.counts[known], side.means[known]
        by_count = _varied(counts) and _follows(column, counts) and not _follows(column, side.train_counts[known])
        by_mean = _varied(means) and _is_mean(column, means) and not _is_mean(column, side.train_means[known])
        if by_count or by_mean:
            changed = np.flatnonzero(known & (side.counts != side.train_counts))
            yield Finding(
                "popularity-after-cut",
                "leak",
                int(known.sum()),
                f"column {name!r} of the {side.kind} table follows {'counts' if by_count else 'mean values'} over all "
                "events, not over training events",
                side.ids(changed),
            )


def _numbering(side: _Side) -> Iterator[Finding]:
    known = side.counts > 0
    counts, number = side.counts[known], np.arange(known.sum(), dtype=np.float64)
    falling = _varied(counts) and counts[0] > counts[-1]
    if falling and _follows(number, counts) and not _follows(number, side.train_counts[known]):
        yield Finding(
            "popularity-after-cut",
            "caution",
            len(counts),
            f"{side.kind}s are numbered by their popularity over all events: equal scores go to those popular later",
            side.ids(np.flatnonzero(known & (side.counts != side.train_counts))),
        )


def _varied(values: Floats) -> bool:
    return len(np.unique(values)) >= LEVELS


def _follows(column: Floats, counts: Floats) -> bool:
    """Return whether ``column`` rises or falls with ``counts``, as counts, shares, their logarithms and ranks do."""
    order = np.argsort(column, kind="stable")
    steps, tied = np.diff(counts[order]), np.diff(column[order]) == 0
    return not steps[tied].any() and bool((steps <= 0).all() or (steps >= 0).all())


def _is_mean(column: Floats, means: Floats) -> bool:
    """Return whether ``column`` holds ``means``, rounded at most to about half a hundredth of their spread."""
    return bool(np.isfinite(means).all() and (np.abs(column - means) <= 0.0051 * np.ptp(means)).all())


def _vocabulary(side: _Side) -> Iterator[Finding]:
    later = np.flatnonzero((side.counts > 0) & (side.train_counts == 0) & ~_has_text(side.table, len(side.counts)))
    if len(later):
        yield Finding(
            "vocabulary-after-cut",
            "caution",
            len(later),
            f"{len(later)} {side.kind}s without any text occur only outside training: the vocabulary was read off "
            "later events",
            side.ids(later),
        )


def _has_text(table: pl.DataFrame, height: int) -> Mask:
    there = np.zeros(height, np.bool_)
    for name in _text_columns(table):
        there |= (table[name].str.strip_chars() != "").fill_null(value=False).to_numpy()
    return there


def _text_columns(table: pl.DataFrame) -> list[str]:
    return [name for name, dtype in table.schema.items() if dtype == pl.String]


def _duplicates(side: _Side, names: list[str], *, words: int, severe: bool) -> Iterator[Finding]:
    """Yield the cold items or users whose text, folded to lower-case words, one in training has too."""
    text = pl.concat_str(names, separator=" ", ignore_nulls=True).str.to_lowercase()
    folded = side.table.select(text.str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars().alias("text"))
    rows = folded.with_row_index("number").filter(
        (pl.col("text") != "") & (pl.col("text").str.count_matches(" ", literal=True) >= words - 1)
    )
    trained = rows.filter(pl.Series(side.train_counts > 0).gather(rows["number"])).unique("text", keep="first")
    cold = rows.filter(pl.col("number").is_in(side.cold))
    twins = cold.join(trained, on="text", how="inner", suffix="_trained", maintain_order="left")
    if twins.height:
        pairs = twins.head(EXAMPLES)["number", "number_trained"].rows()
        yield Finding(
            "duplicate-text",
            "leak" if severe else "caution",
            twins.height,
            f"{twins.height} {side.kind}s outside training have the same {' and '.join(names)} as one in training",
            tuple(f"{side.kind} {side.vocabulary.ids[one]!r} as {side.vocabulary.ids[two]!r}" for one, two in pairs),
        )


def _newer_texts(evidence: Evidence, text_date: str | None) -> Iterator[Finding]:
    data, train = evidence.data, evidence.split.train
    cut = _cut(evidence)
    if text_date is not None:
        require_columns(data.item_table, [text_date], where=f"the item table of {data.name!r}")
    used = np.zeros(len(data.items), np.bool_)
    used[train.interactions.items] = True
    if train.impressions is not None:
        used[train.impressions.items] = True
    for name in DATES if text_date is None else (text_date,):
        seconds = _seconds(data.item_table, name)
        if seconds is None and text_date is not None:
            raise DataError(
                f"column {name!r} of the item table of {data.name!r} is {data.item_table.schema[name]}",
                expected="a Date, a Datetime, or integers of Unix seconds",
                cure="cast it, for example with str.to_date()",
            )
        if seconds is None or cut is None:
            continue
        newer = np.flatnonzero((seconds > cut).fill_null(value=False).to_numpy() & used)
        if len(newer):
            yield Finding(
                "text-newer-than-cut",
                "leak",
                len(newer),
                f"{len(newer)} items in training have a {name!r} after the cut at {cut}: their text is from later",
                tuple(f"item {one!r}" for one in data.items.decode(newer[:EXAMPLES])),
            )


def _cut(evidence: Evidence) -> int | None:
    """Return when training ends: by the rule, else at the first test target; None where no time says so."""
    for name in ("valid_from", "test_from"):
        if name in evidence.split.rule:
            return int(evidence.split.rule[name])
    first = int(evidence.moments["test"].min(initial=NEVER))
    return first if evidence.data.clock and first < NEVER else None


def _seconds(table: pl.DataFrame, name: str) -> pl.Series | None:
    dtype = table.schema.get(name)
    if isinstance(dtype, pl.Date | pl.Datetime):
        return table[name].dt.epoch("s")
    return table[name] if dtype is not None and dtype.is_integer() else None
