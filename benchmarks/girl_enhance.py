"""GIRL's generation-enhanced recommendation: with generated texts against without, from a file of texts.

    python benchmarks/girl_enhance.py jobs --data FOLDER --write-contexts runs/girl/contexts.jsonl
    llmrec generate …, from these contexts, to runs/girl/texts.parquet
    python benchmarks/girl_enhance.py jobs --data FOLDER --texts runs/girl/texts.parquet [--seeds 3]
    python benchmarks/girl_enhance.py industrial --data FOLDER --texts runs/girl/texts-industrial.parquet

``jobs``: FOLDER's ``jobs/livecareer`` holds 2,484 parts of CVs in 24 categories (equal ones are taken once) and 14
postings, each of one category; the CVs of the categories with a posting are split by person, 70 : 15 : 15. A pair
matches where CV and posting are of one category: a weak label. Every CV meets every posting. The postings are the same
in all parts: what is new in the test is the person, and no item is cold.

``industrial``: ``amazon-industrial``, the parts that ``tiger.py`` describes: each target with the history before it,
against items drawn at random. What nobody chose before validation is cold.

Without ``--texts`` the contexts are their own generated texts: a dry run of the whole path, and a control, since a text
that says nothing new cannot help. A context's vector is that of its text for CVs, and the mean of its items' for
histories. Weights differ by seed: with several, each seed's numbers are printed, and the mean gain.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from girl_data import PARTS, asked, read_cvs, read_postings
from tiger import load

from llmrec.config import make_config
from llmrec.data import Split, Targets
from llmrec.data_prep.examples import ExamplesRecipe, make_examples
from llmrec.eval.report import print_table
from llmrec.generate.enhance_recipe import EnhanceRecipe
from llmrec.generate.enhance_run import Enhanced, enhance

CHARACTERS = 4000
EXAMPLES = {"kind": "describe-item", "history": 10, "ties": "order"}


def write_jobs(folder: Path, out: Path, seed: int) -> dict[str, Any]:
    """Write each part's pairs as labelled examples and return what the recipe says of them."""
    cvs, postings = asked(read_cvs(folder, seed), limit=CHARACTERS), read_postings(folder)
    pairs = cvs.join(postings.rename({"category": "of"}), how="cross")
    pairs = pairs.with_columns(label=pl.col("category") == pl.col("of"))
    out.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        rows = pairs.filter(part=part).select("prompt", "system", "completion", "label", "user", "item")
        rows.write_ndjson(out / f"{part}.jsonl")
    print(f"jobs: {dict(cvs.group_by('part').len().iter_rows())} CVs, {len(postings)} postings", flush=True)
    return {"texts_by": "user", **{part: str(out / f"{part}.jsonl") for part in PARTS}}


def write_industrial(folder: Path, out: Path, _: int) -> dict[str, Any]:
    """Write the split and return what the recipe says of it."""
    train, _, targets = load(folder)
    kept = {part: with_history(targets[part]) for part in ("valid", "test")}
    Split(train, kept["valid"], kept["test"], {"rule": "as published"}).save(out / "data" / "split")
    sizes = {part: len(each) for part, each in kept.items()}
    print(f"industrial: {len(train.interactions):,} events, {sizes} targets", flush=True)
    return {"texts_by": "prompt", "dataset": str(out / "data"), "examples": EXAMPLES, "context": "history"}


def with_history(targets: Targets) -> Targets:
    """Return the targets with something before them."""
    return targets.select(np.asarray((targets.queries.history >= 0).any(axis=1)))


def contexts_of(recipe: dict[str, Any]) -> pl.DataFrame:
    """Return system, prompt and user of all contexts, each once."""
    if "dataset" in recipe:
        split = Split.load(Path(recipe["dataset"]) / "split")
        made = (make_config(ExamplesRecipe, {**recipe["examples"], "part": part}) for part in PARTS)
        frames = [make_examples(split, each).frame for each in made]
    else:
        frames = [pl.read_ndjson(recipe[part]) for part in PARTS]
    rows = pl.concat(frame.select("system", "prompt", pl.col("user").cast(pl.String)) for frame in frames)
    return rows.unique(["prompt", "user"], keep="first", maintain_order=True)


def show(seed: int, done: Enhanced) -> dict[str, float]:
    """Print a run and return the gain in AUC of each form."""
    print(f"seed {seed}, {done.seconds:.0f} s: {dict(done.counts)}", flush=True)
    for found in (*(each.evaluation for each in done.matching.values()), *done.recall.values()):
        print_table(found)
    tables = {form: each.evaluation.table.filter(metric="auc") for form, each in done.matching.items()}
    return {form: float(table["difference"].drop_nulls()[0]) for form, table in tables.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=("jobs", "industrial"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMREC_DATA", "../shared/data")))
    parser.add_argument("--texts", type=Path, help="from llmrec generate; none: the contexts are their own texts")
    parser.add_argument(
        "--write-contexts", type=Path, metavar="FILE", help="write JSON lines to generate from, and end"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/girl-enhance"))
    parser.add_argument("--split-seed", type=int, default=0, help="of the split by person")
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    out = arguments.runs / arguments.set
    if arguments.set == "jobs":
        recipe = write_jobs(arguments.data / "jobs" / "livecareer", out, arguments.split_seed)
    else:
        recipe = write_industrial(arguments.data / "amazon-industrial", out, arguments.split_seed)
    contexts = contexts_of(recipe)
    if arguments.write_contexts:
        arguments.write_contexts.parent.mkdir(parents=True, exist_ok=True)
        contexts.write_ndjson(arguments.write_contexts)
        print(f"{len(contexts):,} contexts -> {arguments.write_contexts}")
        return
    texts = arguments.texts or out / "own.parquet"
    if arguments.texts is None:
        contexts.with_columns(text="prompt").write_parquet(texts)
    gains = []
    for seed in range(arguments.seeds):
        settings = {"out": str(out / "run"), "texts": str(texts), "seed": seed, **recipe}
        gains.append(show(seed, enhance(make_config(EnhanceRecipe, settings))))
    for form in gains[0]:
        each = [gain[form] for gain in gains]
        print(f"{form}: AUC {np.mean(each):+.4f} over {len(each)} seeds, {', '.join(f'{gain:+.4f}' for gain in each)}")


if __name__ == "__main__":
    main()
