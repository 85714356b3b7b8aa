"""Plots of an experiment as SVG elements that a page can colour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from llmrec.eval.bias import PositionBias
from llmrec.eval.plot import shorten
from llmrec.eval.svg import COLOURS, GREY, draw_svg
from llmrec.rank.compare.recipe import INCOMING

BLUE, ORANGE, GREEN = COLOURS[:3]
HEIGHT = 3.0
DASHED = (0, (3, 3))
CORNERS = ((10, 9), (10, -9), (-10, 9), (-10, -9))  # points beside a dot


@dataclass(frozen=True, slots=True)
class Plot:
    """An SVG with its title; ``words`` are what a filter of variants finds it by, empty: it always shows."""

    title: str
    svg: Markup
    words: str = ""


def cost_plots(board: pl.DataFrame, metric: str) -> Iterator[Plot]:
    """Yield quality against what it costs: tokens of a user, and seconds and money where they are known.

    A variant is a dot with the number of its row on the leaderboard; the dashed step joins those that nothing cheaper
    equals.
    """
    ran = board.with_row_index("number", 1).filter(pl.col("prompts").is_not_null())
    reference = board.filter(pl.col("variant") == INCOMING)[f"{metric} mean"][0]
    users = ran.with_columns(tokens=pl.col("prompt_tokens") + pl.col("output_tokens"))
    columns = {"tokens": "tokens, all users", "seconds": "seconds, all users", "money": "money, all users"}
    for column, title in columns.items():
        known = users.filter((pl.col(column) > 0).fill_null(value=False))
        if len(known):
            yield Plot(f"{metric} by {column}", _cost(known, metric, column, title, reference))


def _cost(known: pl.DataFrame, metric: str, column: str, title: str, reference: float) -> Markup:
    cost, mean = known[column].to_numpy(), known[f"{metric} mean"].to_numpy()

    def draw(axes: Axes) -> None:
        axes.axhline(reference, color=GREY, lw=0.8, ls=DASHED)
        low, high = (known[f"{metric} {end}"].to_numpy() for end in ("low", "high"))
        axes.vlines(cost, low, high, color=BLUE, alpha=0.35, lw=2.5)
        front = pareto(cost, mean)
        axes.step(cost[front], mean[front], where="post", color=ORANGE, lw=1.2, ls=DASHED)
        axes.plot(cost, mean, "o", color=BLUE, ms=7)
        _cost_axis(axes, cost)
        _number(axes, np.column_stack([cost, mean]), known["number"].to_list())
        axes.set_xlabel(title, fontsize=12)
        axes.grid(color=GREY, alpha=0.25, lw=0.6)

    return draw_svg(draw, label=f"{metric} by {column}: a dot and a 95 % interval for each variant", height=HEIGHT)


def _number(axes: Axes, points: np.ndarray, numbers: Sequence[int]) -> None:
    """Write each dot's number into that corner beside it which is farthest from other dots and numbers."""
    dots = axes.transData.transform(points)
    taken = [tuple(dot) for dot in dots]
    for dot, point, number in zip(dots, points, numbers, strict=True):
        others = np.array([each for each in taken if each != tuple(dot)] or [(-1e6, -1e6)])
        corner = max(CORNERS, key=lambda at: np.hypot(*(others - dot - at).T).min())
        taken.append(tuple(dot + corner))
        axes.annotate(
            str(number), point, xytext=corner, textcoords="offset points", fontsize=11, ha="center", va="center"
        )


def _cost_axis(axes: Axes, cost: np.ndarray) -> None:
    axes.margins(x=0.12, y=0.12)
    axes.locator_params(axis="y", nbins=6)
    if cost.max() > 3 * cost.min():
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5), numticks=6))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _amount(value)))


def pareto(cost: np.ndarray, quality: np.ndarray) -> list[int]:
    """Return the points that none beats at the same or a lower cost, from the cheapest on."""
    best, front = -np.inf, []
    for place in np.lexsort((-quality, cost)).tolist():
        if quality[place] > best:
            best = quality[place]
            front.append(place)
    return front


def place_plots(position: Sequence[tuple[str, str, PositionBias]]) -> Iterator[Plot]:
    """Yield for each (variant, words to find it by, bias) the ranks given by incoming place."""
    for name, words, found in position:
        yield Plot(name, _places(name, found.by_place), words)


def _places(name: str, table: pl.DataFrame) -> Markup:
    shown = table.filter(pl.col("candidates") > 0)
    middle = (len(shown) + 1) / 2
    relevant = shown.filter(pl.col("relevant") > 0)

    def draw(axes: Axes) -> None:
        axes.plot([1, len(shown)], [1, len(shown)], color=GREY, lw=0.8, ls=DASHED)
        axes.plot([1, len(shown)], [middle, middle], color=GREY, lw=0.8)
        axes.plot(relevant["place"], relevant["relevant_rank"], "o", color=ORANGE, ms=5)
        axes.plot(shown["place"], shown["mean_rank"], color=BLUE, lw=2.2)
        axes.set_ylim(len(shown) + 0.6, 0.4)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlabel("place in which it came", fontsize=12)
        axes.set_ylabel("mean rank given", fontsize=12)
        axes.grid(color=GREY, alpha=0.25, lw=0.6)

    return draw_svg(draw, label=f"{name}: mean rank given by incoming place", height=HEIGHT)


def score_plots(position: Sequence[tuple[str, str, PositionBias]]) -> Iterator[Plot]:
    """Yield for each (variant, words to find it by, bias) the mean score by incoming place, where there are scores."""
    for name, words, found in position:
        shown = found.by_place.filter(pl.col("mean_score").is_not_null())
        if len(shown):
            yield Plot(name, _scores(name, shown), words)


def _scores(name: str, shown: pl.DataFrame) -> Markup:
    def draw(axes: Axes) -> None:
        axes.axhline(0, color=GREY, lw=0.8)
        axes.bar(shown["place"], shown["mean_score"], color=BLUE, width=0.75)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.locator_params(axis="y", nbins=5)
        axes.set_xlabel("place in which it came", fontsize=12)
        axes.set_ylabel("score less the query's mean", fontsize=12)

    return draw_svg(draw, label=f"{name}: mean score by incoming place", height=HEIGHT)


def popularity_plot(rows: Sequence[tuple[str, float]], candidates: float, relevant: float | None, k: int) -> Plot:
    """Return the mean popularity percentile of each variant's first k items against all candidates."""
    height = len(rows)

    def draw(axes: Axes) -> None:
        axes.axvline(candidates, color=GREY, lw=1.2, ls=DASHED)
        if relevant is not None:
            axes.axvline(relevant, color=GREEN, lw=1.6)
        for place, (_, value) in enumerate(rows):
            axes.plot([candidates, value], [place, place], color=BLUE, alpha=0.35, lw=2.5, solid_capstyle="round")
            axes.plot(value, place, "o", color=BLUE, ms=7)
        axes.set_yticks(range(height), labels=[shorten(name) for name, _ in rows], parse_math=False)
        axes.set_ylim(height - 0.4, -0.6)
        axes.margins(x=0.1)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel("popularity percentile", fontsize=12)
        axes.grid(axis="x", color=GREY, alpha=0.25, lw=0.6)

    label = f"Popularity of the first {k} items of each variant against that of all candidates"
    return Plot(f"Popularity of the first {k}", draw_svg(draw, label=label, height=0.9 + 0.38 * height))


def _amount(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
