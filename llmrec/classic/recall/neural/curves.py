"""How training went: loss and validation NDCG by epoch, drawn from what a model kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from llmrec.classic.recall.base.store import read_arrays
from llmrec.data.files import atomic_file
from llmrec.eval.svg import COLOURS, GREY, draw_svg


def write_curves(folder: Path) -> list[Path]:
    """Draw ``training.svg`` beside the weights of each model in a saved folder that was trained in epochs.

    Returns:
        The files written: none for models that are not, one for each such member of a fusion.
    """
    written = []
    for weights in sorted(folder.rglob("weights.npz")):
        arrays = read_arrays(weights)
        if "training_loss" not in arrays:
            continue
        path = weights.with_name("training.svg")
        with atomic_file(path) as temporary:
            temporary.write_text(draw_curves(arrays["training_loss"], arrays["validation_ndcg"]), encoding="utf-8")
        written.append(path)
    return written


def draw_curves(losses: NDArray[np.float64], values: NDArray[np.float64]) -> str:
    """Return an SVG file of the training loss (epochs,) and the validation NDCG@10 (epochs,) or (0,)."""
    epochs = np.arange(1, len(losses) + 1)

    def draw(axes: Axes) -> None:
        axes.plot(epochs, losses, color=GREY, lw=2)
        axes.set_xlabel("epoch", fontsize=12)
        axes.set_ylabel("training loss", fontsize=12, color=GREY)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(values):
            right = axes.twinx()
            right.spines[:].set_visible(False)
            right.tick_params(length=0, labelsize=12)
            right.plot(epochs, values, color=COLOURS[0], lw=2)
            best = int(np.argmax(values))
            right.plot(epochs[best], values[best], "o", color=COLOURS[0], ms=8)
            right.set_ylabel("validation NDCG@10", fontsize=12, color=COLOURS[0])
            axes.set_title(f"best epoch {best + 1}: NDCG@10 {values[best]:.4f}", fontsize=12)

    svg = str(draw_svg(draw, label="training loss and validation NDCG@10 by epoch", height=3))
    return svg.replace("<svg", '<svg style="background:#fff"', 1) + "\n"
