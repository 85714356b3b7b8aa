"""A whole funnel on MovieLens: stages timed, what each moves, and its last list against recall alone.

    python benchmarks/funnel.py --data FOLDER [--films 1m] [--users 1000] [--pipeline configs/pipeline-movielens.yaml]
        [--set stages.0.keep=100] [--repeat 3]

FOLDER is that of ``benchmarks/recall.py``. Each user's last film is out; the recipe's recall and stages are fitted on
the rest, or loaded from the folders that it names. Means come with 95 % intervals; the test is paired.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from ranking import movielens_1m, table
from recall import add_data

from llmrec.config import load_config
from llmrec.data import Split, Targets
from llmrec.data_prep.movielens import load_movielens, natural_title
from llmrec.data_prep.split import leave_last_out
from llmrec.eval.metrics import compute
from llmrec.eval.significance import bootstrap_interval, paired_test
from llmrec.llm.make import open_engine
from llmrec.pipeline.check import asks_engine, check_items, check_recipe
from llmrec.pipeline.funnel import Funnel, Pipeline
from llmrec.pipeline.make import Materials, make_pipeline
from llmrec.pipeline.recipe import PipelineRecipe
from llmrec.pipeline.record import PipelineRun
from llmrec.rank.shards import RankRun

METRICS = ("ndcg@10", "hr@10")
RECIPE = Path(__file__).parents[1] / "configs" / "pipeline-movielens.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data(parser)
    parser.add_argument("--pipeline", type=Path, default=RECIPE)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="on top of the recipe")
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3, help="how often the funnel is timed; the fastest counts")
    arguments = parser.parse_args()
    recipe = load_config(PipelineRecipe, arguments.pipeline, arguments.set)
    check_recipe(recipe)
    split = read_split(arguments.data, arguments.films)
    check_items(recipe, split.train)
    test = split.test.sample(arguments.users, seed=recipe.seed)
    with ExitStack() as stack:
        asks = any(asks_engine(stage.ranker) for stage in recipe.stages)
        engine = stack.enter_context(open_engine(recipe)) if asks else None
        start = time.perf_counter()
        pipeline = make_pipeline(recipe, Materials(split, engine, seed=recipe.seed))
        print(f"{len(split.train.interactions):,} events; fitted or loaded in {time.perf_counter() - start:,.1f} s")
        funnel = min((serve(pipeline, test) for _ in range(arguments.repeat)), key=seconds)
    show(funnel, test, len(split.train.items))


def read_split(folder: Path, films: str) -> Split:
    """Return the films with titles and genres, each user's last one out."""
    if films != "1m":
        return leave_last_out(load_movielens(folder / f"movielens-{films}"), ties="order")
    folder, data = folder / "movielens-1m", movielens_1m(folder / "movielens-1m")
    numbers, titles, _ = table(folder / "movies.dat", 3)
    natural = (f"{name} ({year})" if year else name for name, year in map(natural_title, titles))
    named = dict(zip(numbers, natural, strict=True))
    column = pl.Series("title", [named.get(str(item), str(item)) for item in data.items.ids])
    return leave_last_out(replace(data, item_table=data.item_table.with_columns(column)), ties="order")


def serve(pipeline: Pipeline, test: Targets) -> Funnel:
    """Send all users through the pipeline, as one batch."""
    return pipeline.run(test.queries, relevant=test.relevant)


def seconds(funnel: Funnel) -> float:
    return sum(run.seconds for run in funnel.runs)


def show(funnel: Funnel, test: Targets, n_items: int) -> None:
    """Print stages, metrics of each list, and the last one against recall."""
    run = PipelineRun(RankRun(), funnel.runs, int((test.relevant >= 0).sum()), n_items)
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_hide_dataframe_shape=True, tbl_width_chars=160):
        print(run.table())
    print(f"{len(test):,} users in {seconds(funnel):.2f} s, {len(test) / seconds(funnel):,.0f} a second")
    values = {one.name: compute(found, test, METRICS) for one, found in zip(funnel.runs, funnel.lists, strict=True)}
    for name, found in values.items():
        print(f"after {name}: " + "  ".join(f"{metric} {interval(found[metric])}" for metric in METRICS))
    first, *_, last = values
    for metric in METRICS:
        compared = paired_test(values[last][metric], values[first][metric])
        print(
            f"funnel - recall {metric}: {compared.difference:+.4f} [{compared.low:+.4f}, {compared.high:+.4f}], "
            f"p = {compared.p:.4f}"
        )


def interval(values: np.ndarray) -> str:
    low, high = bootstrap_interval(values)
    return f"{values.mean():.4f} [{low:.4f}, {high:.4f}]"


if __name__ == "__main__":
    main()
