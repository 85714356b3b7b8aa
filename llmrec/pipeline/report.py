"""A pipeline's run for people: the funnel drawn, and what each stage did, on one page."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import polars as pl
from markupsafe import Markup
from matplotlib.axes import Axes

from llmrec import __version__
from llmrec.data import Dataset
from llmrec.data.files import atomic_file
from llmrec.eval.page import render_page
from llmrec.eval.plot import shorten
from llmrec.eval.svg import COLOURS, GREY, draw_svg
from llmrec.pipeline.recipe import PipelineRecipe
from llmrec.pipeline.record import PipelineRun

CATALOGUE = "catalogue"


def write_funnel(run: PipelineRun, recipe: PipelineRecipe, train: Dataset, path: Path) -> Path:
    """Write one HTML file: sizes and seconds drawn, a table of the stages, what was skipped, how it was made.

    Args:
        run: what it came to.
        recipe: the pipeline.
        train: the data set that it serves.
        path: the file; it is written whole or not at all.
    """
    table = run.table()
    models = {"recall": ", ".join(channel.shown for channel in recipe.recall.channels)}
    page = render_page(
        resources.files("llmrec.pipeline") / "funnel.html",
        title=f"{run.total.queries:,} queries through {len(run.stages)} stages",
        sizes=draw_sizes(table),
        seconds=draw_seconds(table),
        columns=table.columns[1:],
        rows=[[_text(cell) for cell in row] for row in table.iter_rows()],
        skipped=[(stage.name, stage.skipped, stage.error) for stage in run.stages if stage.skipped],
        counts=[(stage.name, name, count) for stage in run.stages for name, count in stage.counts.items() if count],
        models=models | {stage.name: stage.ranker.shown for stage in recipe.stages},
        notes={
            "data": f"{train.name}, {recipe.part}; {len(train.items):,} items",
            "seconds": f"{run.total.seconds:,.1f}",
            "command": shlex.join(["llmrec", *sys.argv[1:]]),
            "versions": f"llmrec {__version__}",
        },
    )
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
    return path


def draw_sizes(table: pl.DataFrame) -> Markup:
    """Return an SVG of the funnel: how many candidates of a query each stage hands on, as widths on a log scale."""
    names, sizes = [CATALOGUE, *table["stage"]], [table["in"][0], *table["out"]]

    def draw(axes: Axes) -> None:
        widths = [math.log10(1 + size) for size in sizes]
        for place, (width, size) in enumerate(zip(widths, sizes, strict=True)):
            colour = GREY if place == 0 else COLOURS[(place - 1) % len(COLOURS)]
            axes.barh(place, width, left=-width / 2, height=0.7, color=colour, alpha=0.85)
            axes.text(max(widths) / 2 + 0.1, place, f"{size:,.4g}" if size < 1000 else f"{size:,.0f}", va="center")
            if place:
                above = widths[place - 1]
                for side in (-1, 1):
                    axes.plot(
                        [side * above / 2, side * width / 2], [place - 0.65, place - 0.35], color=GREY, lw=1, alpha=0.6
                    )
        axes.set_xlim(-max(widths) / 2 - 0.1, max(widths) / 2 + 1)
        axes.set_xticks([])
        _name(axes, names)

    return draw_svg(draw, label="Candidates of a query after each stage", height=0.5 + 0.42 * len(names))


def draw_seconds(table: pl.DataFrame) -> Markup:
    """Return an SVG of the seconds that each stage took."""
    names, seconds = table["stage"].to_list(), table["seconds"].to_list()

    def draw(axes: Axes) -> None:
        colours = [COLOURS[place % len(COLOURS)] for place in range(len(names))]
        axes.barh(range(len(names)), seconds, height=0.7, color=colours, alpha=0.85)
        for place, value in enumerate(seconds):
            axes.text(value, place, f" {value:,.3g}", va="center")
        axes.set_xlim(0, max([*seconds, 1e-9]) * 1.2)
        axes.locator_params(axis="x", nbins=4)
        axes.grid(axis="x", color=GREY, alpha=0.3, lw=0.6)
        _name(axes, names)

    return draw_svg(draw, label="Seconds of each stage", height=0.8 + 0.42 * len(names))


def _name(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), labels=[shorten(name) for name in names], parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)


def _text(cell: object) -> str:
    if cell is None:
        return ""
    return f"{cell:,.4g}" if isinstance(cell, float) else f"{cell:,}" if isinstance(cell, int) else str(cell)
