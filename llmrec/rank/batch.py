"""Batch reranking: candidates in, ranked candidates out, resumable."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import Field

from llmrec.config import Part, write_run
from llmrec.data import Candidates, Dataset, Queries, Split
from llmrec.data.files import require_writable, resumable
from llmrec.llm.cache import CachedEngine
from llmrec.llm.make import EngineRecipe, Report, open_engine
from llmrec.protocols import Ranker
from llmrec.rank.blocks import Block, read_blocks
from llmrec.rank.make import LanguageRanker, make_ranker
from llmrec.rank.shards import RankRun, Shards, made_from


class RankRecipe(EngineRecipe):
    """One batch of candidates to rank."""

    candidates: Path
    """Parquet file with the columns query, user, rank, item, score."""
    dataset: Path
    """Data set folder that the candidates were recalled from."""
    out: Path
    """Parquet file to write; the run's record goes beside it as JSON."""
    part: str = "test"
    """``valid`` or ``test``: whose histories the model reads."""
    strategy: Part = Part(name="likelihood")
    """Ranking strategy with its parameters."""
    top: int = Field(default=20, ge=1)
    """How many candidates of each row the model ranks; the others stay behind them in their order."""
    block: int = Field(default=2048, ge=1)
    """Queries that are held in memory, asked together and written as one shard."""


def rank_head(ranker: Ranker, queries: Queries, candidates: Candidates, top: int) -> Candidates:
    """Rank the first ``top`` candidates of each row; the others follow in their order without a score."""
    head = ranker.rank(queries, candidates.top(top))
    rest = candidates.items[:, top:]
    return Candidates(
        np.concatenate([head.items, rest], axis=1),
        np.concatenate([head.scores, np.full(rest.shape, np.nan, np.float32)], axis=1),
    )


def rank_batch(recipe: RankRecipe, *, progress: Report | None = None, dry_run: bool = False) -> RankRun:
    """Rank a Parquet file of candidates into another; killed, the same call goes on where it stopped.

    The whole file is checked before the first prompt. Then it is ranked block by block: answers are committed to the
    cache, finished blocks to shards in a folder beside ``out``, which they become at the end.

    Args:
        recipe: what to rank and how.
        progress: called after each commit and each block.
        dry_run: write nothing and run no model; the usage says what a real run would spend.

    Raises:
        LlmrecError: an input cannot be used, and nothing is written then; or the disk is full, and what is done stays.
    """
    start = time.perf_counter()
    if not dry_run:
        require_writable(recipe.out)
    split = Split.load(recipe.dataset / "split")
    dataset, queries = split.train, split.part(recipe.part).queries
    for _ in read_blocks(recipe.candidates, dataset, queries, recipe.block):
        pass
    with open_engine(recipe, dry_run=dry_run) as engine:
        batch = _Batch(recipe, engine, dataset, len(queries), progress)
        total = RankRun(seconds=time.perf_counter() - start)
        for block in read_blocks(recipe.candidates, dataset, queries, recipe.block):
            total += batch.foresee(block) if dry_run else batch.rank(block)
    if not dry_run:
        batch.finish(total)
    return total


class _Batch:
    """One call of ``rank_batch``: its ranker, its shards and how far it is."""

    def __init__(
        self, recipe: RankRecipe, engine: CachedEngine, dataset: Dataset, n_queries: int, report: Report | None
    ) -> None:
        self.recipe, self.engine, self.dataset = recipe, engine, dataset
        self.ranker: LanguageRanker = make_ranker(recipe.strategy, engine, dataset.titles(), dataset)
        self.shards = Shards(recipe.out, made_from(recipe.strategy, engine.identity, recipe.top, dataset))
        self.pace = _Pace(engine, n_queries, report)

    def foresee(self, block: Block) -> RankRun:
        """Return what a block would take."""
        start, before = time.perf_counter(), self.engine.usage
        self.engine.progress = self.pace.begin(block)
        rank_head(self.ranker, block.queries, block.candidates, self.recipe.top)
        self.pace.end(block)
        return RankRun(len(block), self.engine.usage - before, seconds=time.perf_counter() - start)

    def rank(self, block: Block) -> RankRun:
        """Rank a block and write its shard, unless that is there; return what it took."""
        run = self.shards.finished(block)
        if run is not None:
            self.pace.skip(block)
            return run
        run = self._rank(block)
        self.pace.end(block)
        return run

    def _rank(self, block: Block) -> RankRun:
        start, before, spent = time.perf_counter(), self.engine.usage, self.shards.spent(block)
        counts, told = Counter(self.ranker.counts), self.pace.begin(block)

        def committed(done: int, total: int) -> None:
            now = self.engine.usage - before
            if now.cache_misses:
                self.shards.note(block, spent + now)
            told(done, total)

        self.engine.progress, self.engine.first_error = committed, ""
        ranked = rank_head(self.ranker, block.queries, block.candidates, self.recipe.top)
        run = RankRun(
            len(block),
            self.engine.usage - before,
            Counter({name: count - counts[name] for name, count in self.ranker.counts.items()}),
            time.perf_counter() - start,
            self.engine.first_error,
        ).after(spent)
        frame = ranked.to_frame(self.dataset, block.queries)
        self.shards.write(block, frame.with_columns(pl.col("query") + block.first), run)
        return run

    def finish(self, run: RankRun) -> None:
        """Put the shards together and write the record of the run."""
        recipe, usage = self.recipe, run.usage
        self.shards.parts.join(range(self.pace.blocks))
        with resumable(recipe.out):
            write_run(
                recipe.out.with_suffix(".run.json"),
                recipe,
                engine=self.engine.identity,
                queries=run.queries,
                usage=asdict(usage),
                money=usage.money(recipe.input_price, recipe.output_price),
                counts=dict(run.counts),
                first_error=run.first_error,
                seconds=run.seconds,
            )
        self.shards.parts.remove()


class _Pace:
    """Tells how far a batch is: queries done, those of the block under way by the share of its prompts."""

    def __init__(self, engine: CachedEngine, n_queries: int, report: Report | None) -> None:
        self.engine, self.n_queries, self.report = engine, n_queries, report
        self.blocks = self.done = self.ranked = self.shown = 0

    def begin(self, block: Block) -> Callable[[int, int], None]:
        """Return what the engine tells prompts done of a call to, while a block is under way."""
        before = self.engine.usage.prompts
        usual = before / max(1, self.ranked) * len(block)
        self.ranked += len(block)
        self._show(self.done)

        def told(done: int, total: int) -> None:
            asked = self.engine.usage.prompts - before
            # Strategies that ask in rounds have more calls to come: what blocks took so far says how many.
            share = asked / max(usual, asked + total - done)
            self._show(self.done + min(int(share * len(block)), len(block) - 1))

        return told

    def end(self, block: Block) -> None:
        """Count a block as done."""
        self.skip(block)
        self._show(self.done)

    def skip(self, block: Block) -> None:
        """Count a block that an earlier call has done."""
        self.blocks += 1
        self.done += len(block)

    def _show(self, done: int) -> None:
        usage = self.engine.usage
        self.shown = max(self.shown, done)
        if self.report is not None:
            tokens = usage.prompt_tokens + usage.output_tokens
            speed = f", {tokens / usage.seconds:,.0f} tokens/s" if usage.seconds else ""
            self.report(self.shown, self.n_queries, f"{usage.prompts:,} prompts{speed}")
