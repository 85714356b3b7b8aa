"""What ranking a batch costs besides the model: requests a second through the fake engine, and memory.

    python benchmarks/rank_batch.py [--queries 5000] [--candidates 20] [--strategy pointwise] [--profile]

Candidates of made-up users are ranked three times with a cache and an output of their own: all is computed, then all
comes from the cache, then a dry run counts it. A request is a prompt; ``pointwise`` asks one for each candidate, with
two answers. Memory is the peak of resident memory in excess of what was resident before the first run.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from llmrec.config import Part
from llmrec.data import Candidates, Dataset, Interactions, Split, Targets, Vocabulary
from llmrec.rank.batch import RankRecipe, rank_batch

N_ITEMS, HISTORY = 3000, 20


def prepare(folder: Path, n_queries: int, n_candidates: int) -> None:
    """Write a split and candidates of users whose items are drawn at random."""
    rng = np.random.default_rng(0)
    items = rng.integers(0, N_ITEMS, (n_queries, HISTORY + 1), dtype=np.int32)
    users = np.repeat(np.arange(n_queries), HISTORY)
    train = Dataset(
        name="made-up",
        interactions=Interactions.sort(users, items[:, :HISTORY].ravel(), np.arange(len(users))),
        users=Vocabulary(list(range(n_queries))),
        items=Vocabulary(list(range(N_ITEMS))),
        item_table=pl.DataFrame({"title": [f"The film of number {number} (1999)" for number in range(N_ITEMS)]}),
    )
    targets = Targets(train.queries(np.arange(n_queries)), items[:, HISTORY:])
    Split(train, targets, targets, {"name": "made up"}).save(folder / "data" / "split")
    shown = (rng.integers(0, N_ITEMS, (n_queries, 1)) + 7 * np.arange(n_candidates)) % N_ITEMS
    scores = -np.tile(np.arange(n_candidates, dtype=np.float32), (n_queries, 1))
    Candidates(shown, scores).to_frame(train, targets.queries).write_parquet(folder / "candidates.parquet")


def resident() -> float:
    """Return resident memory in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=5000)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--strategy", default="pointwise")
    parser.add_argument("--profile", action="store_true", help="say where the first run's time goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, arguments.queries, arguments.candidates)
        recipe = RankRecipe(
            candidates=folder / "candidates.parquet",
            dataset=folder / "data",
            out=folder / "ranked.parquet",
            cache=folder / "answers.sqlite",
            strategy=Part(name=arguments.strategy),
            engine=Part(name="fake"),
            top=arguments.candidates,
        )
        before, profile = resident(), cProfile.Profile()
        for what, dry in (("computed", False), ("from the cache", False), ("dry run", True)):
            if arguments.profile and what == "computed":
                profile.enable()
            start, cpu = time.perf_counter(), time.process_time()
            run = rank_batch(recipe, dry_run=dry)
            wall, cpu = time.perf_counter() - start, time.process_time() - cpu
            profile.disable()
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3 - before
            print(
                f"{arguments.strategy}, {what:15} {run.usage.prompts:9,} requests in {wall:6.1f} s wall, "
                f"{cpu:6.1f} s CPU: {run.usage.prompts / wall:8,.0f} a second; "
                f"memory at most {peak:4.0f} MB above the start's {before:.0f}",
                flush=True,
            )
        if arguments.profile:
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
