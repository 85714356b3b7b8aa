"""Trainers of a scalar head: trl's on pairs, and one of our own on labels; both name what made a loss no number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import EvalPrediction, Trainer

from llmrec.eval.yes_no import auc
from llmrec.train.finite import Finite, precision
from llmrec.train.packages import datasets, trl
from llmrec.train.rows import TokenRows
from llmrec.train.scalar import pad_texts, read_scalar

Batch = dict[str, torch.Tensor]
_READ = ("input_ids", "attention_mask")


class PairTrainer(trl.RewardTrainer):  # type: ignore[misc] # trl is untyped
    """trl's RewardTrainer: -log sigmoid(chosen - rejected) (Bradley, Terry, 1952), the mean over a batch's pairs.

    Args:
        rows: pairs to learn from, one rejected answer each.
        valid: pairs to validate on by accuracy, or None.
        settings: what else RewardTrainer takes.
        padding: the token to pad with.
        mixed: compute in bfloat16, the head and the adapter's own weights apart.
    """

    def __init__(
        self, rows: TokenRows, valid: TokenRows | None, settings: dict[str, Any], *, padding: int, mixed: bool
    ) -> None:
        self.finite, self.mixed = Finite(rows, valid, settings["args"].output_dir), mixed
        super().__init__(
            **settings,
            data_collator=PairCollator(padding),
            train_dataset=_pairs(rows),
            eval_dataset=None if valid is None else _pairs(valid),
            compute_metrics=_accuracy,
        )

    def compute_loss(
        self,
        model: Any,  # noqa: ANN401 - as trl has it
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:  # noqa: ANN401
        """Return trl's loss of a batch.

        Raises:
            TrainingError: it is not finite.
        """
        read = {name: inputs[name] for name in _READ}
        with precision(model, self.args.device.type, mixed=self.mixed):
            loss, outputs = super().compute_loss(
                model, read, return_outputs=True, num_items_in_batch=num_items_in_batch
            )
        _require_finite(self, loss, inputs)
        return (loss, outputs) if return_outputs else loss

    def prediction_step(
        self,
        model: Any,  # noqa: ANN401
        inputs: Batch,
        prediction_loss_only: bool,  # noqa: ARG002 - as trl has it
        ignore_keys: list[str] | None = None,  # noqa: ARG002
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the loss of a batch and by how much each chosen answer is ahead; trl would weigh batches alike."""
        inputs = self._prepare_inputs(inputs)
        with torch.inference_mode():
            chosen, rejected = read_scalar(model, {name: inputs[name] for name in _READ}, mixed=self.mixed).chunk(2)
        loss = functional.softplus(rejected - chosen).mean()
        _require_finite(self, loss, inputs)
        return loss, chosen - rejected, torch.ones_like(chosen)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, unless an update's gradient was not finite.

        Raises:
            TrainingError: so it was.
        """
        self.finite.require_gradient(logs, self.state.global_step)
        super().log(logs, start_time)


class LabelTrainer(Trainer):
    """Learns yes or no from single texts: the mean log-loss of the head's number as log-odds of yes.

    Args:
        rows: with labels, to learn from.
        valid: to validate on by AUC, or None.
        settings: what else transformers' Trainer takes.
        padding: the token to pad with.
        mixed: as in ``PairTrainer``.
    """

    def __init__(
        self, rows: TokenRows, valid: TokenRows | None, settings: dict[str, Any], *, padding: int, mixed: bool
    ) -> None:
        self.finite, self.mixed = Finite(rows, valid, settings["args"].output_dir), mixed
        super().__init__(
            **settings,
            data_collator=LabelCollator(padding),
            train_dataset=_labelled(rows),
            eval_dataset=None if valid is None else _labelled(valid),
            compute_metrics=_auc,
        )
        self.model_accepts_loss_kwargs = True  # that is, texts are counted for all batches of an update

    def compute_loss(
        self,
        model: Any,  # noqa: ANN401
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:  # noqa: ANN401
        """Return the loss of a batch, with the numbers of its texts if asked.

        Raises:
            TrainingError: it is not finite.
        """
        scores = read_scalar(model, {name: inputs[name] for name in _READ}, mixed=self.mixed)
        total = functional.binary_cross_entropy_with_logits(scores, inputs["labels"], reduction="sum")
        loss = total / (len(scores) if num_items_in_batch is None else num_items_in_batch)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # its gradients are averaged over the processes
        _require_finite(self, total, inputs)
        return (loss, scores) if return_outputs else loss

    def prediction_step(
        self,
        model: Any,  # noqa: ANN401
        inputs: Batch,
        prediction_loss_only: bool,  # noqa: ARG002
        ignore_keys: list[str] | None = None,  # noqa: ARG002
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the loss of a batch, the number of each text and its label."""
        inputs = self._prepare_inputs(inputs)
        with torch.inference_mode():
            loss, scores = self.compute_loss(model, inputs, return_outputs=True)
        return loss, scores, inputs["labels"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, unless an update's gradient was not finite.

        Raises:
            TrainingError: so it was.
        """
        self.finite.require_gradient(logs, self.state.global_step)
        super().log(logs, start_time)


class PairCollator:
    """Pads pairs on the right: the chosen texts first, then the rejected ones.

    Args:
        padding: the token to pad with.
    """

    def __init__(self, padding: int) -> None:
        self.padding = padding

    def __call__(self, rows: Sequence[dict[str, Any]]) -> Batch:
        """Return ``input_ids`` and ``attention_mask`` (2 x rows, length), and the rows' numbers (rows,)."""
        texts = [row[name] for name in ("chosen_ids", "rejected_ids") for row in rows]
        return pad_texts(texts, self.padding) | {"numbers": torch.tensor([row["number"] for row in rows])}


class LabelCollator:
    """Pads texts on the right.

    Args:
        padding: the token to pad with.
    """

    def __init__(self, padding: int) -> None:
        self.padding = padding

    def __call__(self, rows: Sequence[dict[str, Any]]) -> Batch:
        """Return ``input_ids`` and ``attention_mask`` (rows, length), the labels and the rows' numbers (rows,)."""
        labels = torch.tensor([row["label"] for row in rows], dtype=torch.float32)
        numbers = torch.tensor([row["number"] for row in rows])
        return pad_texts([row["ids"] for row in rows], self.padding) | {"labels": labels, "numbers": numbers}


def _require_finite(trainer: Any, total: torch.Tensor, inputs: Batch) -> None:  # noqa: ANN401
    training, step = trainer.model.training, trainer.state.global_step
    trainer.finite.require_loss(float(total.detach()), inputs["numbers"].tolist(), step=step, training=training)


def _pairs(rows: TokenRows) -> Any:  # noqa: ANN401 - datasets is optional
    read = zip(rows.prompts, rows.answers, rows.rejected or [], strict=True)
    chosen, rejected = zip(*((prompt + one, prompt + other) for prompt, one, (other,) in read), strict=True)
    columns = {"chosen_ids": chosen, "rejected_ids": rejected, "number": range(len(rows))}
    return datasets.Dataset.from_dict({name: list(values) for name, values in columns.items()})


def _labelled(rows: TokenRows) -> Any:  # noqa: ANN401
    ids = [prompt + answer for prompt, answer in zip(rows.prompts, rows.answers, strict=True)]
    labels = np.asarray(rows.labels, np.float32)
    return datasets.Dataset.from_dict({"ids": ids, "label": labels, "number": list(range(len(rows)))})


def _accuracy(found: EvalPrediction) -> dict[str, float]:
    return {"accuracy": share_ahead(np.asarray(found.predictions, np.float64))}


def _auc(found: EvalPrediction) -> dict[str, float]:
    return {"auc": auc(np.asarray(found.label_ids, bool), np.asarray(found.predictions, np.float64))}


def share_ahead(margins: np.ndarray) -> float:
    """Return the share of pairs whose chosen answer is ahead; a tie counts half."""
    return float(np.mean((margins > 0) + (margins == 0) / 2))
