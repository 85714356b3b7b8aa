"""How fast recall models learn and answer: against ``implicit`` called directly, and as interactions become more.

    python benchmarks/recall_speed.py peers --data FOLDER [--models item-knn als] [--runs 7]
    python benchmarks/recall_speed.py growth [--models item-knn als ease bpr swing] [--sizes 100000 1000000]
        [--out runs/growth]

``peers`` learns MovieLens 1M (FOLDER has ``movielens-1m/sequences.tsv``) and recommends 100 items to each of its users,
with the settings of our defaults. Both begin with the same arrays of user and item numbers, in one process; after a
round that does not count they take turns, and each round gives a ratio: above 1, ours is faster. Where others use the
machine too, the ratio of CPU seconds is the one to read. ``implicit`` answers known users with the vectors that
training left; ``recalculated`` makes it solve them from the histories, as ours does for everybody.

``growth`` makes interactions: users, items and their popularity as in MovieLens' editions of 100 thousand to 10 million
ratings. Each size and model has a process of its own, with its defaults; seconds are those of ``fit``, memory is the
process' peak, the data set (20 bytes an interaction) and imports included. It writes ``growth.svg`` and ``growth.csv``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from data import peak_gib
from implicit.cpu.als import AlternatingLeastSquares
from implicit.nearest_neighbours import ItemItemRecommender, bm25_weight
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from llmrec.classic.recall.factorization import ALS, ALSConfig
from llmrec.classic.recall.neighbours import ItemKNN, ItemKNNConfig
from llmrec.data import Dataset, Interactions, Vocabulary
from llmrec.data.files import atomic_file
from llmrec.data_prep.sequences import load_sequences
from llmrec.eval.significance import bootstrap_interval
from llmrec.registry import RECOMMENDERS

K = 100
SIZES = (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
GROWN = ("item-knn", "als", "ease", "bpr", "swing")
Jobs = Mapping[str, Callable[[], object]]


def peer_matrix(data: Dataset) -> csr_matrix:
    """Return who had what, as somebody would make it for ``implicit``."""
    events = data.interactions
    ones = np.ones(len(events), np.float32)
    return csr_matrix((ones, (events.users, events.items)), shape=(len(data.users), len(data.items)))


def peer_knn(data: Dataset) -> ItemItemRecommender:
    config = ItemKNNConfig()
    weighted = bm25_weight(peer_matrix(data).T, config.bm25_k1, config.bm25_b)
    model = ItemItemRecommender(K=config.neighbours)
    model.fit(weighted.T.tocsr(), show_progress=False)
    return model


def peer_als(data: Dataset) -> AlternatingLeastSquares:
    with threadpool_limits(1, "blas"):  # as implicit advises
        model = AlternatingLeastSquares(**ALSConfig().model_dump(), random_state=0)
        model.fit(peer_matrix(data), show_progress=False)
    return model


def jobs(data: Dataset) -> dict[str, Jobs]:
    """Return, for each comparison, what is measured; ours comes last."""
    users, seen = np.arange(len(data.users)), peer_matrix(data)
    queries = data.queries(users, history=None)
    knn, als = peer_knn(data), peer_als(data)
    our_knn, our_als = ItemKNN().fit(data), ALS().fit(data)
    return {
        "item-knn fit": {"implicit": lambda: peer_knn(data), "llmrec": lambda: ItemKNN().fit(data)},
        "item-knn recommend": {
            "implicit": lambda: knn.recommend(users, seen, N=K),
            "llmrec": lambda: our_knn.recommend(queries, K),
        },
        "als fit": {"implicit": lambda: peer_als(data), "llmrec": lambda: ALS().fit(data)},
        "als recommend": {
            "implicit": lambda: als.recommend(users, seen, N=K),
            "implicit, recalculated": lambda: als.recommend(users, seen, N=K, recalculate_user=True),
            "llmrec": lambda: our_als.recommend(queries, K),
        },
    }


def compare(name: str, given: Jobs, runs: int) -> None:
    """Run the jobs ``runs`` times in turn and print seconds and the ratios of each peer to ours."""
    seen: dict[str, list[tuple[float, float]]] = {job: [] for job in given}
    for _ in range(runs + 1):
        for job, found in seen.items():
            wall, cpu = time.perf_counter(), time.process_time()
            given[job]()
            found.append((time.perf_counter() - wall, time.process_time() - cpu))
    *peers, ours = (np.array(found[1:]) for found in seen.values())
    for job, peer in zip(seen, peers, strict=False):
        cells = [f"{name}, {job}: {np.median(peer[:, 0]):.2f} s against {np.median(ours[:, 0]):.2f} s"]
        for kind, ratios in zip(("wall", "CPU"), (peer / ours).T, strict=True):
            low, high = bootstrap_interval(ratios)
            cells.append(f"{kind} {ratios.mean():.2f} times [{low:.2f}, {high:.2f}]")
        print("  ".join(cells), flush=True)


def make(n: int, seed: int = 0) -> Dataset:
    """Return a data set of n distinct pairs in random order.

    There are n / 140 users of very different activity and 5 √n items, of which the one at rank r of popularity has a
    share proportional to 1 / (r + 20): MovieLens 100k, 1M and 10M have 943, 6,040 and 71,567 users, and 1,682, 3,706
    and 10,681 items.
    """
    rng = np.random.default_rng(seed)
    n_users, n_items = n // 140, round(5 * n**0.5)
    active = np.cumsum(rng.lognormal(sigma=1, size=n_users))
    popular = np.cumsum(1 / (np.arange(n_items) + 20))
    pairs = np.zeros(0, np.int64)
    while len(pairs) < n:
        users, items = (np.searchsorted(each, rng.random(n) * each[-1]) for each in (active, popular))
        pairs = np.unique(np.append(pairs, users * n_items + items))
    pairs = rng.permutation(pairs)[:n]
    return Dataset(
        f"made-{n}",
        Interactions.sort(pairs // n_items, pairs % n_items, np.arange(n)),
        Vocabulary(np.arange(n_users)),
        Vocabulary(np.arange(n_items)),
        pl.DataFrame(height=n_items),
    )


def measure(name: str, folder: Path) -> None:
    """Fit one model in this process and print what it took as JSON."""
    data, kind = Dataset.load(folder), RECOMMENDERS.get(name)
    start = time.perf_counter()
    kind().fit(data, seed=0)
    print(json.dumps({"seconds": time.perf_counter() - start, "gib": peak_gib()}))


def grow(models: Iterable[str], sizes: Iterable[int], limit: float) -> pl.DataFrame:
    """Return a row for each model and size with ``seconds`` and ``gib``; none of a model after it failed."""
    rows, failed = [], set()
    for size in sorted(sizes):
        with tempfile.TemporaryDirectory() as folder:
            data = make(size)
            about = {"interactions": size, "users": len(data.users), "items": len(data.items)}
            path = data.save(Path(folder) / "made")
            for name in models:
                if name in failed:
                    continue
                command = [sys.executable, __file__, "growth", "--measure", name, str(path)]
                try:
                    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=limit)
                    why = "" if ended.returncode == 0 else (ended.stderr.strip().splitlines() or ["killed"])[-1]
                except subprocess.TimeoutExpired:
                    why = f"not ready after {limit:.0f} s"
                if why:
                    failed.add(name)
                    print(f"{name}, {size:,} interactions: {why}", flush=True)
                    continue
                rows.append({"model": name, **about, **json.loads(ended.stdout.splitlines()[-1])})
                print("{model}, {interactions:,}: {seconds:.2f} s, {gib:.2f} GiB".format(**rows[-1]), flush=True)
    return pl.DataFrame(rows)


def draw(table: pl.DataFrame, path: Path) -> None:
    """Write a plot of seconds and memory against interactions, all on logarithmic axes."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for axes, column, label in zip(panels, ("seconds", "gib"), ("fit, seconds", "peak memory, GiB"), strict=True):
        for (name,), rows in table.group_by("model", maintain_order=True):
            axes.loglog(rows["interactions"], rows[column], "o-", label=name)
        axes.set(xlabel="interactions", ylabel=label)
        axes.grid(which="major", alpha=0.3)
    panels[0].legend(frameon=False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="svg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    peers = commands.add_parser("peers", help="against implicit on MovieLens 1M")
    peers.add_argument("--data", type=Path, default=Path(os.environ.get("LLMREC_DATA", "../shared/data")))
    peers.add_argument("--models", nargs="+", choices=("item-knn", "als"), default=["item-knn", "als"])
    peers.add_argument("--runs", type=int, default=7)
    growth = commands.add_parser("growth", help="fit time and memory as interactions become more")
    growth.add_argument("--models", nargs="+", choices=list(RECOMMENDERS.rows))
    growth.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    growth.add_argument("--limit", type=float, default=3600, help="seconds that one fit may take")
    growth.add_argument("--out", type=Path, default=Path("runs/growth"))
    growth.add_argument("--measure", nargs=2, metavar=("MODEL", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.command == "peers":
        for name, given in jobs(load_sequences(arguments.data / "movielens-1m" / "sequences.tsv")).items():
            if name.split()[0] in arguments.models:
                compare(name, given, arguments.runs)
    elif arguments.measure:
        measure(arguments.measure[0], Path(arguments.measure[1]))
    else:
        models = arguments.models or [name for name in GROWN if name in RECOMMENDERS.rows]
        table = grow(models, arguments.sizes, arguments.limit)
        with atomic_file(arguments.out / "growth.csv") as temporary:
            table.write_csv(temporary)
        draw(table, arguments.out / "growth.svg")


if __name__ == "__main__":
    main()
