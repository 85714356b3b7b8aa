"""``llmrec coldstart``: simulate behaviour for items that nobody has touched, and tell what learning from it brings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import polars as pl
import typer
from rich.text import Text

from llmrec.cli.console import as_table, console, print_usage, progress
from llmrec.coldstart.batch import FunnelRun, PairsRun, answers_file, funnel_batch, pairs_batch
from llmrec.coldstart.compare import Compared, compare, foresee
from llmrec.coldstart.fit import FitRecipe
from llmrec.coldstart.fit import fit as fit_recipe
from llmrec.coldstart.recipe import EvaluateRecipe, FunnelRecipe, PairsRecipe
from llmrec.coldstart.report import content_table, gain_table, simulation_table, warnings, write_cold_start
from llmrec.config import as_overrides, load_config
from llmrec.errors import ConfigError
from llmrec.eval.report import print_table
from llmrec.protocols import Usage
from llmrec.registry import ENGINES, TASTES

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Simulate behaviour for items that nobody has touched, and recommend them.",
)
KINDS = ("pairs", "interactions")
ADAPTER = "Folder of a LoRA adapter for the model, such as TALLRec's."
DRY_RUN = "Count prompts and tokens, run no language model."


@app.command()
def simulate(
    kind: Annotated[str, typer.Argument(help=f"What: {' or '.join(KINDS)}.")],
    config: Annotated[Path | None, typer.Argument(help="YAML recipe; options and --set go on top.")] = None,
    dataset: Annotated[Path | None, typer.Option(help="Data set folder, split by global-time-cut.")] = None,
    out: Annotated[Path | None, typer.Option(help="Parquet file; answers and the run's record go beside it.")] = None,
    ask: Annotated[str | None, typer.Option(help=f"{', '.join(TASTES.rows)}.  [default: likelihood]")] = None,
    pairs: Annotated[int | None, typer.Option(help="Of pairs: how many.  [default: 1000]")] = None,
    neighbours: Annotated[int | None, typer.Option(help="Of interactions: users asked of each item.")] = None,
    engine: Annotated[str | None, typer.Option(help=f"{', '.join(ENGINES.rows)}.  [default: transformers]")] = None,
    model: Annotated[
        str | None, typer.Option(help="Embedded name, folder or hub name.  [default: gemma-3-270m]")
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help=ADAPTER)] = None,
    calls: Annotated[int | None, typer.Option(help="Prompts, at most.")] = None,
    cache: Annotated[Path | None, typer.Option(help="SQLite file of answers.  [default: one for all runs]")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, e.g. users=content or budget.money=5.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=DRY_RUN)] = False,
) -> None:
    """Ask a language model what users would do with cold items; killed, the same call goes on where it stopped.

    pairs: which of two cold items each user would take. interactions: which of the users that are nearest to a cold
    item would take it.
    """
    if kind not in KINDS:
        raise ConfigError(f"kind {kind!r}", expected="'pairs' or 'interactions'", cure="choose one of the two")
    options = {
        "dataset": dataset,
        "out": out,
        "ask.name": ask,
        "pairs": pairs,
        "neighbours": neighbours,
        "engine.name": engine,
        "engine.model": model,
        "engine.adapter": adapter,
        "budget.calls": calls,
        "cache": cache,
    }
    overrides = [*as_overrides(options), *(override or ())]
    with progress(kind, short=True) as meter:
        if kind == "pairs":
            made = load_config(PairsRecipe, config, overrides)
            asked = pairs_batch(made, progress=meter, dry_run=dry_run)
            counts, exhausted = asked.simulated.counts, asked.simulated.exhausted
            run: PairsRun | FunnelRun = asked
            kept, path = len(asked.preferences), made.out
        else:
            wanted = load_config(FunnelRecipe, config, overrides)
            found = funnel_batch(wanted, progress=meter, dry_run=dry_run)
            counts, exhausted = found.funnelled.counts, found.funnelled.exhausted
            run, kept, path = found, len(found.interactions), wanted.out
    print_usage(run.usage, title="dry run: what it would take" if dry_run else "what it took", money=run.money)
    if dry_run:
        return
    console.print(", ".join(f"{name.replace('_', ' ')}: {count:,}" for name, count in counts.items()))
    if exhausted:
        _warn(f"the budget is used up: {counts['not_asked']:,} questions were not asked; raise it and call again")
    if counts["failed"]:
        _warn(f"{counts['failed']:,} failed ({run.first_error}); the same call asks them again")
    console.print(
        f"{kept:,} {kind} kept in {run.seconds:.1f} s -> {path}; answers in {answers_file(path)}", markup=False
    )


@app.command()
def fit(
    config: Annotated[Path | None, typer.Argument(help="YAML recipe; options and --set go on top.")] = None,
    model: Annotated[str | None, typer.Option(help="Recommender: bpr, dssm, sasrec, ….  [default: bpr]")] = None,
    dataset: Annotated[Path | None, typer.Option(help="Data set folder that the simulation was made for.")] = None,
    out: Annotated[Path | None, typer.Option(help="Model folder to write.")] = None,
    pairs: Annotated[Path | None, typer.Option(help="Preferences from 'llmrec coldstart simulate pairs'.")] = None,
    interactions: Annotated[
        Path | None, typer.Option(help="Or interactions from 'llmrec coldstart simulate interactions'.")
    ] = None,
    weight: Annotated[float | None, typer.Option(help="Of a pair against an event (lambda).  [default: 0.1]")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.  [default: 0]")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="key=value, e.g. model.factors=32.")] = None,
) -> None:
    """Fit a recommender on events and simulated behaviour; 'llmrec recall recommend' then proposes cold items too."""
    options = {
        "model.name": model,
        "dataset": dataset,
        "out": out,
        "pairs": pairs,
        "interactions": interactions,
        "weight": weight,
        "seed": seed,
    }
    recipe = load_config(FitRecipe, config, [*as_overrides(options), *(override or ())])
    with progress(f"fit {recipe.model.name}", short=True) as meter:
        done = fit_recipe(recipe, report=meter)
    console.print(
        f"{recipe.model.name}: fitted on {done.events:,} events and {done.simulated:,} simulated ones of {done.cold:,} "
        f"cold items in {done.seconds:.1f} s -> {recipe.out}",
        markup=False,
    )


@app.command()
def evaluate(
    config: Annotated[Path | None, typer.Argument(help="YAML recipe, such as configs/coldstart-evaluate.yaml.")] = None,
    dataset: Annotated[Path | None, typer.Option(help="Data set folder, split by global-time-cut.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder: simulations, results, report.html.")] = None,
    ask: Annotated[str | None, typer.Option(help=f"{', '.join(TASTES.rows)}.  [default: likelihood]")] = None,
    engine: Annotated[str | None, typer.Option(help=f"{', '.join(ENGINES.rows)}.  [default: transformers]")] = None,
    model: Annotated[str | None, typer.Option(help="Of the engine.  [default: gemma-3-270m]")] = None,
    adapter: Annotated[Path | None, typer.Option(help=ADAPTER)] = None,
    calls: Annotated[int | None, typer.Option(help="Prompts of all simulations together, at most.")] = None,
    cache: Annotated[Path | None, typer.Option(help="SQLite file of answers.  [default: one for all runs]")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, e.g. 'models=[bpr]' or 'pairs=[500, 2000]'.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=DRY_RUN)] = False,
) -> None:
    """Compare models with simulated behaviour, without, and with controls; killed, the same call goes on.

    Weight and number of pairs are chosen on a second cut inside training; the test is only measured on.
    """
    options = {
        "dataset": dataset,
        "out": out,
        "ask.name": ask,
        "engine.name": engine,
        "engine.model": model,
        "engine.adapter": adapter,
        "budget.calls": calls,
        "cache": cache,
    }
    recipe = load_config(EvaluateRecipe, config, [*as_overrides(options), *(override or ())])

    if dry_run:
        _print_foreseen(foresee(recipe, lambda title: progress(title, short=True)), recipe)
        return
    found = compare(recipe, lambda title: progress(title, short=True))
    found.save(recipe.out)
    report = write_cold_start(found, recipe.out / "report.html")
    _print_found(found)
    console.print(f"{found.seconds:.1f} s; report -> {report}", markup=False)


def _print_found(found: Compared) -> None:
    for model, evaluation in found.plain.items():
        chosen = [f"{source}: {each.chosen}" for (of, source), each in found.choices.items() if of == model]
        console.print(f"{model}, {'; '.join(chosen) or 'nothing chosen'}", markup=False)
        print_table(evaluation, console)
    tables = (
        (content_table(found), "against the content control"),
        (found.truth, "accuracy of pairs of known truth"),
        (simulation_table(found), "what was asked"),
        (gain_table(found), "gain in recall of cold items"),
    )
    for frame, title in tables:
        if frame is not None:
            console.print(as_table(frame, title=title))
    for line in warnings(found):
        _warn(line)


def _print_foreseen(foreseen: dict[str, Usage], recipe: EvaluateRecipe) -> None:
    rows = [
        {"simulation": name, "prompts": each.prompts, "to compute": each.cache_misses, "in the cache": each.cache_hits}
        | {"tokens": each.prompt_tokens + each.output_tokens}
        for name, each in foreseen.items()
    ]
    if rows:
        console.print(as_table(pl.DataFrame(rows), title="dry run: what it would take at most"))
    total = sum(foreseen.values(), Usage())
    print_usage(total, title="all together", money=total.money(recipe.input_price, recipe.output_price))


def _warn(line: str) -> None:
    console.print(Text(line, style="yellow"))
