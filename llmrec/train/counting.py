"""How many rows a run has, what was left out, and what tells them from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from llmrec.train.stage import Job, Rows

R = TypeVar("R", bound=Rows)


def digests(jobs: Sequence[Job[R]], test: R | None) -> dict[str, str]:
    """Return the digest of the rows of each stage's parts and of the test."""
    parts: dict[str, R | None] = {"test": test}
    for job in jobs:
        parts |= {f"{job.stage.name}.train": job.rows, f"{job.stage.name}.valid": job.valid}
    return {name: rows.digest() for name, rows in parts.items() if rows is not None}


def count_rows(jobs: Sequence[Job[R]], test: R | None) -> dict[str, dict[str, int]]:
    """Return how many rows each stage and the test have, and what was left out, by reason."""
    counts = {}
    for job in jobs:
        parts = {"train": job.rows} if job.valid is None else {"train": job.rows, "valid": job.valid}
        counts[job.stage.name] = {part: len(rows) for part, rows in parts.items()} | _left_out(parts)
    return counts if test is None else {**counts, "test": {"test": len(test)} | _left_out({"test": test})}


def _left_out(parts: Mapping[str, R]) -> dict[str, int]:
    return {
        name if part == "train" else f"{part}_{name}": count
        for part, rows in parts.items()
        for name, count in rows.counts.items()
        if count
    }
