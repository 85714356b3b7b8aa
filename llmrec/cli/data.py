"""``llmrec data``: what a data set holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec.cli.console import console
from llmrec.data import Dataset, Split
from llmrec.data.files import require_writable, write_json
from llmrec.data_prep.describe import describe
from llmrec.data_prep.describe.page import print_description, write_description

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Describe a data set: counts, long tail, time span, text, cold shares.",
)


@app.callback()
def data() -> None:
    """Keep ``data`` a group."""


@app.command(name="describe")
def command(
    folder: Annotated[Path, typer.Argument(help="Data set folder from 'llmrec prepare'.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Page to write, with the numbers as JSON beside it: an .html file, or a folder for it."),
    ] = None,
) -> None:
    """Print what a data set holds: counts, sparsity, long tail, time span, values, text.

    Where the folder has a split, also its parts, its rule and how much of its targets is cold.
    """
    page = None if out is None else out if out.suffix == ".html" else out / "description.html"
    if page is not None:
        require_writable(page)
    split = Split.load(folder / "split") if (folder / "split").exists() else None
    description = describe(Dataset.load(folder), split)
    if page is not None:
        write_json(page.with_suffix(".json"), description.to_dict())
        write_description(description, page)
    print_description(description, console)
    if page is not None:
        console.print(f"description -> {page}")
