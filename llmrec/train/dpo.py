"""Direct preference optimisation: a policy that makes chosen answers likelier than rejected ones, without a reward.

Papers: Rafailov et al., Direct Preference Optimization: Your Language Model is Secretly a Reward Model, NeurIPS 2023;
Chen et al., On Softmax Direct Preference Optimization for Recommendation (S-DPO), NeurIPS 2024, where rows have several
rejected answers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from accelerate.utils import set_seed
from transformers import TrainerCallback, TrainingArguments

from llmrec.llm.adapters import resolve_adapter
from llmrec.llm.answer_head import AnswerHead
from llmrec.llm.models import resolve_model
from llmrec.llm.tokens import PromptTokenizer
from llmrec.train.claim import claim, require_same, require_same_rows
from llmrec.train.counting import count_rows, digests
from llmrec.train.dpo_trainer import Floats, PreferenceTrainer, reference_logprobs
from llmrec.train.feedback_recipe import DpoRecipe
from llmrec.train.lora import add_adapter, load_base, require_base, save_adapter
from llmrec.train.processes import join, together
from llmrec.train.record import ADAPTER, CHECKPOINTS, Log, read_record, write_record
from llmrec.train.reward_report import RewardReport, report_pairs, texts_of
from llmrec.train.rows import TokenRows
from llmrec.train.sources import join_rows, load_rows
from llmrec.train.stage import Job, go_through, is_mixed, padding
from llmrec.train.watching import Report


@dataclass(frozen=True, eq=False)
class Preferred:
    """What a run came to.

    Attributes:
        adapter: its folder.
        history: what the stage logged, by its name.
        counts: rows used and left out.
        test: how good the policy's own rewards are on the test (``beta`` x how much likelier it makes an answer than
            the reference); None without one.
        seconds: wall time of the call that ended the run.
        before: whether that was an earlier call, and nothing was trained in this one.
    """

    adapter: Path
    history: Mapping[str, Log]
    counts: Mapping[str, Mapping[str, int]]
    test: RewardReport | None
    seconds: float
    before: bool = False


def train_dpo(recipe: DpoRecipe, *, report: Report | None = None) -> Preferred:
    """Tune a policy on preferences; killed, the same call goes on from the last checkpoint, one that is over is read.

    The reference is the policy as it starts: the base model, or that with the adapter ``start``. What it says of each
    answer is computed before the first update and never again, so it cannot move.

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
        require_same(recipe)
        before = _read(recipe)
    if before is not None:
        return before
    with together():
        tokens = PromptTokenizer(resolve_model(recipe.model))
        policy = None if recipe.start is None else resolve_adapter(str(recipe.start), tokens.name)
        job, test = _load(recipe, tokens)
        rows = digests([job], test) | ({} if policy is None else {"the adapter it started from": policy.digest})
        require_same_rows(recipe.out, rows)
        require_base(recipe)
    with together():
        model = load_base(recipe)
    if PartialState().is_main_process:
        claim(recipe, rows)
    head = AnswerHead(model)
    set_seed(recipe.seed)  # of a new adapter's first weights
    model = add_adapter(model, recipe.lora, None if policy is None else policy.folder)
    ask = _Asker(model, head, recipe, padding(tokens))
    references = [np.zeros(0) if part is None else ask(part) for part in (job.rows, job.valid, test)]
    history = {job.stage.name: _learn(model, head, tokens, recipe, job, (references[0], references[1]), report)}
    found = None if test is None else _report(recipe, test, ask(test) - references[2])
    result = Preferred(recipe.out / ADAPTER, history, count_rows([job], test), found, time.perf_counter() - start)
    save_adapter(model, result.adapter, tokens.name)
    if PartialState().is_main_process:
        said = None if found is None else found.to_dict()
        write_record(recipe, history, counts=result.counts, test=said, seconds=result.seconds)
    return result


@dataclass(frozen=True, eq=False)
class _Asker:
    """Says how likely a model makes all answers of some rows."""

    model: Any
    head: AnswerHead
    recipe: DpoRecipe
    padding: int

    def __call__(self, rows: TokenRows) -> Floats:
        size = 2 * self.recipe.stage.batch_size
        mixed = is_mixed(self.recipe)
        return reference_logprobs(self.model.eval(), self.head, rows, self.padding, size, mixed=mixed)


def _load(recipe: DpoRecipe, tokens: PromptTokenizer) -> tuple[Job[TokenRows], TokenRows | None]:
    """Return the stage with its rows and the rows of the test, checked."""
    length = min(recipe.max_length, tokens.context or recipe.max_length)
    stage = recipe.stage
    train = join_rows([load_rows(each, tokens, length, recipe.seed, pairs=True) for each in stage.train])
    valid, test = (
        None if source is None else load_rows(source, tokens, length, recipe.seed, pairs=True)
        for source in (stage.valid, recipe.test)
    )
    return Job(stage, train, valid, recipe.out / CHECKPOINTS / f"0-{stage.name}"), test


def _learn(
    model: Any,  # noqa: ANN401 - peft's models are untyped
    head: AnswerHead,
    tokens: PromptTokenizer,
    recipe: DpoRecipe,
    job: Job[TokenRows],
    references: tuple[Floats, Floats],
    report: Report | None,
) -> Log:
    """Train the adapter and leave it at its best state; return the log."""

    def make(arguments: dict[str, Any], callbacks: list[TrainerCallback]) -> PreferenceTrainer:
        return PreferenceTrainer(
            head,
            job.rows,
            job.valid,
            {
                "model": model,
                "args": TrainingArguments(**arguments),
                "processing_class": tokens.tokenizer,
                "callbacks": callbacks,
            },
            beta=recipe.beta,
            padding=padding(tokens),
            mixed=is_mixed(recipe),
            references=references,
        )

    return go_through(model, recipe, job, make, by="accuracy", report=report)


def _report(recipe: DpoRecipe, test: TokenRows, change: Floats) -> RewardReport:
    return report_pairs(replace(texts_of(test)[1], rewards=recipe.beta * change), test)


def _read(recipe: DpoRecipe) -> Preferred | None:
    """Return what a run that is over came to; None where it is not."""
    record = read_record(recipe)
    if record is None:
        return None
    history, run = record
    test = None if run["test"] is None else RewardReport.of(run["test"])
    return Preferred(recipe.out / ADAPTER, history, run["counts"], test, run["seconds"], before=True)
