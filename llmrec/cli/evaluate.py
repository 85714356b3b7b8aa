"""``llmrec evaluate``: compare rankings of the same queries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from llmrec import __version__
from llmrec.cli.console import console
from llmrec.config import Config, as_overrides, load_config, write_run
from llmrec.data import Candidates, Split
from llmrec.data.files import read_parquet
from llmrec.errors import ConfigError
from llmrec.eval.evaluate import METRICS, evaluate, standard_groups
from llmrec.eval.report import pick_examples, print_table, write_report

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
    """Such as ndcg@10."""
    groups: bool = True
    """Report head and tail users, warm and cold items apart."""
    seed: int = 0
    """Of the bootstrap, the paired test and the choice of examples."""


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


@app.command(name="evaluate", help="Compare rankings: metrics, 95 % intervals, paired tests, report.html.")
def command(
    rankings: Annotated[
        list[str] | None, typer.Argument(help="Parquet files; name=path gives a method a name.")
    ] = None,
    dataset: Annotated[Path | None, typer.Option(help="Data set folder from 'llmrec prepare'.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for metrics and report.html.")] = None,
    part: Annotated[str | None, typer.Option(help="valid or test.  [default: test]")] = None,
    baseline: Annotated[str | None, typer.Option(help="Compare with this method.  [default: the first]")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML recipe; options and --set go on top.")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, e.g. 'metrics=[ndcg@5, hr@5]'.")
    ] = None,
) -> None:
    """Read options and recipe, evaluate, say where the report lies."""
    options = {"dataset": dataset, "out": out, "part": part, "baseline": baseline}
    given = as_overrides(options)
    methods: dict[str, str] = {}
    for ranking in rankings or ():
        name, equals, path = ranking.partition("=")
        name, path = (name, path) if equals else (Path(ranking).stem, ranking)
        if name in methods:
            raise ConfigError(f"two rankings called {name!r}", expected="a name for each", cure="write name=path")
        methods[name] = path
    given += [f"methods={json.dumps(methods)}"] if methods else []
    recipe = load_config(EvaluateRecipe, config, [*given, *(override or ())])
    console.print(f"report -> {run(recipe)}")
