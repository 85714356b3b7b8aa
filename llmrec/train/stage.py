"""One stage of tuning: trl's trainer set up, watched, stopped early, and gone on with after a kill."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback

from llmrec.errors import ModelError
from llmrec.llm.answer_head import AnswerHead
from llmrec.llm.device import choose_device, choose_dtype
from llmrec.llm.tokens import PromptTokenizer
from llmrec.train.packages import trl
from llmrec.train.recipe import Stage, TallrecRecipe
from llmrec.train.rows import TokenRows
from llmrec.train.trainer import AnswerTrainer, Collator
from llmrec.train.watching import Report, Watcher, clean_checkpoints, find_checkpoint, quiet, read_stopped

_SAVED_EVERY = 1024
"""Rows between two checkpoints, about: what a kill costs."""


@dataclass(frozen=True, eq=False)
class Job:
    """A stage with what it works on.

    Attributes:
        stage: the recipe's.
        rows: to learn from.
        valid: to stop by, or None.
        folder: of checkpoints; where there is one, training goes on from it.
    """

    stage: Stage
    rows: TokenRows
    valid: TokenRows | None
    folder: Path


def run_stage(
    model: Any,  # noqa: ANN401 - peft's models are untyped
    head: AnswerHead,
    tokens: PromptTokenizer,
    recipe: TallrecRecipe,
    job: Job,
    report: Report | None = None,
) -> list[dict[str, float]]:
    """Train the model's adapter and leave it at its best state; return what was logged, by step.

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
    settings = {
        "model": model,
        "args": _arguments(recipe, job, resumed=last is not None),
        "data_collator": Collator(padding(tokens)),
        "processing_class": tokens.tokenizer,
        "callbacks": _callbacks(job, report),
    }
    dtype = choose_dtype(recipe.dtype, choose_device(recipe.device))
    with quiet():
        trainer = AnswerTrainer(head, job.rows, job.valid, settings, mixed=dtype == "bfloat16")
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    history: list[dict[str, float]] = trainer.state.log_history
    return history


def _callbacks(job: Job, report: Report | None) -> list[TrainerCallback]:
    rows_an_update = job.stage.batch_size * job.stage.accumulation * PartialState().num_processes
    callbacks: list[TrainerCallback] = [Watcher(job.stage.name, report, max(1, _SAVED_EVERY // rows_an_update))]
    if job.valid is not None and job.stage.patience is not None:
        callbacks.append(EarlyStoppingCallback(job.stage.patience))
    return callbacks


def _arguments(recipe: TallrecRecipe, job: Job, *, resumed: bool) -> Any:  # noqa: ANN401 - trl is untyped
    """Return trl's settings."""
    stage = job.stage
    updates = math.ceil(len(job.rows) / (stage.batch_size * stage.accumulation * PartialState().num_processes))
    every = min(stage.evaluate_every or updates, updates * stage.epochs)
    return trl.SFTConfig(
        output_dir=str(job.folder),
        num_train_epochs=stage.epochs,
        learning_rate=stage.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=updates * stage.epochs // 20,  # in a short stage none: the first step of a rise has rate 0
        weight_decay=stage.weight_decay,
        per_device_train_batch_size=stage.batch_size,
        per_device_eval_batch_size=2 * stage.batch_size,
        gradient_accumulation_steps=stage.accumulation,
        gradient_checkpointing=recipe.gradient_checkpointing,
        seed=recipe.seed,
        use_cpu=choose_device(recipe.device) == "cpu",
        bf16=False,  # the base is loaded in its format, and AnswerTrainer computes in it
        save_strategy="steps",
        save_steps=every,
        save_total_limit=1 if job.valid is None else 2,
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_pin_memory=torch.cuda.is_available(),
        ddp_find_unused_parameters=False,  # every step reaches the whole adapter
        **({} if job.valid is None else _watched(job.valid, every, resumed=resumed)),
    )


def _watched(valid: TokenRows, every: int, *, resumed: bool) -> dict[str, Any]:
    """Return trl's settings of a stage with validation."""
    by_auc = valid.labels is not None
    return {
        "eval_strategy": "steps",
        "eval_steps": every,
        "eval_on_start": not resumed,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_auc" if by_auc else "eval_loss",
        "greater_is_better": by_auc,
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
