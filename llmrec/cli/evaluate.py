"""``llmrec evaluate``: compare rankings of the same queries, or yes/no predictions of the same examples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field

from llmrec import __version__
from llmrec.classic.reranking.likeness import Likeness, vectors_of
from llmrec.cli.console import console
from llmrec.config import Config, as_overrides, load_config, write_run
from llmrec.data import Candidates, Dataset, Split
from llmrec.data.files import read_parquet
from llmrec.errors import ConfigError
from llmrec.eval.evaluate import METRICS, evaluate, standard_groups
from llmrec.eval.lists import COMPARING, ItemFacts
from llmrec.eval.metrics import Metric
from llmrec.eval.report import pick_examples, print_table, write_report
from llmrec.eval.yes_no import BINS, Predictions
from llmrec.eval.yes_no_compare import evaluate_yes_no
from llmrec.eval.yes_no_report import about, write_yes_no_report

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class EvaluateRecipe(Config):
    """What is compared, and on what."""

    dataset: Path
    """Data set folder from ``llmrec prepare``."""
    out: Path
    """Folder to write: metrics and report.html."""
    methods: dict[str, Path]
    """Name -> Parquet file with query, user, rank, item, score."""
    baseline: str | None = None
    """The method that all others are compared with; the first one if none is named."""
    part: str = "test"
    """``valid`` or ``test``."""
    metrics: tuple[str, ...] = METRICS
    """Such as ndcg@10; of the lists themselves also diversity@10, novelty@10, lift@10, serendipity@10 and gini@10."""
    likeness: Likeness = Likeness()
    """What items are compared by, for diversity and serendipity."""
    groups: bool = True
    """Report head and tail users, warm and cold items apart."""
    seed: int = 0
    """Of the bootstrap, the paired test and the choice of examples."""


class YesNoRecipe(Config):
    """Which yes/no predictions are compared."""

    out: Path
    """Folder to write: metrics and report.html."""
    methods: dict[str, Path]
    """Name -> Parquet file from ``llmrec score``."""
    baseline: str | None = None
    """The method that all others are compared with; the first one if none is named."""
    bins: int = Field(default=BINS, ge=1)
    """Of the calibration, each of about as many rows."""
    samples: int = Field(default=2000, ge=100)
    """How often the bootstrap draws users anew."""
    skip_failed: bool = False
    """Leave rows out, for all methods, that one of them has no score for."""
    seed: int = 0
    """Of the bootstrap."""


def run(recipe: EvaluateRecipe) -> Path:
    """Evaluate, print the table, write metrics and report; return the report's path."""
    split = Split.load(recipe.dataset / "split")
    dataset, targets = split.train, split.part(recipe.part)
    methods = {
        name: Candidates.from_frame(read_parquet(path), dataset, targets.queries, where=str(path))
        for name, path in recipe.methods.items()
    }
    baseline = recipe.baseline or next(iter(methods))
    evaluation = evaluate(
        methods,
        targets,
        n_items=len(dataset.items),
        metrics=recipe.metrics,
        baseline=baseline,
        groups=standard_groups(dataset, targets) if recipe.groups else None,
        facts=_facts(dataset, recipe),
        seed=recipe.seed,
    )
    print_table(evaluation, console)
    evaluation.save(recipe.out)
    write_run(recipe.out / "run.json", recipe)
    last = list(methods)[-1]
    return write_report(
        evaluation,
        recipe.out / "report.html",
        title=f"{dataset.name}: {', '.join(methods)}",
        notes={
            "data": f"{dataset.name}, part {recipe.part}, {len(targets):,} queries, {len(dataset.items):,} items",
            "ranked": "the full catalogue; what a file does not list counts as not recommended",
            "seed": str(recipe.seed),
            "llmrec": __version__,
        },
        examples=pick_examples(dataset, targets, methods[baseline], methods[last], seed=recipe.seed),
    )


def _facts(train: Dataset, recipe: EvaluateRecipe) -> ItemFacts:
    """Return what metrics of lists ask of the items; what is not asked for is not read."""
    compared = any(Metric.parse(name).kind in COMPARING for name in recipe.metrics)
    return ItemFacts.of(train, vectors_of(recipe.likeness.read(train), len(train.items)) if compared else None)


def run_yes_no(recipe: YesNoRecipe) -> Path:
    """Evaluate yes/no predictions, print the table, write metrics and report; return the report's path."""
    methods = {name: Predictions.load(path) for name, path in recipe.methods.items()}
    found = evaluate_yes_no(
        methods,
        baseline=recipe.baseline or next(iter(methods), None),
        bins=recipe.bins,
        samples=recipe.samples,
        skip_failed=recipe.skip_failed,
        seed=recipe.seed,
    )
    print_table(found.evaluation, console)
    facts = about(found)
    for name, text in facts.items():
        console.print(f"{name}: {text}", markup=False)
    found.save(recipe.out)
    write_run(recipe.out / "run.json", recipe, facts=facts)
    files = ", ".join(f"{name}: {path}" for name, path in recipe.methods.items())
    return write_yes_no_report(
        found,
        recipe.out / "report.html",
        title=f"Yes or no: {', '.join(methods)}",
        notes={"files": files, "draws": f"{recipe.samples:,}", "seed": str(recipe.seed), "llmrec": __version__},
    )


@app.command(
    name="evaluate", help="Compare rankings or predictions: metrics, 95 % intervals, paired tests, report.html."
)
def command(
    files: Annotated[list[str] | None, typer.Argument(help="Parquet files; name=path gives a method a name.")] = None,
    task: Annotated[str, typer.Option(help="ranking, or yes-no for files from 'llmrec score'.")] = "ranking",
    dataset: Annotated[Path | None, typer.Option(help="Data set folder from 'llmrec prepare'; ranking only.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for metrics and report.html.")] = None,
    part: Annotated[str | None, typer.Option(help="valid or test; ranking only.  [default: test]")] = None,
    baseline: Annotated[str | None, typer.Option(help="Compare with this method.  [default: the first]")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML recipe; options and --set go on top.")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, e.g. 'metrics=[ndcg@5, hr@5]'.")
    ] = None,
) -> None:
    """Read options and recipe, evaluate, say where the report lies."""
    _check_task(task, dataset=dataset, part=part)
    options = {"dataset": dataset, "out": out, "part": part, "baseline": baseline}
    methods = _named(files or ())
    given = as_overrides(options) + ([f"methods={json.dumps(methods)}"] if methods else []) + [*(override or ())]
    if task == "yes-no":
        report = run_yes_no(load_config(YesNoRecipe, config, given))
    else:
        report = run(load_config(EvaluateRecipe, config, given))
    console.print(f"report -> {report}")


def _check_task(task: str, **of_rankings: object) -> None:
    if task not in {"ranking", "yes-no"}:
        raise ConfigError(f"task = {task!r}", expected="'ranking' or 'yes-no'", cure="choose one of the two")
    given = next((name for name, value in of_rankings.items() if value is not None), None)
    if task == "yes-no" and given is not None:
        raise ConfigError(
            f"--{given} {str(of_rankings[given])!r} with --task yes-no",
            expected="files from 'llmrec score' alone, which say what is true",
            cure=f"drop --{given}",
        )


def _named(files: Sequence[str]) -> dict[str, str]:
    """Return name -> path; a file without a name has that of its path."""
    methods: dict[str, str] = {}
    for file in files:
        name, equals, path = file.partition("=")
        name, path = (name, path) if equals else (Path(file).stem, file)
        if name in methods:
            raise ConfigError(f"two rankings called {name!r}", expected="a name for each", cure="write name=path")
        methods[name] = path
    return methods
