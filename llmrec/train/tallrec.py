"""TALLRec: LoRA instruction tuning in stages, resumable, chosen on validation, reported on test once.

Paper: Bao et al., TALLRec: An Effective and Efficient Tuning Framework to Align Large Language Model with
Recommendation, RecSys 2023. Unlike its published code, yes and no are compared at one position instead of writing 128
tokens, and probabilities are taken once.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from accelerate import PartialState

from llmrec.config import write_run
from llmrec.data.files import read_json, require_replaceable, write_json
from llmrec.errors import ConfigError
from llmrec.eval.yes_no import Predictions
from llmrec.eval.yes_no_compare import YesNoEvaluation, evaluate_yes_no
from llmrec.llm.models import model_identity, resolve_model
from llmrec.llm.tokens import PromptTokenizer
from llmrec.train.curves import write_curves
from llmrec.train.head import AnswerHead
from llmrec.train.lora import add_adapter, load_base, save_adapter
from llmrec.train.recipe import Stage, TallrecRecipe
from llmrec.train.rows import TokenRows
from llmrec.train.scoring import log_odds
from llmrec.train.sources import join_rows, load_rows
from llmrec.train.stage import padding, run_stage

Report = Callable[[int, int, str], None]
"""Called with updates done, updates in all of a stage, and a text on how it goes."""
Log = list[dict[str, float]]


@dataclass(frozen=True, eq=False)
class Tuned:
    """What a run came to.

    Attributes:
        adapter: its folder.
        history: what each stage logged, by name.
        counts: rows used and left out, by stage.
        test: metrics of the test's questions with intervals; None without such a test.
        seconds: wall time of this call.
    """

    adapter: Path
    history: Mapping[str, Log]
    counts: Mapping[str, Mapping[str, int]]
    test: YesNoEvaluation | None
    seconds: float


@dataclass(frozen=True, eq=False)
class _StageRows:
    train: TokenRows
    valid: TokenRows | None


def tune(recipe: TallrecRecipe, *, report: Report | None = None) -> Tuned:
    """Tune an adapter; killed, the same call goes on from the last checkpoint.

    Everything is read and checked before the model is loaded. The run folder gets ``adapter``, ``curves.html``,
    ``run.json`` and, with a test of yes/no rows, ``predictions.parquet``.

    Args:
        recipe: what to learn from, and how.
        report: told how it goes.

    Raises:
        LlmrecError: an input cannot be used, the model does not fit into memory, the run folder is another recipe's, or
            the loss is not a number.
    """
    start = time.perf_counter()
    _claim(recipe)
    name = resolve_model(recipe.model)
    tokens = PromptTokenizer(name)
    stages, test = _load(recipe, tokens)
    model = load_base(recipe)
    head = AnswerHead(model)
    tuned: Any = None
    history: dict[str, Log] = {}
    for number, stage in enumerate(recipe.stages):
        folder = recipe.out / "checkpoints" / f"{number}-{stage.name}"
        done = folder / "done"
        if tuned is None:
            tuned = add_adapter(model, recipe.lora, _latest(recipe))
        if not (done / "adapter_config.json").is_file():
            rows = stages[number]
            history[stage.name] = run_stage(
                tuned, head, tokens, recipe, stage, rows.train, rows.valid, folder, report
            )
            if PartialState().is_main_process:
                write_json(folder / "history.json", {"history": history[stage.name]})
                save_adapter(tuned, done, name)
            PartialState().wait_for_everyone()
        history[stage.name] = read_json(folder / "history.json")["history"]
    found = None if test is None else _test(tuned.eval(), head, test, tokens, recipe)
    counts = {stage.name: _counts(rows) for stage, rows in zip(recipe.stages, stages, strict=True)}
    result = Tuned(recipe.out / "adapter", history, counts, found, time.perf_counter() - start)
    if PartialState().is_main_process:
        _finish(recipe, result, tuned, name)
    return result


def _claim(recipe: TallrecRecipe) -> None:
    """Write the recipe into the run folder, or see that it is the one that is there."""
    path, values = recipe.out / "config.json", recipe.model_dump(mode="json")
    values["model_identity"] = model_identity(resolve_model(recipe.model))
    if path.is_file():
        before = read_json(path)
        differing = [key for key in values if key != "out" and before.get(key) != values[key]]
        if differing:
            raise ConfigError(
                f"{str(recipe.out)!r} was begun with another {differing[0]} ({before.get(differing[0])!r})",
                expected=f"the same recipe ({differing[0]} = {values[differing[0]]!r} now)",
                cure="name another out folder, or remove this one",
            )
        return
    require_replaceable(recipe.out)
    write_json(path, values)


def _load(recipe: TallrecRecipe, tokens: PromptTokenizer) -> tuple[list[_StageRows], TokenRows | None]:
    """Return all rows, of each stage and of the test, checked."""
    length = min(recipe.max_length, tokens.context or recipe.max_length)
    stages = []
    for stage in recipe.stages:
        train = join_rows([load_rows(each, tokens, length, recipe.seed) for each in stage.train])
        valid = None if stage.valid is None else load_rows(stage.valid, tokens, length, recipe.seed)
        for rows in (train, valid):
            if rows is not None and rows.labels is not None:
                rows.first_tokens()
        stages.append(_StageRows(train, valid))
    test = None if recipe.test is None else load_rows(recipe.test, tokens, length, recipe.seed)
    if test is not None:
        test.first_tokens()
    return stages, test


def _latest(recipe: TallrecRecipe) -> Path | None:
    """Return the adapter of the last finished stage."""
    done = [
        recipe.out / "checkpoints" / f"{number}-{stage.name}" / "done" for number, stage in enumerate(recipe.stages)
    ]
    finished = [folder for folder in done if (folder / "adapter_config.json").is_file()]
    return finished[-1] if finished else None


def _test(
    model: Any,  # noqa: ANN401 - peft's models are untyped
    head: AnswerHead,
    rows: TokenRows,
    tokens: PromptTokenizer,
    recipe: TallrecRecipe,
) -> YesNoEvaluation:
    scores = log_odds(model, head, rows, padding(tokens), 2 * recipe.stages[-1].batch_size)
    frame = rows.frame
    known = {name: frame[name] if name in frame.columns else pl.Series([None] * len(frame)) for name in ("user", "item")}
    table = pl.DataFrame({"row": range(len(frame)), **known, "label": frame["label"], "score": scores})
    predictions = Predictions(table)
    if PartialState().is_main_process:
        predictions.save(recipe.out / "predictions.parquet")
    return evaluate_yes_no({"tuned": predictions})


def _counts(rows: _StageRows) -> dict[str, int]:
    left_out = {name: count for name, count in rows.train.counts.items() if count}
    return {"train": len(rows.train), "valid": 0 if rows.valid is None else len(rows.valid), **left_out}


def _finish(recipe: TallrecRecipe, result: Tuned, model: Any, base: str) -> None:  # noqa: ANN401
    if not (result.adapter / "adapter_config.json").is_file():
        save_adapter(model, result.adapter, base)
    write_curves(result.history, recipe.out / "curves.html", title=f"Tuning {recipe.model}")
    test = None if result.test is None else result.test.evaluation.table.to_dicts()
    write_run(
        recipe.out / "run.json",
        recipe,
        adapter=str(result.adapter),
        best={name: best_look(log) for name, log in result.history.items()},
        counts=result.counts,
        test=test,
        seconds=result.seconds,
    )
    shutil.rmtree(recipe.out / "checkpoints", ignore_errors=True)


def best_look(log: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the best validation metric of a stage's log with its step; empty where nothing was validated."""
    for key, sign in (("eval_auc", 1), ("eval_loss", -1)):
        looks = [entry for entry in log if key in entry]
        if looks:
            best = max(looks, key=lambda entry: sign * entry[key])
            return {key.removeprefix("eval_"): best[key], "step": best["step"]}
    return {}
