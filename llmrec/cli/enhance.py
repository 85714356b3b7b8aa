"""``llmrec enhance``: recommend with what was generated, and tell what it brings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec.cli.console import console, progress
from llmrec.config import as_overrides, load_config
from llmrec.eval.report import print_table
from llmrec.eval.yes_no_report import about
from llmrec.generate.enhance_recipe import EnhanceRecipe
from llmrec.generate.enhance_run import enhance

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    name="enhance", help="Match contexts and items with generated texts and without; recall items by these texts."
)
def command(
    config: Annotated[Path | None, typer.Argument(help="YAML recipe, such as configs/enhance-jobs.yaml.")] = None,
    texts: Annotated[Path | None, typer.Option(help="Parquet file from 'llmrec generate'.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder to write.")] = None,
    dataset: Annotated[Path | None, typer.Option(help="Data set folder; with --set examples.kind=….")] = None,
    train: Annotated[Path | None, typer.Option(help="Or files: JSON lines of labelled examples to learn from.")] = None,
    valid: Annotated[Path | None, typer.Option(help="Those that training stops by.")] = None,
    test: Annotated[Path | None, typer.Option(help="Those to report on.")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, e.g. texts_by=user or matcher.epochs=50.")
    ] = None,
) -> None:
    """Read options and recipe, run, print what the texts bring."""
    options = {"texts": texts, "out": out, "dataset": dataset, "train": train, "valid": valid, "test": test}
    recipe = load_config(EnhanceRecipe, config, [*as_overrides(options), *(override or ())])
    with progress("enhance", short=True) as meter:
        done = enhance(recipe, report=meter)
    console.print(", ".join(f"{name}: {count:,}" for name, count in done.counts.items()), markup=False)
    for form, found in done.matching.items():
        console.print(f"{form}: {about(found)['questions']}", markup=False)
        print_table(found.evaluation, console)
    for name, evaluation in done.recall.items():
        console.print(f"recall by {name}", markup=False)
        print_table(evaluation, console)
    console.print(f"{done.seconds:.1f} s -> {recipe.out}; reports in {recipe.out / 'matching'} and recall")
