"""A plot as an SVG element that a page can colour."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Okabe and Ito's colours that stand out on white and on black alike; what is compared with is grey.
COLOURS = ("#0082c8", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
GREY = "#888888"


def draw_svg(draw: Callable[[Axes], None], *, label: str, height: float) -> Markup:
    """Return what ``draw`` puts on its axes as an SVG element, text as text.

    Text carries no colour, so that the page's style sheet can colour it for light and dark screens. The same input
    gives the same bytes.

    Args:
        draw: called once with the axes.
        label: what readers without sight are told; no two plots of a page share one.
        height: in inches, for a width of 4.4.
    """
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": f"llmrec {label}", "font.family": "sans-serif"}
    out = io.StringIO()
    with mpl.rc_context(settings), warnings.catch_warnings():
        # The browser has the glyphs that matplotlib's own font lacks; they are missed here for the layout only.
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(4.4, height), layout="constrained", facecolor="none")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot(facecolor="none")
        axes.tick_params(which="both", length=0, labelsize=12)
        axes.spines[:].set_visible(False)
        draw(axes)
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _inline(out.getvalue(), label)


def _inline(svg: str, label: str) -> Markup:
    """Return an SVG file as an element of a page: no prolog, no ids that occur in every plot, a label for readers."""
    svg = svg[svg.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)
    svg = re.sub(r'<(\w+)\s+id="[^"]*_\d+"', r"<\1", svg)
    svg = re.sub(r"<style.*?</style>", "", svg, count=1, flags=re.DOTALL)
    return Markup(svg)  # noqa: S704 - matplotlib escaped the texts
