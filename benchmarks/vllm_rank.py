"""What ``llmrec rank`` costs on vLLM: requests a second against a bare ``LLM.generate`` over the same prompts.

    python benchmarks/vllm_rank.py [--queries 200] [--strategies one-token listwise] [--rounds 2]

Candidates of MovieLens users, 20 each, are ranked into a file with a cache of their own; the peer is handed the very
prompts, rendered, in one call with the same sampling. Both use one started vLLM, whose prefix cache is emptied before
each turn; they take turns, and the best of the rounds counts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

from vllm import SamplingParams

from llmrec.classic.recall.popular import Popular
from llmrec.config import Part
from llmrec.data import Split
from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.split import leave_last_out
from llmrec.llm import make
from llmrec.llm.fake import FakeEngine
from llmrec.llm.vllm import VLLMConfig, VLLMEngine
from llmrec.protocols import Prompt
from llmrec.rank import batch
from llmrec.rank.compare.recording import Exchange, RecordingEngine
from llmrec.rank.make import make_ranker

STRATEGIES = {
    "one-token": Part(name="one-token"),
    "pointwise": Part(name="pointwise"),
    "listwise": Part(name="listwise", max_tokens=64),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=["one-token", "listwise"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--dtype", default="auto")
    arguments = parser.parse_args()
    engine = VLLMEngine(VLLMConfig(dtype=arguments.dtype))
    engine.logprobs([Prompt("Heat")], [[" A"]])  # starts the model
    make.make_engine = lambda _: engine  # one model for both
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        split = prepare(folder, arguments.queries)
        for strategy in arguments.strategies:
            measure(STRATEGIES[strategy], engine, split, folder, arguments.rounds)


def prepare(folder: Path, n_queries: int) -> Split:
    """Write a split of the first users and their candidates."""
    whole = leave_last_out(load_movielens(), short_users="train")
    split = Split(whole.train, whole.valid, whole.test.select(slice(0, n_queries)), whole.rule)
    split.save(folder / "data" / "split")
    candidates = Popular().fit(split.train).recommend(split.test.queries, 20)
    candidates.to_frame(split.train, split.test.queries).write_parquet(folder / "candidates.parquet")
    return split


def measure(strategy: Part, engine: VLLMEngine, split: Split, folder: Path, rounds: int) -> None:
    """Let both take turns, print the best requests a second of each and their ratio."""
    asked = prompts(strategy, split)
    best = {"rank": float("inf"), "bare": float("inf")}
    for number in range(rounds):
        recipe = batch.RankRecipe(
            candidates=folder / "candidates.parquet",
            dataset=folder / "data",
            out=folder / f"{strategy.name}-{number}.parquet",
            cache=folder / f"{strategy.name}-{number}.sqlite",
            strategy=strategy,
            engine=Part(name="vllm"),
            block=2000,
        )
        ways = {"bare": partial(bare, engine, strategy, asked), "rank": partial(batch.rank_batch, recipe)}
        for way, work in ways.items():
            engine.model.reset_prefix_cache()
            start = time.perf_counter()
            work()
            best[way] = min(best[way], time.perf_counter() - start)
            print(f"    {strategy.name}, {way}: {best[way]:.1f} s", flush=True)
    speed = {way: len(asked) / seconds for way, seconds in best.items()}
    print(
        f"{strategy.name}: {len(asked):,} requests; rank {speed['rank']:.2f}/s, bare {speed['bare']:.2f}/s, "
        f"ratio {speed['rank'] / speed['bare']:.3f}",
        flush=True,
    )


def prompts(strategy: Part, split: Split) -> list[Exchange]:
    """Return what a strategy asks."""
    recording = RecordingEngine(FakeEngine(), keep=True)
    ranker = make_ranker(strategy, recording, split.train.titles(), split.train)
    queries = split.test.queries
    ranker.rank(queries, Popular().fit(split.train).recommend(queries, 20))
    return recording.exchanges


def bare(engine: VLLMEngine, strategy: Part, asked: list[Exchange]) -> None:
    """Ask vLLM itself, as one would without a toolkit."""
    texts = ["\n\n".join(part for part in (one.prompt.system, one.prompt.user) if part) for one in asked]
    if strategy.name == "listwise":
        params = SamplingParams(max_tokens=strategy.parameters["max_tokens"], temperature=0, seed=0)
    else:
        choices = [ids for (ids,) in engine.tokens.encode_answers(asked[0].prompt, asked[0].answers)]
        params = SamplingParams(max_tokens=1, temperature=0, logprob_token_ids=choices, detokenize=False)
    engine.model.generate(texts, params, use_tqdm=False)


if __name__ == "__main__":
    main()
