"""``llmrec ranker``: fit a classic ranker or a re-ranker, or teach one what a stronger ranker scored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from llmrec.classic.ranking.losses import LossConfig
from llmrec.classic.ranking.teaching import require_teachable, teach
from llmrec.cli.console import console
from llmrec.cli.fitting import Work, fit_and_save, learn_and_save
from llmrec.config import Config, Part, as_overrides, describe_fields, load_config, make_config
from llmrec.data import Candidates, Split
from llmrec.data.files import read_parquet, require_replaceable
from llmrec.pipeline.check import find
from llmrec.protocols import Watch
from llmrec.registry import LEARNED_RANKERS, RERANKERS

KINDS = (LEARNED_RANKERS, RERANKERS)
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Fit classic rankers and re-rankers for a pipeline, or teach one what a language model scored.",
)


@app.command()
def fit(
    name: Annotated[str, typer.Argument(help="Ranker or re-ranker, as 'llmrec ranker list' names them.")],
    dataset: Annotated[Path, typer.Option(help="Data set folder from 'llmrec prepare'.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    config: Annotated[Path | None, typer.Option(help="YAML with its parameters.")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="key=value on top, e.g. epochs=5.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Fit a ranker on the training part of a data set; a pipeline takes it as {folder: OUT}.

    Rankers that are trained in epochs stop early by the validation part and keep a checkpoint beside OUT: the same
    command, given again after a kill, goes on from there.
    """
    registry = find(name, KINDS)
    kind: Any = registry.get(name)
    recipe = load_config(kind.config_class, config, override or ())
    fit_and_save(kind(recipe), recipe, registry.kind, Work(name, dataset, out, seed))


class DistilRecipe(Config):
    """A teacher's scores, and who learns them."""

    teacher: Path
    """Parquet of candidates with a teacher's scores, such as ``llmrec rank`` writes."""
    dataset: Path
    """Data set folder that the candidates were recalled from."""
    out: Path
    """Model folder to write."""
    part: str = "valid"
    """``valid`` or ``test``: whose candidates the teacher ranked."""
    student: Part = Part(name="lr")
    """Ranker that learns one number for each candidate by gradients, with its parameters."""
    lesson: LossConfig = LossConfig()
    """Loss and temperature."""
    seed: int = 0
    """Of everything random."""


@app.command()
def distil(
    teacher: Annotated[Path | None, typer.Argument(help="Parquet of candidates with a teacher's scores.")] = None,
    dataset: Annotated[Path | None, typer.Option(help="Data set folder that they were recalled from.")] = None,
    out: Annotated[Path | None, typer.Option(help="Model folder to write.")] = None,
    student: Annotated[str | None, typer.Option(help="lr, fm, deepfm, dcn-v2, ….  [default: lr]")] = None,
    part: Annotated[str | None, typer.Option(help="valid or test: whose candidates.  [default: valid]")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML recipe; options and --set go on top.")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, e.g. lesson.loss=ranknet or student.epochs=50.")
    ] = None,
) -> None:
    """Teach a light ranker the scores that a strong one, such as a language model, gave candidates.

    The student needs no labels and serves as any fitted ranker does: a pipeline takes it as {folder: OUT}. Killed, the
    same command goes on after the last epoch.
    """
    options = {"teacher": teacher, "dataset": dataset, "out": out, "student.name": student, "part": part}
    run_distil(load_config(DistilRecipe, config, [*as_overrides(options), *(override or ())]))


def run_distil(recipe: DistilRecipe) -> None:
    """Read the teacher's scores, teach the student, save it."""
    kind: Any = LEARNED_RANKERS.get(recipe.student.name)
    require_teachable(kind)
    model = kind(make_config(kind.config_class, recipe.student.parameters))
    require_replaceable(recipe.out)
    split = Split.load(recipe.dataset / "split")
    queries = split.part(recipe.part).queries
    ranked = Candidates.from_frame(read_parquet(recipe.teacher), split.train, queries, where=str(recipe.teacher))

    def learn(watch: Watch) -> None:
        teach(model, split.train, queries, ranked, recipe.lesson, seed=recipe.seed, watch=watch)

    work = Work(recipe.student.name, recipe.dataset, recipe.out, recipe.seed)
    learn_and_save(model, learn, f"{work.name}: taught by {len(ranked):,} lists", work, {"recipe": recipe})


@app.command(name="list")
def names(
    name: Annotated[str | None, typer.Argument(help="A ranker, to see its parameters; none: all of them.")] = None,
) -> None:
    """List rankers and re-rankers: what each is, its paper, what it needs."""
    if name is not None:
        registry = find(name, KINDS)
        row = registry.row(name)
        console.print(f"[bold]{name}[/bold]  {row.summary}{f' ({row.paper})' if row.paper else ''}")
        for field, annotation, default, docstring in describe_fields(registry.get(name).config_class):
            console.print(f"    {field}: {annotation} = {default}  {docstring}", markup=False)
        return
    for registry in KINDS:
        table = Table(title=f"{registry.kind}s", title_justify="left")
        for heading, width in ((registry.kind, 14), ("what it is, and paper", None), ("needs", 14)):
            table.add_column(heading, width=width)
        for each, row in registry.all().items():
            paper = f"\n[dim]{escape(row.paper)}[/dim]" if row.paper else ""
            table.add_row(each, escape(row.summary) + paper, ", ".join(row.needs))
        console.print(table)
