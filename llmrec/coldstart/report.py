"""An evaluation for people: tables on the console, and one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import polars as pl
from markupsafe import Markup

from llmrec import __version__
from llmrec.coldstart.choose import COLD, WARM
from llmrec.coldstart.compare import Compared
from llmrec.coldstart.plots import trial_plots
from llmrec.coldstart.run import LLM, TAKEN, label
from llmrec.data.files import atomic_file
from llmrec.eval.evaluate import ALL, Evaluation
from llmrec.eval.page import render_page

GROUPS = (COLD, WARM, ALL)
LEVEL = 0.05  # a corrected p-value below it earns a mark
CALLS = 1000  # that a gain is told of
DASH = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Cell:
    """A mean with its interval, its difference from the plain model, and its test against the content control."""

    mean: str
    interval: str = ""
    difference: str = ""
    content: str = ""
    mark: str = ""
    best: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """The methods of one model: columns, and a row of cells for each method."""

    model: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    plots: tuple[tuple[str, Markup], ...]
    choices: tuple[str, ...]


def write_cold_start(found: Compared, path: Path) -> Path:
    """Write the report of an evaluation. The same evaluation gives the same bytes.

    Args:
        found: what to show.
        path: the file, usually ``report.html``; it is written whole or not at all.
    """
    page = render_page(
        resources.files("llmrec.coldstart") / "coldstart.html",
        title="Cold items with simulated behaviour",
        tables=[_table(found, model) for model in found.plain],
        queries=_queries(found),
        k=found.recipe.k,
        warm_loss=f"{found.recipe.warm_loss:.0%}",
        truth=_texts(found.truth),
        simulations=_texts(simulation_table(found)),
        gains=_texts(gain_table(found)),
        warnings=list(warnings(found)),
        notes=_notes(found),
    )
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
    return path


def simulation_table(found: Compared) -> pl.DataFrame | None:
    """Return what each simulation asked and cost, a row for each; None where nothing was simulated."""
    rows = []
    for each in found.spent.values():
        counts, asked = each.counts, each.counts.get("pairs", each.counts.get("asked", 0))
        rows.append(
            {
                "simulation": each.name,
                "asked": asked,
                "kept": counts.get("kept", 0),
                "inconsistent": counts["inconsistent"] / asked if asked and "inconsistent" in counts else None,
                "failed": counts.get("failed", 0),
                "not asked": counts.get("not_asked", 0),
                "calls": each.calls,
                "tokens": each.tokens,
            }
            | ({"money": each.money} if found.recipe.input_price or found.recipe.output_price else {})
        )
    return pl.DataFrame(rows) if rows else None


def gain_table(found: Compared) -> pl.DataFrame | None:
    """Return, for what language models simulated, the gain in Recall@k of cold items over the plain model, by calls.

    Calls are those of the pairs that were learned from; what choosing took on the validation cut comes beside them.
    """
    rows = []
    for model, evaluation in found.plain.items():
        for source, stage in ((LLM, f"{LLM}, test cut"), (TAKEN, f"{TAKEN}, test cut")):
            gain = _row(evaluation, label(model, source), COLD, evaluation.metrics[0]).get("difference")
            spent = found.spent.get(stage)
            if gain is None or spent is None or not spent.calls:
                continue
            calls = float(spent.calls)
            if source == LLM:
                calls *= min(1.0, found.choices[model, LLM].chosen.pairs / max(1, spent.counts["pairs"]))
            rows.append(
                {
                    "method": label(model, source),
                    "gain": gain,
                    "calls": round(calls),
                    f"gain per {CALLS:,} calls": gain / calls * CALLS,
                }
            )
    return pl.DataFrame(rows) if rows else None


def content_table(found: Compared) -> pl.DataFrame | None:
    """Return what language models bring against the content control: difference and corrected p by group and metric."""
    return pl.concat(found.content.values()).drop("queries") if found.content else None


def warnings(found: Compared) -> Iterator[str]:
    """Yield what a reader must know before the numbers: what failed, and where the budget ended."""
    for each in found.spent.values():
        if each.exhausted:
            asked = each.counts.get("pairs", each.counts.get("asked", 0))
            yield (
                f"the budget ended {each.name} after {asked:,} of {asked + each.counts['not_asked']:,} questions; "
                "what there is was compared"
            )
    for name, message in found.failed.items():
        yield f"failed: {name}: {message}"


def _table(found: Compared, model: str) -> Table:
    evaluation = found.plain[model]
    heads = tuple(f"{metric}, {_named(group)}" for group in GROUPS for metric in evaluation.metrics)
    rows = tuple(
        (
            method,
            tuple(_cell(found, model, method, group, metric) for group in GROUPS for metric in evaluation.metrics),
        )
        for method in evaluation.methods
    )
    choices = {source: choice for (of, source), choice in found.choices.items() if of == model}
    plots = tuple(trial_plots(model, choices, found.recipe.k)) if choices else ()
    said = tuple(f"{source}: {each.chosen}" for source, each in choices.items())
    return Table(model, heads, rows, plots, said)


def _cell(found: Compared, model: str, method: str, group: str, metric: str) -> Cell:
    evaluation, against = found.plain[model], found.content.get(model)
    row = _row(evaluation, method, group, metric)
    if row["mean"] is None:
        return Cell(DASH)
    best = evaluation.table.filter((pl.col("group") == group) & (pl.col("metric") == metric))["mean"].max()
    content = {} if against is None else _chosen(against, method, group, metric)
    return Cell(
        mean=f"{row['mean']:.4f}",
        interval=f"{row['low']:.4f}{DASH}{row['high']:.4f}",
        difference="" if row["difference"] is None else f"{row['difference']:+.4f}, {_p(row['p'])}",
        content=f"content: {content['difference']:+.4f}, {_p(content['p_holm'])}"
        if content.get("p") is not None
        else "",
        mark=_mark(row),
        best=row["mean"] == best,
    )


def _row(evaluation: Evaluation, method: str, group: str, metric: str) -> dict[str, float | None]:
    return _chosen(evaluation.table, method, group, metric)


def _chosen(table: pl.DataFrame, method: str, group: str, metric: str) -> dict[str, float | None]:
    """Return the numbers of one cell; empty where there is no such method."""
    chosen = (pl.col("method") == method) & (pl.col("group") == group) & (pl.col("metric") == metric)
    rows = table.filter(chosen).drop("method", "group", "metric").to_dicts()
    return rows[0] if rows else {}


def _mark(row: Mapping[str, float | None]) -> str:
    p, difference = row["p_holm"], row["difference"]
    if p is None or difference is None or p >= LEVEL:
        return ""
    return "▲" if difference > 0 else "▼"


def _p(value: float | None) -> str:
    return "" if value is None else "p<0.001" if value < 0.001 else f"p={value:.3f}"


def _named(group: str) -> str:
    return "overall" if group == ALL else group.removesuffix(" items")


def _queries(found: Compared) -> str:
    table = next(iter(found.plain.values())).table
    counts = dict(table.select("group", "queries").unique(maintain_order=True).iter_rows())
    return ", ".join(f"{counts.get(group, 0):,} {_named(group)}" for group in GROUPS)


def _texts(frame: pl.DataFrame | None) -> dict[str, list[object]] | None:
    """Return a table as texts: heads and rows."""
    if frame is None:
        return None
    rows = [
        [
            ""
            if cell is None
            else f"{cell:.4g}"
            if isinstance(cell, float)
            else f"{cell:,}"
            if isinstance(cell, int)
            else cell
            for cell in row
        ]
        for row in frame.iter_rows()
    ]
    return {"heads": list(frame.columns), "rows": list(rows)}


def _notes(found: Compared) -> dict[str, str]:
    recipe = found.recipe
    notes = {name: f"{count:,}" for name, count in found.counts.items()}
    return notes | {
        "data": str(recipe.dataset),
        "engine": " ".join(
            [recipe.engine.name, *(f"{key}={value}" for key, value in recipe.engine.parameters.items())]
        ),
        "asked": f"{recipe.ask.name}, {recipe.users} users",
        "seeds": ", ".join(map(str, recipe.seeds)),
        "llmrec": __version__,
    }
