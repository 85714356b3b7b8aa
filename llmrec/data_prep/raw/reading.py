"""How raw files are read: which rows are refused, how many may be, and who is told how far it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from llmrec.data.files import atomic_file
from llmrec.errors import DataError

SHOWN = 80  # characters of an offending text in a message
REASON = 200  # characters of a reason in a message; it may hold a whole field
KEPT = 10_000  # characters of it in rejected.jsonl
LATEST = 10_000_000_000  # Unix seconds: the year 2286; a larger number counts something finer

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Check:
    """What a column must hold.

    Attributes:
        column: its name.
        bad: expression that is true (or null) for a row to refuse.
        expected: what should be there.
        cure: what to do; empty where mending or skipping the line is all.
        fine: one value that is true only where no row is bad; for what is cheaper to say of all than of each.
    """

    column: str
    bad: pl.Expr
    expected: str
    cure: str = ""
    fine: pl.Expr | None = None


def present(column: str, what: str = "an id") -> Check:
    """Refuse missing values."""
    return Check(column, pl.col(column).is_null(), what)


def not_blank(column: str, what: str = "an id") -> Check:
    """Refuse missing and empty texts, and those of spaces and control characters only."""
    text = pl.col(column)
    fine = (text.null_count() == 0) & (text.min() >= "!")  # the first character behind the space
    return Check(column, ~text.str.contains(r"[^\x00-\x20]"), what, fine=fine)


def between(column: str, low: float, high: float) -> Check:
    """Refuse numbers outside [low, high], NaN and missing ones."""
    return Check(column, ~pl.col(column).is_between(low, high), f"a number from {low:g} to {high:g}")


def unix_seconds(column: str, cure: str = "divide the column by 1000 if it counts milliseconds") -> list[Check]:
    """Refuse missing and negative times, and those that are too large for seconds."""
    time = pl.col(column)
    return [
        Check(column, time.is_null() | (time < 0), "Unix seconds, 0 or later"),
        Check(column, time >= LATEST, "Unix seconds; this looks like milliseconds", cure),
    ]


def unix_milliseconds(column: str, cure: str = "multiply the column by 1000 if it counts seconds") -> list[Check]:
    """Refuse missing and negative times, and those that are too small for milliseconds."""
    time = pl.col(column)
    return [
        Check(column, time.is_null() | (time < 0), "Unix milliseconds, 0 or later"),
        Check(column, (time > 0) & (time < LATEST), "Unix milliseconds; this looks like seconds", cure),
    ]


@dataclass(frozen=True)
class Refusal:
    """A row that is not read.

    Attributes:
        file: the file's name.
        line: number of the row's first line, from 1.
        text: the row as it stands there.
        reason: what is wrong with it.
        expected: what should be there.
        cure: what to do besides mending the line.
    """

    file: str
    line: int
    text: str
    reason: str
    expected: str
    cure: str = ""


class Reading:
    """One preparation's rules for raw files.

    Args:
        skip_bad_rows: how many bad rows may be left out, over all files.
        progress: called with bytes read and bytes in all, for each file.

    Attributes:
        rejected: the rows left out so far.
    """

    def __init__(self, skip_bad_rows: int = 0, progress: Progress | None = None) -> None:
        self.skip_bad_rows = skip_bad_rows
        self.progress = progress
        self.rejected: list[Refusal] = []

    def refuse(self, row: Refusal) -> None:
        """Leave a row out.

        Raises:
            DataError: it is one more than may be.
        """
        if len(self.rejected) < self.skip_bad_rows:
            self.rejected.append(row)
            return
        others = f", after {len(self.rejected)} bad rows that were left out" if self.rejected else ""
        raise DataError(
            f"{row.file} line {row.line} ({shortened(row.text)!r}): {shortened(row.reason, REASON)}{others}",
            expected=row.expected,
            cure=f"{row.cure or 'mend or drop that line'}, or leave such rows out with --skip-bad-rows N",
        )

    def write(self, folder: Path) -> None:
        """Write the rejected rows to ``rejected.jsonl`` in a folder, if there are any."""
        if not self.rejected:
            return
        with atomic_file(folder / "rejected.jsonl") as temporary:
            lines = (
                {"file": row.file, "line": row.line, "reason": row.reason[:KEPT], "text": row.text[:KEPT]}
                for row in self.rejected
            )
            temporary.write_text(
                "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8"
            )


def shortened(text: str, most: int = SHOWN) -> str:
    """Return at most so many characters of a text."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
