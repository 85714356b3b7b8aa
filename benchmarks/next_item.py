"""Next-item tuning on MovieLens 1M, ranked under the LLMRank protocol, alone and fused with SASRec.

    python benchmarks/next_item.py --data FOLDER [--rows 2000] [--seed 0] [--runs runs/next-item]
        [--part test] [--sasrec runs/recall/sasrec]

The model learns from each user's sequence without the last two items: rows of some titles as history and the next as
the answer. Titles are written without their year, as LLMRank writes them: of ten tokens a year takes six. Validation is
the loss of 100 users' second-last items, which ``--part valid`` also ranks: choose there. ``--sasrec`` is a model that
``recall.py --films 1m --models sasrec --keep runs/recall`` fitted on the same part; how much it and the language model
count is fitted on the second-last items, of the same users. A killed call goes on.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
from llmrank_data import Protocol

from llmrec.classic.recall.base.history import popularity
from llmrec.classic.recall.base.store import load_recommender
from llmrec.config import make_config
from llmrec.data import Candidates, Queries, Targets
from llmrec.data_prep.examples import Examples, next_item
from llmrec.data_prep.examples.table import make_frame
from llmrec.data_prep.sequences import load_sequences
from llmrec.eval.metrics import compute
from llmrec.eval.significance import bootstrap_interval, paired_test
from llmrec.llm.transformers import TransformersConfig, TransformersEngine
from llmrec.rank.fusion import FusionConfig, fit_fusion
from llmrec.rank.likelihood import LikelihoodConfig, LikelihoodRanker
from llmrec.train.recipe import TallrecRecipe
from llmrec.train.tallrec import tune

HISTORY = 20
"""Titles that a ranking reads."""
ROW = {"history": 10, "titles": 40}
"""What an example of the training part reads and answers."""
METRICS = ("ndcg@1", "ndcg@10")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMREC_DATA", "../shared/data")))
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--rank", type=int, default=32, help="of the adapter")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/next-item"))
    parser.add_argument("--part", choices=("test", "valid"), default="test")
    parser.add_argument("--dtype", default="auto", help="of the base model")
    parser.add_argument("--sasrec", type=Path, help="folder of a fitted SASRec")
    arguments = parser.parse_args()
    protocol = Protocol.read(arguments.data, style="natural")
    adapter = tuned(protocol, arguments)
    engine = TransformersEngine(TransformersConfig(adapter=str(adapter), dtype=arguments.dtype))
    ranker = LikelihoodRanker(engine, protocol.titles, LikelihoodConfig(history=HISTORY))
    lists = {part: lists_of(protocol, part, ranker, arguments) for part in dict.fromkeys(("valid", arguments.part))}
    targets, found = lists[arguments.part]
    if arguments.sasrec:
        found |= fused(protocol, lists, arguments.part)
    values = {name: compute(each, targets, METRICS) for name, each in found.items()}
    for name, each in values.items():
        cells = [f"{metric} {100 * each[metric].mean():.2f} {interval(each[metric])}" for metric in METRICS]
        print(f"{arguments.part} {name}: {'  '.join(cells)}", flush=True)
    for name in values:
        if name.startswith("fused"):
            compared = paired_test(values[name]["ndcg@10"], values["sasrec"]["ndcg@10"])
            print(f"{name} - sasrec ndcg@10: {100 * compared.difference:+.2f}, p = {compared.p:.4f}")


def tuned(protocol: Protocol, arguments: argparse.Namespace) -> Path:
    """Tune, or take what an earlier call has tuned; return the adapter's folder."""
    out = arguments.runs / f"{arguments.rows}-{arguments.learning_rate:g}-{arguments.rank}-{arguments.seed}"
    if (out / "run.json").is_file():
        return out / "adapter"
    files = arguments.runs / "train.jsonl", arguments.runs / "valid.jsonl"
    if not all(path.is_file() for path in files):
        train, (targets, _) = protocol.train(), protocol.asked(100, "valid")
        next_item(train, **ROW).save(files[0])
        asked = {"prompt": [], "system": [""] * 100, "completion": []}
        for history, (truth, *_) in zip(targets.queries.last(HISTORY).lists(), targets.relevant, strict=True):
            asked["prompt"].append("".join(f"{protocol.titles[item]}\n" for item in history))
            asked["completion"].append(f"{protocol.titles[truth]}\n")
        Examples(make_frame(asked)).save(files[1])
    stage = {
        "train": [{"file": files[0], "rows": arguments.rows}],
        "valid": {"file": files[1]},
        "epochs": 1,
        "learning_rate": arguments.learning_rate,
        "batch_size": 4,
        "accumulation": 2,
        "evaluate_every": 50,
    }
    recipe = make_config(
        TallrecRecipe,
        {
            "out": out,
            "dtype": arguments.dtype,
            "seed": arguments.seed,
            "max_length": 800,
            "lora": {"rank": arguments.rank, "alpha": 2 * arguments.rank},
            "stages": [stage],
        },
    )
    start = time.perf_counter()
    tune(recipe, report=lambda done, of, text: print(f"    {done} of {of}: {text}", flush=True))
    print(f"    tuned in {time.perf_counter() - start:,.0f} s", flush=True)
    return out / "adapter"


def lists_of(
    protocol: Protocol, part: str, ranker: LikelihoodRanker, arguments: argparse.Namespace
) -> tuple[Targets, dict[str, Candidates]]:
    """Return the protocol's targets and its candidates as each model orders them."""
    targets, candidates = protocol.asked(arguments.users, part)
    found = {"popularity": candidates.with_scores(popularity(protocol.train())[candidates.items])}
    found["tuned"] = ranker.rank(targets.queries, candidates)
    if arguments.sasrec:
        found["sasrec"] = by_sasrec(protocol, arguments, targets.queries, candidates)
    return targets, found


def by_sasrec(
    protocol: Protocol, arguments: argparse.Namespace, queries: Queries, candidates: Candidates
) -> Candidates:
    """Return candidates ordered by SASRec's scores; its item numbers are those of its own data set."""
    model = load_recommender(arguments.sasrec)
    items = load_sequences(arguments.data / "movielens-1m" / "sequences.tsv").items
    known = {str(item): number for number, item in enumerate(items.decode(np.arange(len(items))).to_list())}
    number = np.array([known.get(item, -1) for item in protocol.ids])
    histories = [number[row].tolist() for row in queries.lists()]
    every = model.recommend(Queries.from_histories(histories), len(items), exclude_seen=False)
    scores = np.zeros(every.items.shape, np.float32)
    np.put_along_axis(scores, every.items, every.scores, axis=1)
    return candidates.with_scores(np.take_along_axis(scores, number[candidates.items], axis=1))


def fused(
    protocol: Protocol, lists: dict[str, tuple[Targets, dict[str, Candidates]]], part: str
) -> dict[str, Candidates]:
    """Return the candidates of a part as SASRec and the tuned model order them together, fitted on valid."""
    counts, found = popularity(protocol.train()), {}
    fitted, shown = lists["valid"], lists[part][1]
    for method in ("weight", "logistic"):
        fusion = fit_fusion(fitted[1]["sasrec"], fitted[1]["tuned"], fitted[0], counts, FusionConfig(method=method))
        print(f"    {method} fitted on valid: {', '.join(f'{each:.2f}' for each in fusion.coefficients)}")
        found[f"fused, {method}"] = fusion.fuse(shown["sasrec"], shown["tuned"], counts)
    return found


def interval(values: np.ndarray) -> str:
    low, high = bootstrap_interval(100 * values)
    return f"[{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()
