"""Plots of an evaluation as SVG elements that a page can colour."""

from __future__ import annotations

import polars as pl
from markupsafe import Markup
from matplotlib.axes import Axes

from llmrec.eval.evaluate import ALL, Evaluation
from llmrec.eval.svg import COLOURS, GREY, draw_svg

LONGEST = 24  # characters of a method's name beside a plot


def dot_plot(evaluation: Evaluation, metric: str) -> Markup:
    """Return an SVG of one metric over all queries: a dot and a 95 % interval for each method."""
    height = len(evaluation.methods)

    def draw(axes: Axes) -> None:
        _dots(axes, evaluation, metric)
        axes.set_yticks(range(height), labels=[shorten(name) for name in evaluation.methods], parse_math=False)
        axes.set_ylim(height - 0.4, -0.6)
        axes.locator_params(axis="x", nbins=4)
        axes.grid(axis="x", color=GREY, alpha=0.3, lw=0.6)

    return draw_svg(draw, label=f"{metric}: mean and 95 % interval of each method", height=0.6 + 0.38 * height)


def _dots(axes: Axes, evaluation: Evaluation, metric: str) -> None:
    table = evaluation.table.filter((pl.col("metric") == metric) & (pl.col("group") == ALL))
    for place, row in enumerate(table.iter_rows(named=True)):
        colour = method_colour(evaluation, row["method"])
        if row["low"] is not None:
            axes.plot([row["low"], row["high"]], [place, place], color=colour, lw=2.5, solid_capstyle="round")
        axes.plot(row["mean"], place, "o", color=colour, ms=7)
        if row["method"] == evaluation.baseline:
            axes.axvline(row["mean"], color=GREY, lw=0.8, ls=(0, (3, 3)), zorder=0)


def method_colour(evaluation: Evaluation, method: str) -> str:
    """Return the colour of a method in all plots of an evaluation; the baseline is grey."""
    others = [name for name in evaluation.methods if name != evaluation.baseline]
    return GREY if method == evaluation.baseline else COLOURS[others.index(method) % len(COLOURS)]


def shorten(name: str) -> str:
    """Return a name that fits beside a plot."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
