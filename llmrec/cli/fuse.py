"""``llmrec fuse``: recall and a language model as one ranking, fitted on validation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec.classic.recall.base.history import popularity
from llmrec.cli.console import console
from llmrec.config import Config, as_overrides, load_config, write_run
from llmrec.data import Candidates, Queries, Split
from llmrec.data.files import atomic_file, read_parquet, require_writable
from llmrec.rank.fusion import FEATURES, Fusion, FusionConfig, fit_fusion

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class FuseRecipe(Config):
    """What is fused, and what on it is fitted."""

    dataset: Path
    """Data set folder that the candidates were recalled from."""
    recalled: Path
    """Recall's candidates for the test part."""
    ranked: Path
    """The same as a language model ordered them."""
    valid_recalled: Path
    """Recall's candidates for the valid part."""
    valid_ranked: Path
    """The same as the language model ordered them."""
    out: Path
    """Parquet file to write; what was fitted goes beside it as ``.fusion.json``, the run's record as ``.run.json``."""
    fusion: FusionConfig = FusionConfig()
    """How the fusion is fitted."""


def run(recipe: FuseRecipe) -> Fusion:
    """Fit on the valid part, fuse the test part, write both; return what was fitted."""
    require_writable(recipe.out)
    split = Split.load(recipe.dataset / "split")

    def read(path: Path, queries: Queries) -> Candidates:
        return Candidates.from_frame(read_parquet(path), split.train, queries, where=str(path))

    counts = popularity(split.train)
    recalled, ranked = (read(path, split.valid.queries) for path in (recipe.valid_recalled, recipe.valid_ranked))
    fusion = fit_fusion(recalled, ranked, split.valid, counts, recipe.fusion)
    recalled, ranked = (read(path, split.test.queries) for path in (recipe.recalled, recipe.ranked))
    fused = fusion.fuse(recalled, ranked, counts)
    with atomic_file(recipe.out) as temporary:
        fused.to_frame(split.train, split.test.queries).write_parquet(temporary)
    fusion.save(recipe.out.with_suffix(".fusion.json"))
    write_run(recipe.out.with_suffix(".run.json"), recipe, fusion=fusion.model_dump())
    return fusion


@app.command(help="Fuse recall with a language model's ranking; how much each counts is fitted on the valid part.")
def fuse(
    recalled: Annotated[Path | None, typer.Argument(help="Recall's candidates for the test part.")] = None,
    ranked: Annotated[Path | None, typer.Argument(help="The same as a language model ordered them.")] = None,
    valid_recalled: Annotated[Path | None, typer.Argument(help="Recall's candidates for the valid part.")] = None,
    valid_ranked: Annotated[Path | None, typer.Argument(help="The same as the model ordered them.")] = None,
    dataset: Annotated[Path | None, typer.Option(help="Data set folder from 'llmrec prepare'.")] = None,
    out: Annotated[Path | None, typer.Option(help="Parquet file to write.")] = None,
    method: Annotated[str | None, typer.Option(help="weight or logistic.  [default: weight]")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML recipe; options and --set go on top.")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="key=value, e.g. fusion.metric=ndcg@5.")] = None,
) -> None:
    """Read options and recipe, fuse, print what was fitted."""
    options = {
        "recalled": recalled,
        "ranked": ranked,
        "valid_recalled": valid_recalled,
        "valid_ranked": valid_ranked,
        "dataset": dataset,
        "out": out,
        "fusion.method": method,
    }
    recipe = load_config(FuseRecipe, config, [*as_overrides(options), *(override or ())])
    fusion = run(recipe)
    named = ("language model",) if fusion.method == "weight" else FEATURES
    weights = ", ".join(f"{name} {value:.2f}" for name, value in zip(named, fusion.coefficients, strict=True))
    console.print(f"fitted on {fusion.queries:,} validation queries: {weights} -> {recipe.out}")
