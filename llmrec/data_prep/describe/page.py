"""A description for people: tables on the console, or one HTML file that needs no network and no JavaScript."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmrec.data.files import atomic_file
from llmrec.data_prep.describe.description import (
    Cut,
    Description,
    LongTail,
    Part,
    Shown,
    Spread,
    TextColumn,
    TimeSpan,
    Values,
)
from llmrec.data_prep.describe.plots import make_plots
from llmrec.eval.page import render_page

DASH = "\N{EN DASH}"
Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Section:
    """A table: the first column holds names, the others numbers; without heads it is a list of facts."""

    title: str
    heads: Row
    rows: tuple[Row, ...]
    note: str = ""


def print_description(description: Description, console: Console | None = None) -> None:
    """Print the tables of a description."""
    console = console or Console()
    console.print(Text(description.name, style="bold"))
    for section in _sections(description):
        table = Table(
            title=section.title,
            caption=section.note or None,
            show_header=bool(section.heads),
            box=box.SIMPLE_HEAD,
            title_justify="left",
            caption_justify="left",
        )
        for place in range(len(section.rows[0])):
            head = section.heads[place] if section.heads else ""
            table.add_column(head, justify="right" if place else "left", overflow="fold")
        for row in section.rows:
            table.add_row(*map(Text, row))
        console.print(table)


def write_description(description: Description, path: Path | str) -> Path:
    """Write one HTML file with the plots and the tables of a description. The same input gives the same bytes.

    Args:
        description: what to show.
        path: the file, usually ``description.html``; it is written whole or not at all.
    """
    path = Path(path)
    about = {"name": description.name, "source": description.source, "licence": description.licence}
    page = render_page(
        resources.files("llmrec.data_prep.describe") / "description.html",
        title=description.name,
        tiles=_tiles(description),
        plots=make_plots(description),
        sections=list(_sections(description)),
        about={name: text for name, text in about.items() if text},
    )
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
    return path


def _tiles(found: Description) -> list[tuple[str, str]]:
    """Return the few numbers that stand above everything else, with what they count."""
    counts, tail = found.counts, found.long_tail
    tiles = [(name, f"{counts[name]:,}") for name in ("users", "items", "interactions")]
    tiles += [("impressions", f"{counts['impressions']:,}")] if counts["impressions"] else []
    tiles += [("density", _percent(found.density))]
    tiles += [("events by the top 20 % of items", _percent(tail.top_20_percent))] if tail else []
    return tiles


def _sections(found: Description) -> Iterator[_Section]:
    yield _Section("Size", (), tuple(_size(found)))
    spreads = tuple(_spreads(found))
    if spreads:
        heads = ("", "min", "25 %", "median", "mean", "75 %", "max")
        yield _Section("How it is spread", heads, spreads, "Of users and items that have events.")
    if found.long_tail is not None:
        yield _Section("Long tail", (), tuple(_tail(found.long_tail, found.counts["items_with_events"])))
    if found.counts["interactions"]:
        yield _Section("Time", (), tuple(_time(found.time)))
    if found.values.levels:
        yield _Section("Values", ("value", "events", "share"), tuple(_levels(found.values)))
    if found.text:
        yield _Section(
            "Text",
            ("column", "filled", "median length"),
            tuple(map(_text, found.text)),
            "The length of those that are filled.",
        )
    if found.split is not None:
        yield from _split(found.split)


def _size(found: Description) -> Iterator[Row]:
    counts = found.counts
    yield "users", f"{counts['users']:,}"
    yield "users with events", f"{counts['users_with_events']:,}"
    yield "items", f"{counts['items']:,}"
    yield "items with events", f"{counts['items_with_events']:,}"
    yield "interactions", f"{counts['interactions']:,}"
    yield "repeats of a pair of user and item", f"{found.repeated_pairs:,}"
    yield "density", _percent(found.density)
    yield "sparsity", _percent(None if found.density is None else 1 - found.density)
    if found.impressions is not None:
        yield from _impressions(found.impressions)


def _impressions(shown: Shown) -> Iterator[Row]:
    yield "impressions", f"{shown.lists:,}"
    yield "with known clicks", f"{shown.labelled:,}"
    yield "click-through rate", _percent(shown.click_through_rate)


def _spreads(found: Description) -> Iterator[Row]:
    shown = None if found.impressions is None else found.impressions.length
    spreads: list[tuple[str, Spread | None]] = [
        ("events per user", found.per_user),
        ("events per item", found.per_item),
        ("value of an event", found.values.spread if found.values.distinct > 1 else None),
        ("items shown per impression", shown),
    ]
    for name, spread in spreads:
        if spread is not None:
            numbers = (spread.minimum, spread.lower_quartile, spread.median, spread.mean)
            yield name, *map(_number, (*numbers, spread.upper_quartile, spread.maximum))


def _tail(tail: LongTail, items: int) -> Iterator[Row]:
    yield "events by the top 1 % of items", _percent(tail.top_1_percent)
    yield "events by the top 10 %", _percent(tail.top_10_percent)
    yield "events by the top 20 %", _percent(tail.top_20_percent)
    share = _percent(tail.items_for_80_percent / items)
    yield "items that make up 80 % of events", f"{tail.items_for_80_percent:,} ({share})"
    yield "Gini coefficient of item popularity", f"{tail.gini:.3f}"


def _time(span: TimeSpan | None) -> Iterator[Row]:
    if span is None:
        yield "times", "order only"
        return
    yield "first event (UTC)", span.first
    yield "last event (UTC)", span.last
    yield "days between", f"{span.days:,.1f}"
    yield "events in one second with another of their user", f"{span.shared_seconds:,}"


def _levels(values: Values) -> Iterator[Row]:
    total = sum(count for _, count in values.levels) + values.missing
    for level, count in values.levels:
        yield f"{level:g}", f"{count:,}", _percent(count / total)
    if values.missing:
        yield "none", f"{values.missing:,}", _percent(values.missing / total)


def _text(column: TextColumn) -> Row:
    unit = {"characters": "character", "entries": "entry"}[column.unit] if column.median == 1 else column.unit
    length = DASH if column.median is None else f"{_number(column.median)} {unit}"
    return f"{column.table}: {column.name}", _percent(column.filled), length


def _split(cut: Cut) -> Iterator[_Section]:
    heads = ("part", "events", "queries", "targets", "cold users", "cold items")
    rows = (
        ("train", f"{cut.train_events:,}", "", "", "", ""),
        _part("valid", cut.valid),
        _part("test", cut.test),
    )
    note = "Cold: share of targets whose user or item has no training event."
    yield _Section("Split", heads, rows, note)
    if cut.rule:
        yield _Section("Rule of the split", (), tuple((name, str(value)) for name, value in cut.rule.items()))


def _part(name: str, part: Part) -> Row:
    return name, "", f"{part.queries:,}", f"{part.targets:,}", _percent(part.cold_users), _percent(part.cold_items)


def _number(number: float) -> str:
    """Return whole and large numbers without decimals, others to four digits."""
    return f"{number:,.0f}" if number == round(number) or abs(number) >= 1000 else f"{number:.4g}"


def _percent(share: float | None) -> str:
    """Return a share with two digits of what lies between it and the nearer of nothing and all, one decimal or more."""
    if share is None:
        return DASH
    near = 100 * min(share, 1 - share)
    if near <= 0:
        return f"{100 * share:.0f} %"
    return f"{100 * share:.{max(1, 1 - math.floor(math.log10(near)))}f} %"
