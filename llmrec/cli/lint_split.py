"""``llmrec lint-split``: what leaks from test to training."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from llmrec.cli.console import console
from llmrec.data import Dataset, Split
from llmrec.data.files import write_json
from llmrec.data_prep.lint import Finding, lint_split

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(help="Name what leaks from test to training in a prepared folder; exit code 1 where something does.")
def lint(
    folder: Annotated[Path, typer.Argument(help="Data set folder from 'llmrec prepare'.")],
    text_date: Annotated[
        str | None, typer.Option(help="Column of the item table that dates its texts.  [default: date, published]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file to write the findings to.")] = None,
) -> None:
    """Print the findings and write them where asked."""
    split = Split.load(folder / "split")
    findings = lint_split(Dataset.load(folder), split, text_date=text_date)
    if findings:
        console.print(_table(findings))
    leaks = sum(finding.severity == "leak" for finding in findings)
    rule = split.rule.get("name", "a split")
    console.print(f"{folder} ({rule}): {leaks} leaks, {len(findings) - leaks} cautions", markup=False)
    if out is not None:
        write_json(out, {"rule": dict(split.rule), "findings": [asdict(finding) for finding in findings]})
    if leaks:
        raise typer.Exit(1)


def _table(findings: list[Finding]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("", "rule", "what", "for example"):
        table.add_column(name, overflow="fold", no_wrap=name in {"", "rule"})
    for finding in sorted(findings, key=lambda each: each.severity != "leak"):
        style = "red" if finding.severity == "leak" else "yellow"
        severity, examples = Text(finding.severity, style), Text("\n".join(finding.examples))
        table.add_row(severity, finding.rule, Text(finding.message), examples)
    return table
