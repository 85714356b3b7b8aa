"""Recall models on MovieLens: each user's last item out, all items ranked, unseen ones proposed.

    python benchmarks/recall.py --data FOLDER [--films 1m] [--models sasrec als] [--set epochs=10] [--part valid]
        [--keep runs/recall]

FOLDER holds ``movielens-latest-small`` with the official CSVs and ``movielens-1m`` with ``sequences.tsv``. Models stop
early by the second-last item. ``--part valid`` asks for that item: choose parameters there. ``--keep`` saves each
fitted model and loads it when the command is given again; ``benchmarks/fusion.py`` fuses what is kept.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from llmrec.classic.recall.base.store import load_recommender
from llmrec.config import load_config
from llmrec.data import Split
from llmrec.data.files import read_json, write_json
from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.sequences import load_sequences
from llmrec.data_prep.split import leave_last_out
from llmrec.eval.metrics import compute
from llmrec.eval.significance import bootstrap_interval
from llmrec.protocols import Recommender, Watch
from llmrec.registry import RECOMMENDERS

METRICS = ("hr@10", "ndcg@10", "hr@100")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data(parser)
    parser.add_argument("--part", choices=("test", "valid"), default="test")
    parser.add_argument("--models", nargs="+", choices=list(RECOMMENDERS.rows), default=["popular", "item-knn", "ease"])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter of the models")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder of fitted models")
    arguments = parser.parse_args()
    split = read_split(arguments)
    targets = split.part(arguments.part)
    for name in arguments.models:
        model, seconds = fit(name, split, arguments)
        values = compute(model.recommend(targets.queries, min(100, len(split.train.items))), targets, METRICS)
        cells = []
        for metric in METRICS:
            low, high = bootstrap_interval(values[metric])
            cells.append(f"{metric} {values[metric].mean():.4f} [{low:.4f}, {high:.4f}]")
        print(f"{arguments.part} {name}: {'  '.join(cells)}  fit {seconds:,.1f} s", flush=True)


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which films."""
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMREC_DATA", "../shared/data")))
    parser.add_argument("--films", choices=("latest-small", "1m"), default="1m")


def read_split(arguments: argparse.Namespace) -> Split:
    """Return the films that the options name, cut; ties keep the file's order, as published numbers have it."""
    folder = arguments.data / f"movielens-{arguments.films}"
    data = load_sequences(folder / "sequences.tsv") if arguments.films == "1m" else load_movielens(folder)
    return leave_last_out(data, ties="order")


def fit(name: str, split: Split, arguments: argparse.Namespace) -> tuple[Recommender, float]:
    """Return a fitted model and how long that took, from what is kept if it is there."""
    folder = arguments.keep / name if arguments.keep else None
    if folder and folder.is_dir():
        return load_recommender(folder), read_json(folder.with_suffix(".json"))["seconds"]
    kind = RECOMMENDERS.get(name)
    model = kind(load_config(kind.config_class, None, arguments.set))
    start = last = time.perf_counter()

    def report(done: int, total: int, text: str) -> None:
        nonlocal last
        if time.perf_counter() - last > 60:
            last = time.perf_counter()
            print(f"    {last - start:,.0f} s: {text} ({done:,} of {total:,})", flush=True)

    watch = Watch(split.valid, folder.with_suffix(".checkpoint") if folder else None, report)
    model.fit(split.train, seed=arguments.seed, watch=watch)
    seconds = time.perf_counter() - start
    if folder:
        model.save(folder)
        write_json(folder.with_suffix(".json"), {"seconds": seconds, "set": arguments.set, "seed": arguments.seed})
    return model, seconds


if __name__ == "__main__":
    main()
