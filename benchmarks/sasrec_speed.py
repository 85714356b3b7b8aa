"""Seconds of a SASRec epoch against RecTools' SASRec: same data, sizes, loss, threads; epochs of the two take turns.

    python benchmarks/sasrec_speed.py --data FOLDER --peer-python .venv-peers/bin/python [--rounds 3] [--loss softmax]

RecTools lives in an environment of its own (``benchmarks/requirements-peers.txt``). Each round runs both, each as a
process that trains two epochs and times the second: loading and warming up do not count.
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
from pathlib import Path

import numpy as np
import polars as pl
import torch

from llmrec.classic.recall.sasrec import SASRec, SASRecConfig
from llmrec.data import Dataset, Interactions, Vocabulary
from llmrec.data_prep.sequences import load_sequences
from llmrec.data_prep.split import leave_last_out
from llmrec.protocols import Watch

EMBEDDING_DIM, BLOCKS, HEADS, HISTORY, BATCH_SIZE, DROPOUT, NEGATIVES = 64, 2, 2, 200, 128, 0.2, 256

PEER = """
import sys, time, json
import numpy as np, pandas as pd, torch
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

path, threads, loss = sys.argv[1], int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(threads)
users, items, times = (np.load(path)[name] for name in ("users", "items", "times"))
day = pd.to_timedelta(times, unit="D") + pd.Timestamp("2000-01-01")
frame = pd.DataFrame({Columns.User: users, Columns.Item: items, Columns.Weight: 1.0, Columns.Datetime: day})
marks = []


class Clock(Callback):
    def on_train_epoch_start(self, *_):
        marks.append(time.perf_counter())

    def on_train_epoch_end(self, *_):
        marks.append(time.perf_counter())


def trainer():
    return Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
                   enable_model_summary=False, callbacks=[Clock()])


model = SASRecModel(
    n_blocks=%(BLOCKS)d, n_heads=%(HEADS)d, n_factors=%(EMBEDDING_DIM)d, dropout_rate=%(DROPOUT)f,
    session_max_len=%(HISTORY)d, batch_size=%(BATCH_SIZE)d, n_negatives=%(NEGATIVES)d,
    loss={"gbce": "gBCE", "sampled": "sampled_softmax"}.get(loss, loss),
    get_trainer_func=trainer,
)
model.fit(Dataset.construct(frame))
print(json.dumps(marks[3] - marks[2]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMREC_DATA", "../shared/data")))
    parser.add_argument("--peer-python", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--loss", choices=("softmax", "sampled", "gbce"), default="softmax")
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)  # the process that trains our model
    arguments = parser.parse_args()
    if arguments.ours:
        print(json.dumps(our_epoch(arguments.ours, arguments.threads, arguments.loss)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.npz"
        save_events(arguments.data, path)
        peer = [str(arguments.peer_python), "-c", PEER % globals(), str(path), str(arguments.threads), arguments.loss]
        mine = [sys.executable, *sys.argv, "--ours", str(path)]
        seconds: dict[str, list[float]] = {"llmrec": [], "rectools": []}
        for number in range(arguments.rounds):
            order = [("llmrec", mine), ("rectools", peer)]
            for name, command in order if number % 2 == 0 else order[::-1]:
                seconds[name].append(run(command, arguments.threads))
                print(f"{name}: {seconds[name][-1]:.1f} s", flush=True)
    ratios = [theirs / ours for ours, theirs in zip(seconds["llmrec"], seconds["rectools"], strict=True)]
    print(f"{arguments.loss}, {arguments.threads} threads: median {statistics.median(seconds['llmrec']):.1f} s against "
          f"{statistics.median(seconds['rectools']):.1f} s, {statistics.median(ratios):.2f} times as fast "
          f"[{min(ratios):.2f}, {max(ratios):.2f}]")  # fmt: skip


def save_events(folder: Path, path: Path) -> None:
    """Write the training events of MovieLens 1M, last two items of each user out, as arrays."""
    events = leave_last_out(load_sequences(folder / "movielens-1m" / "sequences.tsv"), ties="order").train.interactions
    np.savez(path, users=events.users, items=events.items, times=events.times)


def our_epoch(path: Path, threads: int, loss: str) -> float:
    """Return the seconds of the second epoch."""
    torch.set_num_threads(threads)
    stored = np.load(path)
    n_items = int(stored["items"].max()) + 1
    data = Dataset(
        "events",
        Interactions.sort(stored["users"], stored["items"], stored["times"]),
        Vocabulary(range(int(stored["users"].max()) + 1)),
        Vocabulary(range(n_items)),
        pl.DataFrame({"title": [""] * n_items}),
        clock=False,
    )
    marks: list[float] = []
    config = SASRecConfig(
        embedding_dim=EMBEDDING_DIM, blocks=BLOCKS, heads=HEADS, history=HISTORY, dropout=DROPOUT,
        batch_size=BATCH_SIZE, loss=loss, negatives=NEGATIVES, epochs=2,
    )  # fmt: skip
    SASRec(config).fit(data, watch=Watch(report=lambda *_: marks.append(time.perf_counter())))
    half = len(marks) // 2
    return marks[-1] - marks[half - 1]


def run(command: list[str], threads: int) -> float:
    """Return what a process prints last."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
