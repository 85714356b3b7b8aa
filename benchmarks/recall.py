"""Recall models with their defaults on a MovieLens folder: each user's last item out, all items ranked.

    python benchmarks/recall.py --data FOLDER [--part valid] [--model ease --set regularization=100]

FOLDER holds ``movielens-latest-small`` with the official CSVs. ``--part valid`` asks for the second-last item: choose
parameters there.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from llmrec.config import load_config
from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.split import leave_last_out
from llmrec.eval.metrics import compute
from llmrec.eval.significance import bootstrap_interval
from llmrec.registry import RECOMMENDERS

METRICS = ("recall@20", "hr@10", "ndcg@10")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMREC_DATA", "../shared/data")))
    parser.add_argument("--part", choices=("test", "valid"), default="test")
    parser.add_argument("--model", choices=list(RECOMMENDERS.rows), help="one model; all by default")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter of that model")
    arguments = parser.parse_args()
    split = leave_last_out(load_movielens(arguments.data / "movielens-latest-small"), ties="order")
    targets = split.part(arguments.part)
    for name in [arguments.model] if arguments.model else RECOMMENDERS.rows:
        kind = RECOMMENDERS.get(name)
        model = kind(load_config(kind.config_class, None, arguments.set))
        start = time.perf_counter()
        model.fit(split.train, seed=0)
        seconds = time.perf_counter() - start
        values = compute(model.recommend(targets.queries, 20), targets, METRICS)
        cells = []
        for metric in METRICS:
            low, high = bootstrap_interval(values[metric])
            cells.append(f"{metric} {values[metric].mean():.4f} [{low:.4f}, {high:.4f}]")
        print(f"{arguments.part} {name}: {'  '.join(cells)}  fit {seconds:.1f} s")


if __name__ == "__main__":
    main()
