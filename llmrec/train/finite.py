"""A loss or a gradient that is no number ends training at once: what was read is named, and no checkpoint spoilt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch

from llmrec.errors import TrainingError
from llmrec.train.packages import peft_helpers
from llmrec.train.processes import together


class Named(Protocol):
    """Rows that a message can name."""

    def name(self, numbers: Sequence[int]) -> str:
        """Return which rows of which sources these are."""
        ...


class Finite:
    """Ends training where a number is none.

    Args:
        rows: to learn from.
        valid: to validate on, or None.
        folder: where checkpoints are.
    """

    def __init__(self, rows: Named, valid: Named | None, folder: str) -> None:
        self.rows, self.valid, self.folder = rows, valid, folder
        self._update: list[int] = []  # rows since the last update

    def require_loss(self, total: float, numbers: list[int], *, step: int, training: bool) -> None:
        """Raise an error, in every process, unless a batch's loss is finite in all.

        Args:
            total: the loss.
            numbers: of the batch's rows.
            step: updates made before.
            training: whether the batch is learnt, not validated.

        Raises:
            TrainingError: it is not finite.
        """
        if training:
            self._update += numbers
        with together():
            if not math.isfinite(total):
                rows, batch = (self.rows, "batch") if training or self.valid is None else (self.valid, "validation")
                found = f"loss {total} at step {step + training}"
                raise self._diverged(f"{found}, in the {batch} of rows {rows.name(numbers)}")

    def require_gradient(self, logs: Mapping[str, float], step: int) -> None:
        """Raise an error if an update's gradient was not finite: its weights are no longer, and must not be saved.

        Args:
            logs: what is logged of the update.
            step: its number.

        Raises:
            TrainingError: so it was.
        """
        norm = logs.get("grad_norm", 0.0)
        if not math.isfinite(norm):
            rows = self.rows.name(self._update)
            raise self._diverged(f"gradient of norm {norm} at step {step}, in the batch of rows {rows}")
        if "loss" in logs:
            self._update = []

    def _diverged(self, found: str) -> TrainingError:
        return TrainingError(
            found,
            expected="a finite number",
            cure=f"lower learning_rate or take dtype=float32, with another out; checkpoints before it are kept in "
            f"{self.folder}",
        )


@contextmanager
def precision(model: torch.nn.Module, device: str, *, mixed: bool) -> Iterator[None]:
    """Let layers of an adapter take what they are given, and multiply in bfloat16, where that is wanted."""
    kept = peft_helpers.disable_input_dtype_casting(model, active=mixed)
    with kept, torch.autocast(device, torch.bfloat16, enabled=mixed):
        yield
