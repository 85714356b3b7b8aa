"""FunRec's protocol for classic recall on MovieLens latest-small: HR@10 and P@10 of all items, at random 80/20.

    python benchmarks/funrec.py --data FOLDER [--part valid] [--liked-first] [--model swing --set alpha=30]
    python benchmarks/funrec.py --data FOLDER --speed

FOLDER holds ``movielens-latest-small`` with the official CSVs. Ratings are cut at random, in the order of the file, by
``train_test_split(test_size=0.2, random_state=42)``; only those of 4 and more count, on both sides; what a user had in
training is left out. Models that predict ratings are fitted on all ratings of the training part, since without low
ones there is nothing to predict; the low-rated films are then left out as well, which the table marks with *.
``--part valid`` cuts the training part once more in the same way: parameters were chosen there. FunRec's code
cuts all ratings; ``--liked-first`` cuts those of 4 and more: 593 users instead of 599. ``--speed`` measures
the fit of Swing against the published algorithm in plain Python, on the same events with the same settings, and
compares what both found.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from plain_swing import plain_swing
from sklearn.model_selection import train_test_split

from llmrec.classic.recall.base.store import RecallModel
from llmrec.classic.recall.swing import Swing, SwingConfig
from llmrec.config import load_config, make_config
from llmrec.data import Dataset, Interactions, Targets
from llmrec.data.queries import pad_ragged
from llmrec.data_prep.movielens import load_movielens
from llmrec.eval.metrics import compute
from llmrec.eval.significance import bootstrap_interval, paired_test
from llmrec.registry import RECOMMENDERS

LIKED = 4.0
METRICS = ("hr@10", "precision@10")
EASE = {"name": "ease", "regularization": 130}
ALS = {"name": "als", "factors": 32}
CHOSEN: Mapping[str, Mapping[str, Any]] = {
    "popular": {},
    "item-knn": {"weighting": "tfidf", "neighbours": 50},
    "item-pearson": {"neighbours": 500, "shrinkage": 500},
    "user-knn": {"neighbours": 50, "amplification": 2},
    "user-pearson": {"neighbours": 500, "shrinkage": 500},
    "swing": {"alpha": 300, "neighbours": 400},
    "als": {"factors": 32},
    "ease": {"regularization": 130},
    "fused": {"members": (EASE, ALS), "method": "weighted", "weights": (6, 1), "depth": 500, "normalise": "zscore"},
}
PUBLISHED = {"item-knn": "ItemCF .6594 .1444", "swing": "Swing .6194 .1282", "user-knn": "UserCF .6912 .1643"}


def cut(ratings: pl.DataFrame, part: str, *, liked_only: bool) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the ratings to learn from and those to find."""
    liked = (ratings["rating"] >= LIKED).to_numpy()
    rows = np.flatnonzero(liked) if liked_only else np.arange(len(ratings))
    gone = np.zeros(0, np.int64)
    for _ in range(2 if part == "valid" else 1):
        rows, held = train_test_split(rows, test_size=0.2, random_state=42)
        gone = np.append(gone, held)
    kept = np.ones(len(ratings), np.bool_)
    kept[gone] = False
    return ratings.filter(pl.Series(kept)), ratings[held]


def learned_from(data: Dataset, ratings: pl.DataFrame) -> Dataset:
    """Return the data set with these events only."""
    users, items = data.users.numbers(ratings["userId"]), data.items.numbers(ratings["movieId"])
    return data.with_interactions(Interactions.sort(users, items, ratings["timestamp"], ratings["rating"]))


def targets_of(train: Dataset, liked: Dataset, held: pl.DataFrame) -> Targets:
    """Return the users who liked something in both parts, with the whole history in ``train``."""
    held = held.filter(pl.col("rating") >= LIKED)
    users = train.users.numbers(held["userId"])
    relevant = pad_ragged(users, train.items.numbers(held["movieId"]), len(train.users))
    known = np.bincount(liked.interactions.users, minlength=len(train.users)) > 0
    asked = np.flatnonzero(known & (relevant >= 0).any(axis=1))
    return Targets(train.queries(asked, history=None), relevant[asked])


def compare(
    data: Dataset, rest: pl.DataFrame, held: pl.DataFrame, part: str, models: Mapping[str, RecallModel]
) -> None:
    """Print a line for each model, and how the fusion does against the best single one."""
    liked, rated = (learned_from(data, each) for each in (rest.filter(pl.col("rating") >= LIKED), rest))
    values = {}
    for name, model in models.items():
        train = rated if "ratings" in needs(name) else liked
        targets = targets_of(train, liked, held)
        start = time.perf_counter()
        model.fit(train, seed=0)
        seconds = time.perf_counter() - start
        values[name] = compute(model.recommend(targets.queries, 10), targets, METRICS)
        cells = []
        for metric in METRICS:
            low, high = bootstrap_interval(values[name][metric])
            cells.append(f"{metric} {values[name][metric].mean():.4f} [{low:.4f}, {high:.4f}]")
        mark = "*" if train is rated else ""
        print(f"{part} {name + mark:14} {'  '.join(cells)}  fit {seconds:5.2f} s  {PUBLISHED.get(name, '')}")
    if {"fused", "ease"} <= values.keys():
        for metric in METRICS:
            test = paired_test(values["fused"][metric], values["ease"][metric])
            print(f"{part} fused against ease, {metric}: {test.difference:+.4f}, p = {test.p:.3f}")


def needs(name: str) -> tuple[str, ...]:
    return RECOMMENDERS.row(name).needs


def race(data: Dataset, ratings: pl.DataFrame) -> None:
    """Print the time of both ways to fit Swing, and how far their similarities differ."""
    rest, _ = cut(ratings, "test", liked_only=False)
    liked = learned_from(data, rest.filter(pl.col("rating") >= LIKED))
    events, model = liked.interactions, Swing(SwingConfig(alpha=1, discount=0, neighbours=len(liked.items)))
    model.fit(liked)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        model.fit(liked)
        times.append(time.perf_counter() - start)
    users, items = events.users.tolist(), events.items.tolist()
    start = time.perf_counter()
    plain = plain_swing(users, items, alpha=1)
    seconds = time.perf_counter() - start
    one, two = np.array(list(plain)).T
    ours = np.asarray(model.similarity[one, two]).ravel() * 2  # the plain one counts each pair of users twice
    difference = np.abs(ours / np.array(list(plain.values())) - 1).max()
    print(f"{len(events)} events, {len(plain)} pairs of items; {model.similarity.nnz // 2} pairs here")
    print(f"plain {seconds:.1f} s, here {np.median(times):.3f} s (median of 5): {seconds / np.median(times):.0f} times")
    print(f"largest relative difference {difference:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMREC_DATA", "../shared/data")))
    parser.add_argument("--part", choices=("test", "valid"), default="test")
    parser.add_argument("--liked-first", action="store_true", help="cut the ratings of 4 and more only")
    parser.add_argument("--model", choices=list(CHOSEN), help="one model; all by default")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter of that model")
    parser.add_argument("--speed", action="store_true", help="race Swing against plain Python instead")
    arguments = parser.parse_args()
    folder = arguments.data / "movielens-latest-small"
    data, ratings = load_movielens(folder), pl.read_csv(folder / "ratings.csv")
    if arguments.speed:
        race(data, ratings)
        return
    models = {}
    for name, parameters in CHOSEN.items():
        if arguments.model in {None, name}:
            kind = RECOMMENDERS.get(name)
            given = load_config(kind.config_class, None, arguments.set).model_dump(exclude_unset=True)
            models[name] = kind(make_config(kind.config_class, {**parameters, **given}))
    rest, held = cut(ratings, arguments.part, liked_only=arguments.liked_first)
    compare(data, rest, held, arguments.part, models)


if __name__ == "__main__":
    main()
