"""TIGER against SASRec on Amazon Industrial & Scientific, from the same interactions, all items ranked.

    python benchmarks/tiger.py --data FOLDER [--model tiger --set beams=100] [--part test]

FOLDER holds ``amazon-industrial`` (MiniOneRec's files). Its train file is not public in this form: each row of valid
and test has a user, the newest 10 items before an event, and the event's item. A user's timeline is the history of the
first row and then the targets in order, which agree with all later histories. The split is by time over all events, so
whatever stands before a user's first row lies before the first validation event; the one exception is the first event
of a user, which has no row in any part: it stands in a history only and is never a target.

``--part valid`` (the default) is for choosing: trained on the events before a user's first row, early stopping and
numbers on valid. ``--part test`` asks the same model the test rows too: their histories hold validation events, which
no weight was learned from. ``--refit`` then trains anew on those and the validation events, for as many epochs as were
best before, and asks the test rows: a system that is updated before it is asked. SETTINGS were chosen on valid.

All items of the catalogue are ranked but those of a query's history; an item bought again (3 % of the test targets)
is a miss for every model. The published numbers, HR@10 / NDCG@10, are SASRec .1088/.0806 and TIGER .1321/.0908: trained
on about 36,000 targets, where 10,393 can be had here.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from llmrec.classic.recall.popular import Popular
from llmrec.classic.recall.sasrec import SASRec
from llmrec.classic.recall.tiger import TIGER
from llmrec.config import Config, load_config
from llmrec.data import Dataset, Interactions, Queries, Targets
from llmrec.data.queries import pad_ragged
from llmrec.data_prep.table import load_table
from llmrec.eval.metrics import compute
from llmrec.eval.significance import bootstrap_interval
from llmrec.protocols import Recommender, Watch

METRICS = ("hr@5", "hr@10", "ndcg@10")
FILE = "Industrial_and_Scientific_5_2016-10-2018-11.csv"
MODELS = {"popular": Popular, "sasrec": SASRec, "tiger": TIGER}
SETTINGS = {
    "popular": [],
    "sasrec": ["history=20", "embedding_dim=64", "dropout=0.5", "epochs=200", "patience=20"],
    "tiger": [
        "history=20",
        "embedding_dim=64",
        "blocks=1",
        "heads=2",
        "dropout=0.3",
        "batch_size=128",
        "epochs=100",
        "patience=20",
        "columns=[title]",
    ],
}


def read_part(folder: Path, part: str) -> pl.DataFrame:
    """Return user, history (a list) and item of each row of a part, in its order."""
    rows = pl.read_csv(folder / part / FILE, columns=["user_id", "history_item_id", "item_id"])
    return rows.select(
        pl.col("user_id").alias("user"),
        pl.col("history_item_id").str.json_decode(pl.List(pl.Int64)).alias("history"),
        pl.col("item_id").alias("item"),
        pl.lit(part).alias("part"),
    )


def load(folder: Path) -> tuple[Dataset, Dataset, dict[str, Targets]]:
    """Return the events before validation, those and the validation events, and the targets of valid and test."""
    about = folder / "index" / "Industrial_and_Scientific.item.json"
    catalogue = load_table(folder / "test" / FILE, about, user="user_id", item="item_id", item_id="id")
    rows = pl.concat([read_part(folder, "valid"), read_part(folder, "test")])
    early = rows.unique("user", keep="first", maintain_order=True).explode("history")
    early = early.select("user", pl.col("history").alias("item"), pl.lit("train").alias("part"))
    events = pl.concat([early, rows.select("user", "item", "part")])
    numbers = {user: number for number, user in enumerate(events["user"].unique(maintain_order=True))}
    users = events["user"].replace_strict(numbers, return_dtype=pl.Int32).to_numpy()
    items = catalogue.items.numbers(events["item"])

    def until(parts: list[str]) -> Dataset:
        some = events["part"].is_in(parts).to_numpy()
        return Dataset(
            "amazon-industrial",
            Interactions.sort(users[some], items[some], np.flatnonzero(some)),
            type(catalogue.users)(list(numbers)),
            catalogue.items,
            catalogue.item_table,
            clock=False,
        )

    targets = {part: make_targets(rows.filter(part=part), numbers, catalogue) for part in ("valid", "test")}
    return until(["train"]), until(["train", "valid"]), targets


def make_targets(rows: pl.DataFrame, numbers: dict[str, int], catalogue: Dataset) -> Targets:
    """Return each row's history as a query and its item as the relevant one."""
    users = rows["user"].replace_strict(numbers, return_dtype=pl.Int32).to_numpy()
    lengths = rows["history"].list.len().to_numpy()
    flat = catalogue.items.numbers(rows["history"].explode())
    history = pad_ragged(np.repeat(np.arange(len(rows)), lengths), flat, len(rows))
    return Targets(Queries(users, history), catalogue.items.numbers(rows["item"])[:, None])


def progress(name: str, every: float = 30.0) -> Callable[[int, int, str], None]:
    """Return a report that prints a line now and then."""
    last = [0.0]

    def report(done: int, total: int, text: str) -> None:
        if time.perf_counter() - last[0] > every:
            last[0] = time.perf_counter()
            print(f"  {name} {done:,}/{total:,} {text}", flush=True)

    return report


def show(name: str, part: str, model: Recommender, targets: Targets) -> None:
    """Print the metrics of one part with 95 % intervals."""
    start = time.perf_counter()
    values = compute(model.recommend(targets.queries, 10), targets, METRICS)
    cells = []
    for metric in METRICS:
        low, high = bootstrap_interval(values[metric])
        cells.append(f"{metric} {values[metric].mean():.4f} [{low:.4f}, {high:.4f}]")
    print(f"{part} {name}: {'  '.join(cells)}  {time.perf_counter() - start:.0f} s", flush=True)


def run(name: str, config: Config, arguments: argparse.Namespace) -> None:
    """Fit one model and print its numbers."""
    train, more, targets = load(arguments.data / "amazon-industrial")
    parts = ("valid", "test") if arguments.part == "test" else ("valid",)
    start = time.perf_counter()
    watch = Watch(valid=targets["valid"], report=progress(name))
    model = MODELS[name](config).fit(train, seed=arguments.seed, watch=watch)
    print(f"{name}: fit {time.perf_counter() - start:.0f} s", flush=True)
    if name == "tiger":
        print(f"  {model.collisions} of {model.catalogue.n_items} items have the codes of an earlier one")
    for part in parts:
        show(name, part, model, targets[part])
    if arguments.refit and name != "popular":
        epochs = int(np.argmax(model.validation_ndcg)) + 1
        again = MODELS[name](config.model_copy(update={"epochs": epochs}))
        again.fit(more, seed=arguments.seed, watch=Watch(report=progress(name)))
        show(f"{name}, refit for {epochs} epochs", "test", again, targets["test"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMREC_DATA", "../shared/data")))
    parser.add_argument("--part", choices=("valid", "test"), default="valid")
    parser.add_argument("--model", choices=list(MODELS), help="one model; all by default")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter of that model")
    parser.add_argument(
        "--refit", action="store_true", help="then train on the validation events too; with --part test"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    train, _, targets = load(arguments.data / "amazon-industrial")
    print(f"{train.counts()}, { ({part: len(each) for part, each in targets.items()}) } targets", flush=True)
    for name in [arguments.model] if arguments.model else MODELS:
        run(name, load_config(MODELS[name].config_class, None, [*SETTINGS[name], *arguments.set]), arguments)


if __name__ == "__main__":
    main()
