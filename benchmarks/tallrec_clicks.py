"""TALLRec on clicks and purchases: the tuned model against popularity and itself before tuning, paired.

    python benchmarks/tallrec_clicks.py mind --data FOLDER [--objective next-item] [--rows 2000] [--runs FOLDER]
    python benchmarks/tallrec_clicks.py industrial --data FOLDER

``mind``: FOLDER's ``mind-sample`` holds 5,000 impressions of MIND-small's training part, and 100 others of 10 news each
whose titles are all known: the test. Of the 5,000 only news with a title are kept, and only impressions with a click
and another news left; the last tenth of these in time is validation. ``industrial``: ``amazon-industrial``, the parts
that ``tiger.py`` describes; is the next product this one, or one drawn at random? 500 test targets, two rows each.

``--objective yes-no`` asks what ``llmrec rank --strategy pointwise`` asks; ``next-item`` learns each next title of a
list of clicks or purchases, and scores as ``--strategy likelihood --set score=calibrated`` does: what a title's
log-probability gains by the history. Each is compared with the model before tuning, asked alike, and with popularity.
Epochs and learning rate were chosen on validation; ``--part valid`` reports on it. A killed call goes on.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from tiger import load

from llmrec.classic.recall.base.history import popularity
from llmrec.config import make_config
from llmrec.data import Candidates, Dataset, Queries, Targets
from llmrec.data_prep.examples import Examples, next_item, yes_no_from_impressions
from llmrec.data_prep.examples.unwritten import Unwritten
from llmrec.data_prep.mind import load_mind
from llmrec.eval.yes_no import Predictions
from llmrec.eval.yes_no_compare import evaluate_yes_no
from llmrec.llm.transformers import TransformersConfig, TransformersEngine
from llmrec.rank.likelihood import LikelihoodConfig, LikelihoodRanker
from llmrec.rank.yes_no import score_yes_no
from llmrec.train.recipe import TallrecRecipe
from llmrec.train.tallrec import tune

TEMPLATE = "pointwise-yes-no"
TUNING = {
    "yes-no": {"epochs": 1, "learning_rate": 1e-3, "batch_size": 8, "evaluate_every": 40, "patience": None},
    "next-item": {
        "epochs": 1,
        "learning_rate": 1e-3,
        "batch_size": 4,
        "accumulation": 2,
        "evaluate_every": 25,
        "patience": None,
    },
}
HISTORY = {"mind": 10, "industrial": 5}
"""Titles that a question reads."""
TITLES = 20
"""Of an answer, where the next ones are learnt."""


@dataclass(frozen=True)
class Asked:
    """Yes/no questions, in words, and as histories and items."""

    examples: Examples
    titles: list[str]
    queries: Queries
    items: np.ndarray

    @classmethod
    def of(cls, drafted: Unwritten, wanted: np.ndarray | None = None) -> Asked:
        """Return some of the rows; None takes all."""
        rows = np.arange(len(drafted)) if wanted is None else np.flatnonzero(wanted)
        frame, kept, _ = drafted.write_rows(rows)
        queries = Queries(drafted.rows.users[kept], drafted.rows.history[kept])
        return cls(Examples(frame), drafted.data.titles(), queries, drafted.items[kept])


@dataclass(frozen=True)
class Questions:
    """Rows to learn from, to choose by and to report on, with the training part."""

    train: Examples
    valid: Asked
    test: Asked
    data: Dataset
    popularity: dict[str, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=HISTORY)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMREC_DATA", "../shared/data")))
    parser.add_argument("--objective", choices=TUNING, default="next-item")
    parser.add_argument("--rows", type=int, default=2000, help="at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/tallrec-clicks"))
    parser.add_argument("--part", choices=("test", "valid"), default="test")
    parser.add_argument("--dtype", default="auto")
    arguments = parser.parse_args()
    runs = arguments.runs / arguments.set
    asked = mind(arguments.data, runs) if arguments.set == "mind" else industrial(arguments.data)
    adapter = tuned(asked, arguments, runs)
    part: Asked = getattr(asked, arguments.part)
    examples = part.examples
    counts = [asked.popularity.get(str(item), 0) for item in examples.frame["item"]]
    rows = examples.frame.with_columns(row=pl.int_range(pl.len()))
    methods = {
        "popularity": Predictions.of(rows, np.log1p(np.array(counts, np.float64))),
        "zero-shot": scores(part, None, arguments),
        "tuned": scores(part, adapter, arguments),
    }
    for baseline in ("popularity", "zero-shot"):
        found = evaluate_yes_no(methods, baseline=baseline)
        with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=160):
            print(found.evaluation.table.filter(pl.col("metric").is_in(["auc", "gauc"])))


def scores(part: Asked, adapter: Path | None, arguments: argparse.Namespace) -> Predictions:
    name = None if adapter is None else str(adapter)
    engine = TransformersEngine(TransformersConfig(adapter=name, dtype=arguments.dtype))
    if arguments.objective == "yes-no":
        return score_yes_no(engine, part.examples)
    settings = LikelihoodConfig(score="calibrated", history=HISTORY[arguments.set])
    ranker = LikelihoodRanker(engine, part.titles, settings)
    items = part.items[:, None]
    found = ranker.rank(part.queries, Candidates(items, np.full(items.shape, np.nan, np.float32)))
    rows = part.examples.frame.with_columns(row=pl.int_range(pl.len()))
    return Predictions.of(rows, found.scores[:, 0].astype(np.float64))


def tuned(asked: Questions, arguments: argparse.Namespace, runs: Path) -> Path:
    """Tune, or take what an earlier call has tuned; return the adapter's folder."""
    out = runs / f"{arguments.objective}-{arguments.rows}-{arguments.seed}"
    if (out / "run.json").is_file():
        return out / "adapter"
    learnt = parts_to_learn(asked, arguments)
    files = {part: rows.save(runs / f"{arguments.objective}.{part}.jsonl") for part, rows in learnt.items()}
    train = {"file": files["train"], "repeats": True}
    if arguments.rows < len(learnt["train"]):
        train["rows"] = arguments.rows
    stage = {"train": [train], "valid": {"file": files["valid"], "repeats": True}, **TUNING[arguments.objective]}
    settings = {"out": out, "dtype": arguments.dtype, "seed": arguments.seed, "max_length": 1024, "stages": [stage]}
    start = time.perf_counter()
    tune(
        make_config(TallrecRecipe, settings),
        report=lambda done, of, text: print(f"    {done} of {of}: {text}", flush=True),
    )
    print(f"    tuned in {time.perf_counter() - start:,.0f} s", flush=True)
    return out / "adapter"


def parts_to_learn(asked: Questions, arguments: argparse.Namespace) -> dict[str, Examples]:
    """Return what is tuned on and what chooses; for next items that is one user in twenty."""
    if arguments.objective == "yes-no":
        return {"train": asked.train, "valid": asked.valid.examples}
    rows = next_item(asked.data, titles=TITLES, history=HISTORY[arguments.set], ties="order").frame
    chooses = pl.col("user").hash(0) % 20 == 0
    return {"train": Examples(rows.filter(~chooses)), "valid": Examples(rows.filter(chooses))}


def mind(data: Path, runs: Path) -> Questions:
    """Return the questions on news."""
    folder = data / "mind-sample"
    news = [
        folder / "news.tsv",
        folder / "news_extra_from_recprompt.tsv",
        folder / "impressions-with-text" / "news.tsv",
    ]
    behaviors = {"train": folder / "behaviors.tsv", "test": folder / "impressions-with-text" / "behaviors_valid.tsv"}
    lines = {line.split("\t")[0]: line for path in reversed(news) for line in path.read_text("utf-8").splitlines()}
    parts: dict[str, Dataset] = {}
    for part, path in behaviors.items():
        place = runs / "titled" / part
        place.mkdir(parents=True, exist_ok=True)
        (place / "news.tsv").write_text("".join(f"{line}\n" for line in lines.values()), "utf-8")
        kept = filter(None, (titled(line, lines.keys()) for line in path.read_text().splitlines()))
        (place / "behaviors.tsv").write_text("".join(kept))
        parts[part] = load_mind(place, times="clock" if part == "train" else "order")
    options = {"template": TEMPLATE, "history": HISTORY["mind"]}
    train, moments = parts["train"], parts["train"].impressions.times
    cut = int(np.sort(moments)[int(0.9 * len(moments))])
    before = train.interactions.select(train.interactions.times < cut)
    valid = yes_no_from_impressions.draft(train, per_click=4, **options)
    return Questions(
        Examples(yes_no_from_impressions(train, per_click=2, **options).frame.filter(pl.col("time") < cut)),
        Asked.of(valid, valid.rows.times >= cut),
        Asked.of(yes_no_from_impressions.draft(parts["test"], per_click=9, **options)),
        replace(train, interactions=before),
        by_item(train),
    )


def titled(line: str, known: set[str]) -> str | None:
    """Return an impression with only what has a title; None where that leaves no click or nothing else."""
    number, user, moment, history, shown = line.split("\t")
    left = [each for each in shown.split() if each[:-2] in known]
    if len({each[-1] for each in left}) < 2:
        return None
    return (
        "\t".join(
            (number, user, moment, " ".join(item for item in history.split() if item in known), *[" ".join(left)])
        )
        + "\n"
    )


def industrial(data: Path) -> Questions:
    """Return the questions on products."""
    train, _, targets = load(data / "amazon-industrial")
    options = {"negatives": "random", "template": TEMPLATE, "history": HISTORY["industrial"]}
    draft = yes_no_from_impressions.draft
    return Questions(
        yes_no_from_impressions(train, targets=each_event(train), **options),
        Asked.of(draft(train, targets=targets["valid"].sample(300, seed=0), seed=1, **options)),
        Asked.of(draft(train, targets=targets["test"].sample(500, seed=0), seed=2, **options)),
        train,
        by_item(train),
    )


def each_event(data: Dataset) -> Targets:
    """Return every event with an earlier one of its user as a target behind what came before."""
    events = data.interactions
    past: dict[int, list[int]] = {}
    histories, users, truths = [], [], []
    for user, item in zip(events.users.tolist(), events.items.tolist(), strict=True):
        if before := past.setdefault(user, []):
            histories.append(before[-HISTORY["industrial"] :])
            users.append(user)
            truths.append([item])
        before.append(item)
    return Targets(Queries.from_histories(histories, users), np.array(truths))


def by_item(data: Dataset) -> dict[str, int]:
    """Return how many users had each item."""
    return dict(zip(map(str, data.items.decode(np.arange(len(data.items)))), popularity(data).tolist(), strict=True))


if __name__ == "__main__":
    main()
