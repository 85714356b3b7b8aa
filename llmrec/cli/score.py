"""``llmrec score``: yes/no examples with a language model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from llmrec.cli.console import console, print_usage, progress
from llmrec.config import as_overrides, load_config
from llmrec.rank.yes_no import ScoreRecipe, score_batch
from llmrec.registry import ENGINES

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(help="Score yes/no examples: log-odds of yes; killed, the same call goes on where it stopped.")
def score(
    examples: Annotated[
        Path | None, typer.Argument(help="JSON lines from 'llmrec examples', or TALLRec's JSON.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Parquet file to write; the run's record goes beside it.")] = None,
    engine: Annotated[str | None, typer.Option(help=f"{', '.join(ENGINES.rows)}.  [default: transformers]")] = None,
    model: Annotated[
        str | None, typer.Option(help="Embedded name, folder or hub name.  [default: gemma-3-270m]")
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="Folder of a LoRA adapter for the model.")] = None,
    cache: Annotated[Path | None, typer.Option(help="SQLite file of answers.  [default: one for all runs]")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML recipe; options and --set go on top.")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, e.g. engine.dtype=bfloat16 or chat=true.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count tokens and cache hits, run no model.")] = False,
) -> None:
    """Read options and recipe, score, print what it took."""
    options = {
        "examples": examples,
        "out": out,
        "engine.name": engine,
        "engine.model": model,
        "engine.adapter": adapter,
        "cache": cache,
    }
    recipe = load_config(ScoreRecipe, config, [*as_overrides(options), *(override or ())])
    with progress(f"yes or no on {recipe.engine.name}") as meter:
        run = score_batch(recipe, progress=meter, dry_run=dry_run)
    money = run.usage.money(recipe.input_price, recipe.output_price)
    print_usage(run.usage, title="dry run: what it would take" if dry_run else "what it took", money=money)
    if dry_run:
        return
    if failed := int(run.predictions.failed.sum()):
        console.print(f"{failed:,} failed ({escape(run.first_error)}) and have no score; the same call asks them again")
    console.print(f"{len(run.predictions):,} examples scored in {run.seconds:.1f} s -> {recipe.out}", markup=False)
