"""``llmrec rank``: batch reranking with a language model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from llmrec.cli.console import console, print_usage, progress
from llmrec.config import as_overrides, load_config
from llmrec.prompts.template import template_names
from llmrec.rank.batch import RankRecipe, rank_batch
from llmrec.registry import ENGINES, RANKERS

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(help="Rank candidates with a language model; killed, the same call goes on where it stopped.")
def rank(
    candidates: Annotated[Path | None, typer.Argument(help="Parquet with query, user, rank, item, score.")] = None,
    dataset: Annotated[Path | None, typer.Option(help="Data set folder from 'llmrec prepare'.")] = None,
    out: Annotated[Path | None, typer.Option(help="Parquet file to write; the run's record goes beside it.")] = None,
    part: Annotated[str | None, typer.Option(help="valid or test.  [default: test]")] = None,
    strategy: Annotated[str | None, typer.Option(help=f"{', '.join(RANKERS.rows)}.  [default: likelihood]")] = None,
    engine: Annotated[str | None, typer.Option(help=f"{', '.join(ENGINES.rows)}.  [default: transformers]")] = None,
    model: Annotated[
        str | None, typer.Option(help="Embedded name, folder or hub name.  [default: gemma-3-270m]")
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="Folder of a LoRA adapter for the model.")] = None,
    template: Annotated[str | None, typer.Option(help=f"A YAML file, or {', '.join(template_names())}.")] = None,
    top: Annotated[int | None, typer.Option(help="How many candidates of each row to rank.  [default: 20]")] = None,
    cache: Annotated[Path | None, typer.Option(help="SQLite file of answers.  [default: one for all runs]")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML recipe; options and --set go on top.")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, e.g. strategy.history=10 or engine.dtype=bfloat16.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count tokens and cache hits, run no model.")] = False,
) -> None:
    """Read options and recipe, rank, print what it took."""
    options = {
        "candidates": candidates,
        "dataset": dataset,
        "out": out,
        "part": part,
        "strategy.name": strategy,
        "engine.name": engine,
        "engine.model": model,
        "engine.adapter": adapter,
        "strategy.template": template,
        "top": top,
        "cache": cache,
    }
    recipe = load_config(RankRecipe, config, [*as_overrides(options), *(override or ())])
    with progress(f"{recipe.strategy.name} on {recipe.engine.name}") as meter:
        run = rank_batch(recipe, progress=meter, dry_run=dry_run)
    money = run.usage.money(recipe.input_price, recipe.output_price)
    print_usage(run.usage, title="dry run: what it would take" if dry_run else "what it took", money=money)
    if dry_run:
        return
    if run.counts:
        console.print("answers: " + ", ".join(f"{count:,} {name}" for name, count in run.counts.items()))
    if run.counts["failed"]:
        console.print(f"what failed keeps its place ({escape(run.first_error)}); the same call asks it again")
    console.print(f"{run.queries:,} queries ranked in {run.seconds:.1f} s -> {recipe.out}")
