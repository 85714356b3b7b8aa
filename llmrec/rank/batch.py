"""Batch reranking: candidates in, ranked candidates out, resumable."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from llmrec.config import Config, Part, write_run
from llmrec.data import Candidates, Queries, Split
from llmrec.data.files import atomic_file, cache_folder, read_parquet, require_writable
from llmrec.llm.cache import CachedEngine, Progress
from llmrec.protocols import Ranker, Usage
from llmrec.rank.make import make_engine, make_ranker


class RankRecipe(Config):
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
    engine: Part = Part(name="transformers")
    """Engine with its parameters."""
    top: int = Field(default=20, ge=1)
    """How many candidates of each row the model ranks; the others stay behind them in their order."""
    cache: Path | None = None
    """SQLite file of answers, by default one for all runs; what is in it is not computed again."""
    commit_every: int = Field(default=64, ge=1)
    """Prompts between two commits to the cache."""
    input_price: float = 0.0
    """Money per million tokens read."""
    output_price: float = 0.0
    """Money per million tokens written or scored."""


@dataclass(frozen=True, slots=True)
class RankRun:
    """What a batch came to.

    Attributes:
        ranked: the candidates in their new order; None in a dry run.
        usage: prompts, tokens, cache hits, seconds.
        counts: how answers could be read, where the strategy writes text.
        seconds: wall time of the whole run.
    """

    ranked: Candidates | None
    usage: Usage
    counts: dict[str, int]
    seconds: float


def rank_head(ranker: Ranker, queries: Queries, candidates: Candidates, top: int) -> Candidates:
    """Rank the first ``top`` candidates of each row; the others follow in their order without a score."""
    head = ranker.rank(queries, candidates.top(top))
    rest = candidates.items[:, top:]
    return Candidates(
        np.concatenate([head.items, rest], axis=1),
        np.concatenate([head.scores, np.full(rest.shape, np.nan, np.float32)], axis=1),
    )


def rank_batch(recipe: RankRecipe, *, progress: Progress | None = None, dry_run: bool = False) -> RankRun:
    """Rank a Parquet file of candidates into another; killed, the same call goes on where it stopped.

    Args:
        recipe: what to rank and how.
        progress: called with prompts done and all prompts.
        dry_run: write nothing and run no model; the usage says what a real run would spend.

    Raises:
        LlmrecError: an input cannot be used; nothing is written then.
    """
    start = time.perf_counter()
    if not dry_run:
        require_writable(recipe.out)
    split = Split.load(recipe.dataset / "split")
    dataset, targets = split.train, split.part(recipe.part)
    frame = read_parquet(recipe.candidates)
    candidates = Candidates.from_frame(frame, dataset, targets.queries, where=str(recipe.candidates))
    engine = CachedEngine(
        make_engine(recipe.engine),
        recipe.cache or cache_folder() / "answers.sqlite",
        commit_every=recipe.commit_every,
        progress=progress,
        dry_run=dry_run,
    )
    with closing(engine):
        ranker = make_ranker(recipe.strategy, engine, dataset.titles(), dataset)
        ranked = rank_head(ranker, targets.queries, candidates, recipe.top)
    run = RankRun(None if dry_run else ranked, engine.usage, ranker.counts, time.perf_counter() - start)
    if run.ranked is not None:
        with atomic_file(recipe.out) as temporary:
            run.ranked.to_frame(dataset, targets.queries).write_parquet(temporary)
        usage = engine.usage
        write_run(
            recipe.out.with_suffix(".run.json"),
            recipe,
            engine=engine.identity,
            usage={name: getattr(usage, name) for name in usage.__slots__},
            money=usage.money(recipe.input_price, recipe.output_price),
            counts=ranker.counts,
            seconds=run.seconds,
        )
    return run
