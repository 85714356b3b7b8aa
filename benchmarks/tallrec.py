"""TALLRec: K-shot tuning on the paper's film questions, and what a training step costs.

    python benchmarks/tallrec.py --data FOLDER [--rows 16 64 256] [--seeds 0 1 2] [--runs runs/tallrec]
    python benchmarks/tallrec.py --data FOLDER --first 3000
    python benchmarks/tallrec.py --data FOLDER --speed

FOLDER holds ``tallrec-movie``: train (rebuilt, 8,000 rows), valid and test, 1,000 each, of TALLRec (Bao et al., RecSys
2023). K rows are drawn from the seed, half yes, half no; validation stops and chooses, the test is asked once. A killed
call goes on where it stopped.

``--first N`` is the paper's other stage before that, one for all runs: N questions of the same form on the ratings of
``movielens-latest-small``, of users none of whom was there in the months of TALLRec's data (MovieLens 100K: September
1997 to April 1998). Its result is another base model; with 0 rows it is asked as it is.

``--speed`` times loss and gradient of one batch against trl's own SFTTrainer.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
import trl
from datasets import Dataset

from llmrec.config import make_config
from llmrec.data.files import read_json
from llmrec.data_prep.examples import Examples, yes_no_from_ratings
from llmrec.data_prep.movielens import load_movielens
from llmrec.eval.yes_no import auc
from llmrec.llm.answer_head import AnswerHead
from llmrec.llm.models import resolve_model
from llmrec.llm.tokens import PromptTokenizer
from llmrec.llm.transformers import TransformersConfig, TransformersEngine
from llmrec.rank.yes_no import score_yes_no
from llmrec.train.lora import add_adapter, load_base, merge
from llmrec.train.recipe import Source, TallrecRecipe
from llmrec.train.rows import TokenRows
from llmrec.train.sources import load_rows
from llmrec.train.stage import padding
from llmrec.train.tallrec import tune
from llmrec.train.trainer import AnswerTrainer, Collator

TUNING = {
    16: {"epochs": 6, "batch_size": 4, "evaluate_every": 12},
    64: {"epochs": 4, "batch_size": 4, "evaluate_every": 32},
    256: {"epochs": 2, "batch_size": 8, "evaluate_every": 32},
    8000: {"epochs": 1, "batch_size": 16, "evaluate_every": 100},
}
"""How each number of rows is tuned; what a stage before has taught is left standing by a tenth of the learning rate."""
FIRST = {"epochs": 1, "learning_rate": 1e-3, "batch_size": 8, "evaluate_every": 100, "patience": None}
"""How the stage before is."""
LAST_MOMENT = 894_000_000
"""After the newest rating of MovieLens 100K, in Unix seconds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMREC_DATA", "../shared/data")))
    parser.add_argument("--rows", nargs="+", type=int, choices=[0, *TUNING], default=[16, 64, 256])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--first", type=int, default=0, metavar="N", help="rows of a stage before")
    parser.add_argument("--valid-rows", type=int, default=300, help="that stop and choose, of 1,000")
    parser.add_argument("--runs", type=Path, default=Path("runs/tallrec"))
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--speed", action="store_true")
    arguments = parser.parse_args()
    if arguments.speed:
        measure_speed(arguments.data / "tallrec-movie")
        return
    arguments.model = first_stage(arguments) if arguments.first else "gemma-3-270m"
    for rows in arguments.rows:
        if not rows:
            ask(arguments)
            continue
        found = [run(arguments, rows, seed) for seed in arguments.seeds]
        print(f"{rows} rows: AUC {np.mean(found):.2f} ± {np.std(found):.2f} over seeds {arguments.seeds}", flush=True)


def ask(arguments: argparse.Namespace) -> None:
    """Print the test's AUC of the model as it is, times 100."""
    engine = TransformersEngine(TransformersConfig(model=str(arguments.model), dtype=arguments.dtype))
    found = score_yes_no(engine, Examples.load(arguments.data / "tallrec-movie" / "test.json"))
    print(f"0 rows: AUC {100 * auc(found.labels, found.scores):.2f}", flush=True)


def run(arguments: argparse.Namespace, rows: int, seed: int) -> float:
    """Tune with one draw of rows, and return the test's AUC, times 100."""
    films, name = arguments.data / "tallrec-movie", f"{arguments.first}-{rows}-{seed}"
    out = arguments.runs / name
    valid = {"rows": arguments.valid_rows} if arguments.valid_rows < 1000 else {}
    train = {"file": films / "train.rebuilt.json", **({"rows": rows} if rows < 8000 else {})}
    recipe = make_config(
        TallrecRecipe,
        {
            "out": out,
            "model": str(arguments.model),
            "dtype": arguments.dtype,
            "seed": seed,
            "stages": [
                {
                    "train": [train],
                    "valid": {"file": films / "valid.json", **valid},
                    "learning_rate": 1e-4 if arguments.first else 1e-3,
                    **TUNING[rows],
                }
            ],
            "test": {"file": films / "test.json", "repeats": True},
        },
    )
    start = time.perf_counter()
    if not (out / "run.json").is_file():
        tune(recipe)
    record = read_json(out / "run.json")
    row = next(row for row in record["test"] if row["metric"] == "auc")
    print(
        f"    {rows} rows, seed {seed}: valid {record['best']}, test AUC {100 * row['mean']:.2f} "
        f"[{100 * row['low']:.1f}, {100 * row['high']:.1f}], {time.perf_counter() - start:.0f} s",
        flush=True,
    )
    return float(100 * row["mean"])


def first_stage(arguments: argparse.Namespace) -> Path:
    """Tune with other people's ratings, or take what an earlier call has tuned; return the folder of the model."""
    folder = arguments.runs / f"first-{arguments.first}"
    files = {part: arguments.runs / f"latest-small.{part}.jsonl" for part in ("train", "valid")}
    if (folder / "model").is_dir():
        return folder / "model"
    if not files["valid"].is_file():
        raw = arguments.data / "movielens-latest-small"
        data = load_movielens(raw)
        titles = pl.read_csv(raw / "movies.csv", columns=["movieId", "title"])  # as TALLRec writes them
        table = pl.DataFrame({"movieId": data.items.decode(np.arange(len(data.items)))}).join(
            titles, on="movieId", how="left", maintain_order="left"
        )
        events = data.interactions
        early = np.unique(events.users[events.times < LAST_MOMENT])
        later = replace(
            data, interactions=events.select(~np.isin(events.users, early)), item_table=table.select("title")
        )
        rows = yes_no_from_ratings(later, window=10, like_above=3.0, template="tallrec-movie").frame
        for_valid = pl.col("user").hash(0) % 10 == 0
        Examples(rows.filter(~for_valid)).save(files["train"])
        Examples(rows.filter(for_valid).sample(300, seed=0)).save(files["valid"])
    stage = {"train": [{"file": files["train"], "rows": arguments.first, "repeats": True}], **FIRST}
    stage["valid"] = {"file": files["valid"], "repeats": True}
    recipe = make_config(TallrecRecipe, {"out": folder, "dtype": arguments.dtype, "stages": [stage]})
    tuned = tune(recipe, report=lambda done, of, text: print(f"    {done} of {of}: {text}", flush=True))
    merge(tuned.adapter, folder / "model", recipe.model)
    return folder / "model"


def measure_speed(films: Path, batch_size: int = 8, repeats: int = 3) -> None:
    """Print what loss and gradient of one batch take: ours, trl's, and ours with a base in bfloat16."""
    recipe = make_config(TallrecRecipe, {"out": "unused", "dtype": "float32", "stages": [{"train": [{"file": films}]}]})
    tokens = PromptTokenizer(resolve_model(recipe.model))
    rows = load_rows(Source(file=films / "train.rebuilt.json", rows=batch_size), tokens, recipe.max_length, 0)
    found = {"ours": timed(step_of_ours(recipe, tokens, rows), repeats)}
    found["trl"] = timed(step_of_trl(recipe, tokens, rows), repeats)
    half = recipe.model_copy(update={"dtype": "bfloat16"})
    found["ours, bfloat16, layers of the adapter in float32"] = timed(step_of_ours(half, tokens, rows), repeats)
    found["ours, bfloat16"] = timed(step_of_ours(half, tokens, rows, mixed=True), repeats)
    for name, (seconds, loss) in found.items():
        print(f"{name}: {seconds:.2f} s, loss {loss:.6f}, {seconds / found['ours'][0]:.2f} x our time in float32")
    print(json.dumps({**found, "threads": torch.get_num_threads()}))


def step_of_ours(
    recipe: TallrecRecipe, tokens: PromptTokenizer, rows: TokenRows, *, mixed: bool = False
) -> Callable[[], float]:
    """Return a function that computes our loss and its gradient."""
    base = load_base(recipe)
    head, model = AnswerHead(base), add_adapter(base, recipe.lora, None).train(False)
    made = AnswerTrainer(
        head,
        rows,
        None,
        {
            "model": model,
            "args": settings(),
            "data_collator": Collator(padding(tokens)),
            "processing_class": tokens.tokenizer,
        },
        mixed=mixed,
    )
    batch = made.data_collator(list(made.train_dataset))
    return lambda: step(made, model, dict(batch))


def step_of_trl(recipe: TallrecRecipe, tokens: PromptTokenizer, rows: TokenRows) -> Callable[[], float]:
    """Return a function that computes trl's loss and its gradient."""
    model = add_adapter(load_base(recipe), recipe.lora, None).train(False)
    pairs = list(zip(rows.prompts, rows.answers, strict=True))
    made = trl.SFTTrainer(
        model=model,
        args=settings(),
        train_dataset=Dataset.from_dict(
            {
                "input_ids": [prompt + answer for prompt, answer in pairs],
                "labels": [[-100] * len(prompt) + answer for prompt, answer in pairs],
            }
        ),
        processing_class=tokens.tokenizer,
    )
    batch = made.data_collator(list(made.train_dataset))
    return lambda: step(made, model, dict(batch))


def settings() -> trl.SFTConfig:
    """Return the settings of both trainers."""
    return trl.SFTConfig(
        output_dir="unused",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        max_length=None,
        completion_only_loss=True,
        remove_unused_columns=False,
        report_to="none",
        dataset_kwargs={"skip_prepare_dataset": True},
    )


def step(trainer: trl.SFTTrainer, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> float:
    """Return the loss of a batch; its gradient is computed too."""
    model.zero_grad()
    loss = trainer.compute_loss(model, batch)
    loss.backward()
    return float(loss.detach())


def timed(work: Callable[[], float], repeats: int) -> tuple[float, float]:
    """Return the best of some seconds, and the loss."""
    loss = work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        loss = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), loss


if __name__ == "__main__":
    main()
