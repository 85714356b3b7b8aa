"""``llmrec recommend``: the whole funnel, from recall to the last re-ranking, by one recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from llmrec.cli.console import as_table, console, print_usage, progress
from llmrec.config import as_overrides, load_config
from llmrec.pipeline.recipe import PipelineRecipe
from llmrec.pipeline.run import recommend_batch

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    name="recommend",
    help="Recommend through a pipeline of stages; killed, the same call goes on where it stopped.",
)
def command(
    pipeline: Annotated[Path | None, typer.Option(help="YAML recipe, such as configs/pipeline-movielens.yaml.")] = None,
    dataset: Annotated[Path | None, typer.Option(help="Data set folder from 'llmrec prepare'.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write: candidates.parquet, run.json, report.html.")
    ] = None,
    part: Annotated[str | None, typer.Option(help="valid or test: whom to recommend to.  [default: test]")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, e.g. recall.keep=500 or engine.model=FOLDER.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count tokens and cache hits, run no model.")] = False,
) -> None:
    """Read options and recipe, run, print what each stage did."""
    options = {"dataset": dataset, "out": out, "part": part}
    recipe = load_config(PipelineRecipe, pipeline, [*as_overrides(options), *(override or ())])
    with progress("pipeline", short=True) as meter:
        run = recommend_batch(recipe, progress=meter, dry_run=dry_run)
    console.print(as_table(run.table(), "dry run: the funnel" if dry_run else "the funnel"))
    if run.total.usage.prompts:
        money = run.total.usage.money(recipe.input_price, recipe.output_price)
        print_usage(run.total.usage, title="dry run: what it would take" if dry_run else "what it took", money=money)
    for stage in run.stages:
        if stage.skipped:
            console.print(f"{escape(stage.name)} was skipped for {stage.skipped:,} queries: {escape(stage.error)}")
    if not dry_run:
        console.print(f"{run.total.queries:,} queries in {run.total.seconds:.1f} s -> {recipe.out}")
