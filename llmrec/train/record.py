"""What a tuning run came to: written at its end, read back when it is asked for again."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrec.config import write_run
from llmrec.data.files import read_json, write_json
from llmrec.eval.yes_no import Predictions
from llmrec.eval.yes_no_compare import YesNoEvaluation, evaluate_yes_no
from llmrec.train.curves import write_curves
from llmrec.train.recipe import RunRecipe, TallrecRecipe
from llmrec.train.watching import LOOKS

Log = list[dict[str, float]]
ADAPTER, CHECKPOINTS, HISTORY, PREDICTIONS, RUN = (
    "adapter",
    "checkpoints",
    "history.json",
    "predictions.parquet",
    "run.json",
)


@dataclass(frozen=True, eq=False)
class Tuned:
    """What a run came to.

    Attributes:
        adapter: its folder.
        history: what each stage logged, by name.
        counts: rows used and left out, by stage.
        test: metrics of the test's questions with intervals; None without such a test.
        seconds: wall time of the call that ended the run.
        before: whether that was an earlier call, and nothing was trained in this one.
    """

    adapter: Path
    history: Mapping[str, Log]
    counts: Mapping[str, Mapping[str, int]]
    test: YesNoEvaluation | None
    seconds: float
    before: bool = False


def write_tuned(recipe: TallrecRecipe, tuned: Tuned) -> None:
    """Write the curves and, last, the record of a run whose adapter is there; checkpoints go.

    Args:
        recipe: the run's.
        tuned: what it came to.
    """
    write_record(
        recipe,
        tuned.history,
        counts=tuned.counts,
        test=None if tuned.test is None else tuned.test.evaluation.table.to_dicts(),
        seconds=tuned.seconds,
    )


def write_record(recipe: RunRecipe, history: Mapping[str, Log], **facts: object) -> None:
    """Write the curves and, last, the record of a run of any kind whose adapter is there; checkpoints go.

    Args:
        recipe: the run's.
        history: what each stage logged, by name.
        facts: what it came to.
    """
    write_json(recipe.out / HISTORY, {"history": history})
    write_curves(history, recipe.out / "curves.html", title=f"Tuning {recipe.model}")
    best = {name: best_look(log) for name, log in history.items()}
    write_run(recipe.out / RUN, recipe, adapter=str(recipe.out / ADAPTER), best=best, **facts)
    shutil.rmtree(recipe.out / CHECKPOINTS, ignore_errors=True)


def read_record(recipe: RunRecipe) -> tuple[dict[str, Log], dict[str, Any]] | None:
    """Return what each stage of a run that is over logged, and its record; None where it is not.

    Raises:
        DataError: a file of the run is gone or damaged.
    """
    out = recipe.out
    if not (out / RUN).is_file() or not (out / ADAPTER).is_dir():
        return None
    return read_json(out / HISTORY)["history"], read_json(out / RUN)


def read_tuned(recipe: TallrecRecipe) -> Tuned | None:
    """Return what a run that is over came to; None where it is not.

    Raises:
        DataError: a file of the run is gone or damaged.
    """
    record = read_record(recipe)
    if record is None:
        return None
    history, run = record
    out = recipe.out
    test = None if recipe.test is None else evaluate_yes_no({"tuned": Predictions.load(out / PREDICTIONS)})
    return Tuned(out / ADAPTER, history, run["counts"], test, run["seconds"], before=True)


def best_look(log: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the best validation metric of a stage's log with its step; empty where nothing was validated.

    The look before the first update does not count: what is kept is a state after one.
    """
    for look in LOOKS:
        looks = [entry for entry in log if look.key in entry and entry["step"] > 0]
        if looks:
            best = max(looks, key=lambda entry: look.sign * entry[look.key])
            return {look.name: best[look.key], "step": best["step"]}
    return {}
