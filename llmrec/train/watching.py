"""What happens beside the training of a stage: reports, checkpoints in between, and going on with one."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from llmrec.data.files import read_json, write_json
from llmrec.errors import DataError

Report = Callable[[int, int, str], None]
"""Called with updates done, updates in all of a stage, and a text on how it goes."""
_TALKATIVE = ("transformers", "trl", "accelerate", "peft")


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at validation may go by.

    Attributes:
        name: as trainers call it.
        word: as people do.
        sign: 1 where more is better, else -1.
    """

    name: str
    word: str
    sign: int

    @property
    def key(self) -> str:
        """Its name in a log."""
        return f"eval_{self.name}"


LOOKS = (Look("auc", "AUC", 1), Look("accuracy", "accuracy", 1), Look("loss", "loss", -1))
"""The first that a log has is what the stage went by."""
_STATE, _STOPPER = "trainer_state.json", "EarlyStoppingCallback"


class Watcher(TrainerCallback):
    """Tells how a stage goes, and has it saved between two looks at validation.

    Args:
        name: of the stage.
        report: told after each update.
        save_every: updates between two checkpoints, at most.
    """

    def __init__(self, name: str, report: Report | None, save_every: int) -> None:
        self.name, self.report, self.save_every, self.said = name, report, save_every, ""

    def on_log(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ANN401, ARG002 - as it is called
        """Remember the newest loss or validation metric."""
        logs = more["logs"]
        for name, word in (("loss", "loss"), *((look.key, f"valid {look.word}") for look in LOOKS)):
            if name in logs:
                self.said = f"{self.name}, {word} {logs[name]:.4f}"
                break

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ANN401, ARG002
        """Pass it on; ask for a checkpoint where one is due."""
        if state.global_step % self.save_every == 0:
            control.should_save = True
        if self.report is not None and state.is_world_process_zero:
            self.report(state.global_step, state.max_steps, self.said or self.name)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what libraries say of their own settings while they train off the terminal; errors are told."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def find_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint of a stage; None where there is none.

    A kill may have left half of one: what is written last, the state, is not there then.
    """
    steps = {int(path.name.removeprefix("checkpoint-")): path for path in folder.glob("checkpoint-*")}
    for _, path in sorted(steps.items(), reverse=True):
        try:
            read_json(path / _STATE)
        except DataError:
            continue
        return path
    return None


def clean_checkpoints(folder: Path) -> None:
    """Remove what ``find_checkpoint`` passes over, and let the others name each other by where they are now."""
    for path in folder.glob("checkpoint-*"):
        try:
            state = read_json(path / _STATE)
        except DataError:
            shutil.rmtree(path)
            continue
        best = state["best_model_checkpoint"]
        here = str(folder / Path(best).name) if best else best
        if best != here:
            write_json(path / _STATE, {**state, "best_model_checkpoint": here})


def read_stopped(checkpoint: Path, patience: int | None) -> tuple[Path, list[dict[str, float]]] | None:
    """Return the best checkpoint and the log of a stage that had been stopped early; None where it goes on."""
    state = read_json(checkpoint / _STATE)
    stopper = state["stateful_callbacks"].get(_STOPPER)
    if patience is None or stopper is None or stopper["attributes"]["early_stopping_patience_counter"] < patience:
        return None
    return Path(state["best_model_checkpoint"]), state["log_history"]
