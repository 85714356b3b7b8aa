"""How fast raw files become a data set, and in how much memory, against plain line-by-line readers of the same files.

    python benchmarks/data.py amazon|mind|movielens [--rows N] [--runs 3] [--folder FOLDER]

Files in the official formats are made first, from a seed, and stay in FOLDER. Each measurement is a process of its
own; ours and the plain one take turns. Seconds are inside the process, without imports, and each file is read through
once before, so that no reader waits for the disk; memory is the process' peak.
``read`` is lines to columns (user, item, rating, time), checked; ``load`` goes on to a whole ``Dataset``, and the plain
reader there numbers ids with dictionaries, settles repeats and sorts by time likewise.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import data_files
import plain_readers
import polars as pl

from llmrec.data import Dataset
from llmrec.data_prep.amazon import load_amazon, read_reviews
from llmrec.data_prep.mind import load_mind
from llmrec.data_prep.movielens import load_movielens

ROWS = {"amazon": 2_000_000, "mind": 2_200_000, "movielens": 32_000_000}
JOBS: dict[str, dict[str, dict[str, Callable[[Path], object]]]] = {
    "amazon": {
        "read": {"llmrec": read_reviews, "json, a line at a time": plain_readers.read_json},
        "load": {"llmrec": load_amazon, "json and dictionaries": plain_readers.read_amazon},
    },
    "mind": {"load": {"llmrec": load_mind, "split and dictionaries": plain_readers.read_mind}},
    "movielens": {"load": {"llmrec": load_movielens, "csv and dictionaries": plain_readers.read_movielens}},
}


def make(name: str, folder: Path, rows: int) -> Path:
    """Return the path of the files to read, made where they are not there."""
    path = folder / f"{name}-{rows}"
    return (
        data_files.amazon(path.with_suffix(".json"), rows)
        if name == "amazon"
        else getattr(data_files, name)(path, rows)
    )


def measure(name: str, stage: str, reader: str, path: Path) -> None:
    """Run one reader in this process and print what it took as JSON."""
    for file in [path] if path.is_file() else path.iterdir():
        with file.open("rb") as stream:
            while stream.read(1 << 20):
                pass
    start = time.perf_counter()
    result = JOBS[name][stage][reader](path)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "gib": peak_gib(), "rows": rows(result)}))


def peak_gib() -> float:
    """Return this process' largest resident memory; Linux's own count of a child begins with its parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def rows(result: object) -> int:
    """Return how many events a reader found."""
    if isinstance(result, Dataset):
        return len(result.interactions)
    return result.height if isinstance(result, pl.DataFrame) else len(result["users"])


def compare(name: str, path: Path, runs: int, only: str | None) -> None:
    """Measure each reader ``runs`` times in turn and print medians and the ratio pair by pair."""
    for stage, readers in JOBS[name].items():
        seen: dict[str, list[dict[str, float]]] = {reader: [] for reader in readers if only in {None, reader}}
        for _ in range(runs):
            for reader, found in seen.items():
                command = [sys.executable, __file__, name, "--measure", stage, reader, str(path)]
                out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                found.append(json.loads(out.splitlines()[-1]))
        for reader, found in seen.items():
            seconds, memory = ([each[key] for each in found] for key in ("seconds", "gib"))
            print(
                f"{name} {stage}, {reader}: {statistics.median(seconds):.2f} s "
                f"[{min(seconds):.2f}, {max(seconds):.2f}], peak {max(memory):.2f} GiB, {found[0]['rows']:,.0f} rows",
                flush=True,
            )
        if len(seen) == 2:
            ours, plain = seen.values()
            ratios = [slow["seconds"] / fast["seconds"] for fast, slow in zip(ours, plain, strict=True)]
            print(f"{name} {stage}: {statistics.median(ratios):.1f} times [{min(ratios):.1f}, {max(ratios):.1f}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=ROWS)
    parser.add_argument("--rows", type=int, help="lines; the published size of the large sets by default")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", help="one reader, for instance llmrec where the plain one would take too long")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "llmrec-benchmark")
    parser.add_argument("--measure", nargs=3, metavar=("STAGE", "READER", "PATH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        stage, reader, path = arguments.measure
        measure(arguments.name, stage, reader, Path(path))
        return
    path = make(arguments.name, arguments.folder, arguments.rows or ROWS[arguments.name])
    files = [path] if path.is_file() else sorted(path.iterdir())
    print(", ".join(f"{file.name} {file.stat().st_size / 1e9:.2f} GB" for file in files), flush=True)
    compare(arguments.name, path, arguments.runs, arguments.only)


if __name__ == "__main__":
    main()
