"""Cold start: what a language model's simulated behaviour brings, against controls (docs/coldstart.md).

    python benchmarks/coldstart.py movielens|gift --data FOLDER [--only simulate|funnel|fit|report]
        [--adapter FOLDER --ask yes-no] [--seeds 0 1 2] [--pairs 250 1000] …

``movielens`` is latest-small, ``gift`` Amazon's Gift Cards (2018, k-core 5). Events in time order are cut at 70 % and
80 % (Gift Cards, nearly all of whose items are there by then, at 40 % and 50 %): items without an event before the
first cut are cold, the test begins at the second. Queries without a history are left out: of MovieLens' 116 test users
28 were seen before, 26 of them take a cold item, and intervals are as wide. Weight (lambda) and number of pairs are
chosen on a second cut inside the training events, with the first seed; the test's numbers are means over seeds.
``--only`` runs one stage; without it all run. Killed, the same call goes on.

- simulate: all that a language model is asked but for the grid.
- funnel: all users of some cold items are asked, and BPR given the interactions of the nearest 1, 2, 5, … users only:
  what share of the grid keeps what share of its recall@k.
- fit: choices and fits. report: tables, report.html, and the claims with their numbers.

The number of calls is told first. gemma-3-270m scores about 4 titles a second on one core: with the defaults an hour
for MovieLens and less for Gift Cards. A larger machine affords ``--pairs 1000 5000 20000 --neighbours 20 --keep 10``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console

from llmrec.classic.recall.base.store import make_recommender
from llmrec.coldstart.asking import ItemTaste, make_taste
from llmrec.coldstart.augment import place_items
from llmrec.coldstart.choose import COLD, WARM, measure
from llmrec.coldstart.compare import Compared, compare, foresee
from llmrec.coldstart.cuts import Cut
from llmrec.coldstart.funnel import Funnelled, simulate_interactions
from llmrec.coldstart.near import NearConfig, near_model, nearest_users
from llmrec.coldstart.recipe import EvaluateRecipe
from llmrec.coldstart.report import content_table, gain_table, simulation_table, warnings, write_cold_start
from llmrec.coldstart.run import LLM, TAKEN, Run, fit_choices, fit_methods, label, open_run, simulate
from llmrec.config import Part, make_config
from llmrec.data import Dataset, Targets
from llmrec.data.files import write_json
from llmrec.data_prep.amazon import load_amazon
from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.split import global_time_cut
from llmrec.eval.report import print_table
from llmrec.llm.make import Report, open_engine, tell_pace

STAGES = ("simulate", "funnel", "fit", "report")
SECONDS_BETWEEN_LINES = 30.0
MODELS: dict[str, list[dict[str, Any]]] = {
    "movielens": [{"name": "bpr"}, {"name": "dssm", "columns": ["categories"]}, {"name": "sasrec"}],
    "gift": [{"name": "bpr"}, {"name": "dssm"}, {"name": "sasrec"}],
}
CUTS = {"movielens": 0.7, "gift": 0.4}
ACCURACY, TIMES, WARM_LOSS = 0.6, 3.0, 0.01
"""What is to be reached: of pairs, of cold recall against the plain model, of warm NDCG."""


def load(name: str, folder: Path) -> Dataset:
    """Return a data set."""
    if name == "movielens":
        return load_movielens(folder / "movielens-latest-small")
    amazon = folder / "amazon-2018"
    return load_amazon(amazon / "Gift_Cards_5.json", amazon / "meta_Gift_Cards.json")


def make_recipe(arguments: argparse.Namespace) -> EvaluateRecipe:
    """Return the recipe, the split written where it is not yet."""
    out = arguments.runs / arguments.set
    cut = CUTS[arguments.set] if arguments.cut is None else arguments.cut
    data = out / f"data-{cut:g}"
    if not (data / "split").exists():
        global_time_cut(load(arguments.set, arguments.data), train=cut, valid=0.1).save(data / "split")
    engine: dict[str, Any] = {"name": arguments.engine}
    if arguments.engine != "fake":
        engine |= {"model": arguments.model} | ({"adapter": str(arguments.adapter)} if arguments.adapter else {})
    text = {"embedder": arguments.embedder}
    models = [each for each in MODELS[arguments.set] if each["name"] in arguments.models]
    about = {
        "models": [each | ({"epochs": arguments.epochs} if arguments.epochs else {}) for each in models],
        "controls": [{"name": "text", **text}, "category-popular"],
        "interactions": {"ask": arguments.ask, "neighbours": arguments.neighbours, "keep": arguments.keep},
        "text": text,
    }
    plain = ("ask", "pairs", "weights", "truth", "seeds", "users", "cache", "k")
    values = {"dataset": data, "out": out / arguments.name, "engine": engine, **about}
    return make_config(EvaluateRecipe, {**values, **{name: getattr(arguments, name) for name in plain}})


@contextmanager
def stage(title: str) -> Iterator[Report]:
    """Print a line now and then."""
    start = last = time.perf_counter()
    print(f"{title} …", flush=True)

    def report(done: int, total: int, text: str) -> None:
        nonlocal last
        if time.perf_counter() - last > SECONDS_BETWEEN_LINES:
            last = time.perf_counter()
            print(f"  {done:,}/{total:,} {text}", flush=True)

    yield report
    print(f"  {time.perf_counter() - start:.0f} s", flush=True)


def grid_cut(run: Run, items: int, users: int, seed: int) -> Cut:
    """Return the test's cut with some users only, of those who take a cold item, and some of the items they take."""
    cut, rng = run.test, np.random.default_rng(seed)
    targets, world = cut.split.test, cut.world
    cold = np.where(np.isin(targets.relevant, world.items), targets.relevant, -1)
    asked = np.flatnonzero((cold >= 0).any(axis=1) & np.isin(targets.queries.users, world.users))
    rows = np.sort(rng.permutation(asked)[:users])
    taken, counts = np.unique(cold[rows][cold[rows] >= 0], return_counts=True)
    some = np.sort(taken[np.argsort(-counts, kind="stable")[:items]])
    relevant = np.where(np.isin(cold[rows], some), cold[rows], -1)
    found = (relevant >= 0).any(axis=1)
    wanted = Targets(targets.queries.select(rows[found]), np.sort(relevant[found], axis=1)[:, ::-1])
    known = np.unique(targets.queries.users[rows])
    return replace(cut, split=replace(cut.split, test=wanted), world=replace(world, items=some, users=known))


def ask_grid(run: Run, cut: Cut, near: np.ndarray) -> Funnelled:
    """Return what the language model says of each user and item of the grid."""
    recipe = run.recipe
    with (
        stage(f"grid of {len(cut.world.items)} items and {len(cut.world.users)} users") as report,
        open_engine(recipe) as engine,
    ):
        taste = make_taste(Part(name=recipe.ask.name), engine, cut.world)
        if not isinstance(taste, ItemTaste):
            raise SystemExit(f"--ask {recipe.ask.name} compares two items; the funnel needs likelihood or yes-no")
        engine.progress = tell_pace(engine, report)
        return simulate_interactions(taste, cut.world, near)


def funnel(run: Run, arguments: argparse.Namespace) -> None:
    """Ask the grid, and write recall of cold items by how many of the nearest users are asked."""
    recipe, cut = run.recipe, grid_cut(run, arguments.grid_items, arguments.grid_users, 0)
    config = NearConfig(text=recipe.text, history=recipe.text_history)
    model = near_model(cut.world, config)
    users = len(cut.world.users)
    near = nearest_users(cut.world, model, users, history=config.history)
    grid, train = ask_grid(run, cut, near), cut.split.train
    plain = make_recommender(recipe.models[0]).fit(train, seed=recipe.seeds[0])
    place = {
        (int(item), int(user)): rank
        for item, row in zip(cut.world.items, near, strict=True)
        for rank, user in enumerate(row)
    }
    ranks = np.array([place[item, user] for user, item in zip(grid.users.tolist(), grid.items.tolist(), strict=True)])
    rows = []
    for k in sorted({k for k in (1, 2, 3, 5, 10, 20, 50, users) if k <= users}):
        some = ranks < k
        asked = Funnelled(grid.users[some], grid.items[some], grid.odds[some], grid.counts, 0.0)
        kept = asked.interactions(arguments.grid_keep)
        placed = place_items(plain, train, kept.events(int(train.interactions.times[-1])))
        found = measure({"it": placed.recommend(cut.split.test.queries, recipe.k)}, cut, recipe.k)
        recall = found.table.filter((pl.col("group") == COLD) & (pl.col("metric") == f"recall@{recipe.k}"))["mean"][0]
        rows.append({"users asked of each item": k, "share of the grid": k / users, "recall of cold items": recall})
    whole = rows[-1]["recall of cold items"]
    rows = [
        row | {"share of the grid's recall": row["recall of cold items"] / whole if whole else None} for row in rows
    ]
    write_json(
        recipe.out / "grid.json",
        {"rows": rows, "items": len(cut.world.items), "users": users, "model": recipe.models[0].name},
    )
    print(pl.DataFrame(rows), flush=True)


def report(run: Run) -> None:
    """Write the report and print tables and claims."""
    found, console = compare(run.recipe, stage), Console(width=160)
    found.save(run.recipe.out)
    path = write_cold_start(found, run.recipe.out / "report.html")
    for evaluation in found.plain.values():
        print_table(evaluation, console)
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=160, fmt_str_lengths=60):
        for frame in (content_table(found), found.truth, simulation_table(found), gain_table(found)):
            if frame is not None:
                print(frame)
    for line in (*warnings(found), *claims(found)):
        print(line)
    print(f"{found.seconds:.0f} s; report -> {path}", flush=True)


def claims(found: Compared) -> Iterator[str]:
    """Yield what was to be reached, and what was."""
    if found.truth is not None:
        rows = {row["source"]: row for row in found.truth.to_dicts()}
        said, content = rows["language model"], rows["content"]
        yield (
            f"accuracy of pairs {said['accuracy']:.3f} [{said['low']:.3f}, {said['high']:.3f}] (wanted {ACCURACY}), "
            f"content {content['accuracy']:.3f}, difference {said['difference']:+.3f}, p {said['p']:.4f}"
        )
    for model, evaluation in found.plain.items():
        recall, ndcg = evaluation.metrics
        cell = {(row["method"], row["metric"], row["group"]): row for row in evaluation.table.iter_rows(named=True)}
        for source in (LLM, TAKEN):
            name = label(model, source)
            if (name, recall, COLD) not in cell:
                continue
            plain, now = (cell[each, recall, COLD]["mean"] for each in (model, name))
            warm, kept = (cell[each, ndcg, WARM]["mean"] for each in (model, name))
            against = (
                found.content[model]
                .filter((pl.col("method") == name) & (pl.col("metric") == recall) & (pl.col("group") == COLD))
                .to_dicts()
                if model in found.content
                else []
            )
            control = f"{against[0]['difference']:+.4f}, p {against[0]['p_holm']:.4f}" if against else "none"
            times = f"{now / plain:.1f} times" if plain else "plain is 0"
            yield (
                f"{name}: {recall} of cold items {plain:.4f} -> {now:.4f} ({times}, wanted {TIMES:g}), against content "
                f"{control}; {ndcg} of warm items {kept / warm - 1:+.1%} (wanted no less than -{WARM_LOSS:.0%})"
            )


def tell_calls(recipe: EvaluateRecipe, arguments: argparse.Namespace) -> None:
    """Print how many prompts are still to be asked, and how long that takes at a pace."""
    grid = arguments.grid_items * arguments.grid_users if arguments.only in {None, "funnel"} else 0
    foreseen = {} if arguments.only == "funnel" else foresee(recipe, stage)
    calls = {name: each.cache_misses for name, each in foreseen.items()} | ({"grid, at most": grid} if grid else {})
    for name, count in calls.items():
        print(f"{name}: {count:,} calls")
    hours = sum(calls.values()) / arguments.pace / 3600
    print(f"all: {sum(calls.values()):,} calls, {hours:.1f} hours at {arguments.pace:g} a second", flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=tuple(MODELS))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMREC_DATA", "../shared/data")))
    parser.add_argument("--runs", type=Path, default=Path("runs/coldstart"))
    parser.add_argument("--name", default="run", help="folder of this run, for another engine or way of asking")
    parser.add_argument("--only", choices=STAGES)
    parser.add_argument("--cut", type=float, help="fraction of the events to train on.  [default: 0.7, gift 0.4]")
    parser.add_argument("--engine", default="transformers")
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--adapter", type=Path, help="of llmrec train tallrec")
    parser.add_argument("--embedder", default="sentence")
    parser.add_argument("--cache", type=Path, help="SQLite file of answers")
    parser.add_argument("--ask", choices=("likelihood", "yes-no"), default="likelihood")
    parser.add_argument("--users", choices=("random", "active", "content"), default="random")
    parser.add_argument("--pairs", type=int, nargs="+", default=[250, 1000])
    parser.add_argument("--truth", type=int, default=250, help="pairs of known truth")
    parser.add_argument("--neighbours", type=int, default=2, help="users asked of each cold item")
    parser.add_argument("--keep", type=int, default=1, help="interactions of each that are kept")
    parser.add_argument("--weights", type=float, nargs="+", default=[0.01, 0.03, 0.1, 0.3])
    parser.add_argument("--models", nargs="+", default=["bpr", "dssm", "sasrec"])
    parser.add_argument("--epochs", type=int, help="of all models, for a trial of the whole path")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--grid-items", type=int, default=30)
    parser.add_argument("--grid-users", type=int, default=100)
    parser.add_argument("--grid-keep", type=int, default=10)
    parser.add_argument("--pace", type=float, default=4.0, help="prompts a second, to tell how long it takes")
    parser.add_argument("--dry-run", action="store_true", help="tell the number of calls, and end")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    recipe = make_recipe(arguments)
    if arguments.dry_run or arguments.only in {None, "simulate", "funnel"}:
        tell_calls(recipe, arguments)
    if arguments.dry_run:
        return
    run = open_run(recipe, stage)
    stages = STAGES if arguments.only is None else (arguments.only,)
    if "simulate" in stages:
        simulate(run)
        run.attempt(f"{LLM}, test cut", lambda: run.simulations.pairs(run.test, max(recipe.pairs)))
        run.attempt(TAKEN, lambda: run.simulations.interactions(run.test, recipe.interactions))
        print(*run.simulations.spent.values(), sep="\n", flush=True)
    if "funnel" in stages:
        funnel(run, arguments)
    if "fit" in stages:
        fit_methods(run, fit_choices(run, simulate(run)))
    if "report" in stages:
        report(run)
    for name, message in run.failed.items():
        print(f"failed: {name}: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
