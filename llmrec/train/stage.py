"""One stage of tuning: trl's trainer set up, watched, stopped early, and gone on with after a kill."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from accelerate import PartialState
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback

from llmrec.errors import ModelError
from llmrec.llm.answer_head import AnswerHead
from llmrec.llm.device import choose_device, choose_dtype
from llmrec.llm.tokens import PromptTokenizer
from llmrec.train.finite import Named
from llmrec.train.packages import trl
from llmrec.train.recipe import RunRecipe, Stage
from llmrec.train.rows import TokenRows
from llmrec.train.trainer import AnswerTrainer, Collator
from llmrec.train.watching import LOOKS, Report, Watcher, clean_checkpoints, find_checkpoint, quiet, read_stopped

_SAVED_EVERY = 1024
"""Rows between two checkpoints, about: what a kill costs."""


class Rows(Named, Protocol):
    """What a stage learns from: rows that can be counted, named and told from others.

    Attributes:
        counts: what was left out, by reason.
    """

    @property
    def counts(self) -> Counter[str]: ...  # noqa: D102

    def __len__(self) -> int: ...

    def digest(self) -> str:
        """Return what tells these rows from others."""
        ...


R = TypeVar("R", bound=Rows)


@dataclass(frozen=True, eq=False)
class Job(Generic[R]):
    """A stage with what it works on.

    Attributes:
        stage: the recipe's.
        rows: to learn from.
        valid: to stop by, or None.
        folder: of checkpoints; where there is one, training goes on from it.
    """

    stage: Stage
    rows: R
    valid: R | None
    folder: Path


Make = Callable[[dict[str, Any], list[TrainerCallback]], Any]
"""Returns a trainer, from what transformers' TrainingArguments take and callbacks."""


def run_stage(
    model: Any,  # noqa: ANN401 - peft's models are untyped
    head: AnswerHead,
    tokens: PromptTokenizer,
    recipe: RunRecipe,
    job: Job[TokenRows],
    report: Report | None = None,
) -> list[dict[str, float]]:
    """Train the model's adapter on answers and leave it at its best state; return what was logged, by step.

    Args:
        model: a model with an adapter that learns.
        head: its head.
        tokens: its tokenizer.
        recipe: the run's.
        job: the stage.
        report: told how it goes.

    Raises:
        DataError: validation rows are questions of one label only.
        TrainingError: the loss is not a number.
    """
    by_auc = job.valid is not None and job.valid.labels is not None

    def make(arguments: dict[str, Any], callbacks: list[TrainerCallback]) -> AnswerTrainer:
        settings = {
            "model": model,
            "args": trl.SFTConfig(**arguments, max_length=None, dataset_kwargs={"skip_prepare_dataset": True}),
            "data_collator": Collator(padding(tokens)),
            "processing_class": tokens.tokenizer,
            "callbacks": callbacks,
        }
        return AnswerTrainer(head, job.rows, job.valid, settings, mixed=is_mixed(recipe))

    return go_through(model, recipe, job, make, by="auc" if by_auc else "loss", report=report)


def go_through(
    model: Any,  # noqa: ANN401
    recipe: RunRecipe,
    job: Job[R],
    make: Make,
    *,
    by: str,
    report: Report | None = None,
) -> list[dict[str, float]]:
    """Train by any trainer, from the last checkpoint on, and leave the best state; return what was logged, by step.

    Args:
        model: a model with an adapter that learns.
        recipe: the run's.
        job: the stage.
        make: returns the trainer.
        by: the name of one of ``LOOKS``, which validation goes by.
        report: told how it goes.

    Raises:
        TrainingError: the loss is not a number.
    """
    state = PartialState()
    if state.is_main_process:
        clean_checkpoints(job.folder)
    state.wait_for_everyone()
    last = find_checkpoint(job.folder)
    stopped = None if last is None else read_stopped(last, job.stage.patience)
    if stopped is not None:  # killed between its last checkpoint and its end
        best, log = stopped
        model.load_adapter(best, model.active_adapter)
        return log
    with quiet():
        trainer = make(_arguments(recipe, job, by, resumed=last is not None), _callbacks(job, report))
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    history: list[dict[str, float]] = trainer.state.log_history
    return history


def is_mixed(recipe: RunRecipe) -> bool:
    """Return whether a run computes in bfloat16, as its base is held, beside an adapter in float32."""
    return choose_dtype(recipe.dtype, choose_device(recipe.device)) == "bfloat16"


def _callbacks(job: Job[R], report: Report | None) -> list[TrainerCallback]:
    rows_an_update = job.stage.batch_size * job.stage.accumulation * PartialState().num_processes
    callbacks: list[TrainerCallback] = [Watcher(job.stage.name, report, max(1, _SAVED_EVERY // rows_an_update))]
    if job.valid is not None and job.stage.patience is not None:
        callbacks.append(EarlyStoppingCallback(job.stage.patience))
    return callbacks


def _arguments(recipe: RunRecipe, job: Job[R], by: str, *, resumed: bool) -> dict[str, Any]:
    """Return the settings of transformers' trainers."""
    stage = job.stage
    updates = math.ceil(len(job.rows) / (stage.batch_size * stage.accumulation * PartialState().num_processes))
    every = min(stage.evaluate_every or updates, updates * stage.epochs)
    return {
        "output_dir": str(job.folder),
        "num_train_epochs": stage.epochs,
        "learning_rate": stage.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": updates * stage.epochs // 20,  # in a short stage none: the first step of a rise has rate 0
        "weight_decay": stage.weight_decay,
        "per_device_train_batch_size": stage.batch_size,
        "per_device_eval_batch_size": 2 * stage.batch_size,
        "gradient_accumulation_steps": stage.accumulation,
        "gradient_checkpointing": recipe.gradient_checkpointing,
        "seed": recipe.seed,
        "use_cpu": choose_device(recipe.device) == "cpu",
        "bf16": False,  # the base is loaded in its format, and trainers compute in it
        "save_strategy": "steps",
        "save_steps": every,
        "save_total_limit": 1 if job.valid is None else 2,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "ddp_find_unused_parameters": False,  # every step reaches the whole adapter
        **({} if job.valid is None else _watched(by, every, resumed=resumed)),
    }


def _watched(by: str, every: int, *, resumed: bool) -> dict[str, Any]:
    """Return the settings of a stage with validation."""
    look = next(look for look in LOOKS if look.name == by)
    return {
        "eval_strategy": "steps",
        "eval_steps": every,
        "eval_on_start": not resumed,
        "load_best_model_at_end": True,
        "metric_for_best_model": look.key,
        "greater_is_better": look.sign > 0,
        "restore_callback_states_from_checkpoint": True,  # how much patience is left
    }


def padding(tokens: PromptTokenizer) -> int:
    """Return the token to pad with.

    Raises:
        ModelError: the tokenizer has neither one for it nor one that ends a text.
    """
    tokenizer = tokens.tokenizer
    token = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    if token is None:
        raise ModelError(
            f"{tokens.name!r} has no token for padding nor an end", expected="one", cure="take another model"
        )
    return int(token)
