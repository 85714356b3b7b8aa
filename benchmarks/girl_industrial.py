"""GIRL on a catalogue: what a history leads to, described, finds items that nobody has bought; against its history.

    python benchmarks/girl_industrial.py --data FOLDER [--rows 800] [--warm 127] [--runs runs/girl-industrial]

``amazon-industrial``, the parts that ``tiger.py`` describes. A model is tuned to write the title and description (its
first 200 characters) of the next item, on ``--rows`` rows of training drawn at random and for one epoch; then it writes
two texts for each test history whose next item nobody had bought before validation (cold), and for ``--warm`` others.
Their mean vector asks for the nearest of all 3,686 items, beside the history's own text and the mean of its items.

The second table's baseline is the mean of the history's items, the first one's the text of the history. A killed call
goes on.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from tiger import load

from llmrec.config import make_config
from llmrec.data import Dataset, Split, Targets
from llmrec.eval.report import print_table
from llmrec.generate.describe import GenerateRecipe, generate_batch
from llmrec.generate.enhance_recall import recall_by_texts
from llmrec.generate.enhance_recipe import EnhanceRecipe
from llmrec.generate.enhance_sources import read_corpus, read_texts
from llmrec.generate.enhance_vectors import read_vectors
from llmrec.protocols import Watch
from llmrec.train.recipe import TallrecRecipe
from llmrec.train.tallrec import tune

EXAMPLES = {"kind": "describe-item", "history": 5, "ties": "order", "text_limit": 200}
TOKENS = 72
"""Of a text."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMREC_DATA", "../shared/data")))
    parser.add_argument("--runs", type=Path, default=Path("runs/girl-industrial"))
    parser.add_argument("--rows", type=int, default=800)
    parser.add_argument("--warm", type=int, default=127, help="test histories that lead to an item known before")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write_split(arguments)
    adapter, texts = sft(arguments), arguments.runs / "texts.parquet"
    if not texts.is_file():
        generate(arguments, adapter, texts)
    for context in ("text", "history"):
        recall(arguments, texts, context)


def write_split(arguments: argparse.Namespace) -> None:
    """Write the training part, 200 validation targets, and the test's cold targets with some warm ones."""
    if (arguments.runs / "split").is_dir():
        return
    train, _, targets = load(arguments.data / "amazon-industrial")
    train = described(train)
    rng, kept = np.random.default_rng(arguments.seed), {part: with_history(each) for part, each in targets.items()}
    warm = np.isin(kept["test"].relevant[:, 0], train.interactions.items)
    wanted = np.concatenate([np.flatnonzero(~warm), rng.permutation(np.flatnonzero(warm))[: arguments.warm]])
    valid = kept["valid"].select(np.sort(rng.permutation(len(kept["valid"]))[:200]))
    test = kept["test"].select(np.sort(wanted))
    Split(train, valid, test, {"rule": "as published"}).save(arguments.runs / "split")
    print(f"{(~warm).sum()} of {len(warm):,} test targets are cold; {len(test)} histories are asked", flush=True)


def described(data: Dataset) -> Dataset:
    """Return the catalogue with descriptions that begin with the title, out of the list that the file has as text."""
    plain = pl.col("description").str.replace_all(r"^\[['\"]|['\"]\]$", "").str.strip_chars()
    described = pl.when(plain.is_in(["", "[]"])).then(None).otherwise(plain)
    return replace(
        data,
        item_table=data.item_table.with_columns(
            description=pl.concat_str("title", described.fill_null(""), separator=". ")
        ),
    )


def with_history(targets: Targets) -> Targets:
    """Return the targets with something before them."""
    return targets.select(np.asarray((targets.queries.history >= 0).any(axis=1)))


def examples(part: str) -> dict[str, object]:
    return {**EXAMPLES, "part": part}


def sft(arguments: argparse.Namespace) -> Path:
    """Tune on descriptions; return the adapter's folder."""
    source = {"dataset": arguments.runs, "repeats": True}
    train = {**source, "examples": examples("train"), "rows": arguments.rows}
    stage = {"train": [train], "valid": {**source, "examples": examples("valid")}, "epochs": 1, "learning_rate": 3e-4}
    stage |= {"batch_size": 8, "evaluate_every": 50, "patience": None}
    recipe = {"out": arguments.runs / "sft", "max_length": 384, "stages": [stage], "seed": arguments.seed}
    done = tune(
        make_config(TallrecRecipe, recipe),
        report=lambda at, of, text: print(f"    {at} of {of}: {text}", flush=True),
    )
    print(f"sft: {done.seconds:.0f} s", flush=True)
    return Path(arguments.runs / "sft" / "adapter")


def generate(arguments: argparse.Namespace, adapter: Path, out: Path) -> None:
    recipe = {
        "contexts": {"dataset": arguments.runs, "examples": EXAMPLES, "parts": ["test"]},
        "out": out,
        "engine": {"name": "transformers", "adapter": str(adapter)},
        "cache": arguments.runs / "answers",
        "texts": 2,
        "max_tokens": TOKENS,
        "temperature": 1.0,
        "top_p": 0.9,
        "seed": arguments.seed,
    }
    run = generate_batch(make_config(GenerateRecipe, recipe))
    print(f"generate: {run.contexts} contexts, {run.seconds:.0f} s; {run.report}", flush=True)


def recall(arguments: argparse.Namespace, texts: Path, context: str) -> None:
    """Print recall over the whole catalogue, cold and warm targets apart."""
    settings = {"dataset": arguments.runs, "examples": EXAMPLES, "texts": texts, "context": context}
    settings |= {"out": arguments.runs / context, "columns": ["description"], "seed": arguments.seed}
    recipe = make_config(EnhanceRecipe, settings)
    corpus = read_corpus(recipe)
    written = read_texts(texts, corpus, "prompt")
    recipe.out.mkdir(parents=True, exist_ok=True)
    vectors = read_vectors(recipe.out / "vectors.safetensors", corpus, written, recipe, Watch(report=None))
    asked, targets = corpus.asked()
    found = recall_by_texts(vectors, corpus, recipe, asked, targets)
    found.save(recipe.out / "recall")
    print_table(found)


if __name__ == "__main__":
    main()
