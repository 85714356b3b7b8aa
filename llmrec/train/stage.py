"""One stage of tuning: trl's trainer set up, watched, stopped early, and gone on with after a kill."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import EarlyStoppingCallback, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from llmrec.errors import DataError
from llmrec.llm.tokens import PromptTokenizer
from llmrec.train.head import AnswerHead
from llmrec.train.packages import trl
from llmrec.train.recipe import Stage, TallrecRecipe
from llmrec.train.rows import TokenRows
from llmrec.train.sources import to_dataset
from llmrec.train.trainer import AnswerTrainer, Collator

Report = Callable[[int, int, str], None]
"""Called with updates done, updates in all of a stage, and a text on how it goes."""
_SAVED_EVERY = 100
"""Updates between two checkpoints of a stage without validation, at most."""


class Watcher(TrainerCallback):  # type: ignore[misc] # transformers' callbacks are untyped
    """Tells how a stage goes.

    Args:
        name: of the stage.
        report: told after each update.
    """

    def __init__(self, name: str, report: Report | None) -> None:
        self.name, self.report, self.said = name, report, ""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: object) -> None:  # noqa: ANN401
        """Remember the newest loss and validation metric."""
        for name, word in (("loss", "loss"), ("eval_auc", "valid AUC"), ("eval_loss", "valid loss")):
            if name in logs:
                self.said = f"{self.name}, {word} {logs[name]:.4f}"
                break

    def on_step_end(self, args: Any, state: Any, control: Any, **_: object) -> None:  # noqa: ANN401
        """Pass it on."""
        if self.report is not None and state.is_world_process_zero:
            self.report(state.global_step, state.max_steps, self.said or self.name)


def run_stage(
    model: Any,  # noqa: ANN401 - peft's models are untyped
    head: AnswerHead,
    tokens: PromptTokenizer,
    recipe: TallrecRecipe,
    stage: Stage,
    rows: TokenRows,
    valid: TokenRows | None,
    folder: Path,
    report: Report | None,
) -> list[dict[str, float]]:
    """Train the model's adapter and leave it at its best state; return what was logged, by step.

    Args:
        model: a model with an adapter that learns.
        head: its head.
        tokens: its tokenizer.
        recipe: the run's.
        stage: the stage's.
        rows: to learn from.
        valid: to stop by, or None.
        folder: of checkpoints; where there is one, training goes on from it.
        report: told how it goes.

    Raises:
        DataError: validation rows are questions of one label only.
        TrainingError: the loss is not a number.
    """
    yes_no = None if valid is None or valid.labels is None else valid.first_tokens()
    by = "eval_auc" if yes_no else "eval_loss"
    callbacks: list[TrainerCallback] = [Watcher(stage.name, report)]
    if valid is not None and stage.patience is not None:
        callbacks.append(EarlyStoppingCallback(stage.patience))
    trainer = AnswerTrainer(
        head,
        yes_no,
        {
            "model": model,
            "args": _arguments(recipe, stage, len(rows), folder, None if valid is None else by),
            "train_dataset": to_dataset(rows),
            "eval_dataset": None if valid is None else to_dataset(valid),
            "data_collator": Collator(padding(tokens)),
            "processing_class": tokens.tokenizer,
            "callbacks": callbacks,
        },
    )
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    trainer.train(resume_from_checkpoint=last)
    history: list[dict[str, float]] = trainer.state.log_history
    return history


def _arguments(recipe: TallrecRecipe, stage: Stage, n_rows: int, folder: Path, by: str | None) -> Any:  # noqa: ANN401 - trl is untyped
    """Return trl's settings; ``by`` is the metric that stops, None where nothing is validated."""
    watched = by is not None
    updates = math.ceil(n_rows / (stage.batch_size * stage.accumulation * PartialState().num_processes))
    every = min(stage.evaluate_every or updates, updates * stage.epochs)
    return trl.SFTConfig(
        output_dir=str(folder),
        num_train_epochs=stage.epochs,
        learning_rate=stage.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=math.ceil(updates * stage.epochs / 20),
        weight_decay=stage.weight_decay,
        per_device_train_batch_size=stage.batch_size,
        per_device_eval_batch_size=2 * stage.batch_size,
        gradient_accumulation_steps=stage.accumulation,
        gradient_checkpointing=recipe.gradient_checkpointing,
        seed=recipe.seed,
        use_cpu=recipe.device == "cpu",
        bf16=False,  # the base is loaded in its format, the adapter stays in float32
        eval_strategy="steps" if watched else "no",
        eval_on_start=watched,
        eval_steps=every,
        save_strategy="steps",
        save_steps=every if watched else min(every, _SAVED_EVERY),
        save_total_limit=2 if watched else 1,
        load_best_model_at_end=watched,
        metric_for_best_model=by,
        greater_is_better=by == "eval_auc" if watched else None,
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def padding(tokens: PromptTokenizer) -> int:
    tokenizer = tokens.tokenizer
    token = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    if token is None:
        raise DataError("a tokenizer without padding and end", expected="one of them", cure="take another model")
    return int(token)
