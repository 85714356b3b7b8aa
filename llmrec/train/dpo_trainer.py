"""DPO and S-DPO on the positions of answers only: how much likelier each answer is made than it was before.

Papers: Rafailov et al., Direct Preference Optimization: Your Language Model is Secretly a Reward Model, NeurIPS 2023;
Chen et al., On Softmax Direct Preference Optimization for Recommendation, NeurIPS 2024. With one rejected answer the
second is the first, and the loss that of trl's DPOTrainer, which takes no more than one and computes the head at every
token. What the reference says is computed once, before the first update, and not again in each pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import EvalPrediction, Trainer

from llmrec.llm.answer_head import AnswerHead
from llmrec.train.finite import Finite, precision
from llmrec.train.packages import datasets
from llmrec.train.processes import combine, share
from llmrec.train.reward_report import texts_of
from llmrec.train.rows import TokenRows
from llmrec.train.trainer import Collator, answers_of

Batch = dict[str, torch.Tensor]
Floats = NDArray[np.float64]


def softmax_loss(rewards: torch.Tensor, rows: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Return S-DPO's loss of each row (q,): log(1 + sum over its rejected answers of exp(rejected - chosen)).

    Args:
        rewards: (n,) of answers, beta x how much likelier the policy makes them than the reference does.
        rows: int (n,), from 0, which row each is of.
        chosen: bool (n,), one of each row.
    """
    n = int(rows.max()) + 1
    first = rewards.new_zeros(n).index_put((rows[chosen],), rewards[chosen])
    ahead = rewards.new_full((n, int(torch.bincount(rows).max())), -torch.inf)
    others = ~chosen
    place = torch.arange(len(rows), device=rows.device) - torch.searchsorted(rows, rows)
    ahead = ahead.index_put((rows[others], place[others]), rewards[others] - first[rows[others]])
    return functional.softplus(ahead.logsumexp(1))


class PreferenceTrainer(Trainer):
    """Makes chosen answers likelier than rejected ones, against the model as it was.

    Args:
        head: of the model.
        rows: chosen and rejected answers to learn from.
        valid: those to validate on by accuracy, or None.
        settings: what else transformers' Trainer takes.
        beta: how much a change counts.
        padding: the token to pad with.
        mixed: compute in bfloat16, as the base model is held, though the adapter's own weights are float32.
        references: log-probabilities of all answers of ``rows`` and of ``valid`` before any change.
    """

    def __init__(
        self,
        head: AnswerHead,
        rows: TokenRows,
        valid: TokenRows | None,
        settings: dict[str, Any],
        *,
        beta: float,
        padding: int,
        mixed: bool,
        references: tuple[Floats, Floats],
    ) -> None:
        self.head, self.beta, self.mixed = head, beta, mixed
        self.finite = Finite(rows, valid, settings["args"].output_dir)
        super().__init__(
            **settings,
            data_collator=GroupCollator(padding),
            train_dataset=_to_dataset(rows, references[0]),
            eval_dataset=None if valid is None else _to_dataset(valid, references[1]),
            compute_metrics=_accuracy,
        )
        self.model_accepts_loss_kwargs = True  # that is, rows are counted for all batches of an update

    def compute_loss(
        self,
        model: Any,  # noqa: ANN401 - as transformers has it
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:  # noqa: ANN401
        """Return the mean loss of a batch's rows, with the reward of each answer if asked.

        Raises:
            TrainingError: it is not finite.
        """
        found = logprobs_of(model, self.head, inputs, mixed=self.mixed)
        rewards = self.beta * (found - inputs["references"])
        total = softmax_loss(rewards, inputs["rows"], inputs["chosen"]).sum()
        loss = total / (len(inputs["labels"]) if num_items_in_batch is None else num_items_in_batch)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # its gradients are averaged over the processes
        training, step = model.training, self.state.global_step
        self.finite.require_loss(float(total.detach()), inputs["labels"].tolist(), step=step, training=training)
        return (loss, rewards) if return_outputs else loss

    def prediction_step(
        self,
        model: Any,  # noqa: ANN401
        inputs: Batch,
        prediction_loss_only: bool,  # noqa: ARG002 - as transformers has it
        ignore_keys: list[str] | None = None,  # noqa: ARG002
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the loss of a batch and, of each row, the share of rejected answers that are behind the chosen one."""
        inputs = self._prepare_inputs(inputs)
        with torch.inference_mode():
            loss, rewards = self.compute_loss(model, inputs, return_outputs=True)
        chosen, rows = inputs["chosen"], inputs["rows"]
        margins = rewards[chosen][rows[~chosen]] - rewards[~chosen]
        ahead = (margins.sign() + 1) / 2  # a tie counts half
        shares = torch.zeros_like(rewards[chosen]).index_add(0, rows[~chosen], ahead) / torch.bincount(rows[~chosen])
        return loss, shares, torch.ones_like(shares)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, unless an update's gradient was not finite.

        Raises:
            TrainingError: so it was.
        """
        self.finite.require_gradient(logs, self.state.global_step)
        super().log(logs, start_time)


class GroupCollator:
    """Puts the answers of some rows, each behind its prompt, into one batch, padded on the right.

    Args:
        padding: the token to pad with.
    """

    def __init__(self, padding: int) -> None:
        self.collate = Collator(padding)

    def __call__(self, rows: Sequence[dict[str, Any]]) -> Batch:
        """Return the batch of n answers.

        ``input_ids``, ``attention_mask`` and ``answers`` are (n, length); ``rows``, which of the batch each is of, from
        0, whether it is the ``chosen`` one and its ``references`` are (n,); ``labels``, the numbers of the rows, are
        what the trainer counts.
        """
        asked = [
            {"input_ids": row["prompt"] + answer, "answer_start": len(row["prompt"]), "number": place}
            for place, row in enumerate(rows)
            for answer in row["answers"]
        ]
        batch = self.collate(asked)
        first = [place == 0 for row in rows for place in range(len(row["answers"]))]
        return {
            "input_ids": batch["input_ids"],
            "attention_mask": batch["attention_mask"],
            "answers": batch["labels"],
            "rows": batch["numbers"],
            "chosen": torch.tensor(first),
            "references": torch.tensor([value for row in rows for value in row["references"]], dtype=torch.float32),
            "labels": torch.tensor([row["number"] for row in rows]),
        }


def logprobs_of(model: Any, head: AnswerHead, inputs: Batch, *, mixed: bool) -> torch.Tensor:  # noqa: ANN401
    """Return the log-probability of each answer behind its prompt, summed over its tokens, float32 (n,)."""
    wanted, answers = answers_of(inputs["answers"])
    read = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    with precision(model, answers.device.type, mixed=mixed):
        logits = head.logits(model, read, wanted).float()
    each = -functional.cross_entropy(logits, answers, reduction="none")
    rows = wanted.nonzero()[:, 0]
    return each.new_zeros(len(wanted)).index_add(0, rows, each)


@torch.inference_mode()
def reference_logprobs(
    model: Any,  # noqa: ANN401
    head: AnswerHead,
    rows: TokenRows,
    padding: int,
    batch_size: int,
    *,
    mixed: bool,
) -> Floats:
    """Return the log-probability of each answer of some rows, the chosen one of a row first; as ``texts_of`` has them.

    Args:
        model: in evaluation mode; of several processes each computes a share.
        head: its head.
        rows: chosen and rejected answers.
        padding: the token to pad with.
        batch_size: answers at once, of like length.
        mixed: as ``precision`` has it.
    """
    texts, judged = texts_of(rows)
    starts = [len(text) - int(length) for text, length in zip(texts, judged.lengths, strict=True)]
    mine, collate = share(len(texts)), Collator(padding)
    found = np.zeros(len(mine))
    device = next(model.parameters()).device
    order = sorted(range(len(mine)), key=lambda place: len(texts[int(mine[place])]))
    for begin in range(0, len(order), batch_size):
        places = order[begin : begin + batch_size]
        numbers = [int(mine[place]) for place in places]
        batch = collate([{"input_ids": texts[n], "answer_start": starts[n], "number": n} for n in numbers])
        inputs = {name: tensor.to(device) for name, tensor in batch.items()} | {"answers": batch["labels"].to(device)}
        found[places] = logprobs_of(model, head, inputs, mixed=mixed).cpu().numpy()
    return combine(mine, found, len(texts))


def _to_dataset(rows: TokenRows, references: Floats) -> Any:  # noqa: ANN401 - datasets is optional
    """Return rows as a ``GroupCollator`` takes them."""
    answers = [[one, *those] for one, those in zip(rows.answers, rows.rejected or [], strict=True)]
    ends = np.cumsum([len(every) for every in answers])
    values = [part.tolist() for part in np.split(references, ends[:-1])]
    columns = {"prompt": rows.prompts, "answers": answers, "references": values, "number": list(range(len(rows)))}
    return datasets.Dataset.from_dict(columns)


def _accuracy(found: EvalPrediction) -> dict[str, float]:
    return {"accuracy": float(np.mean(np.asarray(found.predictions, np.float64)))}
