"""``llmrec recall``: fit a recommender, write candidates."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec.classic.recall.store import check_catalogue, load_recommender
from llmrec.cli.console import console
from llmrec.config import describe_fields, load_config, write_run
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
    """Fit a recommender on the training part of a data set."""
    kind: Any = RECOMMENDERS.get(name)
    recipe = load_config(kind.config_class, config, override or ())
    split = Split.load(dataset / "split")
    start = time.perf_counter()
    model = kind(recipe).fit(split.train, seed=seed)
    seconds = time.perf_counter() - start
    model.save(out)
    write_run(out / "run.json", recipe, recommender=name, dataset=str(dataset), seed=seed, seconds=seconds)
    console.print(f"{name}: fitted on {len(split.train.interactions):,} events in {seconds:.1f} s -> {out}")


@app.command()
def recommend(
    model: Annotated[Path, typer.Argument(help="Model folder from 'llmrec recall fit'.")],
    dataset: Annotated[Path, typer.Option(help="Data set folder from 'llmrec prepare'.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    part: Annotated[str, typer.Option(help="valid or test: whom to recommend to.")] = "test",
    k: Annotated[int, typer.Option("-k", help="Candidates for each query.")] = 100,
) -> None:
    """Write the k best unseen items of each query: query, user, rank, item, score."""
    split = Split.load(dataset / "split")
    recommender = load_recommender(model)
    check_catalogue(model, split.train)
    queries = split.part(part).queries
    frame = recommender.recommend(queries, k).to_frame(split.train, queries)
    with atomic_file(out) as temporary:
        frame.write_parquet(temporary)
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
def names() -> None:
    """List the recommenders with their parameters."""
    for name, row in RECOMMENDERS.all().items():
        console.print(f"[bold]{name}[/bold]  {row.summary}{f' ({row.paper})' if row.paper else ''}")
        kind: Any = RECOMMENDERS.get(name)
        for field, annotation, default, docstring in describe_fields(kind.config_class):
            console.print(f"    {field}: {annotation} = {default}  {docstring}", markup=False)
