"""``llmrec generate``: texts for contexts with a language model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from llmrec.cli.console import as_table, console, print_usage, progress
from llmrec.config import as_overrides, load_config
from llmrec.data_prep.examples.recipe import KINDS
from llmrec.generate.describe import GenerateRecipe, generate_batch
from llmrec.registry import ENGINES

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(help="Generate texts for contexts; killed, the same call goes on where it stopped.")
def generate(
    contexts: Annotated[
        Path | None, typer.Argument(help="JSON lines with 'prompt', such as 'llmrec examples' writes.")
    ] = None,
    dataset: Annotated[Path | None, typer.Option(help="Or a data set folder, with --kind.")] = None,
    kind: Annotated[str | None, typer.Option(help=f"Whose prompts of a data set: {', '.join(KINDS)}.")] = None,
    part: Annotated[str | None, typer.Option(help="Of a split: train, valid or test.  [default: train]")] = None,
    out: Annotated[Path | None, typer.Option(help="Parquet file to write; the run's record goes beside it.")] = None,
    engine: Annotated[str | None, typer.Option(help=f"{', '.join(ENGINES.rows)}.  [default: transformers]")] = None,
    model: Annotated[
        str | None, typer.Option(help="Embedded name, folder or hub name.  [default: gemma-3-270m]")
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="Folder of a LoRA adapter for the model.")] = None,
    texts: Annotated[int | None, typer.Option(help="Texts of each context, each with a seed.  [default: 1]")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens of a text, at most.  [default: 256]")] = None,
    temperature: Annotated[float | None, typer.Option(help="0: the likeliest token each time.  [default: 0]")] = None,
    seed: Annotated[int | None, typer.Option(help="Of what is drawn.  [default: 0]")] = None,
    answers: Annotated[Path | None, typer.Option(help="Examples trained on, to tell what is copied from them.")] = None,
    cache: Annotated[Path | None, typer.Option(help="SQLite file of answers.  [default: one for all runs]")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML recipe; options and --set go on top.")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, e.g. top_p=0.9 or 'stop=[\"###\"]'.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count tokens and cache hits, run no model.")] = False,
) -> None:
    """Read options and recipe, generate, print what it took and what the texts are like."""
    options = {
        "contexts.file": contexts,
        "contexts.dataset": dataset,
        "contexts.examples.kind": kind,
        "contexts.examples.part": part,
        "out": out,
        "engine.name": engine,
        "engine.model": model,
        "engine.adapter": adapter,
        "texts": texts,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "seed": seed,
        "report.answers": answers,
        "cache": cache,
    }
    recipe = load_config(GenerateRecipe, config, [*as_overrides(options), *(override or ())])
    with progress(f"texts from {recipe.engine.name}") as meter:
        run = generate_batch(recipe, progress=meter, dry_run=dry_run)
    money = run.usage.money(recipe.input_price, recipe.output_price)
    print_usage(run.usage, title="dry run: what it would take at most" if dry_run else "what it took", money=money)
    left_out = "".join(f", {count:,} {reason.replace('_', ' ')}" for reason, count in run.counts.items())
    console.print(f"{run.contexts:,} contexts{left_out}")
    if run.report is None:
        return
    console.print(as_table(run.report.table(), title="what the texts are like"))
    if run.report.failed:
        console.print(f"{run.report.failed:,} failed ({escape(run.first_error)}); the same call asks them again")
    console.print(f"{run.contexts * recipe.texts:,} texts in {run.seconds:.1f} s -> {recipe.out}", markup=False)
