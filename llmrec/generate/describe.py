"""Batch generation: contexts in, texts out, resumable."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import polars as pl
from pydantic import Field

from llmrec.config import write_run
from llmrec.data.files import require_writable, resumable
from llmrec.data.parts import Parts
from llmrec.data_prep.examples.table import prompts_of
from llmrec.errors import ConfigError
from llmrec.generate.contexts import Contexts, ContextSource
from llmrec.generate.report import ReportRecipe, TextReport, read_answers, report_texts
from llmrec.llm.cache import CachedEngine
from llmrec.llm.make import EngineRecipe, Report, open_engine, tell_pace
from llmrec.protocols import Completion, Sampling, Usage

TEXTS = pl.Schema(
    {
        "context": pl.Int64(),
        "user": pl.String(),
        "system": pl.String(),
        "prompt": pl.String(),
        "sample": pl.Int32(),
        "text": pl.String(),
        "tokens": pl.Int32(),
        "finish": pl.String(),
    }
)
"""A file of texts: number of the context, whose it is (as text, null where unknown), its instructions and the whole
prompt that begins with them; which of its texts, from 0; the text as it was written, its tokens, and why it ended:
``stop``, ``length``, or ``error`` where the engine gave none."""


class GenerateRecipe(EngineRecipe):
    """One batch of texts to generate."""

    contexts: ContextSource = ContextSource()
    """What they are generated from."""
    out: Path
    """Parquet file to write; the run's record goes beside it as JSON."""
    texts: int = Field(1, ge=1)
    """Texts of each context; the first is drawn with ``seed``, the next with ``seed + 1``, and so on."""
    max_tokens: int = Field(256, ge=1)
    """Tokens of a text, at most."""
    temperature: float = Field(0.0, ge=0)
    """Of sampling; 0 takes the likeliest token each time."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Share of probability, from the likeliest token on, that is drawn from."""
    stop: tuple[str, ...] = ()
    """Texts that end a text and are no part of it."""
    seed: int = 0
    """Of what is drawn."""
    block: int = Field(2048, ge=1)
    """Rows of contexts that are held in memory and asked together."""
    report: ReportRecipe = ReportRecipe()
    """When a text counts as a copy."""


@dataclass(frozen=True, slots=True)
class GenerateRun:
    """What generating a file came to.

    Attributes:
        contexts: how many were asked.
        counts: contexts that were left out or cut, by reason.
        usage: prompts, tokens, cache hits, seconds.
        seconds: wall time.
        report: what the texts are like; None in a dry run.
        first_error: what went wrong with the first text that failed.
    """

    contexts: int
    counts: dict[str, int] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    report: TextReport | None = None
    first_error: str = ""


def generate_batch(recipe: GenerateRecipe, *, progress: Report | None = None, dry_run: bool = False) -> GenerateRun:
    """Generate texts for contexts; killed, the same call goes on where it stopped, from the cache of answers.

    A file of contexts is checked whole before the first prompt. Then it is asked block by block; what a block gave is
    written beside ``out``, which the blocks become at the end.

    Args:
        recipe: what to generate and how.
        progress: called after each commit, with texts done.
        dry_run: write nothing and run no model; the usage says what a real run would spend at most.

    Raises:
        LlmrecError: an input cannot be used, and nothing is written then; or the disk is full, and what is done stays.
    """
    start = time.perf_counter()
    _check(recipe, dry_run=dry_run)
    answers = read_answers(recipe.report.answers)
    parts = Parts(recipe.out)
    with open_engine(recipe, dry_run=dry_run) as engine:
        contexts, asked, blocks = Contexts(recipe.contexts, engine, recipe.max_tokens), 0, 0
        for block, frame in enumerate(_generate(recipe, engine, contexts, progress)):
            asked, blocks = asked + len(frame) // recipe.texts, block + 1
            if not dry_run:
                parts.write(block, frame)
    seconds = time.perf_counter() - start
    run = GenerateRun(asked, dict(contexts.counts), engine.usage, seconds, None, engine.first_error)
    if dry_run:
        return run
    parts.join(range(blocks))
    written = pl.scan_parquet(recipe.out, glob=False).select("prompt", "text", "tokens", "finish").collect()
    run = replace(run, report=report_texts(written, recipe.report, answers))
    _record(recipe, run, engine.identity)
    parts.remove()
    return run


def _check(recipe: GenerateRecipe, *, dry_run: bool) -> None:
    """Raise an error, before anything is read, for what cannot be generated or written."""
    if recipe.texts > 1 and not recipe.temperature:
        raise ConfigError(
            f"texts = {recipe.texts} with temperature = 0",
            expected="a temperature above 0: else they are the same text",
            cure="set temperature=1, or texts=1",
        )
    if not dry_run:
        require_writable(recipe.out)


def _generate(
    recipe: GenerateRecipe, engine: CachedEngine, contexts: Contexts, progress: Report | None
) -> Iterator[pl.DataFrame]:
    """Yield the texts of each block of contexts, as a file has them."""
    first = before = 0
    total = len(contexts) * recipe.texts
    for rows, block in contexts.blocks(recipe.block):
        prompts, frames = prompts_of(block), []
        numbered = block.with_row_index("context", offset=first)
        for sample in range(recipe.texts):
            if progress is not None:
                engine.progress = tell_pace(engine, _after(progress, before + sample * len(block), total))
            found = engine.generate(prompts, _sampling(recipe, sample))
            frames.append(_with_texts(numbered, found, sample))
        yield pl.concat(frames).sort("context", "sample")
        first, before = first + len(block), rows * recipe.texts
    if progress is not None:
        progress(total, total, "")


def _after(progress: Report, before: int, total: int) -> Report:
    """Return what tells the progress of one call as part of all."""
    return lambda done, _, text: progress(min(before + done, total - 1), total, text)


def _sampling(recipe: GenerateRecipe, sample: int) -> Sampling:
    return Sampling(recipe.max_tokens, recipe.temperature, recipe.top_p, recipe.stop, recipe.seed + sample)


def _with_texts(block: pl.DataFrame, found: list[Completion], sample: int) -> pl.DataFrame:
    made = block.with_columns(
        sample=pl.lit(sample),
        text=pl.Series([one.text for one in found]),
        tokens=pl.Series([one.output_tokens for one in found]),
        finish=pl.Series([one.finish for one in found]),
    )
    return made.select(pl.col(name).cast(kind) for name, kind in TEXTS.items())


def _record(recipe: GenerateRecipe, run: GenerateRun, identity: str) -> None:
    with resumable(recipe.out):
        write_run(
            recipe.out.with_suffix(".run.json"),
            recipe,
            engine=identity,
            contexts=run.contexts,
            counts=run.counts,
            report=None if run.report is None else asdict(run.report),
            first_error=run.first_error,
            usage=asdict(run.usage),
            money=run.usage.money(recipe.input_price, recipe.output_price),
            seconds=run.seconds,
        )
