"""``llmrec examples``: a data set as rows to tune a language model on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec.cli.console import console
from llmrec.config import as_overrides, load_config, write_run
from llmrec.data import Dataset, Split
from llmrec.data.files import require_writable
from llmrec.data_prep.examples.recipe import KINDS, ExamplesRecipe, make_examples
from llmrec.errors import ConfigError
from llmrec.llm.models import resolve_model
from llmrec.llm.tokens import PromptTokenizer

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(help="Write examples to tune a language model on, and say how they are balanced.")
def examples(
    folder: Annotated[Path, typer.Argument(help="Data set folder; of one with a split, a part is taken.")],
    out: Annotated[Path, typer.Option(help="JSON lines to write; of --form tallrec one JSON array.")],
    kind: Annotated[str | None, typer.Option(help=f"{', '.join(KINDS)}.")] = None,
    part: Annotated[str | None, typer.Option(help="train, valid or test.  [default: train]")] = None,
    model: Annotated[str | None, typer.Option(help="Whose tokens max_tokens counts: a folder or hub name.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Prompt and answer; old history goes first.")] = None,
    form: Annotated[str, typer.Option(help="columns (as trl takes them) or tallrec.")] = "columns",
    config: Annotated[Path | None, typer.Option(help="YAML recipe; options and --set go on top.")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="key=value, e.g. negatives=popular.")] = None,
) -> None:
    """Read options and recipe, make the examples, write them with a record beside them."""
    if form not in {"columns", "tallrec"}:
        raise ConfigError(f"form = {form!r}", expected="'columns' or 'tallrec'", cure="choose one of the two")
    options = {"kind": kind, "part": part, "max_tokens": max_tokens}
    recipe = load_config(ExamplesRecipe, config, [*as_overrides(options), *(override or ())])
    require_writable(out)
    data = Split.load(folder / "split") if (folder / "split").exists() else Dataset.load(folder)
    made = make_examples(data, recipe, None if model is None else PromptTokenizer(resolve_model(model)).count)
    (made.save_tallrec if form == "tallrec" else made.save)(out)
    write_run(out.with_suffix(".run.json"), recipe, dataset=str(folder), model=model, **made.summary())
    console.print(f"{made} -> {out}", markup=False)
