"""Yes/no predictions for people: the same page as rankings have, with a calibration plot and words of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl
from markupsafe import Markup
from matplotlib.axes import Axes

from llmrec.eval.plot import method_colour, shorten
from llmrec.eval.report import write_report
from llmrec.eval.svg import GREY, draw_svg
from llmrec.eval.yes_no_compare import YesNoEvaluation

HEIGHT = 4.4
DASHED = (0, (3, 3))


def write_yes_no_report(found: YesNoEvaluation, path: Path | str, *, title: str, notes: Mapping[str, str]) -> Path:
    """Write one HTML file: a plot of each metric, calibration, tables, notes. The same input gives the same bytes.

    Args:
        found: what to show.
        path: the file, usually ``report.html``; it is written whole or not at all.
        title: heading of the page.
        notes: what a reader needs to repeat it; what was drawn and left out is added.
    """
    return write_report(
        found.evaluation,
        path,
        title=title,
        notes={**about(found), **notes},
        figures=[("calibration", calibration_plot(found))],
        template="yes_no.html",
    )


def about(found: YesNoEvaluation) -> dict[str, str]:
    """Return what the numbers rest on, for people: questions, users, what was left out."""
    rows = found.evaluation.table["queries"][0]
    known = f"{found.users:,} users, {found.one_label:,} of them with one label only and so left out of gauc"
    notes = {
        "questions": f"{rows:,}, {found.yes / rows:.1%} with the answer yes",
        "users": known if found.users else "not known",
        "intervals": f"whole {found.drawn} drawn anew" if found.users else "rows drawn anew, as if independent",
    }
    failed = {name: count for name, count in found.failed.items() if count}
    if failed:
        notes["without a score"] = ", ".join(f"{name} {count:,}" for name, count in failed.items())
        notes["without a score"] += "; left out for all methods"
    return notes


def calibration_plot(found: YesNoEvaluation) -> Markup:
    """Return an SVG of the share of yes by mean probability: a line for each method, the diagonal dashed."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=DASHED)
        for name in found.evaluation.methods:
            bins = found.calibration.filter(pl.col("method") == name)
            colour = method_colour(found.evaluation, name)
            axes.plot(bins["predicted"], bins["yes"], "o-", color=colour, lw=2, ms=5, label=shorten(name))
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.set_xlabel("mean probability of yes", fontsize=12)
        axes.set_ylabel("share of yes", fontsize=12)
        axes.grid(color=GREY, alpha=0.25, lw=0.6)
        legend = axes.legend(loc="upper left", frameon=False, fontsize=11)
        for text in legend.get_texts():
            text.set_parse_math(False)

    return draw_svg(draw, label="Calibration: share of yes by mean probability of each method", height=HEIGHT)
