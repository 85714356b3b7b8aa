"""``llmrec prompts``: look at prompts and compare them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from llmrec.cli.console import console, print_usage, progress
from llmrec.config import as_overrides, load_config
from llmrec.prompts.template import load_template, template_file, template_names
from llmrec.rank.compare.experiment import compare as run_comparison
from llmrec.rank.compare.experiment import foresee
from llmrec.rank.compare.page import print_costs, print_leaderboard, write_comparison
from llmrec.rank.compare.recipe import CompareRecipe
from llmrec.rank.compare.recording import Exchange
from llmrec.rank.compare.render import RenderRecipe, render_prompts
from llmrec.rank.compare.trial import serving_strategies
from llmrec.registry import ENGINES, RANKERS

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, add_completion=False, help="Look at prompts and compare them."
)


@app.command(name="list")
def list_templates() -> None:
    """List the built-in templates with the ranking strategies that they serve."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("template", "version", "answer", "strategies", "description"):
        table.add_column(column, overflow="fold", no_wrap=column == "template")
    for name in template_names():
        template = load_template(name)
        strategies = ", ".join(serving_strategies(name)) or "none: for tuning or generation"
        table.add_row(name, str(template.version), template.answer, strategies, template.description)
    console.print(table)


@app.command()
def show(template: Annotated[str, typer.Argument(help="Built-in name or path of a YAML file.")]) -> None:
    """Print a template's YAML and where it is."""
    load_template(template)
    source = template_file(template)
    typer.echo(f"# {source}")
    typer.echo(source.read_text(encoding="utf-8"), nl=False)


@app.command()
def render(
    template: Annotated[str, typer.Argument(help="Built-in name or path of a YAML file.")],
    dataset: Annotated[Path | None, typer.Option(help="Data set folder from 'llmrec prepare'.")] = None,
    candidates: Annotated[Path | None, typer.Option(help="Parquet.  [default: shown or most popular items]")] = None,
    part: Annotated[str | None, typer.Option(help="valid or test.  [default: valid]")] = None,
    user: Annotated[str | None, typer.Option(help="Id of a user.  [default: the part's first]")] = None,
    strategy: Annotated[str | None, typer.Option(help=f"{', '.join(RANKERS.rows)}.")] = None,
    engine: Annotated[str | None, typer.Option(help="Count its tokens, keep to its context; no model runs.")] = None,
    model: Annotated[str | None, typer.Option(help="Of the engine.")] = None,
    top: Annotated[int | None, typer.Option(help="How many candidates to rank.  [default: 20]")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML recipe; options and --set go on top.")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="key=value, e.g. strategy.history=5.")] = None,
) -> None:
    """Print the exact prompts of one user, as a strategy asks them."""
    options = {
        "template": template,
        "dataset": dataset,
        "candidates": candidates,
        "part": part,
        "user": user,
        "strategy.name": strategy,
        "engine.name": engine,
        "engine.model": model,
        "top": top,
    }
    recipe = load_config(RenderRecipe, config, [*as_overrides(options), *(override or ())])
    found = render_prompts(recipe)
    counted = recipe.engine is not None
    tokens = f", {sum(each.tokens for each in found.exchanges):,} tokens" if counted else ""
    prompts = f"{len(found.exchanges):,} {'prompt' if len(found.exchanges) == 1 else 'prompts'}"
    typer.echo(f"# user {found.user}, {recipe.template}, {found.strategy}: {prompts}{tokens}")
    for number, exchange in enumerate(found.exchanges, 1):
        _print_exchange(number, exchange, counted=counted)


@app.command()
def compare(
    recipe: Annotated[Path | None, typer.Argument(help="YAML recipe; options and --set go on top.")] = None,
    dataset: Annotated[Path | None, typer.Option(help="Data set folder from 'llmrec prepare'.")] = None,
    candidates: Annotated[Path | None, typer.Option(help="Parquet with query, user, rank, item, score.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for leaderboard, metrics and report.html.")] = None,
    part: Annotated[str | None, typer.Option(help="valid or test.  [default: valid]")] = None,
    users: Annotated[int | None, typer.Option(help="Users drawn from the part.  [default: 200]")] = None,
    template: Annotated[list[str] | None, typer.Option(help="Built-in name or YAML file; may be repeated.")] = None,
    strategy: Annotated[list[str] | None, typer.Option(help=f"{', '.join(RANKERS.rows)}; may be repeated.")] = None,
    engine: Annotated[list[str] | None, typer.Option(help=f"{', '.join(ENGINES.rows)}; may be repeated.")] = None,
    history: Annotated[list[int] | None, typer.Option(help="Newest items to read; may be repeated.")] = None,
    baseline: Annotated[str | None, typer.Option(help="A variant's name, or 'incoming order'.")] = None,
    cache: Annotated[Path | None, typer.Option(help="SQLite file of answers.  [default: one for all runs]")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, e.g. 'grid.histories=[5, 20]' or seed=1.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count prompts, tokens and money, run no model.")] = False,
) -> None:
    """Compare prompts, strategies, engines and histories on the same users; killed, the same call goes on."""
    options = {
        "dataset": dataset,
        "candidates": candidates,
        "out": out,
        "part": part,
        "users": users,
        "baseline": baseline,
        "cache": cache,
    }
    lists = {"templates": template, "strategies": strategy, "engines": engine, "histories": history}
    grid = [f"grid.{name}={json.dumps(values)}" for name, values in lists.items() if values]
    resolved = load_config(CompareRecipe, recipe, [*as_overrides(options), *grid, *(override or ())])
    if dry_run:
        with progress("dry run", short=True) as meter:
            print_costs(foresee(resolved, meter), resolved.prices, console)
        return
    with progress("compare", short=True) as meter:
        found = run_comparison(resolved, meter)
    found.save(resolved.out)
    report = write_comparison(found, resolved.out / "report.html")
    print_leaderboard(found, console)
    print_usage(found.spent, title="what it took")
    console.print(f"report -> {report}")


def _print_exchange(number: int, exchange: Exchange, *, counted: bool) -> None:
    tokens = f", {exchange.tokens:,} tokens" if counted else ""
    typer.echo(f"\n--- prompt {number}{tokens}")
    if exchange.prompt.system:
        typer.echo(f"[system]\n{exchange.prompt.system}\n[user]")
    typer.echo(exchange.prompt.user)
    if exchange.answers:
        typer.echo("[answers scored]")
        for answer in exchange.answers:
            typer.echo(repr(answer))
