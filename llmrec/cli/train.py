"""``llmrec train``: fine-tuning, and what becomes of an adapter."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from llmrec.cli.console import console, progress
from llmrec.config import as_overrides, load_config
from llmrec.llm.models import EMBEDDED_MODEL
from llmrec.train.lora import merge as merge_adapter
from llmrec.train.processes import is_first, one_voice
from llmrec.train.recipe import TallrecRecipe
from llmrec.train.record import Tuned, best_look
from llmrec.train.tallrec import tune

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, add_completion=False, help="Tune a language model for ranking."
)


@app.command()
def tallrec(
    config: Annotated[Path, typer.Argument(help="YAML recipe, such as configs/tallrec-movielens.yaml.")],
    out: Annotated[Path | None, typer.Option(help="Run folder to write.")] = None,
    model: Annotated[str | None, typer.Option(help="Embedded name, folder or hub name.")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="key=value, e.g. seed=1 or lora.rank=16.")] = None,
) -> None:
    """Tune a LoRA adapter in stages (TALLRec): yes/no questions, next items, or both.

    Validation stops early and its best state is kept. Killed, the same command goes on from the last checkpoint; over,
    it shows what there is. The run folder gets the adapter, curves.html, the test's metrics with intervals, and what is
    needed to repeat it.
    """
    overrides = as_overrides({"out": out, "model": model})
    with one_voice():
        recipe = load_config(TallrecRecipe, config, [*overrides, *(override or ())])
    with progress("train tallrec") if is_first() else nullcontext() as meter:
        tuned = tune(recipe, report=meter)
    if not is_first():
        return
    _show(tuned)
    words = "this recipe was tuned before" if tuned.before else f"tuned in {tuned.seconds:.1f} s"
    console.print(f"{words} -> {tuned.adapter}; curves in {recipe.out / 'curves.html'}", markup=False)


@app.command()
def merge(
    adapter: Annotated[Path, typer.Argument(help="Adapter folder, such as runs/tallrec/adapter.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    model: Annotated[str, typer.Option(help="The model that it was tuned on.")] = EMBEDDED_MODEL,
) -> None:
    """Write the full model that a base model and its adapter make, for engines and servers that take no adapter."""
    merge_adapter(adapter, out, model)
    console.print(f"merged -> {out}")


def _show(tuned: Tuned) -> None:
    for name, counts in tuned.counts.items():
        best = best_look(tuned.history.get(name, []))
        words = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in counts.items())
        looked = ", ".join(f"{key} {value:.4g}" for key, value in best.items())
        console.print(f"{name}: {words}" + (f"; best on validation: {looked}" if looked else ""))
    if tuned.test is None:
        return
    table = Table(title="test", title_justify="left")
    for head in ("metric", "value", "95 % interval"):
        table.add_column(head)
    for row in tuned.test.evaluation.table.iter_rows(named=True):
        table.add_row(row["metric"], f"{row['mean']:.4f}", f"{row['low']:.4f} to {row['high']:.4f}")
    console.print(table)
