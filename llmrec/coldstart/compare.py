"""Cold start compared: one recipe, and all methods behind the same cuts; what is chosen is chosen without the test."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from llmrec.coldstart.choose import Choice, measure
from llmrec.coldstart.recipe import EvaluateRecipe
from llmrec.coldstart.run import (
    CONTROL_OF,
    Methods,
    Run,
    fit_choices,
    fit_methods,
    label,
    open_run,
    simulate,
)
from llmrec.coldstart.simulations import Spent, Stage, silent
from llmrec.coldstart.truth import truth_table
from llmrec.config import write_run
from llmrec.data import Candidates
from llmrec.data.files import atomic_file
from llmrec.eval.evaluate import TABLE, Evaluation
from llmrec.eval.significance import holm
from llmrec.protocols import Usage


@dataclass(frozen=True, eq=False)
class Compared:
    """What an evaluation found.

    Attributes:
        recipe: what was asked for, all parameters filled in.
        plain: for each model its methods and the controls, compared with the model without augmentation.
        content: for each model what the language model brings, compared with the control that reads texts: a row for
            each method, group and metric with ``difference``, ``diff_low``, ``diff_high``, ``p`` and ``p_holm``.
        choices: weight and number of pairs, by model and source.
        truth: how often each source is right about pairs of which the test says so; None where nothing is known.
        spent: what each simulation came to, by name.
        failed: methods and simulations that failed, and why.
        counts: what there is behind each cut.
        seconds: wall time of this call.
    """

    recipe: EvaluateRecipe
    plain: Mapping[str, Evaluation]
    content: Mapping[str, pl.DataFrame]
    choices: Mapping[tuple[str, str], Choice]
    truth: pl.DataFrame | None
    spent: Mapping[str, Spent]
    failed: Mapping[str, str]
    counts: Mapping[str, int]
    seconds: float

    def trials(self) -> pl.DataFrame | None:
        """Return all that was tried on the validation cut, a row for each trial; None where nothing was."""
        frames = [found.to_frame(model=model, source=source) for (model, source), found in self.choices.items()]
        return pl.concat(frames) if frames else None

    def save(self, folder: Path) -> Path:
        """Write metrics of each model, trials, accuracies and, last, the run's record into ``folder``."""
        for model, evaluation in self.plain.items():
            evaluation.save(folder / "metrics" / model)
        content = pl.concat(self.content.values()) if self.content else None
        for name, frame in (("trials", self.trials()), ("truth", self.truth), ("against_content", content)):
            if frame is not None:
                with atomic_file(folder / f"{name}.parquet") as temporary:
                    frame.write_parquet(temporary)
        write_run(
            folder / "run.json",
            self.recipe,
            counts=dict(self.counts),
            choices=[
                {"model": model, "source": source, **asdict(found.chosen)}
                for (model, source), found in self.choices.items()
            ],
            metrics={model: found.table.to_dicts() for model, found in self.plain.items()},
            against_content={model: found.to_dicts() for model, found in self.content.items()},
            truth=None if self.truth is None else self.truth.to_dicts(),
            spent=[asdict(each) for each in self.spent.values()],
            failed=dict(self.failed),
            seconds=self.seconds,
        )
        return folder


def compare(recipe: EvaluateRecipe, stage: Stage = silent) -> Compared:
    """Simulate, choose on the validation cut, and compare all methods on the test.

    Killed, the same call goes on: answers come from the cache, simulations and results from ``recipe.out``. A method
    that fails is recorded with its error, and the others are compared.

    Args:
        recipe: what to compare.
        stage: opened for each stage, and told of its progress.

    Raises:
        LlmrecError: an input cannot be used, the folder is somebody else's, or no model can be fitted.
    """
    start = time.perf_counter()
    run = open_run(recipe, stage)
    choices = fit_choices(run, simulate(run))
    methods = fit_methods(run, choices)
    plain, content = _measure(run, methods)
    if not plain:
        raise run.errors[0]
    truth = None
    if run.recipe.truth:
        truth = run.attempt("accuracy of pairs", lambda: truth_table(run.simulations, run.test))
    return Compared(
        recipe=run.recipe,
        plain=plain,
        content=content,
        choices=choices,
        truth=truth,
        spent=dict(run.simulations.spent),
        failed=dict(run.failed),
        counts=run.counts(),
        seconds=time.perf_counter() - start,
    )


def foresee(recipe: EvaluateRecipe, stage: Stage = silent) -> dict[str, Usage]:
    """Return what each simulation would take at most, without running a language model.

    The validation cut is written to ``recipe.out``; of the test's pairs a run asks only as many as it has chosen.

    Raises:
        LlmrecError: an input cannot be used.
    """
    run = open_run(recipe, stage, dry_run=True)
    simulate(run)
    run.simulations.pairs(run.test, max(recipe.pairs))
    if recipe.interactions is not None:
        run.simulations.interactions(run.test, recipe.interactions)
    if run.errors:
        raise run.errors[0]
    return run.simulations.foreseen


def _measure(run: Run, methods: Methods) -> tuple[dict[str, Evaluation], dict[str, pl.DataFrame]]:
    """Return the metrics of each model's methods against the plain model, and tests against the content control."""
    plain, content, recipe = {}, {}, run.recipe
    for model in (part.name for part in recipe.models):
        found = {name: each for (of, name), each in methods.items() if of in {model, ""}}
        if model in found:
            plain[model] = measure(found, run.test, recipe.k, baseline=model, seed=recipe.seed)
        against = [_against(run, found, label(model, one), label(model, two)) for one, two in CONTROL_OF.items()]
        if any(map(len, against)):
            content[model] = _corrected(pl.concat(against))
    return plain, content


def _against(run: Run, found: Mapping[str, Sequence[Candidates]], method: str, control: str) -> pl.DataFrame:
    """Return the paired test of a method against a control in each group; no row where one of them is missing."""
    columns = ("method", "metric", "group", "difference", "diff_low", "diff_high", "p", "queries")
    if method not in found or control not in found:
        return pl.DataFrame(schema={name: TABLE[name] for name in columns})
    some = {name: found[name] for name in (control, method)}
    table = measure(some, run.test, run.recipe.k, baseline=control, seed=run.recipe.seed).table
    return table.filter(pl.col("method") == method).select(columns)


def _corrected(tests: pl.DataFrame) -> pl.DataFrame:
    """Return tests with p-values corrected for the number of methods on each metric in each group."""
    tests = tests.filter(pl.col("p").is_not_null())
    families = tests.partition_by("metric", "group", maintain_order=True)
    corrected = [each.with_columns(p_holm=pl.Series(holm(each["p"].to_numpy()))) for each in families]
    return pl.concat(corrected) if corrected else tests.with_columns(p_holm=pl.lit(None, pl.Float64))
