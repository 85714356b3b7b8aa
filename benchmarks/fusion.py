"""Fusion against the best single channel: members and method chosen on validation, a paired test on the test part.

    python benchmarks/fusion.py --keep runs/recall --data FOLDER [--films 1m]

``--keep`` is the folder of models that ``benchmarks/recall.py --keep`` fitted. Starting from the best single channel by
validation NDCG@10, the channel, weight and method that help most are added, until none does. It is compared with the
single channel that is best on test.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from recall import METRICS, add_data, read_split

from llmrec.classic.recall.base.store import load_recommender
from llmrec.classic.recall.fuse import reciprocal_rank_fusion, weighted_fusion
from llmrec.data import Candidates, Targets
from llmrec.eval.metrics import compute
from llmrec.eval.significance import bootstrap_interval, paired_test

DEPTH = 200
WEIGHTS = (0.25, 0.5, 1.0, 2.0)
METHODS = ("rrf", "minmax", "zscore")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data(parser)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=2000, help="validation queries that members are chosen on")
    arguments = parser.parse_args()
    split = read_split(arguments)
    names = sorted(path.name for path in arguments.keep.iterdir() if (path / "config.json").is_file())
    models = {name: load_recommender(arguments.keep / name) for name in names}
    asked = split.valid.sample(arguments.queries, seed=0)
    valid = {name: model.recommend(asked.queries, DEPTH) for name, model in models.items()}
    members, weights, method = choose(valid, asked)
    print(f"chosen on validation: {method} of {dict(zip(members, weights, strict=True))}", flush=True)
    test = {name: model.recommend(split.test.queries, DEPTH) for name, model in models.items()}
    test["fused"] = fuse([test[name] for name in members], weights, method)
    values = {name: compute(found, split.test, METRICS) for name, found in test.items()}
    for name, found in sorted(values.items(), key=lambda pair: -pair[1]["ndcg@10"].mean()):
        cells = [f"{metric} {found[metric].mean():.4f} {_interval(found[metric])}" for metric in METRICS]
        print(f"test {name}: {'  '.join(cells)}")
    best = max(names, key=lambda name: values[name]["ndcg@10"].mean())
    for metric in METRICS:
        compared = paired_test(values["fused"][metric], values[best][metric])
        print(f"fused - {best} {metric}: {compared.difference:+.4f}, p = {compared.p:.4f}")


def choose(lists: dict[str, Candidates], targets: Targets) -> tuple[list[str], list[float], str]:
    """Return members, their weights and the method of the fusion with the best NDCG@10, found greedily."""
    single = {name: _ndcg(found, targets) for name, found in lists.items()}
    best: tuple[float, list[str], list[float], str] = (0.0, [], [], "")
    for method in METHODS:
        first = max(single, key=lambda name: single[name])
        members, weights, value = [first], [1.0], single[first]
        while len(members) < len(lists):
            trials = [
                (
                    _ndcg(fuse([lists[each] for each in [*members, name]], [*weights, weight], method), targets),
                    name,
                    weight,
                )
                for name in lists
                if name not in members
                for weight in WEIGHTS
            ]
            found, name, weight = max(trials)
            if found <= value:
                break
            members, weights, value = [*members, name], [*weights, weight], found
            print(f"    {method}: + {weight} {name}: validation NDCG@10 {value:.4f}", flush=True)
        best = max(best, (value, members, weights, method))
    return best[1], best[2], best[3]


def fuse(lists: list[Candidates], weights: list[float], method: str) -> Candidates:
    """Return the fusion of some lists."""
    if method == "rrf":
        return reciprocal_rank_fusion(lists, 100, weights=weights)
    return weighted_fusion(lists, weights, 100, normalise=method)


def _ndcg(found: Candidates, targets: Targets) -> float:
    return float(np.mean(compute(found, targets, ("ndcg@10",))["ndcg@10"]))


def _interval(values: np.ndarray) -> str:
    low, high = bootstrap_interval(values)
    return f"[{low:.4f}, {high:.4f}]"


if __name__ == "__main__":
    main()
