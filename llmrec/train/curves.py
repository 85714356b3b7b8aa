"""How tuning went: loss and validation by update, one page for all stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from llmrec.data.files import atomic_file
from llmrec.eval.page import render_page
from llmrec.eval.svg import COLOURS, GREY, draw_svg
from llmrec.train.watching import LOOKS, Look

Log = Sequence[Mapping[str, float]]


def write_curves(history: Mapping[str, Log], path: Path, *, title: str) -> Path:
    """Write one HTML page with the curves of each stage.

    Args:
        history: what each stage logged: entries with ``step`` and ``loss``, or what it went by (``LOOKS``).
        path: the page.
        title: its title.
    """
    stages = [(name, draw_curves(name, log), _looks(log)) for name, log in history.items()]
    page = render_page(resources.files("llmrec.train") / "curves.html", title=title, stages=stages)
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def draw_curves(name: str, log: Log) -> Markup:
    """Return an SVG of the training loss, and what validation went by where there is any, by update."""

    def draw(axes: Axes) -> None:
        steps, losses = _series(log, "loss")
        axes.plot(steps, losses, color=GREY, lw=1.2)
        axes.set_xlabel("update", fontsize=12)
        axes.set_ylabel("training loss", fontsize=12, color=GREY)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        look = _look(log)
        if look is None:
            return
        right = axes.twinx()
        right.spines[:].set_visible(False)
        right.tick_params(length=0, labelsize=12)
        steps, values = _series(log, look.key)
        right.plot(steps, values, color=COLOURS[0], lw=2, marker="o", ms=4)
        right.set_ylabel(f"validation {look.word}", fontsize=12, color=COLOURS[0])

    return draw_svg(draw, label=f"{name}: training loss and validation by update", height=3)


def _looks(log: Log) -> list[tuple[int, str, float]]:
    look = _look(log)
    if look is None:
        return []
    return [(int(step), look.word, value) for step, value in zip(*_series(log, look.key), strict=True)]


def _look(log: Log) -> Look | None:
    return next((look for look in LOOKS if any(look.key in entry for entry in log)), None)


def _series(log: Log, key: str) -> tuple[list[float], list[float]]:
    entries = [entry for entry in log if key in entry]
    return [entry["step"] for entry in entries], [entry[key] for entry in entries]
