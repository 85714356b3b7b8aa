"""Killing a command at a moment of its work: real processes, SIGKILL."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import time


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
