"""Plots of a data set as SVG elements that a page can colour; those that would show nothing are left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, MultipleLocator, NullFormatter, PercentFormatter

from llmrec.data_prep.describe.description import Bars, Curve, Description, LongTail, Timeline, Values
from llmrec.eval.svg import COLOURS, GREY, draw_svg

HEIGHT = 2.7  # inches of a plot
LETTERS = 36  # fit below a plot
BLUE = COLOURS[0]


@dataclass(frozen=True, slots=True)
class Plot:
    """An SVG with what a reader needs to read it."""

    title: str
    note: str
    svg: Markup


def make_plots(description: Description) -> list[Plot]:
    """Return long tail, popularity by rank, events per user, events over time and values: those that make sense."""
    return list(_plots(description))


def _plots(found: Description) -> Iterator[Plot]:
    tail, span, users, values = found.long_tail, found.time, found.per_user, found.values
    items = found.counts["items_with_events"]
    if tail is not None and items > 1:
        yield _shares(tail, items)
        if tail.ranks.y[0] > tail.ranks.y[-1]:
            yield _ranks(tail.ranks)
    if found.users_by_events is not None and users is not None and users.minimum < users.maximum:
        yield _users(found.users_by_events)
    if span is not None and span.timeline is not None and len(span.timeline.counts) > 1:
        yield _over_time(span.timeline)
    if values.distinct > 1:
        yield _of_values(values)


def _shares(tail: LongTail, items: int) -> Plot:
    # As the shares count whole items, of few items the top 1 % is more than that.
    top = [math.ceil(items * percent / 100) / items for percent in (1, 10, 20)]
    events = (tail.top_1_percent, tail.top_10_percent, tail.top_20_percent)

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=(0, (3, 3)))
        axes.fill_between(tail.shares.x, tail.shares.y, color=BLUE, alpha=0.15, lw=0)
        axes.plot(tail.shares.x, tail.shares.y, color=BLUE, lw=2)
        axes.plot(top, events, "o", color=BLUE, ms=6)
        _label(axes, "share of items, most popular first", "share of events", grid="both")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MultipleLocator(0.25))
            axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axes.set(xlim=(0, 1), ylim=(0, 1.02))

    note = "Dots mark the top 1, 10 and 20 % of items; on the dashed line all items would be equally popular."
    return _plot("Long tail", "share of events by share of items", note, draw)


def _ranks(ranks: Curve) -> Plot:
    def draw(axes: Axes) -> None:
        axes.plot(ranks.x, ranks.y, color=BLUE, lw=2)
        axes.set(xscale="log", yscale="log")
        _label(axes, "rank of the item", "events", grid="both")

    return _plot("Popularity by rank", "events of an item by its rank", "Both scales are logarithmic.", draw)


def _users(bars: Bars) -> Plot:
    def draw(axes: Axes) -> None:
        _bars(axes, bars)
        _label(axes, "events of a user", "users", grid="y")

    return _plot("Events per user", "users by their number of events", "The horizontal scale is logarithmic.", draw)


def _over_time(timeline: Timeline) -> Plot:
    starts = np.asarray(timeline.starts, "datetime64[s]")
    ends = np.append(starts, starts[-1] + (starts[-1] - starts[-2]))

    def draw(axes: Axes) -> None:
        axes.stairs(timeline.counts, ends, fill=True, color=BLUE)
        locator = AutoDateLocator(minticks=3, maxticks=5)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        axes.xaxis.get_offset_text().set_fontsize(12)
        axes.set_ylim(bottom=0)
        _label(axes, "", f"events per {timeline.unit}", grid="y")

    note = f"A step is one {timeline.unit} in UTC; the first and the last may be covered in part."
    return _plot("Events over time", f"events of each {timeline.unit}", note, draw)


def _of_values(values: Values) -> Plot:
    def draw(axes: Axes) -> None:
        if values.bars is not None:
            _bars(axes, values.bars)
        else:
            names = [f"{level:g}" for level, _ in values.levels]
            axes.bar(range(len(names)), [count for _, count in values.levels], width=0.8, color=BLUE)
            step = -(-sum(len(name) + 1 for name in names) // LETTERS)
            axes.set_xticks(range(0, len(names), step), labels=names[::step])
        _label(axes, "value", "events", grid="y")

    note = "Ratings or weights of the events."
    return _plot("Values", "events by their value", note, draw)


def _bars(axes: Axes, bars: Bars) -> None:
    """Draw a histogram with a hairline between its bars."""
    low, high = np.asarray(bars.edges[:-1]), np.asarray(bars.edges[1:])
    gap = (high / low) ** 0.06 if bars.logarithmic else 1
    ends = high / gap if bars.logarithmic else high - 0.06 * (high - low)
    axes.bar(low, bars.counts, width=ends - low, align="edge", color=BLUE)
    if bars.logarithmic:
        axes.set(xscale="log")


def _label(axes: Axes, x: str, y: str, *, grid: Literal["y", "both"]) -> None:
    """Name the axes, count in whole and short numbers, and rule the plot lightly."""
    axes.set_xlabel(x, fontsize=12)
    axes.set_ylabel(y, fontsize=12)
    axes.tick_params(pad=6)
    axes.set_axisbelow(True)
    axes.grid(axis=grid, color=GREY, alpha=0.3, lw=0.6)
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            low, high = axis.get_view_interval()
            digits = (1,) if high > 300 * low else (1, 2, 5) if high > 12 * low else range(1, 10)
            axis.set_major_locator(LogLocator(subs=digits, numticks=8))
            axis.set_minor_formatter(NullFormatter())
            axis.set_major_formatter(FuncFormatter(_short))
    if axes.yaxis.get_scale() == "linear":
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(_short))


def _short(number: float, _: int | None = None) -> str:
    """Return 1500 as 1.5k, 2000000 as 2M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"


def _plot(title: str, label: str, note: str, draw: Callable[[Axes], None]) -> Plot:
    return Plot(title, note, draw_svg(draw, label=f"{title}: {label}", height=HEIGHT))
