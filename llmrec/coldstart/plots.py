"""Plots of what was tried on the validation cut, as SVG elements that a page can colour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from markupsafe import Markup
from matplotlib.axes import Axes

from llmrec.coldstart.choose import Choice, Trial
from llmrec.eval.svg import COLOURS, GREY, draw_svg

HEIGHT = 2.9
SHIFT = 0.06  # of one source's intervals beside another's
COLOUR_OF = {"LLM pairs": COLOURS[0], "content pairs": COLOURS[1], "random pairs": GREY}


def trial_plots(model: str, choices: Mapping[str, Choice], k: int) -> Iterator[tuple[str, Markup]]:
    """Yield title and plot of a model: cold and warm items over the number of pairs, and over their weight.

    Args:
        model: name of the model.
        choices: what was tried, by source of pairs.
        k: length of the lists.
    """
    what: tuple[tuple[Literal["cold", "warm"], str], ...] = (
        ("cold", f"recall@{k}, cold items"),
        ("warm", f"ndcg@{k}, warm items"),
    )
    for value, metric in what:
        by_pairs = {name: [each.plain, *each.pairs] for name, each in choices.items()}
        places = [f"{trial.pairs:,}" for trial in _longest(by_pairs)]
        yield f"{metric} by pairs asked", _lines(f"{model}: {metric} by pairs asked", by_pairs, value, places, "pairs")
        by_weight = {name: [each.plain, *each.weights] for name, each in choices.items()}
        places = [f"{trial.weight:g}" for trial in _longest(by_weight)]
        yield (
            f"{metric} by weight",
            _lines(f"{model}: {metric} by weight of a pair", by_weight, value, places, "weight"),
        )


def _longest(trials: Mapping[str, Sequence[Trial]]) -> Sequence[Trial]:
    return max(trials.values(), key=len)


def _lines(
    label: str, trials: Mapping[str, Sequence[Trial]], value: Literal["cold", "warm"], places: Sequence[str], axis: str
) -> Markup:
    """Return a line for each source over equal steps; the plain model stands at 0."""

    def draw(axes: Axes) -> None:
        for number, (name, found) in enumerate(trials.items()):
            at = [place + SHIFT * (number - 1) for place in range(len(found))]
            means, lows, highs = zip(*(_numbers(trial, value) for trial in found), strict=True)
            axes.vlines(at, lows, highs, color=COLOUR_OF[name], alpha=0.4, lw=2)
            axes.plot(at, means, "o-", color=COLOUR_OF[name], lw=2, ms=5, label=name)
        axes.axhline(_numbers(next(iter(trials.values()))[0], value)[0], color=GREY, lw=0.8, ls=(0, (3, 3)), zorder=0)
        axes.set_xticks(range(len(places)), labels=list(places))
        axes.set_xlabel(axis, fontsize=12)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color=GREY, alpha=0.25, lw=0.6)
        axes.legend(frameon=False, fontsize=10)

    return draw_svg(draw, label=label, height=HEIGHT)


def _numbers(trial: Trial, value: Literal["cold", "warm"]) -> tuple[float, float, float]:
    if value == "cold":
        return trial.cold, trial.cold_low, trial.cold_high
    return trial.warm, trial.warm_low, trial.warm_high
