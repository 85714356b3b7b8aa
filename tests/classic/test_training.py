"""The training loop: early stopping, checkpoints, parts and processes, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors import safe_open
from torch import nn

from llmrec.classic.recall.base.store import read_arrays
from llmrec.classic.training import STATE, Log, TrainingConfig, train
from llmrec.data import Dataset, Interactions, Vocabulary
from llmrec.data_prep.split import leave_last_out
from llmrec.errors import ModelError
from llmrec.protocols import UNWATCHED, Watch
from llmrec.testing import expect_error

CONFIG = TrainingConfig(epochs=6, batch_size=8, learning_rate=0.1)


class Line(nn.Module):
    """Fits y = w x by squared errors."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))
        self.dropout = nn.Dropout(0.2)

    def forward(self, batch):
        errors = self.dropout(batch["x"] * self.w) - batch["y"]
        return (errors**2).sum(), torch.tensor(len(errors))


class Points:
    """Three batches of eight points with y = 2 x, in an order that the generator draws."""

    steps = 3

    def epoch(self, rng):
        x = rng.permutation(np.linspace(-1, 1, 24, dtype=np.float32))
        for rows in np.split(x, 3):
            yield {"x": rows, "y": 2 * rows}


def fit(config=CONFIG, watch=UNWATCHED, measure=None, identity=None, batches=None, module=None):
    torch.manual_seed(0)
    module = module or Line()
    log = train(module, batches or Points(), config, seed=3, watch=watch, measure=measure, identity=identity)
    return float(module.state_dict()["w"]), log


def test_it_learns_and_counts_the_mean_loss():
    w, log = fit(CONFIG.model_copy(update={"epochs": 40}))
    assert w == pytest.approx(2, abs=0.4)
    x = np.linspace(-1, 1, 24)
    assert log.losses[0] < 1.2 * ((2 * x) ** 2).mean()
    assert log.losses[-1] < 0.3 * log.losses[0]
    assert len(log.losses) == 40
    assert log.values == []


def test_the_first_step_is_adams():
    """Adam's first step is the learning rate against the sign of the gradient, whatever the gradient's size."""

    class One(Points):
        steps = 1

        def epoch(self, rng):
            yield {"x": np.ones(8, np.float32), "y": np.full(8, 2, np.float32)}

    w, log = fit(CONFIG.model_copy(update={"epochs": 1}), batches=One())
    assert w == pytest.approx(0.1, rel=1e-5)
    assert log.losses == [4.0]


class Plain(nn.Module):
    """Without dropout, and with a number of terms that differs from row to row: empty rows (x = 0) have none."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))

    def forward(self, batch):
        real = batch["x"] != 0
        errors = (batch["x"] * self.w - batch["y"])[real]
        return (errors**2).sum(), real.sum()


class Uneven(Points):
    def epoch(self, rng):
        for batch in super().epoch(rng):
            yield {"x": np.where(batch["x"] < -0.4, 0, batch["x"]).astype(np.float32), "y": batch["y"]}


@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_gives_the_same_step_whole_and_in_parts(parts):
    whole, log = fit(batches=Uneven(), module=Plain())
    config = CONFIG.model_copy(update={"accumulation": parts})
    split, other = fit(config, batches=Uneven(), module=Plain())
    assert split == pytest.approx(whole, rel=1e-5)
    np.testing.assert_allclose(other.losses, log.losses, rtol=1e-5)


def test_early_stopping_keeps_the_best_epoch():
    seen, values = [], iter([0.1, 0.3, 0.2, 0.3, 0.25, 0.9])
    module = Line()

    def measure():
        assert not module.training
        seen.append(float(module.w.detach()))
        return next(values)

    w, log = fit(CONFIG.model_copy(update={"patience": 3}), measure=measure, module=module)
    assert log.values == [0.1, 0.3, 0.2, 0.3, 0.25]  # the second 0.3 is not better than the first
    assert log.best == 1
    assert w == seen[1] != seen[-1]


def test_a_run_in_two_halves_ends_as_one(tmp_path):
    whole, log = fit()
    half = CONFIG.model_copy(update={"epochs": 3})
    fit(half, Watch(checkpoint=tmp_path))
    resumed, other = fit(CONFIG, Watch(checkpoint=tmp_path))
    assert resumed == whole
    assert other == log
    assert fit(CONFIG, Watch(checkpoint=tmp_path)) == (whole, log)  # nothing is left to do
    assert [path.name for path in tmp_path.iterdir()] == [STATE]


def test_what_is_best_survives_a_checkpoint(tmp_path):
    values = iter([0.5, 0.1])
    best, _ = fit(CONFIG.model_copy(update={"epochs": 2}), Watch(checkpoint=tmp_path), lambda: next(values))
    values = iter([0.2, 0.3, 0.4, 0.45])
    resumed, log = fit(CONFIG, Watch(checkpoint=tmp_path), lambda: next(values))
    assert log.values == [0.5, 0.1, 0.2, 0.3, 0.4, 0.45]
    assert resumed == best


def test_progress_is_reported():
    seen = []
    fit(CONFIG.model_copy(update={"epochs": 2}), Watch(report=lambda *said: seen.append(said)), lambda: 0.25)
    assert [(done, total) for done, total, _ in seen] == [(step, 6) for step in range(1, 7)]
    assert seen[0][2].startswith("epoch 1 of at most 2, loss ")
    assert seen[-1][2].endswith("validation NDCG@10 0.2500")


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    fit(watch=Watch(checkpoint=tmp_path), identity={"model": "line"})
    other = CONFIG.model_copy(update={"learning_rate": 0.2})
    watch = Watch(checkpoint=tmp_path)
    expect_error(ModelError, lambda: fit(other, watch, identity={"model": "line"}), "differs in config", "remove")
    expect_error(ModelError, lambda: fit(watch=watch, identity={"model": "curve"}), "differs in model", "remove")


def test_a_damaged_checkpoint_is_refused(tmp_path):
    fit(watch=Watch(checkpoint=tmp_path))
    content = (tmp_path / STATE).read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"no checkpoint at all"):
        (tmp_path / STATE).write_bytes(damaged)
        expect_error(ModelError, lambda: fit(watch=Watch(checkpoint=tmp_path)), "cannot be read", "remove it")


def test_a_loss_that_is_not_finite_stops_at_once():
    class Broken(Points):
        def epoch(self, rng):
            yield {"x": np.array([np.inf], np.float32), "y": np.ones(1, np.float32)}

    expect_error(ModelError, lambda: fit(batches=Broken()), "epoch 1, step 1", "learning_rate", "0.1")


def test_other_draws_of_the_process_change_nothing_and_are_not_changed():
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    module = Line()
    one = train(module, Points(), CONFIG, seed=3, watch=UNWATCHED)
    assert torch.rand(1) == expected
    assert fit()[1] == one


def test_the_best_epoch_without_validation_is_the_last():
    assert Log([3.0, 2.0], []).best == 1
    assert Log([3.0, 2.0, 1.0], [0.1, 0.2, 0.2]).best == 1


COMMAND = ("-m", "llmrec", "recall", "fit", "sasrec", "--set", "epochs=40", "--set", "patience=40",
           "--set", "embedding_dim=8", "--set", "history=10", "--set", "batch_size=4")  # fmt: skip


def epochs_done(path: Path) -> int:
    """How many epochs a checkpoint holds; none while it is not there."""
    if not path.is_file():
        return 0
    with safe_open(path, "pt") as file:
        return len(json.loads(file.metadata()["about"])["log"]["losses"])


def prepare(folder: Path, *, uneven: bool = False) -> Path:
    """Write 30 users, each walking a circle of ten films from a place of their own, as a prepared folder."""
    steps = [4 + user % 5 if uneven else 8 for user in range(30)]
    walks = [[(user + step) % 10 for step in range(steps[user])] for user in range(30)]
    times = np.concatenate([np.arange(length) for length in steps])
    events = Interactions.sort(np.repeat(range(30), steps), np.concatenate(walks), times)
    titles = pl.DataFrame({"title": [f"film {number}" for number in range(10)]})
    data = Dataset("circle", events, Vocabulary(range(30)), Vocabulary(range(10)), titles)
    leave_last_out(data).save(folder / "split")
    return folder


def test_a_killed_fit_goes_on_and_ends_with_the_numbers_of_one_that_was_not(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = [sys.executable, *COMMAND, "--dataset", str(prepare(tmp_path / "circle"))]
    subprocess.run([*command, "--out", str(whole)], check=True, capture_output=True)
    state = tmp_path / ".killed.checkpoint" / STATE
    with subprocess.Popen([*command, "--out", str(killed)], stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while epochs_done(state) < 5:
            assert process.poll() is None, "the fit ended before it could be killed"
            assert time.monotonic() < deadline, "the fit writes no checkpoint"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not killed.exists()
    subprocess.run([*command, "--out", str(killed)], check=True, capture_output=True)
    assert (killed / "weights.npz").read_bytes() == (whole / "weights.npz").read_bytes()
    assert (killed / "training.svg").read_text(encoding="utf-8").startswith("<svg")
    assert not state.parent.exists()


@pytest.mark.slow
def test_two_processes_learn_what_one_does_and_write_once(tmp_path):
    """Users differ in how many events they have, so that the halves of a batch do not weigh the same."""
    rows = ["--dataset", str(prepare(tmp_path / "circle", uneven=True)), "--set", "dropout=0", "--set", "epochs=3"]
    launch = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true"}
    for name, start in (("one", [sys.executable]), ("two", launch)):
        command = [*start, *COMMAND, *rows, "--out", str(tmp_path / name)]
        subprocess.run(command, check=True, capture_output=True, timeout=240, env=environment)
    one, two = (read_arrays(tmp_path / name / "weights.npz") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for key, array in one.items():
        # A key's bias cancels in the softmax: its gradient is rounding, which Adam magnifies.
        tolerance = 1e-5 if key in {"training_loss", "validation_ndcg"} else 2e-3
        np.testing.assert_allclose(two[key], array, atol=tolerance, err_msg=key)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["circle", "one", "two"]
