"""trl's SFTTrainer with the loss on answers only, the head only where answers are, and AUC as it goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import EvalPrediction

from llmrec.eval.yes_no import auc
from llmrec.llm.answer_head import AnswerHead
from llmrec.train.finite import Finite, precision
from llmrec.train.packages import datasets, trl
from llmrec.train.rows import TokenRows

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

    Args:
        head: of the model.
        rows: to learn from.
        valid: to validate on, or None; where all are questions by AUC, a score being the difference of the logits of
            yes and no at one position.
        settings: what else SFTTrainer takes; its collator is a ``Collator``.
        mixed: compute in bfloat16, as the base model is held, though the adapter's own weights are float32; else each
            of its layers converts what it reads to float32 and back.

    Raises:
        DataError: validation rows are questions of one label only.
    """

    def __init__(
        self,
        head: AnswerHead,
        rows: TokenRows,
        valid: TokenRows | None,
        settings: dict[str, Any],
        *,
        mixed: bool = False,
    ) -> None:
        self.head, self.rows, self.valid, self.mixed = head, rows, valid, mixed
        self.yes_no = None if valid is None or valid.labels is None else valid.first_tokens()
        self.finite = Finite(rows, valid, settings["args"].output_dir)
        super().__init__(
            **settings,
            train_dataset=_to_dataset(rows),
            eval_dataset=None if valid is None else _to_dataset(valid),
            compute_metrics=_auc if self.yes_no else None,
        )
        self.model_accepts_loss_kwargs = True  # that is, answer tokens are counted for all batches of an update

    def compute_loss(
        self,
        model: Any,  # noqa: ANN401 - as trl has it
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:  # noqa: ANN401
        """Return the loss of a batch, with the logits at its answers' positions if asked.

        Raises:
            TrainingError: it is not finite.
        """
        wanted, answers = answers_of(inputs["labels"])
        with precision(model, self.args.device.type, mixed=self.mixed):
            logits = self.head.logits(model, _read(inputs), wanted).float()
        total = functional.cross_entropy(logits, answers, reduction="sum")
        loss = total / (len(answers) if num_items_in_batch is None else num_items_in_batch)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # its gradients are averaged over the processes
        training, step = self.model.training, self.state.global_step
        self.finite.require_loss(float(total.detach()), inputs["numbers"].tolist(), step=step, training=training)
        return (loss, logits) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, unless an update's gradient was not finite.

        Raises:
            TrainingError: so it was.
        """
        self.finite.require_gradient(logs, self.state.global_step)
        super().log(logs, start_time)

    def prediction_step(
        self,
        model: Any,  # noqa: ANN401
        inputs: dict[str, torch.Tensor],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,  # noqa: ARG002 - as trl has it
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Return the loss of a batch and, of questions, each row's log-odds of yes (rows,) and whether yes is right."""
        inputs = self._prepare_inputs(inputs)
        with torch.inference_mode():
            loss, logits = self.compute_loss(model, inputs, return_outputs=True)
        if self.yes_no is None or prediction_loss_only:
            return loss, None, None
        first = _first_places(inputs["labels"])
        no, yes = self.yes_no
        right = answers_of(inputs["labels"])[1][first] == yes
        return loss, logits[first, yes] - logits[first, no], right


def _to_dataset(rows: TokenRows) -> Any:  # noqa: ANN401 - datasets is optional
    """Return rows as a ``Collator`` takes them: ``input_ids``, where the answer starts, and the row's number."""
    return datasets.Dataset.from_dict(
        {
            "input_ids": [prompt + answer for prompt, answer in zip(rows.prompts, rows.answers, strict=True)],
            "answer_start": [len(prompt) for prompt in rows.prompts],
            "number": list(range(len(rows))),
        }
    )


def _read(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: inputs[name] for name in ("input_ids", "attention_mask")}


def answers_of(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
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
