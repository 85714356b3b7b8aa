"""An experiment for people: a table on the console, and one HTML file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import polars as pl
from markupsafe import Markup
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmrec import __version__
from llmrec.data.files import atomic_file
from llmrec.eval.evaluate import ALL
from llmrec.eval.page import render_page
from llmrec.rank.compare.experiment import Comparison
from llmrec.rank.compare.plots import Plot, cost_plots, place_plots, popularity_plot, score_plots
from llmrec.rank.compare.recipe import Price
from llmrec.rank.compare.run import Outcome

DASH = "\N{EN DASH}"
NAME_WIDTH, CELL_WIDTH = 40, 12  # of console columns
LEVEL = 0.05  # a corrected p-value below it earns a mark
Cells = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Cell:
    """A number to show, what it is sorted by (empty: last), and what stands below it."""

    text: str
    value: str = ""
    below: tuple[str, ...] = ()
    best: bool = False
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the leaderboard: its number in cost plots, the variant, what it is made of, its cells."""

    number: int
    name: str
    about: str
    badge: str
    error: str
    cells: tuple[Cell, ...]

    @property
    def words(self) -> str:
        """What a filter looks in."""
        return f"{self.name} {self.about}"


def write_comparison(found: Comparison, path: Path) -> Path:
    """Write the report of an experiment. The same experiment gives the same bytes.

    Args:
        found: what to show.
        path: the file, usually ``report.html``; it is written whole or not at all.
    """
    files = resources.files("llmrec.rank.compare")
    script = (files / "compare.js").read_text("utf-8")
    lines = leaderboard_lines(found)
    words = {line.name: line.words for line in lines}
    position = [(name, words[name], bias) for name, bias in found.position.items()]
    metric = found.evaluation.metrics[0]
    page = render_page(
        files / "compare.html",
        title=f"{found.asked.train.name}: {len(found.outcomes)} prompt variants",
        script=Markup(script),  # noqa: S704 - our own file
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        metric=metric,
        baseline=found.evaluation.baseline,
        heads=leaderboard_heads(found),
        lines=lines,
        costs=list(cost_plots(found.leaderboard, metric)),
        places=list(place_plots(position)),
        scores=list(score_plots(position)),
        popularity=_popularity(found),
        k=found.k,
        slices=_slices(found, metric),
        differing=found.differing,
        notes=_notes(found),
    )
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
    return path


def print_leaderboard(found: Comparison, console: Console) -> None:
    """Print the leaderboard; ▲ and ▼ mark differences from the baseline that hold after Holm's correction.

    Columns that do not fit the console's width go into a further table.
    """
    heads = [head for head, _ in leaderboard_heads(found)]
    kept = [place for place, head in enumerate(heads) if head not in {"difference", "p (Holm)"}]
    lines = leaderboard_lines(found)
    step = max(1, (console.width - min(NAME_WIDTH, max(len(line.name) for line in lines) + 11) - 4) // CELL_WIDTH)
    for start in range(0, len(kept), step):
        table = Table(box=box.SIMPLE_HEAD, title=_title(found) if not start else None, title_justify="left")
        table.add_column("variant", overflow="fold")
        for place in kept[start : start + step]:
            table.add_column(heads[place], justify="right", no_wrap=True)
        for line in lines:
            if not line.error:
                table.add_row(
                    _console_name(line), *(_console_cell(line.cells[at]) for at in kept[start : start + step])
                )
        console.print(table)
    for line in lines:
        if line.error:
            console.print(Text(f"failed: {line.name}: {line.error}", style="yellow"))


def print_costs(outcomes: Sequence[Outcome], prices: Mapping[str, Price], console: Console) -> None:
    """Print what each variant of a dry run would still take, what the cache holds left out."""
    table = Table(box=box.SIMPLE_HEAD, title="dry run: what it would take", title_justify="left")
    table.add_column("variant", overflow="fold")
    for head in ("prompts", "answers to compute", "from the cache", "tokens read", "written", "money"):
        table.add_column(head, justify="right")
    total = 0.0
    for outcome in outcomes:
        if outcome.error:
            continue
        spent, price = outcome.spent, prices.get(outcome.variant.engine.name, Price())
        money = spent.money(price.input, price.output)
        total += money
        counts = (spent.prompts, spent.cache_misses, spent.cache_hits, spent.prompt_tokens, spent.output_tokens)
        table.add_row(Text(outcome.variant.name), *(f"{count:,}" for count in counts), f"{money:,.4f}")
    console.print(table)
    console.print(f"money in all: {total:,.4f}")
    for outcome in outcomes:
        if outcome.error:
            console.print(Text(f"would fail: {outcome.variant.name}: {outcome.error}", style="yellow"))


def _console_name(line: Line) -> Text:
    return Text(f"{line.name} ({line.badge})" if line.badge else line.name)


def _console_cell(cell: Cell) -> Text:
    return Text(f"{cell.mark} {cell.text}".strip(), style="bold" if cell.best else "")


def leaderboard_heads(found: Comparison) -> list[tuple[str, str]]:
    """Return each column of numbers with the direction in which it is sorted first."""
    heads = [(metric, "descending") for metric in found.evaluation.metrics]
    heads[1:1] = [("difference", "descending"), ("p (Holm)", "ascending")]
    heads += [("prompts", "ascending"), ("tokens", "ascending"), ("users/s", "descending")]
    heads += [("money", "ascending")] if found.recipe.prices else []
    return [*heads, ("unreadable", "ascending"), ("order kept", "descending"), ("popularity", "descending")]


def leaderboard_lines(found: Comparison) -> list[Line]:
    """Return the rows of the leaderboard as text."""
    board, metrics = found.leaderboard, found.evaluation.metrics
    best = {metric: board[f"{metric} mean"].max() for metric in metrics}
    lines = []
    for number, row in enumerate(board.iter_rows(named=True), 1):
        quality = [_quality(row, metric, best[metric]) for metric in metrics]
        quality[1:1] = [_difference(row, metrics[0]), _number(row[f"{metrics[0]} p_holm"], "{:.3f}")]
        tokens = None if row["prompts"] is None else row["prompt_tokens"] + row["output_tokens"]
        cost = [
            _number(row["prompts"], "{:,}"),
            _number(tokens, "{:,}"),
            _number(row["users_per_second"], _rate(row["users_per_second"])),
        ]
        cost += [_number(row["money"], "{:,.4f}")] if found.recipe.prices else []
        rest = [
            _number(row["unreadable"], "{:,}", *([row["counts"]] if row["counts"] else [])),
            _number(row["order_kept"], "{:+.2f}"),
            _number(row["popularity_shift"], "{:+.1f}"),
        ]
        about = [row["strategy"], row["template"], row["engine"]]
        about += [] if row["history"] is None else [f"history {row['history']}"]
        badge = "baseline" if row["variant"] == found.evaluation.baseline else ""
        cells = () if row["error"] else tuple(quality + cost + rest)
        lines.append(Line(number, row["variant"], " · ".join(filter(None, about)), badge, row["error"] or "", cells))
    return lines


def _quality(row: Cells, metric: str, best: object) -> Cell:
    mean, low, high = (row[f"{metric} {name}"] for name in ("mean", "low", "high"))
    below = () if low is None else (f"{low:.4f}{DASH}{high:.4f}",)
    return Cell(*_texts(mean, "{:.4f}"), below, best=mean is not None and mean == best, mark=_mark(row, metric))


def _difference(row: Cells, metric: str) -> Cell:
    difference, low, high, p = (row[f"{metric} {name}"] for name in ("difference", "diff_low", "diff_high", "p"))
    below = () if low is None else (f"{low:+.4f} to {high:+.4f}", f"p={p:.3f}")
    return Cell(*_texts(difference, "{:+.4f}"), below)


def _number(value: object, form: str, *below: str) -> Cell:
    return Cell(*_texts(value, form), below)


def _rate(value: float | None) -> str:
    """Return how a rate is written: three digits, all of them where it has more."""
    return "{:,.0f}" if value is not None and value >= 100 else "{:.3g}"


def _texts(value: object, form: str) -> tuple[str, str]:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return DASH, ""
    return form.format(value), repr(value)


def _mark(row: Cells, metric: str) -> str:
    p, difference = row[f"{metric} p_holm"], row[f"{metric} difference"]
    if not isinstance(p, float) or not isinstance(difference, float) or p >= LEVEL:
        return ""
    return "▲" if difference > 0 else "▼"


def _popularity(found: Comparison) -> Plot:
    ordered = [name for name in found.leaderboard["variant"] if name in found.popularity]
    any_bias = found.popularity[ordered[0]]
    relevant = any_bias.relevant[np.isfinite(any_bias.relevant)]
    numbers = {name: number for number, name in enumerate(found.leaderboard["variant"], 1)}
    rows = [(f"{numbers[name]} {name}", float(np.nanmean(found.popularity[name].top))) for name in ordered]
    chosen = float(relevant.mean()) if len(relevant) else None
    return popularity_plot(rows, float(np.nanmean(any_bias.candidates)), chosen, found.k)


def _slices(found: Comparison, metric: str) -> dict[str, object]:
    """Return the groups that have queries, and for each variant its mean and interval in each."""
    table = found.evaluation.table.filter((pl.col("metric") == metric) & (pl.col("queries") > 0))
    heads = [(row[0], row[1]) for row in table.select("group", "queries").unique(maintain_order=True).iter_rows()]
    rows = {(row["method"], row["group"]): row for row in table.iter_rows(named=True)}
    best = dict(table.group_by("group").agg(pl.col("mean").max()).iter_rows())
    methods = [name for name in found.leaderboard["variant"] if (name, ALL) in rows]
    lines = [
        (name, [_slice(rows[name, group], best[group]) for group, _ in heads], name == found.evaluation.baseline)
        for name in methods
    ]
    return {"heads": heads, "lines": lines}


def _slice(row: Cells, best: float) -> Cell:
    prefixed = {f"slice {name}": value for name, value in row.items()}
    return _quality(prefixed, "slice", best)


def _notes(found: Comparison) -> dict[str, str]:
    recipe, asked = found.recipe, found.asked
    head = asked.candidates.top(recipe.top)
    reached = sum(bool(set(items) & set(wanted) - {-1}) for items, wanted in _rows(head.items, asked.targets.relevant))
    spent = found.spent
    return {
        "data": f"{asked.train.name}, part {recipe.part}, {len(asked.targets):,} queries drawn with seed {recipe.seed}",
        "candidates": f"the first {head.items.shape[1]} of each row of {recipe.candidates.name} are ranked; "
        f"a relevant item is among them for {reached:,} of {len(asked.targets):,} queries",
        "answers": f"{spent.cache_misses:,} computed in this run, {spent.cache_hits:,} from the cache",
        "llmrec": __version__,
    }


def _rows(items: np.ndarray, relevant: np.ndarray) -> list[tuple[list[int], list[int]]]:
    return list(zip(items.tolist(), relevant.tolist(), strict=True))


def _title(found: Comparison) -> str:
    return f"{found.asked.train.name}, {len(found.asked.targets):,} queries, compared with {found.evaluation.baseline}"
