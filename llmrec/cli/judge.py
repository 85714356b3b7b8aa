"""``llmrec judge``: which of two generators writes what fits better."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer
from rich.markup import escape

from llmrec.cli.console import as_table, console, print_usage, progress
from llmrec.config import as_overrides, load_config, make_config
from llmrec.errors import require
from llmrec.generate.judge import JudgeRecipe, JudgeRun, judge_batch
from llmrec.protocols import Reward
from llmrec.registry import ENGINES

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(help="Judge two files of texts by a language model, in both orders: win rate, ties, bias.")
def judge(
    first: Annotated[Path | None, typer.Argument(help="Parquet from 'llmrec generate'; wins are its.")] = None,
    second: Annotated[Path | None, typer.Argument(help="Another one for the same contexts.")] = None,
    out: Annotated[Path | None, typer.Option(help="Parquet file to write; the run's record goes beside it.")] = None,
    engine: Annotated[str | None, typer.Option(help=f"{', '.join(ENGINES.rows)}.  [default: transformers]")] = None,
    model: Annotated[
        str | None, typer.Option(help="Embedded name, folder or hub name.  [default: gemma-3-270m]")
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="Folder of a LoRA adapter for the model.")] = None,
    template: Annotated[str | None, typer.Option(help="Built-in name or YAML file.  [default: judge-pairwise]")] = None,
    reward: Annotated[
        list[str] | None,
        typer.Option(help="Reward model's folder or module:function that judges too; may be given several times."),
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="SQLite file of answers.  [default: one for all runs]")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML recipe; options and --set go on top.")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, e.g. chat=true or engine.dtype=bfloat16.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count tokens and cache hits, run no model.")] = False,
) -> None:
    """Read options and recipe, judge, print win rates and agreement."""
    options = {
        "first": first,
        "second": second,
        "out": out,
        "engine.name": engine,
        "engine.model": model,
        "engine.adapter": adapter,
        "template": template,
        "cache": cache,
    }
    recipe = load_config(JudgeRecipe, config, [*as_overrides(options), *(override or ())])
    rewards = {} if dry_run else {name: _load_reward(name) for name in reward or ()}
    with progress(f"judging on {recipe.engine.name}") as meter:
        run = judge_batch(recipe, rewards=rewards, progress=meter, dry_run=dry_run)
    money = run.usage.money(recipe.input_price, recipe.output_price)
    print_usage(run.usage, title="dry run: what it would take" if dry_run else "what it took", money=money)
    if dry_run:
        return
    _show(run)
    console.print(f"{run.counts['pairs']:,} pairs judged in {run.seconds:.1f} s -> {recipe.out}", markup=False)


def _load_reward(name: str) -> Reward:
    """Return the reward model of a folder, or the function of ``module:function``."""
    # Not at the top: it stands on packages that judging by an engine alone does without.
    rewards: Any = require("llmrec.train.rewards", extra="train", purpose="rewards")
    sys.path.insert(0, str(Path.cwd()))
    kind = "model" if Path(name).is_dir() or ":" not in name else "function"
    part = make_config(rewards.RewardPart, {kind: name})
    loaded: Reward = rewards.load_rewards([part])[0].reward
    return loaded


def _show(run: JudgeRun) -> None:
    if run.rates:
        columns = ("judge", "wins", "ties", "losses", "rate", "low", "high", "p", "contexts")
        title = f"{escape(run.names[0])} against {escape(run.names[1])}, 95 % interval and test over contexts"
        console.print(as_table(pl.DataFrame([asdict(rate) for rate in run.rates]).select(columns), title=title))
    if run.first_place is not None and run.swayed is not None:
        console.print(
            f"the judge prefers what stands first in {run.first_place:.1%} of its answers; "
            f"in {run.swayed:.1%} of the pairs the order decides, which makes a tie"
        )
    for each in run.agreements:
        if each.share is not None:
            kappa = "none" if each.kappa is None else f"{each.kappa:.3f}"
            console.print(
                f"{escape(each.other)} prefers the same text in {each.share:.1%} of {each.pairs:,} pairs that neither "
                f"calls a tie, kappa {kappa}"
            )
    counts = [f"{count:,} {reason.replace('_', ' ')}" for reason, count in run.counts.items() if count]
    console.print(", ".join(counts))
    if run.counts["failed"]:
        console.print(f"what failed is not judged ({escape(run.first_error)}); the same call asks it again")
