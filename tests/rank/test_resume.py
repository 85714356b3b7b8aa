"""A batch that is killed goes on where it stopped: real processes, SIGKILL, and no answer computed twice."""

import json
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from llmrec.rank.batch import RankRecipe, rank_batch

DELAY = 0.05


def command(prepared, folder, strategy, commit_every):
    """``llmrec rank`` with a slow engine, its cache and output in ``folder``."""
    return [
        *(sys.executable, "-m", "llmrec", "rank", str(prepared / "candidates.parquet")),
        *("--dataset", str(prepared / "films"), "--out", str(folder / "out" / "ranked.parquet")),
        *("--cache", str(folder / "answers.sqlite"), "--strategy", strategy, "--engine", "fake"),
        *("--set", f"engine.delay={DELAY}", "--set", f"commit_every={commit_every}"),
    ]


def rank_at_once(prepared, folder, strategy):
    """The same, uninterrupted, in this process, with a cache and an output of its own."""
    recipe = RankRecipe(
        candidates=prepared / "candidates.parquet",
        dataset=prepared / "films",
        out=folder / "ranked.parquet",
        cache=folder / "answers.sqlite",
        strategy=strategy,
        engine="fake",
    )
    run = rank_batch(recipe)
    return run, recipe.out.read_bytes()


def n_stored(path):
    """How many answers a store holds; none while it is not made yet."""
    if not path.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
            return db.execute("SELECT count(*) FROM answers").fetchone()[0]
    except sqlite3.OperationalError:  # made, but without a table yet
        return 0


def kill_when_stored(command, path, n):
    """Run the command, SIGKILL it as soon as the store holds ``n`` answers, return how many it then holds."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while n_stored(path) < n:
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline, "the run stores nothing"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    return n_stored(path)


def run(command, out):
    """Run the command to its end and return its record."""
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode == 0, finished.stderr
    return json.loads((out / "ranked.run.json").read_text())


@pytest.mark.parametrize(
    ("strategy", "commit_every", "n_answers", "kills"),
    [("likelihood", 1, 178, (30,)), ("likelihood", 4, 178, (1, 90)), ("listwise", 2, 30, (4, 16))],
)
def test_a_killed_batch_resumes_where_it_stopped(prepared, tmp_path, strategy, commit_every, n_answers, kills):
    rank, store, out = (
        command(prepared, tmp_path, strategy, commit_every),
        tmp_path / "answers.sqlite",
        tmp_path / "out",
    )
    held = [0]
    for n in kills:
        held.append(kill_when_stored(rank, store, max(n, held[-1] + 1)))
        assert not out.exists()
    assert held[-1] < n_answers

    resumed = run(rank, out)
    whole, expected = rank_at_once(prepared, tmp_path / "whole", strategy)
    assert whole.usage.cache_misses == n_answers
    assert resumed["usage"]["cache_hits"] == held[-1]
    assert resumed["usage"]["cache_misses"] == n_answers - held[-1]
    assert n_stored(store) == n_answers
    assert (out / "ranked.parquet").read_bytes() == expected
    assert sorted(path.name for path in out.iterdir()) == ["ranked.parquet", "ranked.run.json"]
    assert resumed["counts"] == whole.counts
