"""Reward models: what answer suits a context, learnt from pairs or labels, resumable, reported on held-out rows.

Papers: Ouyang et al., Training language models to follow instructions with human feedback, NeurIPS 2022 (the pairwise
loss); Zheng et al., Generative Job Recommendations with Large Language Model (GIRL), 2023 (CVs with matched and
mismatched postings). Unlike GIRL's, the head reads context and answer as one text.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import set_seed
from transformers import TrainerCallback, TrainingArguments

from llmrec.data.files import atomic_file
from llmrec.errors import ConfigError, DataError
from llmrec.llm.models import resolve_model
from llmrec.llm.tokens import PromptTokenizer
from llmrec.train.claim import claim, require_same, require_same_rows
from llmrec.train.counting import count_rows, digests
from llmrec.train.feedback_recipe import RewardRecipe
from llmrec.train.lora import add_adapter, require_base, save_adapter
from llmrec.train.packages import trl
from llmrec.train.processes import join, together
from llmrec.train.record import ADAPTER, CHECKPOINTS, Log, read_record, write_record
from llmrec.train.reward_model import REWARD
from llmrec.train.reward_report import (
    Judged,
    LengthPenalty,
    RewardReport,
    predictions,
    report_labels,
    report_pairs,
    texts_of,
)
from llmrec.train.reward_trainer import LabelTrainer, PairTrainer
from llmrec.train.rows import TokenRows
from llmrec.train.scalar import load_scalar, score_texts
from llmrec.train.sources import join_rows, load_rows
from llmrec.train.stage import Job, go_through, is_mixed, padding
from llmrec.train.watching import Report

REWARDS = "rewards.parquet"


@dataclass(frozen=True, eq=False)
class Rewarded:
    """What the training of a reward model came to.

    Attributes:
        adapter: the reward model's folder.
        history: what the stage logged, by its name.
        counts: rows used and left out.
        penalty: what is subtracted for length.
        test: how good rewards are on the test, less the penalty; None without one.
        plain: the same before the penalty; None where there is none.
        seconds: wall time of the call that ended the run.
        before: whether that was an earlier call, and nothing was trained in this one.
    """

    adapter: Path
    history: Mapping[str, Log]
    counts: Mapping[str, Mapping[str, int]]
    penalty: LengthPenalty
    test: RewardReport | None
    plain: RewardReport | None
    seconds: float
    before: bool = False


def train_reward(recipe: RewardRecipe, *, report: Report | None = None) -> Rewarded:
    """Train a reward model; killed, the same call goes on from the last checkpoint, one that is over is read back.

    A context that is too long loses its last tokens; an answer is never cut: its row is left out and counted. The run
    folder gets ``adapter`` (LoRA, head, ``reward.json``: what ``RewardModel.load`` reads), ``curves.html``,
    ``history.json``, ``run.json`` and, with a test, ``rewards.parquet``.

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
        _require_settings(recipe)
        require_same(recipe)
        before = _read(recipe)
    if before is not None:
        return before
    with together():
        tokens = PromptTokenizer(resolve_model(recipe.model))
        job, valid, test = _load(recipe, tokens)
        rows = digests([job], test)
        require_same_rows(recipe.out, rows)
        require_base(recipe)
    set_seed(recipe.seed)  # of the head's and the adapter's first weights
    with together():
        model = load_scalar(recipe, padding(tokens))
    if PartialState().is_main_process:
        claim(recipe, rows)
    model = add_adapter(model, recipe.lora, None, scalar=True)
    history = {job.stage.name: _learn(model, tokens, recipe, job, report)}
    penalty = _fit_penalty(model.eval(), tokens, recipe, valid)
    judged = None if test is None else _judge(model, tokens, recipe, test)
    found, plain = _report(recipe, test, judged, penalty)
    counts, seconds = count_rows([job], test), time.perf_counter() - start
    result = Rewarded(recipe.out / ADAPTER, history, counts, penalty, found, plain, seconds)
    about = {"model": recipe.model, "learn": recipe.learn, "max_length": _length(recipe, tokens), **asdict(penalty)}
    save_adapter(model, result.adapter, tokens.name, {REWARD: about})
    if PartialState().is_main_process:
        _write(recipe, result, test, judged)
    return result


def _require_settings(recipe: RewardRecipe) -> None:
    if recipe.length_penalty and recipe.stage.valid is None:
        raise ConfigError(
            "length_penalty = true without validation rows", expected="rows to fit it on", cure="write stage.valid"
        )


def _length(recipe: RewardRecipe, tokens: PromptTokenizer) -> int:
    return min(recipe.max_length, tokens.context or recipe.max_length)


def _load(recipe: RewardRecipe, tokens: PromptTokenizer) -> tuple[Job[TokenRows], TokenRows | None, TokenRows | None]:
    """Return the stage with its rows, a pair each, and the rows of validation and test as they are, all checked."""
    length, pairs = _length(recipe, tokens), recipe.learn == "pairs"
    stage = recipe.stage
    train = join_rows([load_rows(each, tokens, length, recipe.seed, pairs=pairs, cut=True) for each in stage.train])
    held = [
        None if source is None else load_rows(source, tokens, length, recipe.seed, pairs=pairs, cut=True)
        for source in (stage.valid, recipe.test)
    ]
    for rows in (train, *held):
        if rows is not None and not pairs:
            _require_labels(rows)
    valid, test = held
    if test is not None and not pairs:
        predictions(texts_of(test)[1].lengths, test)  # now, rather than after hours, where a user is missing
    folder = recipe.out / CHECKPOINTS / f"0-{stage.name}"
    if not pairs:
        return Job(stage, train, valid, folder), valid, test
    return Job(stage, train.pairs(), None if valid is None else valid.pairs(), folder), valid, test


def _require_labels(rows: TokenRows) -> None:
    if none := rows.require_both().null_count():
        raise DataError(f"{none:,} rows without a label", expected="yes or no for each", cure="drop these rows")


def _learn(
    model: Any,  # noqa: ANN401 - peft's models are untyped
    tokens: PromptTokenizer,
    recipe: RewardRecipe,
    job: Job[TokenRows],
    report: Report | None,
) -> Log:
    """Train adapter and head and leave them at their best state; return the log."""
    more: dict[str, Any] = {"padding": padding(tokens), "mixed": is_mixed(recipe)}

    def make(arguments: dict[str, Any], callbacks: list[TrainerCallback]) -> PairTrainer | LabelTrainer:
        settings: dict[str, Any] = {"model": model, "processing_class": tokens.tokenizer, "callbacks": callbacks}
        if recipe.learn == "labels":
            return LabelTrainer(job.rows, job.valid, {**settings, "args": TrainingArguments(**arguments)}, **more)
        # Dropout is the recipe's.
        args = trl.RewardConfig(**arguments, max_length=None, disable_dropout=False)
        return PairTrainer(job.rows, job.valid, {**settings, "args": args}, **more)

    by = "accuracy" if recipe.learn == "pairs" else "auc"
    return go_through(model, recipe, job, make, by=by, report=report)


def _judge(model: Any, tokens: PromptTokenizer, recipe: RewardRecipe, rows: TokenRows) -> Judged:  # noqa: ANN401
    """Return the rewards of all texts of some rows, without a penalty."""
    texts, judged = texts_of(rows)
    batch_size = 2 * recipe.stage.batch_size
    return replace(judged, rewards=score_texts(model, texts, padding(tokens), batch_size, mixed=is_mixed(recipe)))


def _fit_penalty(
    model: Any,  # noqa: ANN401
    tokens: PromptTokenizer,
    recipe: RewardRecipe,
    valid: TokenRows | None,
) -> LengthPenalty:
    if not recipe.length_penalty or valid is None:
        return LengthPenalty()
    judged = _judge(model, tokens, recipe, valid)
    return LengthPenalty.fit(judged.rewards, judged.lengths)


def _report(
    recipe: RewardRecipe, test: TokenRows | None, judged: Judged | None, penalty: LengthPenalty
) -> tuple[RewardReport | None, RewardReport | None]:
    """Return what the test says of the rewards less their penalty and, where there is one, before it."""
    if test is None or judged is None:
        return None, None
    of = report_pairs if recipe.learn == "pairs" else report_labels
    less = replace(judged, rewards=penalty.apply(judged.rewards, judged.lengths))
    return of(less, test), of(judged, test) if recipe.length_penalty else None


def _write(recipe: RewardRecipe, result: Rewarded, test: TokenRows | None, judged: Judged | None) -> None:
    if test is not None and judged is not None:
        less = replace(judged, rewards=result.penalty.apply(judged.rewards, judged.lengths))
        with atomic_file(recipe.out / REWARDS) as temporary:
            less.frame(test).write_parquet(temporary)
    write_record(
        recipe,
        result.history,
        counts=result.counts,
        penalty=asdict(result.penalty),
        test=None if result.test is None else result.test.to_dict(),
        plain=None if result.plain is None else result.plain.to_dict(),
        seconds=result.seconds,
    )


def _read(recipe: RewardRecipe) -> Rewarded | None:
    """Return what a run that is over came to; None where it is not."""
    record = read_record(recipe)
    if record is None:
        return None
    history, run = record
    test, plain = (None if run[name] is None else RewardReport.of(run[name]) for name in ("test", "plain"))
    penalty = LengthPenalty(**run["penalty"])
    return Rewarded(recipe.out / ADAPTER, history, run["counts"], penalty, test, plain, run["seconds"], before=True)
