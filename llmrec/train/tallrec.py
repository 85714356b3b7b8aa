"""TALLRec: LoRA instruction tuning in stages, resumable, chosen on validation, reported on test once.

Paper: Bao et al., TALLRec: An Effective and Efficient Tuning Framework to Align Large Language Model with
Recommendation, RecSys 2023. Unlike its published code, yes and no are compared at one position instead of writing 128
tokens, and probabilities are taken once.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from accelerate import PartialState
from accelerate.utils import set_seed
from numpy.typing import NDArray

from llmrec.data.files import read_json, write_json
from llmrec.errors import ConfigError
from llmrec.eval.yes_no import Predictions
from llmrec.eval.yes_no_compare import evaluate_yes_no
from llmrec.llm.answer_head import AnswerHead
from llmrec.llm.models import resolve_model
from llmrec.llm.tokens import PromptTokenizer
from llmrec.train.claim import claim, require_same, require_same_rows
from llmrec.train.counting import count_rows, digests
from llmrec.train.lora import add_adapter, load_base, require_base, save_adapter
from llmrec.train.processes import join, together
from llmrec.train.recipe import TallrecRecipe
from llmrec.train.record import ADAPTER, CHECKPOINTS, HISTORY, PREDICTIONS, Log, Tuned, read_tuned, write_tuned
from llmrec.train.rows import ROW, TokenRows, labels_of
from llmrec.train.scoring import log_odds
from llmrec.train.sources import join_rows, load_rows
from llmrec.train.stage import Job, padding, run_stage
from llmrec.train.watching import Report


def tune(recipe: TallrecRecipe, *, report: Report | None = None) -> Tuned:
    """Tune an adapter; killed, the same call goes on from the last checkpoint, and a run that is over is read back.

    Everything is read and checked before the model is loaded. The run folder gets ``adapter``, ``curves.html``,
    ``history.json``, ``run.json`` and, with a test, ``predictions.parquet``.

    Args:
        recipe: what to learn from, and how.
        report: told how it goes.

    Raises:
        LlmrecError: an input cannot be used, the model does not fit into memory, the run folder is another recipe's, or
            the loss is not a number.
    """
    start = time.perf_counter()
    join(recipe.device)
    with together():
        _require_names(recipe)
        require_same(recipe)
        before = read_tuned(recipe)
    if before is not None:
        return before
    with together():
        tokens = PromptTokenizer(resolve_model(recipe.model))
        jobs, test = _load(recipe, tokens)
        rows = digests(jobs, test)
        require_same_rows(recipe.out, rows)
        require_base(recipe)
    with together():
        model = load_base(recipe)
    if PartialState().is_main_process:
        claim(recipe, rows)
    head = AnswerHead(model)
    set_seed(recipe.seed)  # of a new adapter's first weights
    model = add_adapter(model, recipe.lora, _latest(jobs))
    history = {job.stage.name: _run(model, head, tokens, recipe, job, report) for job in jobs}
    predictions = None
    if test is not None:
        scores = log_odds(model.eval(), head, test, padding(tokens), 2 * recipe.stages[-1].batch_size)
        predictions = _predictions(test, scores)
    found = None if predictions is None else evaluate_yes_no({"tuned": predictions})
    result = Tuned(recipe.out / ADAPTER, history, count_rows(jobs, test), found, time.perf_counter() - start)
    save_adapter(model, result.adapter, tokens.name)
    if PartialState().is_main_process:
        if predictions is not None:
            predictions.save(recipe.out / PREDICTIONS)
        write_tuned(recipe, result)
    return result


def _require_names(recipe: TallrecRecipe) -> None:
    """Raise a ConfigError where two stages have one name."""
    names = [stage.name for stage in recipe.stages]
    if len(set(names)) < len(names):
        raise ConfigError(f"stages {', '.join(names)}", expected="a name of its own for each", cure="rename one")


def _run(
    model: Any,  # noqa: ANN401 - peft's models are untyped
    head: AnswerHead,
    tokens: PromptTokenizer,
    recipe: TallrecRecipe,
    job: Job[TokenRows],
    report: Report | None,
) -> Log:
    """Run a stage, unless it is over, and keep the adapter that it leaves; return its log."""
    if not _is_over(job):
        log = run_stage(model, head, tokens, recipe, job, report)
        if PartialState().is_main_process:
            write_json(job.folder / HISTORY, {"history": log})
        save_adapter(model, job.folder / ADAPTER, tokens.name)
        PartialState().wait_for_everyone()
    history: Log = read_json(job.folder / HISTORY)["history"]
    return history


def _is_over(job: Job[TokenRows]) -> bool:
    return (job.folder / ADAPTER).is_dir()


def _latest(jobs: list[Job[TokenRows]]) -> Path | None:
    """Return the adapter of the last stage that is over."""
    return next((job.folder / ADAPTER for job in reversed(jobs) if _is_over(job)), None)


def _load(recipe: TallrecRecipe, tokens: PromptTokenizer) -> tuple[list[Job[TokenRows]], TokenRows | None]:
    """Return all stages with their rows, and the rows of the test, checked."""
    length = min(recipe.max_length, tokens.context or recipe.max_length)
    jobs = []
    for number, stage in enumerate(recipe.stages):
        rows = join_rows([load_rows(each, tokens, length, recipe.seed) for each in stage.train])
        valid = None if stage.valid is None else load_rows(stage.valid, tokens, length, recipe.seed)
        for each in (rows, valid):
            if each is not None and labels_of(each.frame) is not None:
                each.first_tokens()
        jobs.append(Job(stage, rows, valid, recipe.out / CHECKPOINTS / f"{number}-{stage.name}"))
    test = None if recipe.test is None else load_rows(recipe.test, tokens, length, recipe.seed)
    if test is not None:
        test.first_tokens()
        _predictions(test, np.zeros(len(test)))  # now, rather than after hours, where a user is missing
    return jobs, test


def _predictions(rows: TokenRows, scores: NDArray[np.float64]) -> Predictions:
    """Return the scores with the questions that they answer; ``row`` is that of the source."""
    return Predictions.of(rows.frame.with_columns(row=pl.col(ROW)), scores, where="the test")
