"""``llmrec train``: fine-tuning, and what becomes of an adapter."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.table import Table

from llmrec.cli.console import console, progress
from llmrec.config import Config, as_overrides, load_config
from llmrec.llm.models import EMBEDDED_MODEL
from llmrec.train.dpo import Preferred, train_dpo
from llmrec.train.feedback_recipe import DpoRecipe, GroupRecipe, RewardRecipe
from llmrec.train.groups import optimise_groups
from llmrec.train.lora import merge as merge_adapter
from llmrec.train.ppo_recipe import PpoRecipe
from llmrec.train.ppo_record import Optimised
from llmrec.train.ppo_run import optimise
from llmrec.train.processes import is_first, one_voice
from llmrec.train.recipe import TallrecRecipe
from llmrec.train.record import Tuned, best_look
from llmrec.train.reward import Rewarded, train_reward
from llmrec.train.reward_report import RewardReport
from llmrec.train.tallrec import tune
from llmrec.train.watching import Report

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Tune a language model: to rank, to write, to judge.",
)


Out = Annotated[Path | None, typer.Option(help="Run folder to write.")]
Model = Annotated[str | None, typer.Option(help="Embedded name, folder or hub name.")]
Override = Annotated[list[str] | None, typer.Option("--set", help="key=value, e.g. seed=1 or lora.rank=16.")]
C = TypeVar("C", bound=Config)
D = TypeVar("D", Tuned, Rewarded, Preferred, Optimised)


@app.command()
def tallrec(
    config: Annotated[Path, typer.Argument(help="YAML recipe, such as configs/tallrec-movielens.yaml.")],
    out: Out = None,
    model: Model = None,
    override: Override = None,
) -> None:
    """Tune a LoRA adapter in stages (TALLRec): yes/no questions, next items, or both.

    Validation stops early and its best state is kept. Killed, the same command goes on from the last checkpoint; over,
    it shows what there is. The run folder gets the adapter, curves.html, the test's metrics with intervals, and what is
    needed to repeat it.
    """
    tuned = _run(
        "tallrec", TallrecRecipe, config, out, model, override, lambda recipe, meter: tune(recipe, report=meter)
    )
    if tuned is not None:
        _show(tuned)


@app.command()
def sft(
    config: Annotated[Path, typer.Argument(help="YAML recipe, such as configs/sft-jobs.yaml.")],
    out: Out = None,
    model: Model = None,
    override: Override = None,
) -> None:
    """Tune a LoRA adapter to write descriptions: of a job that suits a CV, of the item a history leads to.

    The recipe and all else are those of tallrec; validation goes by loss.
    """
    tuned = _run("sft", TallrecRecipe, config, out, model, override, lambda recipe, meter: tune(recipe, report=meter))
    if tuned is not None:
        _show(tuned)


@app.command()
def reward(
    config: Annotated[Path, typer.Argument(help="YAML recipe, such as configs/reward-jobs.yaml.")],
    out: Out = None,
    model: Model = None,
    override: Override = None,
) -> None:
    """Train a reward model: one number for how well an answer suits its context, from pairs or from labels.

    Validation stops early, by accuracy of pairs or AUC of labels. Killed, the same command goes on. The run folder gets
    the model ("adapter"), curves.html, the test's accuracy, calibration and correlation with length, and what is needed
    to repeat it.
    """
    done = _run(
        "reward", RewardRecipe, config, out, model, override, lambda recipe, meter: train_reward(recipe, report=meter)
    )
    if done is not None:
        _show_report(done.test)
        if done.plain is not None:
            found = _words({"slope": done.penalty.slope, "pearson before": done.plain.pearson})
            console.print(f"length penalty: {found}")


@app.command()
def dpo(
    config: Annotated[Path, typer.Argument(help="YAML recipe, such as configs/dpo-jobs.yaml.")],
    out: Out = None,
    model: Model = None,
    override: Override = None,
) -> None:
    """Tune a LoRA adapter on preference pairs (DPO; S-DPO where a row has several rejected answers), without a reward.

    Validation stops early, by the accuracy of the policy's own rewards. Killed, the same command goes on.
    """
    done = _run("dpo", DpoRecipe, config, out, model, override, lambda recipe, meter: train_dpo(recipe, report=meter))
    if done is not None:
        _show_report(done.test)


@app.command()
def ppo(
    config: Annotated[Path, typer.Argument(help="YAML recipe, such as configs/ppo-movielens.yaml.")],
    out: Out = None,
    model: Model = None,
    override: Override = None,
) -> None:
    """Tune a LoRA adapter on rewards (PPO): answers are drawn, judged, and the better ones become likelier.

    Killed, the same command goes on from the last checkpoint; over, it shows what there is. The run folder gets the
    adapter, curves.html, the log of each step and what is needed to repeat it.
    """
    _run_rewarded("ppo", PpoRecipe, config, out, model, override, lambda recipe, meter: optimise(recipe, report=meter))


@app.command()
def grpo(
    config: Annotated[Path, typer.Argument(help="YAML recipe, such as configs/grpo-jobs.yaml.")],
    out: Out = None,
    model: Model = None,
    override: Override = None,
) -> None:
    """Tune a LoRA adapter on rewards, each answer against others to its prompt (GRPO, by trl).

    Prompts, rewards and settings are those of ppo. Killed, the same command goes on.
    """
    _run_groups("grpo", config, out, model, override)


@app.command()
def rloo(
    config: Annotated[Path, typer.Argument(help="YAML recipe, such as configs/grpo-jobs.yaml.")],
    out: Out = None,
    model: Model = None,
    override: Override = None,
) -> None:
    """Tune a LoRA adapter on rewards, each answer against the mean of the others to its prompt (RLOO, by trl).

    The recipe is that of grpo. Killed, the same command goes on.
    """
    _run_groups("rloo", config, out, model, override)


@app.command()
def merge(
    adapter: Annotated[Path, typer.Argument(help="Adapter folder, such as runs/tallrec/adapter.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    model: Annotated[str, typer.Option(help="The model that it was tuned on.")] = EMBEDDED_MODEL,
) -> None:
    """Write the full model that a base model and its adapter make, for engines and servers that take no adapter."""
    merge_adapter(adapter, out, model)
    console.print(f"merged -> {out}")


def _run(
    name: str,
    kind: type[C],
    config: Path,
    out: Path | None,
    model: str | None,
    override: Sequence[str] | None,
    train: Callable[[C, Report | None], D],
) -> D | None:
    """Run a recipe and say where its result is; return it in the process that reports, None in others."""
    overrides = [*as_overrides({"out": out, "model": model}), *(override or ())]
    with one_voice():
        recipe = load_config(kind, config, overrides)
    with progress(f"train {name}") if is_first() else nullcontext() as meter:
        done = train(recipe, meter)
    if not is_first():
        return None
    words = "this recipe was tuned before" if done.before else f"tuned in {done.seconds:.1f} s"
    _show_counts(done)
    console.print(f"{words} -> {done.adapter}; curves in {done.adapter.parent / 'curves.html'}", markup=False)
    return done


def _run_groups(name: str, config: Path, out: Path | None, model: str | None, override: Sequence[str] | None) -> None:
    def train(recipe: GroupRecipe, meter: Report | None) -> Optimised:
        return optimise_groups(name, recipe, report=meter)

    _run_rewarded(name, GroupRecipe, config, out, model, override, train)


def _run_rewarded(
    name: str,
    kind: type[C],
    config: Path,
    out: Path | None,
    model: str | None,
    override: Sequence[str] | None,
    train: Callable[[C, Report | None], Optimised],
) -> None:
    """Run a recipe whose rewards may be functions in the folder that the command is given in; say what came of it."""
    sys.path.insert(0, str(Path.cwd()))
    done = _run(name, kind, config, out, model, override, train)
    if done is None:
        return
    table = Table(title="answers of a step", title_justify="left")
    for head in ("", "first", "last"):
        table.add_column(head)
    first, last = done.log[0], done.log[-1]
    for key in (key for key in ("reward", "kl", "entropy", "tokens", "ended") if key in last):
        table.add_row(key, f"{first[key]:.4g}", f"{last[key]:.4g}")
    console.print(table)


def _show_counts(done: Tuned | Rewarded | Preferred | Optimised) -> None:
    if isinstance(done, Optimised):
        console.print(", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in done.counts.items()))
        return
    for name, counts in done.counts.items():
        best = best_look(done.history.get(name, []))
        words = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in counts.items())
        looked = ", ".join(f"{key} {value:.4g}" for key, value in best.items())
        console.print(f"{name}: {words}" + (f"; best on validation: {looked}" if looked else ""))


def _show(tuned: Tuned) -> None:
    if tuned.test is not None:
        _show_metrics(tuned.test.evaluation.table.to_dicts())


def _show_report(report: RewardReport | None) -> None:
    if report is None:
        return
    _show_metrics(report.metrics)
    found = _words({"pearson": report.pearson, "spearman": report.spearman})
    console.print(f"reward and length of {report.texts:,} answers: {found}")


def _show_metrics(rows: Sequence[Mapping[str, Any]]) -> None:
    table = Table(title="test", title_justify="left")
    for head in ("metric", "value", "95 % interval"):
        table.add_column(head)
    for row in rows:
        interval = "" if row["low"] is None else f"{row['low']:.4f} to {row['high']:.4f}"
        table.add_row(row["metric"], f"{row['mean']:.4f}", interval)
    console.print(table)


def _words(numbers: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {'none' if value is None else format(value, '.3f')}" for name, value in numbers.items())
