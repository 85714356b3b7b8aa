"""Plots of an evaluation as SVG elements that a page can colour."""

from __future__ import annotations

import html
import io
import re
import warnings
from typing import Any

import matplotlib as mpl
import polars as pl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from llmrec.eval.evaluate import ALL, Evaluation

# Okabe and Ito's colours that stand out on white and on black alike; the baseline is grey.
COLOURS = ("#0082c8", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
GREY = "#888888"
LONGEST = 24  # characters of a method's name beside a plot


def dot_plot(evaluation: Evaluation, metric: str) -> Markup:
    """Return an SVG of one metric over all queries: a dot and a 95 % interval for each method, text as text.

    Text carries no colour, so that the page's style sheet can colour it for light and dark screens. The same
    evaluation gives the same bytes.
    """
    height = len(evaluation.methods)
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": f"llmrec {metric}", "font.family": "sans-serif"}
    out = io.StringIO()
    with mpl.rc_context(settings), warnings.catch_warnings():
        # The browser has the glyphs that matplotlib's own font lacks; they are missed here for the layout only.
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(4.4, 0.6 + 0.38 * height), layout="constrained", facecolor="none")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot(facecolor="none")
        _dots(axes, evaluation, metric)
        axes.set_yticks(range(height), labels=[_short(name) for name in evaluation.methods], parse_math=False)
        axes.set_ylim(height - 0.4, -0.6)
        axes.locator_params(axis="x", nbins=4)
        axes.tick_params(length=0, labelsize=12)
        axes.grid(axis="x", color=GREY, alpha=0.3, lw=0.6)
        axes.spines[:].set_visible(False)
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _inline(out.getvalue(), f"{metric}: mean and 95 % interval of each method")


def _dots(axes: Axes, evaluation: Evaluation, metric: str) -> None:
    others = [name for name in evaluation.methods if name != evaluation.baseline]
    table = evaluation.table.filter((pl.col("metric") == metric) & (pl.col("group") == ALL))
    for place, row in enumerate(table.iter_rows(named=True)):
        baseline = row["method"] == evaluation.baseline
        colour = GREY if baseline else COLOURS[others.index(row["method"]) % len(COLOURS)]
        if row["low"] is not None:
            axes.plot([row["low"], row["high"]], [place, place], color=colour, lw=2.5, solid_capstyle="round")
        axes.plot(row["mean"], place, "o", color=colour, ms=7)
        if baseline:
            axes.axvline(row["mean"], color=GREY, lw=0.8, ls=(0, (3, 3)), zorder=0)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _inline(svg: str, label: str) -> Markup:
    """Return an SVG file as an element of a page: no prolog, no ids that occur in every plot, a label for readers."""
    svg = svg[svg.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)
    svg = re.sub(r'<(\w+)\s+id="[^"]*_\d+"', r"<\1", svg)
    svg = re.sub(r"<style.*?</style>", "", svg, count=1, flags=re.DOTALL)
    return Markup(svg)  # noqa: S704 - matplotlib escaped the method names
