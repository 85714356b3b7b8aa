"""Every ranking strategy on the LLMRank protocol: quality against prompts, tokens and users a second, in one run.

    python benchmarks/strategies.py --data FOLDER --set ml-1m [--part valid] [--users 200] [--sorting-users 50]
        [--strategies likelihood …] [--fuse] [--out runs/strategies.jsonl]

See ``llmrank_data.py`` for data and protocol. ``--part valid`` (the default) asks for the second-last item: choose
there. ``--fuse`` also asks the other part, fits how much the model and ALS count on valid, and shows the fusion on
test; ALS learns from all events but each user's last two. Each strategy is a line of ``--out`` as soon as it is done.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
from llmrank_data import SETS, Protocol

from llmrec.classic.recall.base.history import popularity
from llmrec.classic.recall.factorization import ALS
from llmrec.config import Part
from llmrec.data import Candidates, Queries, Targets
from llmrec.eval.metrics import compute
from llmrec.eval.significance import bootstrap_interval, paired_test
from llmrec.llm.transformers import TransformersConfig, TransformersEngine
from llmrec.protocols import Prompt, Ranker, Usage
from llmrec.rank.fusion import FusionConfig, fit_fusion
from llmrec.rank.make import make_ranker

METRICS = ("ndcg@1", "ndcg@5", "ndcg@10")
STRATEGIES = {
    "likelihood": Part(name="likelihood"),
    "likelihood, mean": Part(name="likelihood", score="mean"),
    "likelihood, calibrated": Part(name="likelihood", score="calibrated"),
    "likelihood, 2 examples": Part(name="likelihood", examples=2),
    "pointwise": Part(name="pointwise"),
    "one-token": Part(name="one-token"),
    "one-token, 2 examples": Part(name="one-token", examples=2),
    "bootstrap of one-token": Part(name="bootstrap", inner={"name": "one-token"}),
    "tournament": Part(name="tournament"),
    "window of one-token": Part(name="window", inner={"name": "one-token", "size": 10}, size=10, step=5),
    "setwise": Part(name="setwise"),
    "pairwise, heap": Part(name="pairwise"),
    "pairwise, all": Part(name="pairwise", method="all"),
    "listwise": Part(name="listwise"),
    "listwise, constrained": Part(name="listwise", template="llmrank-identifiers", constrained=True),
}
SORTING = {"setwise", "pairwise, heap", "pairwise, all"}
"""Strategies that ask many times; fewer users say what they cost."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMREC_DATA", "../shared/data")))
    parser.add_argument("--set", choices=SETS, default="ml-1m")
    parser.add_argument("--part", choices=("valid", "test"), default="valid")
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--sorting-users", type=int, default=50, help="users of setwise and pairwise, which are slow")
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--history", type=int, default=20)
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--fuse", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    protocol = Protocol.read(arguments.data, arguments.set)
    train = protocol.train()
    targets, candidates = protocol.asked(arguments.users, arguments.part)
    counts = popularity(train)
    show("popularity", candidates.with_scores(counts[candidates.items]), targets)
    recall = ALS().fit(train) if arguments.fuse else None
    if recall:
        show("als", recalled(recall, targets.queries, candidates), targets)
    engine = TransformersEngine(TransformersConfig(model=arguments.model, dtype=arguments.dtype))
    engine.logprobs([Prompt("Heat")], [[" A"]])  # loads the model
    each: dict[str, np.ndarray] = {}
    for name in arguments.strategies:
        users = min(arguments.users, arguments.sorting_users if name in SORTING else arguments.users)
        targets, candidates = protocol.asked(users, arguments.part)
        ranker = make_ranker(with_history(STRATEGIES[name], arguments.history), engine, protocol.titles, train)
        start, before = time.perf_counter(), engine.usage
        ranked = ranker.rank(targets.queries, candidates)
        seconds, usage = time.perf_counter() - start, engine.usage - before
        row = {"set": arguments.set, "part": arguments.part, "users": users, "strategy": name}
        row |= show(name, ranked, targets)
        each[name] = compute(ranked, targets, ["ndcg@10"])["ndcg@10"]
        row |= cost(usage, seconds, len(targets)) | {"counts": dict(+ranker.counts)}
        if recall:
            row |= fused(protocol, arguments, recall, ranker, counts)
        if arguments.out:
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            with arguments.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    if {"one-token", "listwise"} <= each.keys():
        test = paired_test(each["one-token"], each["listwise"])
        print(f"one-token less listwise, ndcg@10: {100 * test.difference:+.2f}, p = {test.p:.3f}")


def with_history(part: Part, history: int) -> Part:
    """Return a strategy that reads so many items, inside a wrapper too."""
    if "inner" in part.parameters:
        inner = {**dict(part.parameters["inner"]), "history": history}
        return Part(name=part.name, **{**part.parameters, "inner": inner})
    return Part(name=part.name, **part.parameters, history=history)


def show(name: str, ranked: Candidates, targets: Targets) -> dict[str, float]:
    """Print and return the metrics, times 100."""
    found, cells = {}, []
    for metric, values in compute(ranked, targets, METRICS).items():
        low, high = bootstrap_interval(100 * values)
        found[metric] = 100 * float(values.mean())
        cells.append(f"{metric} {found[metric]:.2f} [{low:.1f}, {high:.1f}]")
    print(f"{name}: {'  '.join(cells)}", flush=True)
    return found


def cost(usage: Usage, seconds: float, users: int) -> dict[str, float]:
    """Print and return what a strategy took."""
    computed = usage.prompt_tokens + usage.output_tokens
    print(
        f"    {usage.prompts:,} prompts, {computed:,} tokens computed of {usage.submitted_tokens:,} submitted, "
        f"{users / seconds:.3f} users/s",
        flush=True,
    )
    return {
        "prompts": usage.prompts,
        "computed": computed,
        "submitted": usage.submitted_tokens,
        "users_per_second": users / seconds,
    }


def recalled(recall: ALS, queries: Queries, candidates: Candidates) -> Candidates:
    """Return the candidates as recall scores them."""
    n_items = recall.catalogue.n_items
    every = recall.recommend(queries, n_items, exclude_seen=False)
    scores = np.zeros(every.items.shape, np.float32)
    np.put_along_axis(scores, every.items, every.scores, axis=1)
    return candidates.with_scores(np.take_along_axis(scores, candidates.items, axis=1))


def fused(
    protocol: Protocol, arguments: argparse.Namespace, recall: ALS, ranker: Ranker, counts: np.ndarray
) -> dict[str, dict[str, float]]:
    """Fit both fusions on valid, print and return their metrics on test."""
    parts = {}
    for part in ("valid", "test"):
        targets, candidates = protocol.asked(arguments.users, part)
        by_recall = recalled(recall, targets.queries, candidates)
        parts[part] = by_recall, ranker.rank(targets.queries, by_recall), targets
    found = {}
    for method in ("weight", "logistic"):
        fusion = fit_fusion(*parts["valid"], counts, FusionConfig(method=method))
        by_recall, by_model, targets = parts["test"]
        weights = ", ".join(f"{each:.2f}" for each in fusion.coefficients)
        print(f"    {method} fitted on valid: {weights}")
        found[f"fused, {method}"] = show(f"    test, {method}", fusion.fuse(by_recall, by_model, counts), targets)
    return found


if __name__ == "__main__":
    main()
