"""A pipeline for all queries of a part: block by block, resumable, with a record and a report."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from functools import cached_property, reduce
from operator import add

import numpy as np
import polars as pl

from llmrec.config import write_run
from llmrec.data import Candidates, Split, Targets
from llmrec.data.files import require_writable, resumable
from llmrec.data.split import first_in_row
from llmrec.errors import EngineError
from llmrec.llm.cache import CachedEngine
from llmrec.llm.make import Report, open_engine
from llmrec.pipeline.check import asks_engine, check_items, check_recipe
from llmrec.pipeline.funnel import Pipeline
from llmrec.pipeline.limit import Turn
from llmrec.pipeline.make import Materials, make_pipeline
from llmrec.pipeline.recipe import PipelineRecipe
from llmrec.pipeline.record import PipelineRun, made_from
from llmrec.pipeline.report import write_funnel
from llmrec.pipeline.stages import StageRun
from llmrec.protocols import Usage
from llmrec.rank.blocks import Block
from llmrec.rank.shards import RankRun, Shards

CANDIDATES, RECORD, REPORT = "candidates.parquet", "run.json", "report.html"
_KEY = "llmrec-stages"
_PATIENCE = 30.0
"""Seconds that a late call has to end by itself before its engine is closed."""


def recommend_batch(recipe: PipelineRecipe, *, progress: Report | None = None, dry_run: bool = False) -> PipelineRun:
    """Recommend to all queries of a part through a pipeline; killed, the same call goes on where it stopped.

    The recipe is checked before anything is loaded, and whose items its models know before any is. A block whose stage
    was skipped, or whose prompts failed, is done again by a call that goes on after a kill.

    Args:
        recipe: the pipeline, whom it serves and where to write.
        progress: called after each commit of answers and each block.
        dry_run: write nothing and run no language model; the usage says what a real run would spend.

    Raises:
        LlmrecError: the recipe or an input cannot be used, and nothing is written then; or the disk is full, and what
            is done stays.
    """
    check_recipe(recipe)
    if not dry_run:
        require_writable(recipe.out / CANDIDATES)
    split = Split.load(recipe.dataset / "split")
    targets = split.part(recipe.part)
    check_items(recipe, split.train)
    with ExitStack() as stack:
        asks = any(asks_engine(stage.ranker) for stage in recipe.stages)
        engine = stack.enter_context(open_engine(recipe, dry_run=dry_run)) if asks else None
        batch = _Batch(recipe, split, targets, engine, progress)
        serve = batch.foresee if dry_run else batch.serve
        run = reduce(add, map(serve, _blocks(targets, recipe.block)), PipelineRun())
        batch.turn.settle(_PATIENCE)
    if not dry_run:
        batch.finish(run)
    return run


def _blocks(targets: Targets, size: int) -> Iterator[Block]:
    """Yield the queries, ``size`` at a time, without candidates; at least one block."""
    for number, first in enumerate(range(0, max(1, len(targets)), size)):
        queries = targets.queries.select(slice(first, first + size))
        none = Candidates(np.zeros((len(queries), 0), np.int32), np.zeros((len(queries), 0), np.float32))
        yield Block(number, first, queries, none)


class _Batch:
    """One call of ``recommend_batch``: its pipeline, made when first needed, its shards and how far it is."""

    def __init__(
        self,
        recipe: PipelineRecipe,
        split: Split,
        targets: Targets,
        engine: CachedEngine | None,
        report: Report | None,
    ) -> None:
        self.recipe, self.split, self.targets, self.engine = recipe, split, targets, engine
        self.tell: Report = report or (lambda *_: None)
        self.turn = Turn()
        self.identity = "" if engine is None else engine.identity
        self.shards = Shards(recipe.out / CANDIDATES, made_from(recipe, self.identity))
        self.blocks = self.done = 0
        self.stage, self.preparing = "", 0.0

    @cached_property
    def pipeline(self) -> Pipeline:
        """The pipeline; making it may fit models."""
        start = time.perf_counter()
        limited = any(stage.timeout and asks_engine(stage.ranker) for stage in self.recipe.stages)
        turn = self.turn if limited else None
        made = make_pipeline(self.recipe, Materials(self.split, self.engine, turn, self.recipe.seed, self.tell))
        self.preparing = time.perf_counter() - start
        return made

    def serve(self, block: Block) -> PipelineRun:
        """Serve a block and write its shard, unless that is there; return what it took."""
        run = self._finished(block)
        if run is None:
            spent = self.shards.spent(block)
            candidates, run = self._through(block, spent)
            frame = candidates.to_frame(self.split.train, block.queries).with_columns(pl.col("query") + block.first)
            stages = json.dumps([stage.to_dict() for stage in run.stages])
            self.shards.write(block, frame, run.total, more={_KEY: stages})
        self._count(block)
        return run

    def foresee(self, block: Block) -> PipelineRun:
        """Return what a block would take."""
        run = self._through(block, None)[1]
        self._count(block)
        return run

    def _through(self, block: Block, spent: Usage | None) -> tuple[Candidates, PipelineRun]:
        """Send a block through the pipeline; what is spent is noted on top of ``spent``, unless that is None."""
        pipeline, start, before = self.pipeline, time.perf_counter(), self._usage()
        if self.engine is not None:
            self.engine.first_error = ""
            self.engine.progress = lambda done, total: self._committed(block, spent, before, done, total)
        funnel = pipeline.run(block.queries, relevant=self._relevant(block), entering=self._enter)
        counts: Counter[str] = Counter()
        for run in funnel.runs:
            counts.update(run.counts)
        first_error = "" if self.engine is None else self.engine.first_error
        seconds = time.perf_counter() - start
        total = RankRun(len(block), self._usage() - before, counts, seconds, first_error).after(spent or Usage())
        return funnel.candidates, self._run(block, total, funnel.runs)

    def _committed(self, block: Block, spent: Usage | None, before: Usage, done: int, total: int) -> None:
        """Note what was spent once answers are in the cache; end a call that nobody waits for any more."""
        if not self.turn.wanted:
            raise EngineError("a call that is late", expected="somebody to wait for it", cure="raise the timeout")
        now = self._usage() - before
        if now.cache_misses and spent is not None:
            self.shards.note(block, spent + now)
        self.tell(self.done, len(self.targets), f"{self.stage}, {done:,} of {total:,} prompts")

    def _enter(self, stage: str) -> None:
        self.stage = stage
        self.tell(self.done, len(self.targets), stage)

    def _count(self, block: Block) -> None:
        self.blocks += 1
        self.done += len(block)
        self.tell(self.done, len(self.targets), "")

    def _usage(self) -> Usage:
        return Usage() if self.engine is None else self.engine.usage

    def _relevant(self, block: Block) -> np.ndarray | None:
        return self.targets.relevant[block.first : block.first + len(block)] if self.targets.labelled else None

    def _run(self, block: Block, total: RankRun, stages: tuple[StageRun, ...]) -> PipelineRun:
        relevant = self._relevant(block)
        known = None if relevant is None else int((first_in_row(relevant) >= 0).sum())
        return PipelineRun(total, stages, known, len(self.split.train.items))

    def _finished(self, block: Block) -> PipelineRun | None:
        """Return what a block came to if its shard is there, no stage was skipped and no prompt failed."""
        run = self.shards.finished(block)
        if run is None:
            return None
        stages = json.loads(self.shards.more(block)[_KEY])
        found = tuple(StageRun.from_dict(values) for values in stages)
        return None if any(stage.skipped for stage in found) else self._run(block, run, found)

    def finish(self, run: PipelineRun) -> None:
        """Put the shards together, write the record of the run and its report."""
        recipe, usage = self.recipe, run.total.usage
        self.shards.parts.join(range(self.blocks))
        with resumable(recipe.out):
            write_run(
                recipe.out / RECORD,
                recipe,
                engine=self.identity,
                queries=run.total.queries,
                stages=run.table().to_dicts(),
                counts={stage.name: dict(stage.counts) for stage in run.stages},
                errors={stage.name: stage.error for stage in run.stages if stage.error},
                usage=asdict(usage),
                money=usage.money(recipe.input_price, recipe.output_price),
                first_error=run.total.first_error,
                seconds=run.total.seconds,
                seconds_to_prepare=self.preparing,
            )
            write_funnel(run, recipe, self.split.train, recipe.out / REPORT)
        self.shards.parts.remove()
