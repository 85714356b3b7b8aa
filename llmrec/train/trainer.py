"""trl's SFTTrainer with the loss on answers only, the head only where answers are, and AUC as it goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import EvalPrediction

from llmrec.errors import TrainingError
from llmrec.eval.yes_no import auc
from llmrec.train.head import AnswerHead
from llmrec.train.packages import trl

IGNORED = -100
"""Label of a token that no loss is taken of."""


class Collator:
    """Pads rows on the right to the longest of a batch.

    Args:
        padding: the token to pad with; it is masked.
    """

    def __init__(self, padding: int) -> None:
        self.padding = padding

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return ``input_ids``, ``attention_mask`` and ``labels`` (rows, length), and the rows' numbers (rows,)."""
        longest = max(len(row["input_ids"]) for row in rows)
        ids = torch.full((len(rows), longest), self.padding)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
        for place, row in enumerate(rows):
            end, begin = len(row["input_ids"]), row["answer_start"]
            ids[place, :end] = torch.tensor(row["input_ids"])
            mask[place, :end] = 1
            labels[place, begin:end] = ids[place, begin:end]
        numbers = torch.tensor([row["number"] for row in rows])
        return {"input_ids": ids, "attention_mask": mask, "labels": labels, "numbers": numbers}


class AnswerTrainer(trl.SFTTrainer):  # type: ignore[misc] # trl is untyped
    """Learns answers: the mean cross-entropy of their tokens, as SFTTrainer computes it, at a fraction of its cost.

    Rows are tokens already (``input_ids``, ``answer_start``, ``number``), batched by a ``Collator``.

    Args:
        head: of the model.
        yes_no: the tokens that a no and a yes begin with, where validation rows are questions: their score is the
            difference of the two logits at one position.
        settings: what SFTTrainer takes.
    """

    def __init__(self, head: AnswerHead, yes_no: tuple[int, int] | None, settings: dict[str, Any]) -> None:
        self.head, self.yes_no = head, yes_no
        super().__init__(**settings, compute_metrics=_auc if yes_no else None)

    def compute_loss(
        self,
        model: Any,  # noqa: ANN401 - as trl has it
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,  # noqa: FBT001, FBT002 - as trl has it
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:  # noqa: ANN401
        """Return the loss of a batch, with the logits at its answers' positions if asked.

        Raises:
            TrainingError: it is not finite.
        """
        wanted, answers = _answers(inputs["labels"])
        logits = self.head.logits(model, _read(inputs), wanted).float()
        total = functional.cross_entropy(logits, answers, reduction="sum")
        loss = total / (len(answers) if num_items_in_batch is None else num_items_in_batch)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # its gradients are averaged over the processes
        if self.model.training and not torch.isfinite(total):
            rows = ", ".join(str(number + 1) for number in inputs["numbers"].tolist())
            raise TrainingError(
                f"loss {float(total)} at step {self.state.global_step + 1}, in the batch of rows {rows}",
                expected="a finite number",
                cure="lower learning_rate, or take dtype=float32; the same command goes on from the last checkpoint",
            )
        return (loss, logits) if return_outputs else loss

    def prediction_step(
        self,
        model: Any,  # noqa: ANN401
        inputs: dict[str, torch.Tensor],
        prediction_loss_only: bool,  # noqa: FBT001
        ignore_keys: list[str] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Return the loss of a batch and, of questions, each row's log-odds of yes (rows,) and whether yes is right."""
        inputs = self._prepare_inputs(inputs)
        with torch.inference_mode():
            loss, logits = self.compute_loss(model, inputs, return_outputs=True)
        if self.yes_no is None or prediction_loss_only:
            return loss, None, None
        first = _first_places(inputs["labels"])
        no, yes = self.yes_no
        right = _answers(inputs["labels"])[1][first] == yes
        return loss, logits[first, yes] - logits[first, no], right


def _read(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: inputs[name] for name in ("input_ids", "attention_mask")}


def _answers(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where an answer's token is to be foretold, bool (rows, length), and these tokens, row by row."""
    wanted = torch.zeros_like(labels, dtype=torch.bool)
    wanted[:, :-1] = labels[:, 1:] != IGNORED
    return wanted, labels[:, 1:][wanted[:, :-1]]


def _first_places(labels: torch.Tensor) -> torch.Tensor:
    """Return where the first token of each row's answer stands among all answers' tokens."""
    lengths = (labels != IGNORED).sum(1)
    return lengths.cumsum(0) - lengths


def _auc(found: EvalPrediction) -> dict[str, float]:
    return {"auc": auc(np.asarray(found.label_ids, bool), np.asarray(found.predictions, np.float64))}
