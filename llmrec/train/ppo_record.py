"""What a PPO run came to: its log, a page of curves and answers, and what is needed to repeat it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from llmrec.config import write_run
from llmrec.data.files import atomic_file, write_json
from llmrec.eval.page import render_page
from llmrec.eval.svg import COLOURS, draw_svg
from llmrec.train.ppo_recipe import PpoRecipe
from llmrec.train.ppo_state import Log
from llmrec.train.record import ADAPTER, CHECKPOINTS, HISTORY, RUN, read_record

_STAGE = "ppo"
_PANELS = {
    "reward": "reward of an answer",
    "kl": "KL to the reference, nats of an answer",
    "kl_coefficient": "price of a nat",
    "entropy": "entropy, nats of a token",
    "clip_fraction": "share of tokens clipped",
    "value_error": "squared error of foretold rewards",
    "tokens": "tokens of an answer",
    "ended": "share of answers that end",
}
_SUMMARY = ("reward", "kl", "entropy", "tokens", "ended")


@dataclass(frozen=True, eq=False)
class Optimised:
    """What a run came to.

    Attributes:
        adapter: its folder.
        log: an entry a step.
        counts: prompts used, and left out by reason.
        seconds: wall time of the call that ended the run.
        before: whether that was an earlier call, and nothing was trained in this one.
    """

    adapter: Path
    log: Log
    counts: Mapping[str, int]
    seconds: float
    before: bool = False


def write_log(recipe: PpoRecipe, log: Log) -> None:
    """Write the log and its curves, of a run that is over or one that has stopped."""
    write_json(recipe.out / HISTORY, {"history": {_STAGE: log}})
    if log:
        write_page(log, recipe.out / "curves.html", title=f"PPO of {recipe.model}")


def write_optimised(recipe: PpoRecipe, done: Optimised) -> None:
    """Write, last of all, the record of a run whose log and adapter are there; checkpoints go."""
    ends = {name: {key: done.log[place][key] for key in _SUMMARY} for name, place in (("first", 0), ("last", -1))}
    write_run(
        recipe.out / RUN, recipe, adapter=str(recipe.out / ADAPTER), **ends, counts=done.counts, seconds=done.seconds
    )
    shutil.rmtree(recipe.out / CHECKPOINTS, ignore_errors=True)


def read_optimised(recipe: PpoRecipe) -> Optimised | None:
    """Return what a run that is over came to; None where it is not.

    Raises:
        DataError: a file of the run is gone or damaged.
    """
    found = read_record(recipe)
    if found is None:
        return None
    history, run = found
    return Optimised(recipe.out / ADAPTER, history[_STAGE], run["counts"], run["seconds"], before=True)


def write_page(log: Log, path: Path, *, title: str) -> Path:
    """Write one HTML page with what was logged by step and some of the last answers."""
    panels = [(words, _draw(log, key, words)) for key, words in _PANELS.items() if key in log[-1]]
    parts = [key for key in log[-1] if key.startswith("reward/")]
    if len(parts) > 1:
        panels[1:1] = [(f"{key.removeprefix('reward/')}, a part of it", _draw(log, key, key)) for key in parts]
    last = next((entry for entry in reversed(log) if entry["samples"]), log[-1])
    template = resources.files("llmrec.train") / "ppo.html"
    page = render_page(template, title=title, panels=panels, step=last["step"], samples=last["samples"])
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _draw(log: Log, key: str, words: str) -> object:
    def draw(axes: Axes) -> None:
        axes.plot([entry["step"] for entry in log], [entry[key] for entry in log], color=COLOURS[0], lw=1.5)
        axes.set_xlabel("step", fontsize=12)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    return draw_svg(draw, label=f"{words} by step", height=2.4)
