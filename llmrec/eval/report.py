"""An evaluation for people: a table on the console, or one HTML file that needs no network and no JavaScript."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import polars as pl
from markupsafe import Markup
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmrec.data import Candidates, Dataset, Targets
from llmrec.data.files import atomic_file
from llmrec.eval.evaluate import Evaluation
from llmrec.eval.metrics import compute
from llmrec.eval.page import render_page
from llmrec.eval.plot import dot_plot
from llmrec.protocols import Usage

LEVEL = 0.05  # a corrected p-value below it earns a mark
DASH = "\N{EN DASH}"
CELL_WIDTH = 15  # of a console column: an interval and padding


@dataclass(frozen=True, slots=True)
class Listed:
    """An item in an example's list.

    Attributes:
        title: as the catalogue has it; untrusted text.
        relevant: whether it is among the user's relevant items.
        move: places gained against the list before; None where there is nothing to compare, or the item is new.
    """

    title: str
    relevant: bool = False
    move: int | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """What one user saw before and after a ranker.

    Attributes:
        user: id of the user.
        history: newest titles, oldest first.
        truth: titles of the relevant items.
        before: the list that came in.
        after: the list that came out.
    """

    user: str
    history: tuple[str, ...]
    truth: tuple[str, ...]
    before: tuple[Listed, ...]
    after: tuple[Listed, ...]


@dataclass(frozen=True, slots=True)
class _Cell:
    mean: str
    interval: str
    p: str
    mark: str
    best: bool


def pick_examples(
    dataset: Dataset,
    targets: Targets,
    before: Candidates,
    after: Candidates,
    *,
    count: int = 3,
    k: int = 10,
    history: int = 8,
    seed: int = 0,
) -> list[Example]:
    """Draw queries at random, among those with a relevant item in the list, so that they are no best cases.

    Args:
        dataset: ids and titles.
        targets: q queries with their relevant items.
        before: (q, k') items as they came in.
        after: (q, k'') items as the ranker ordered them.
        count: at most so many examples.
        k: how much of each list is shown.
        history: how many of the newest titles are shown.
        seed: of the draw.

    Raises:
        DataError: an item has no title, or rows differ.
    """
    rows = _draw(after, targets, count, seed)
    users = dataset.users.decode(targets.queries.users[rows])
    pasts = targets.queries.select(rows).last(history).lists()
    lists = [[row[row >= 0].tolist() for row in each[rows]] for each in (targets.relevant, before.items, after.items)]
    titles = dataset.titles()
    return [
        _example(titles, user, past, truth, old, new, k)
        for user, past, truth, old, new in zip(users, pasts, *lists, strict=True)
    ]


def _example(
    titles: list[str], user: object, past: list[int], truth: list[int], old: list[int], new: list[int], k: int
) -> Example:
    return Example(
        user="unseen" if user is None else str(user),
        history=tuple(titles[item] for item in past),
        truth=tuple(titles[item] for item in dict.fromkeys(truth)),
        before=tuple(Listed(titles[item], item in truth) for item in old[:k]),
        after=tuple(Listed(titles[item], item in truth, move) for item, move in _moves(old, new)[:k]),
    )


def _draw(candidates: Candidates, targets: Targets, count: int, seed: int) -> NDArray[np.int64]:
    """Return at most ``count`` rows with a relevant item at any place, drawn at random, in their order."""
    any_place = f"hr@{max(candidates.items.shape[1], 1)}"
    found = np.flatnonzero(compute(candidates, targets, [any_place])[any_place])
    return np.sort(np.random.default_rng(seed).permutation(found)[:count])


def _moves(old: list[int], new: list[int]) -> list[tuple[int, int | None]]:
    """Return each item of the new list with the places that it gained, None where the old one lacks it."""
    places = {item: place for place, item in enumerate(old)}
    return [(item, places[item] - place if item in places else None) for place, item in enumerate(new)]


def print_table(evaluation: Evaluation, console: Console | None = None, *, groups: Sequence[str] | None = None) -> None:
    """Print each group as a table of methods and metrics: mean, its 95 % interval, p against the baseline.

    ▲ and ▼ mark differences whose corrected p-value is below 0.05. Metrics that do not fit the console's width go
    into a further table.
    """
    console = console or Console()
    metrics = evaluation.metrics
    names = max(len(_named(method, evaluation)) for method in evaluation.methods)
    step = max(1, (console.width - min(names, 30) - 4) // CELL_WIDTH)
    for group in evaluation.groups if groups is None else groups:
        for start in range(0, len(metrics), step):
            shown = metrics[start : start + step]
            table = Table(title=_heading(evaluation, group), title_justify="left", box=box.SIMPLE_HEAD)
            table.add_column("method", overflow="fold")
            for metric in shown:
                table.add_column(metric, justify="right", no_wrap=True)
            for method, cells in _cells(evaluation, group, shown):
                table.add_row(Text(_named(method, evaluation)), *map(_console_cell, cells))
            console.print(table)


def print_examples(examples: Sequence[Example], console: Console | None = None, *, k: int = 5) -> None:
    """Print for each user what came before, and both lists to place k: ▲ marks a gain, ✓ a relevant item."""
    console = console or Console()
    for example in examples:
        recent = " | ".join(example.history[-3:])
        table = Table(title=Text(f"user {example.user}, after {recent}"), title_justify="left", box=box.SIMPLE_HEAD)
        for column in ("", "before", "after"):
            table.add_column(column, overflow="fold")
        for place, (old, new) in enumerate(zip(example.before[:k], example.after[:k], strict=False), 1):
            table.add_row(str(place), _listed(old), _listed(new))
        console.print(table)


def _listed(item: Listed) -> Text:
    moved = "" if not item.move else f" {'▲' if item.move > 0 else '▼'}{abs(item.move)}"
    style = "green" if item.move and item.move > 0 else ""
    return Text.assemble(
        (item.title, "bold" if item.relevant else ""), (" ✓" if item.relevant else "", ""), (moved, style)
    )


def write_report(
    evaluation: Evaluation,
    path: Path | str,
    *,
    title: str,
    notes: Mapping[str, str],
    examples: Sequence[Example] = (),
    usage: Mapping[str, Usage] | None = None,
    figures: Sequence[tuple[str, Markup]] = (),
    template: str = "report.html",
) -> Path:
    """Write one HTML file: plots, tables, notes, examples. The same input gives the same bytes.

    Args:
        evaluation: what to show.
        path: the file, usually ``report.html``; it is written whole or not at all.
        title: heading of the page.
        notes: what a reader needs to repeat it: data set, split rule, command, seed, versions.
        examples: users with their lists before and after.
        usage: what each method spent on a language model.
        figures: further plots with their titles, behind those of the metrics.
        template: a page beside ``report.html`` that extends it in other words.
    """
    path = Path(path)
    page = render_page(
        resources.files("llmrec.eval") / template,
        title=title,
        notes=notes,
        evaluation=evaluation,
        plots=[*((metric, dot_plot(evaluation, metric)) for metric in evaluation.metrics), *figures],
        groups=[
            (_heading(evaluation, group), _cells(evaluation, group, evaluation.metrics)) for group in evaluation.groups
        ],
        rows=[_numbers(row, evaluation) for row in evaluation.table.iter_rows(named=True)],
        examples=examples,
        usage=usage or {},
    )
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
    return path


def _named(method: str, evaluation: Evaluation) -> str:
    return f"{method} (baseline)" if method == evaluation.baseline else method


def _heading(evaluation: Evaluation, group: str) -> str:
    queries = evaluation.table.filter(pl.col("group") == group)["queries"][0]
    return f"{group}: {queries:,} {'query' if queries == 1 else 'queries'}"


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.4f}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.4f}{DASH}{high:.4f}"


def _p(value: float | None) -> str:
    return "" if value is None else "p<0.001" if value < 0.001 else f"p={value:.3f}"


def _mark(p: float | None, difference: float | None, *, lower_is_better: bool) -> str:
    if p is None or difference is None or p >= LEVEL:
        return ""
    return "▲" if (difference > 0) != lower_is_better else "▼"


def _cells(evaluation: Evaluation, group: str, metrics: Sequence[str]) -> list[tuple[str, list[_Cell]]]:
    """Return the cells of each method in one group, the best mean of each metric marked."""
    table = evaluation.table.filter(pl.col("group") == group)
    rows = {(row["method"], row["metric"]): row for row in table.iter_rows(named=True)}
    lower = evaluation.lower_is_better
    means = table.group_by("metric").agg(low=pl.col("mean").min(), high=pl.col("mean").max())
    best = {metric: low if metric in lower else high for metric, low, high in means.iter_rows()}
    return [
        (
            method,
            [
                _Cell(
                    mean=_number(row["mean"]),
                    interval=_interval(row["low"], row["high"]),
                    p=_p(row["p"]),
                    mark=_mark(row["p_holm"], row["difference"], lower_is_better=metric in lower),
                    best=row["mean"] is not None and row["mean"] == best[metric],
                )
                for metric in metrics
                for row in (rows[method, metric],)
            ],
        )
        for method in evaluation.methods
    ]


def _console_cell(cell: _Cell) -> Text:
    parts = [(f"{cell.mark} {cell.mean}".strip(), "bold" if cell.best else "")]
    parts += [(f"\n{part}", "dim") for part in (cell.interval, cell.p) if part]
    return Text.assemble(*parts)


def _numbers(row: Mapping[str, object], evaluation: Evaluation) -> dict[str, str]:
    """Return a row of the long table as text."""
    values = {name: value if isinstance(value, float) else None for name, value in row.items()}
    lower = row["metric"] in evaluation.lower_is_better
    mark = _mark(values["p_holm"], values["difference"], lower_is_better=lower)
    return {
        "group": str(row["group"]),
        "metric": str(row["metric"]),
        "method": str(row["method"]),
        "mean": _number(values["mean"]),
        "interval": _interval(values["low"], values["high"]),
        "difference": "" if values["difference"] is None else f"{values['difference']:+.4f}",
        "diff_interval": _interval(values["diff_low"], values["diff_high"]).replace(DASH, " to "),
        "p": _p(values["p"]).removeprefix("p").removeprefix("="),
        "p_holm": f"{mark} {_p(values['p_holm']).removeprefix('p').removeprefix('=')}".strip(),
        "queries": f"{row['queries']:,}",
    }
