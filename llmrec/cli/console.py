"""The terminal: one console, a progress bar on a terminal and plain log lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from llmrec.protocols import Usage

console = Console(highlight=False)
log = logging.getLogger("llmrec")
_SECONDS_BETWEEN_LINES = 15.0


class Meter:
    """Receives how much of a long work is done.

    Args:
        title: what the work is.
        bar: the bar to move, or None to log lines.
        short: whether work may be too short for a line: one that ends before the first is due logs none.
    """

    def __init__(self, title: str, bar: Progress | None, *, short: bool = False) -> None:
        self.title, self.bar, self.short = title, bar, short
        self.task = bar.add_task(title, total=None) if bar is not None else None
        self.next_line = time.monotonic() + _SECONDS_BETWEEN_LINES
        self.start: tuple[float, int] | None = None

    def __call__(self, done: int, total: int, text: str = "") -> None:
        """Show that ``done`` of ``total`` are finished, and a text on how it goes."""
        title = f"{self.title}: {text}" if text else self.title
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=done, total=total, description=title)
        elif (done == total and not self.short) or time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + _SECONDS_BETWEEN_LINES
            log.info("%s: %s of %s%s", title, f"{done:,}", f"{total:,}", self._left(done, total))
        self.start = self.start or (time.monotonic(), done)

    def _left(self, done: int, total: int) -> str:
        """Return how long the rest takes at the pace since the first call: what was done before it says nothing."""
        begin, before = self.start or (0.0, done)
        if not before < done < total:
            return ""
        seconds = (time.monotonic() - begin) / (done - before) * (total - done)
        return f", {timedelta(seconds=round(seconds))} left"


@contextmanager
def progress(title: str, *, short: bool = False) -> Iterator[Meter]:
    """Yield a meter for one long work; ``short`` where it may be over at once."""
    if not console.is_terminal:
        yield Meter(title, None, short=short)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield Meter(title, bar)


def as_table(frame: pl.DataFrame, title: str) -> Table:
    """Return a frame as a table: numbers with four digits, nothing for null."""
    table = Table(*map(escape, frame.columns), title=title, title_justify="left")
    for row in frame.iter_rows():
        table.add_row(
            *("" if cell is None else f"{cell:,.4g}" if isinstance(cell, float) else escape(str(cell)) for cell in row)
        )
    return table


def print_usage(usage: Usage, *, title: str, money: float = 0.0) -> None:
    """Print what a run spent, or in a dry run would spend."""
    table = Table(title=title, title_justify="left", show_header=False)
    answered = usage.cache_hits + usage.cache_misses
    rows = [
        ("prompts", f"{usage.prompts:,}"),
        ("prompt tokens", f"{usage.prompt_tokens:,}"),
        ("output tokens (written or scored)", f"{usage.output_tokens:,}"),
        ("answers from the cache", f"{usage.cache_hits:,} of {answered:,}"),
        ("seconds", f"{usage.seconds:,.1f}"),
    ]
    computed = usage.prompt_tokens + usage.output_tokens
    if usage.submitted_tokens > computed:
        rows.insert(3, ("tokens shared, not computed again", f"{1 - computed / usage.submitted_tokens:.0%}"))
    if money:
        rows.append(("money", f"{money:,.2f}"))
    for row in rows:
        table.add_row(*row)
    console.print(table)
