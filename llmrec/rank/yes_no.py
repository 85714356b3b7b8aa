"""Scoring yes/no examples: the odds of yes against no as the one token to come, in one resumable batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from llmrec.config import write_run
from llmrec.data.files import require_columns, require_writable, resumable
from llmrec.data_prep.examples import Examples
from llmrec.errors import DataError
from llmrec.eval.yes_no import Predictions
from llmrec.llm.make import EngineRecipe, Report, open_engine, tell_pace
from llmrec.prompts.labels import first_tokens
from llmrec.protocols import Engine, Usage


class ScoreRecipe(EngineRecipe):
    """One file of examples to score."""

    examples: Path
    """JSON lines from ``llmrec examples``, or TALLRec's JSON."""
    out: Path
    """Parquet file to write; the run's record goes beside it as JSON."""
    chat: bool = False
    """The model has a chat template and was tuned on messages: its answers have no space before them."""


@dataclass(frozen=True, slots=True)
class ScoreRun:
    """What scoring a file came to.

    Attributes:
        predictions: the scores; all failed in a dry run.
        usage: prompts, tokens, cache hits, seconds.
        seconds: wall time.
        first_error: what went wrong with the first prompt that failed.
    """

    predictions: Predictions
    usage: Usage
    seconds: float
    first_error: str = ""


def score_batch(recipe: ScoreRecipe, *, progress: Report | None = None, dry_run: bool = False) -> ScoreRun:
    """Score a file of examples; killed, the same call goes on where it stopped, from the cache of answers.

    Args:
        recipe: what to score and how.
        progress: called after each commit.
        dry_run: write nothing and run no model; the usage says what a real run would spend.

    Raises:
        LlmrecError: an input cannot be used, and nothing is written then; or the disk is full, and what is done stays.
    """
    start = time.perf_counter()
    if not dry_run:
        require_writable(recipe.out)
    examples = Examples.load(recipe.examples)
    with open_engine(recipe, dry_run=dry_run) as engine:
        if progress is not None:
            engine.progress = tell_pace(engine, progress)
        predictions = score_yes_no(engine, examples, chat=recipe.chat)
    run = ScoreRun(predictions, engine.usage, time.perf_counter() - start, engine.first_error)
    if not dry_run:
        _write(recipe, run, engine.identity)
    return run


def score_yes_no(engine: Engine, examples: Examples, *, chat: bool = False) -> Predictions:
    """Return log p(yes) - log p(no) behind each prompt: what the answers' first tokens get at one position.

    The completions of examples with label yes and no say what the answers are; their first tokens are what stands
    before the punctuation at the end (" Yes" of " Yes."), each checked to be one token. As TALLRec is evaluated (Bao
    et al., RecSys 2023).

    Args:
        engine: scores the answers.
        examples: with a label and a completion for each prompt.
        chat: take answers without the space before them, as ``Examples.to_dataset(chat=True)`` writes them.

    Raises:
        DataError: no labels or one only, several answers for a label, or a prompt longer than the context.
        ConfigError: an answer is not told by one token.
    """
    texts, prompts = examples.frame["prompt"].to_list(), examples.prompts()
    answers = first_tokens(engine, _completions(examples), texts[0], chat=chat)
    _check_lengths(engine, texts)
    found = np.array(engine.logprobs(prompts, [answers] * len(prompts)), np.float64)
    return Predictions.of(examples.frame.with_columns(row=pl.int_range(pl.len())), found[:, 0] - found[:, 1])


def _completions(examples: Examples) -> tuple[str, str]:
    """Return the completions that mean yes and no."""
    frame, n = examples.frame, len(examples)
    require_columns(frame, ("label", "completion"), where="the table of examples")
    yes, no = (frame.filter(pl.col("label") == label)["completion"].unique().sort() for label in (True, False))
    unlabelled = frame["label"].null_count()
    if unlabelled or not len(yes) or not len(no):
        raise DataError(
            f"{n:,} examples with {frame['label'].sum() or 0:,} yes and {unlabelled:,} without a label",
            expected="a label for each, and both among them: they say which completions mean yes and no",
            cure="score examples of a yes/no kind, or more rows",
        )
    for label, found in (("yes", yes), ("no", no)):
        if len(found) > 1:
            raise DataError(
                f"{len(found):,} completions for label {label} ({found[0]!r}, {found[1]!r})",
                expected="one answer for yes and one for no",
                cure="score examples of a yes/no kind",
            )
    return str(yes[0]), str(no[0])


def _check_lengths(engine: Engine, texts: Sequence[str]) -> None:
    """Raise a DataError if a prompt leaves no room for its answer."""
    room = engine.context
    # A token is at least a byte: most prompts are known to fit without being tokenised.
    doubtful = [] if room is None else [row for row, text in enumerate(texts) if len(text.encode("utf-8")) >= room]
    lengths = engine.count_tokens([texts[row] for row in doubtful]) if doubtful else []
    long = [(row, length) for row, length in zip(doubtful, lengths, strict=True) if room and length >= room]
    if long:
        row, length = long[0]
        raise DataError(
            f"example {row} has a prompt of {length:,} tokens, and {len(long) - 1:,} more are too long",
            expected=f"room for an answer in the {room:,} tokens that {engine.identity} reads",
            cure="write the examples with max_tokens, which cuts histories",
        )


def _write(recipe: ScoreRecipe, run: ScoreRun, identity: str) -> None:
    """Write the predictions and the record of the run."""
    with resumable(recipe.out):
        run.predictions.save(recipe.out)
        write_run(
            recipe.out.with_suffix(".run.json"),
            recipe,
            engine=identity,
            examples=len(run.predictions),
            failed=int(run.predictions.failed.sum()),
            first_error=run.first_error,
            usage=asdict(run.usage),
            money=run.usage.money(recipe.input_price, recipe.output_price),
            seconds=run.seconds,
        )
