"""Fitting a model from the command line: a checkpoint beside its folder, a record within, one process that writes."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrec.cli.console import console, progress
from llmrec.config import Config, write_run
from llmrec.data import Split
from llmrec.data.files import require_replaceable
from llmrec.protocols import Storable, Watch


@dataclass(frozen=True)
class Work:
    """What a model is fitted on, and where it goes.

    Attributes:
        name: the model's name in its registry.
        dataset: folder from ``llmrec prepare``.
        out: the model's folder.
        seed: of everything random.
    """

    name: str
    dataset: Path
    out: Path
    seed: int

    def record(self) -> dict[str, Any]:
        """Return what the record of the run says of it."""
        return {"dataset": str(self.dataset), "seed": self.seed}


def fit_and_save(model: Any, recipe: Config, role: str, work: Work) -> bool:  # noqa: ANN401 - Trainable and Storable
    """Fit a model on the training part, save it, print a line; return whether this process was the one to write.

    It stops early by the validation part where it learns in epochs.

    Args:
        model: unfitted.
        recipe: its parameters, for the record.
        role: what the record calls it.
        work: name, data set, folder, seed.
    """
    require_replaceable(work.out)
    split = Split.load(work.dataset / "split")
    valid = split.valid if split.valid.labelled else None

    def fit(watch: Watch) -> None:
        model.fit(split.train, seed=work.seed, watch=Watch(valid, watch.checkpoint, watch.report))

    said = f"{work.name}: fitted on {len(split.train.interactions):,} events"
    return learn_and_save(model, fit, said, work, {"recipe": recipe, role: work.name, **work.record()})


def learn_and_save(
    model: Storable, learn: Callable[[Watch], None], said: str, work: Work, record: dict[str, Any]
) -> bool:
    """Let a model learn with a checkpoint beside its folder and save it with a record; see ``fit_and_save``."""
    out, start = work.out.resolve(), time.perf_counter()
    checkpoint = out.with_name(f".{out.name}.checkpoint")
    with progress(f"fit {work.name}", short=True) as report:
        learn(Watch(None, checkpoint, report))
    if int(os.environ.get("RANK", "0")):  # of several processes that learned together one writes
        return False
    seconds = time.perf_counter() - start
    model.save(work.out)
    write_run(work.out / "run.json", **record, seconds=seconds)
    shutil.rmtree(checkpoint, ignore_errors=True)
    console.print(f"{said} in {seconds:.1f} s -> {work.out}")
    return True
