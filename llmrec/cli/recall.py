"""``llmrec recall``: fit a recommender, write candidates."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from llmrec.classic.recall.base.store import check_catalogue, load_recommender
from llmrec.classic.recall.fused import FusedRecommender
from llmrec.classic.recall.fusion.channel_report import SHARED, channel_report
from llmrec.classic.recall.neural.curves import write_curves
from llmrec.cli.console import as_table, console
from llmrec.cli.fitting import Work, fit_and_save
from llmrec.config import describe_fields, load_config
from llmrec.data import Split
from llmrec.data.files import atomic_file
from llmrec.registry import RECOMMENDERS

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, add_completion=False, help="Fit classic recall and write candidates."
)


@app.command()
def fit(
    name: Annotated[str, typer.Argument(help=f"Recommender: {', '.join(RECOMMENDERS.rows)}.")],
    dataset: Annotated[Path, typer.Option(help="Data set folder from 'llmrec prepare'.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    config: Annotated[Path | None, typer.Option(help="YAML with its parameters.")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="key=value on top, e.g. neighbours=200.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Fit a recommender on the training part of a data set.

    Models that are trained in epochs stop early by the validation part and keep a checkpoint beside OUT: the same
    command, given again after a kill, goes on from there. Their curves are drawn in OUT/training.svg.
    """
    kind: Any = RECOMMENDERS.get(name)
    recipe = load_config(kind.config_class, config, override or ())
    if fit_and_save(kind(recipe), recipe, "recommender", Work(name, dataset, out, seed)):
        write_curves(out)


@app.command()
def recommend(
    model: Annotated[Path, typer.Argument(help="Model folder from 'llmrec recall fit'.")],
    dataset: Annotated[Path, typer.Option(help="Data set folder from 'llmrec prepare'.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    part: Annotated[str, typer.Option(help="valid or test: whom to recommend to.")] = "test",
    k: Annotated[int, typer.Option("-k", help="Candidates for each query.")] = 100,
) -> None:
    """Write the k best unseen items of each query: query, user, rank, item, score.

    Of a fused model also the channels that proposed each candidate, with its rank there; what each channel brings is
    printed. Decide with --part valid which of them to keep.
    """
    split = Split.load(dataset / "split")
    recommender = load_recommender(model)
    check_catalogue(model, split.train)
    targets = split.part(part)
    queries, report = targets.queries, None
    if isinstance(recommender, FusedRecommender):
        channels = recommender.propose(queries, k)
        report = channel_report(channels, partial(recommender.fuse, k=k), targets)
        frame = channels.provenance(recommender.fuse(channels, k)).to_frame(split.train, queries)
    else:
        frame = recommender.recommend(queries, k).to_frame(split.train, queries)
    with atomic_file(out) as temporary:
        frame.write_parquet(temporary)
    if report is not None:
        shared = [column for column in report.columns if column.startswith(SHARED)]
        console.print(as_table(report.drop(shared), "channels"))
        console.print(as_table(report.select("channel", *shared), "share of a channel's candidates"))
    console.print(f"{len(queries):,} queries, {frame.height:,} candidates -> {out}")


@app.command()
def shown(
    dataset: Annotated[Path, typer.Option(help="Data set folder from 'llmrec prepare mind'.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    part: Annotated[str, typer.Option(help="valid or test: whose impressions.")] = "test",
) -> None:
    """Write what each query's user was shown as candidates, in the order shown: query, user, rank, item, score."""
    split = Split.load(dataset / "split")
    targets = split.part(part)
    frame = targets.candidates().to_frame(split.train, targets.queries)
    with atomic_file(out) as temporary:
        frame.write_parquet(temporary)
    console.print(f"{len(targets):,} queries, {frame.height:,} candidates -> {out}")


@app.command(name="list")
def names(
    name: Annotated[str | None, typer.Argument(help="A recommender, to see its parameters; none: all of them.")] = None,
) -> None:
    """List the recommenders: what each is, its paper, what it needs, whom and what it serves."""
    if name is not None:
        row, kind = RECOMMENDERS.row(name), RECOMMENDERS.get(name)
        console.print(f"[bold]{name}[/bold]  {row.summary}{f' ({row.paper})' if row.paper else ''}")
        for field, annotation, default, docstring in describe_fields(kind.config_class):
            console.print(f"    {field}: {annotation} = {default}  {docstring}", markup=False)
        return
    table = Table(
        caption="cold: users are served from a history alone; items are proposed before anybody touched them",
        caption_justify="left",
    )
    for heading, width in (("recommender", 14), ("what it is, and paper", None), ("needs", 11), ("cold", 6)):
        table.add_column(heading, width=width)
    for each, row in RECOMMENDERS.all().items():
        paper = f"\n[dim]{escape(row.paper)}[/dim]" if row.paper else ""
        cold = [kind for kind, served in (("users", row.unseen_users), ("items", row.cold_items)) if served]
        table.add_row(each, escape(row.summary) + paper, ", ".join(row.needs), "\n".join(cold))
    console.print(table)
