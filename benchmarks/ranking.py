"""Rankers on MovieLens: AUC and GAUC of each over seeds, and rows a second against torch-rechub's same model.

    python benchmarks/ranking.py quality --data FOLDER [--set small] [--seeds 3] [--models lr fm deepfm]
    python benchmarks/ranking.py speed --data FOLDER --peer-python .venv-peers/bin/python [--rounds 3]

``--set small`` is MovieLens latest-small, cut through everyone's time (80:10:10): is a rating above 3? ``1m`` are the
1,000,209 events of MovieLens 1M without ratings and clock, cut by each user's own order (80:10:10): which item of five
came next, the other four drawn by the square root of popularity? A folder with the official ``ratings.dat`` is cut and
asked like ``small``. GAUC is the mean of the users' AUCs, weighted by their rows.

``speed`` trains both on the same rows (user, item, gender, age, occupation; vectors of 16, layers of 128 and 64, batch
4,096), each in a process of its own, in turns: the second of two epochs counts. torch-rechub is timed with its own
loader and trainer, and once more on batches that are cut from tensors beforehand, so that only its modules are. DIN and
BST read 20 events; torch-rechub's BST keeps the target's place alone, ours all places. What has several tasks has two:
the set has no ratings, so that values are drawn. torch-rechub's DIEN cannot be trained on a last, smaller batch.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from llmrec.classic.ranking.base.examples import ExamplesConfig, chosen_labels, target_rows
from llmrec.classic.ranking.base.ranker import make_learned_ranker
from llmrec.classic.ranking.deep import DeepFMConfig
from llmrec.classic.ranking.learning import prepare
from llmrec.config import Part
from llmrec.data import Candidates, Dataset, Interactions, Queries, Split, Targets
from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.sequences import load_sequences
from llmrec.data_prep.split import global_time_cut, per_user_ratio
from llmrec.eval.yes_no import auc, gauc
from llmrec.protocols import UNWATCHED, Ranker, Watch
from llmrec.registry import LEARNED_RANKERS

SIZES = {"embedding_dim": 16, "hidden": [128, 64], "dropout": 0.0, "batch_size": 4096, "learning_rate": 1e-3}
MORE = {
    "deepfm": {},
    "wide-deep": {},
    "dcn": {"layers": 3},
    "dcn-v2": {"layers": 3},
    "autoint": {"layers": 3, "head_dim": 8},
    "din": {"attention": [36]},
    "bst": {"layers": 1, "heads": 2},
    "shared-bottom": {"tower": [32]},
    "esmm": {},
    "mmoe": {"experts": 4, "tower": [32]},
    "ple": {"levels": 1, "experts": 2, "task_experts": 2, "tower": [32]},
}
SEQUENCES, HISTORY = ("din", "bst"), 20
CATEGORIES = ("user", "item", "user.gender", "user.age", "user.occupation")

PEER = """
import contextlib, io, json, sys, time
import numpy as np, torch
from torch_rechub.basic.features import SequenceFeature, SparseFeature
from torch_rechub.models.multi_task import ESMM, MMOE, PLE, SharedBottom
from torch_rechub.models.ranking import BST, DCN, DIN, AutoInt, DCNv2, DeepFM, WideDeep
from torch_rechub.trainers import CTRTrainer, MTLTrainer
from torch_rechub.utils.data import DataGenerator

path, name, threads, batch_size = sys.argv[1], sys.argv[2], int(sys.argv[3]), %(batch_size)d
torch.set_num_threads(threads)
stored = np.load(path)
label, liked, width = stored["label"], stored["liked"], %(embedding_dim)d
x = {key: stored[key] for key in stored.files if key not in ("label", "liked", "history")}
each = {key: SparseFeature(key, vocab_size=int(codes.max()) + 1, embed_dim=width) for key, codes in x.items()}
features = list(each.values())
mlp = {"dims": %(hidden)s, "dropout": %(dropout)f}
towers, kinds = [{"dims": [32], "dropout": %(dropout)f}] * 2, ["classification"] * 2
others, target = [one for key, one in each.items() if key != "item"], [each["item"]]
if name in ("din", "bst"):
    x["history"] = stored["history"]
    events = [SequenceFeature("history", each["item"].vocab_size, width, pooling="concat", shared_with="item")]
model = {
    "deepfm": lambda: DeepFM(features, features, mlp),
    "wide-deep": lambda: WideDeep(features, features, mlp),
    "dcn": lambda: DCN(features, 3, mlp),
    "dcn-v2": lambda: DCNv2(features, 3, mlp, use_low_rank_mixture=False),
    "autoint": lambda: AutoInt(features, [], num_layers=3, num_heads=2, mlp_params=mlp),
    "din": lambda: DIN(others, events, target, mlp, {"dims": [36]}),
    "bst": lambda: BST(others, events, target, mlp, nhead=2, dropout=0.0, num_layers=1),
    "shared-bottom": lambda: SharedBottom(features, kinds, mlp, towers),
    "esmm": lambda: ESMM(others, target, mlp, mlp),
    "mmoe": lambda: MMOE(features, kinds, 4, mlp, towers),
    "ple": lambda: PLE(features, kinds, 1, 2, 2, mlp, towers),
}[name]()
learn = {"optimizer_params": {"lr": %(learning_rate)f, "weight_decay": 0.0}, "n_epoch": 1}
if name in ("shared-bottom", "esmm", "mmoe", "ple"):
    label = np.stack([liked] * (name == "esmm") + [label, liked], 1)
    trainer = MTLTrainer(model, ["classification"] * label.shape[1], **learn)
else:
    trainer = CTRTrainer(model, **learn)
loader, _, _ = DataGenerator(x, label).generate_dataloader(x_val=x, y_val=label, x_test=x, y_test=label,
                                                           batch_size=batch_size)
tensors = {key: torch.from_numpy(each) for key, each in x.items()}
truth = torch.from_numpy(label)
order = torch.randperm(len(truth)).split(batch_size)
cut = [({key: each[rows] for key, each in tensors.items()}, truth[rows]) for rows in order]
seconds = []
with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
    for batches in (loader, loader, cut, cut):
        start = time.perf_counter()
        trainer.train_one_epoch(batches)
        seconds.append(time.perf_counter() - start)
print(json.dumps([len(label) / seconds[1], len(label) / seconds[3]]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("quality", "speed"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMREC_DATA", "../shared/data")))
    parser.add_argument("--set", default="small", help="small, 1m, or a folder with MovieLens' own files")
    parser.add_argument("--models", nargs="*", help="all of them by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of speed, at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--ours", metavar="MODEL", help=argparse.SUPPRESS)  # trains our model
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.ours:
        print(json.dumps(our_pace(speed_data(arguments.data, arguments.rows), arguments.ours)))
    elif arguments.what == "quality":
        quality(cut(arguments.data, arguments.set), arguments.models or list(LEARNED_RANKERS.rows), arguments.seeds)
    else:
        speed(arguments)


def cut(data: Path, chosen: str) -> Split:
    """Return the split of a set."""
    if chosen == "1m":
        return per_user_ratio(movielens_1m(data / "movielens-1m"), train=0.8, valid=0.1, history=200)
    folder = data / "movielens-latest-small" if chosen == "small" else Path(chosen)
    return global_time_cut(load_movielens(folder), train=0.8, valid=0.1, history=200)


def movielens_1m(folder: Path) -> Dataset:
    """Return the sequences of MovieLens 1M with genres of items, and gender, age and occupation of users."""
    data = load_sequences(folder / "sequences.tsv", name="movielens-1m")
    movies, users = (table(folder / name, width) for name, width in (("movies.dat", 3), ("users.dat", 5)))
    genres = dict(zip(movies[0].cast(pl.Int64), movies[2].str.split("|"), strict=True))
    known = pl.DataFrame([users[0].cast(pl.Int64).alias("id"), *users[1:4]])
    joined = pl.DataFrame([data.users.ids.cast(pl.Int64)]).join(known, on="id", how="left", maintain_order="left")
    return Dataset(
        data.name,
        data.interactions,
        data.users,
        data.items,
        pl.DataFrame({"categories": [genres.get(int(item), []) for item in data.items.ids]}),
        joined.drop("id").rename(dict(zip(joined.columns[1:], ("gender", "age", "occupation"), strict=True))),
        clock=False,
    )


def table(path: Path, width: int) -> list[pl.Series]:
    """Return the columns of a file with ``::`` between them."""
    rows = [line.split("::") for line in path.read_text("latin-1").splitlines()]
    return [pl.Series(f"column{number}", [row[number] for row in rows]) for number in range(width)]


def quality(split: Split, names: Sequence[str], seeds: int) -> None:
    """Fit each ranker with each seed, and print AUC and GAUC of the test part."""
    examples = ExamplesConfig(labels="ratings" if split.train.interactions.rated else "negatives")
    counts = np.bincount(split.train.interactions.items, minlength=len(split.train.items))
    kind = chosen_labels(split.train, examples)
    print(f"{split.train.name}: {len(split.train.interactions):,} training events, labels {kind}", flush=True)
    for name in ("popularity", *names):
        found, start = [], time.perf_counter()
        for seed in range(seeds):
            ranker: Ranker = Popularity(counts)
            if name != "popularity":
                part = Part(name=name, parameters={"examples": examples.model_dump()})
                ranker = make_learned_ranker(part).fit(split.train, seed=seed, watch=Watch(split.valid))
            found.append(judged(ranker, split.test, kind, examples, counts))
        each = (time.perf_counter() - start) / seeds
        texts = [
            f"{title} {statistics.mean(values):.4f} [{min(values):.4f}, {max(values):.4f}]"
            for title, values in zip(("AUC", "GAUC"), zip(*found, strict=True), strict=True)
        ]
        print(f"{name:14}{'  '.join(texts)}  {each:.0f} s a fit", flush=True)


class Popularity:
    """Orders candidates by their training events."""

    def __init__(self, counts: np.ndarray) -> None:
        self.counts = counts

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:  # noqa: ARG002 - not read
        """Return each row by popularity."""
        return candidates.with_scores(self.counts[candidates.items].astype(np.float32))


def judged(
    ranker: Ranker, targets: Targets, kind: str, examples: ExamplesConfig, counts: np.ndarray
) -> tuple[float, float]:
    """Return AUC and GAUC on the rows of the test part, the same for every ranker."""
    rows = target_rows(targets, kind, examples, counts, np.random.default_rng(0))  # type: ignore[arg-type]
    keys, place = np.unique(rows.lists * len(counts) + rows.items, return_index=True)  # drawn twice counts once
    lists, items, labels = keys // len(counts), (keys % len(counts)).astype(np.int32), rows.labels[place]
    starts = np.flatnonzero(np.diff(lists, prepend=-1))
    within = np.arange(len(lists)) - np.repeat(starts, np.diff(starts, append=len(lists)))
    padded = np.full((len(targets), int(within.max()) + 1), -1, np.int32)
    padded[lists, within] = items
    ranked = ranker.rank(targets.queries, Candidates(padded, np.zeros(padded.shape, np.float32)))
    row, column = np.nonzero(ranked.items >= 0)
    order = np.argsort(row * len(counts) + ranked.items[row, column])  # back to the order of the keys
    scores = ranked.scores[row, column][order]
    return auc(labels, scores), gauc(labels, scores, lists).value


def speed(arguments: argparse.Namespace) -> None:
    """Print rows a second of both, in turns."""
    if arguments.peer_python is None:
        sys.exit("speed needs --peer-python: see benchmarks/requirements-peers.txt")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npz"
        save_rows(speed_data(arguments.data, arguments.rows), path)
        for name in arguments.models or MORE:
            peer = [str(arguments.peer_python), "-c", PEER % SIZES, str(path), name, str(arguments.threads)]
            mine = [sys.executable, *sys.argv, "--ours", name]
            ours, loader, module = [], [], []
            for _ in range(arguments.rounds):
                ours.append(run(mine, arguments.threads)[0])
                for seen, pace in zip((loader, module), run(peer, arguments.threads), strict=True):
                    seen.append(pace)
            paces = ", ".join(f"{statistics.median(each):,.0f}" for each in (ours, loader, module))
            times = [statistics.median(a / b for a, b in zip(ours, each, strict=True)) for each in (loader, module)]
            print(f"{name}: {paces} rows/s (llmrec, torch-rechub, its module alone): "
                  f"{times[0]:.2f} and {times[1]:.2f} times as fast", flush=True)  # fmt: skip


def configured(name: str) -> dict[str, Any]:
    """Return the parameters of a model of the sizes that both have."""
    history = HISTORY if name in SEQUENCES else 0
    features = {"categories": list(CATEGORIES), "statistics": [], "history": history, "min_count": 1}
    rest = {"features": features, "examples": {"negatives": 1}, "epochs": 2, "weight_decay": 0.0}
    return {**SIZES, **MORE[name], **rest}


def speed_data(data: Path, rows: int) -> Dataset:
    """Return the first events of MovieLens 1M to train on, with drawn values; each and its negative are two rows."""
    train = cut(data, "1m").train
    events = train.interactions.select(np.arange(min(rows // 2, len(train.interactions))))
    values = np.random.default_rng(0).choice(np.array([1, 5], np.float32), len(events))
    return train.with_interactions(Interactions(events.users, events.items, events.times, values))


def save_rows(train: Dataset, path: Path) -> None:
    """Write the codes and labels of the rows that our models learn from as arrays."""
    lesson = prepare(train, DeepFMConfig.model_validate(configured("deepfm")), 0, UNWATCHED)
    asked = {"user": lesson.train.rows.users, "item": lesson.train.rows.items}
    columns = {
        each.name.replace(".", "_"): lesson.space.codes(each.name)[asked[each.owner] + 1, 0].astype(np.int64)
        for each in lesson.space.categories
    }
    rows = lesson.train.rows
    history = lesson.space.codes("item")[rows.history(HISTORY) + 1, 0].astype(np.int64)
    liked = (rows.values > 3).astype(np.float32)  # NaN is no like
    np.savez(path, label=rows.labels, liked=liked, history=history, **columns)


def our_pace(train: Dataset, name: str) -> list[float]:
    """Return the rows a second of the second epoch."""
    marks: list[float] = []
    ranker = make_learned_ranker(Part(name=name, parameters=configured(name)))
    ranker.fit(train, watch=Watch(report=lambda *_: marks.append(time.perf_counter())))
    return [2 * len(train.interactions) / (marks[-1] - marks[len(marks) // 2 - 1])]


def run(command: list[str], threads: int) -> list[float]:
    """Return what a process prints last."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
