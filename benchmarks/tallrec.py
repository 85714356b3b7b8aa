"""TALLRec: K-shot tuning on the paper's film questions, and what a training step costs.

    python benchmarks/tallrec.py --data FOLDER [--rows 16 64 256] [--seeds 0 1 2] [--runs runs/tallrec]
    python benchmarks/tallrec.py --data FOLDER --speed

FOLDER holds ``tallrec-movie``: train (rebuilt, 8,000 rows), valid and test, 1,000 each, of TALLRec (Bao et al., RecSys
2023). K rows are drawn from the seed, half yes, half no; validation stops and chooses, the test is asked once. A killed
call goes on where it stopped. ``--speed`` times loss and gradient of one batch against trl's own SFTTrainer.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import trl
from datasets import Dataset

from llmrec.config import make_config
from llmrec.data.files import read_json
from llmrec.llm.answer_head import AnswerHead
from llmrec.llm.models import resolve_model
from llmrec.llm.tokens import PromptTokenizer
from llmrec.train.lora import add_adapter, load_base
from llmrec.train.recipe import Source, TallrecRecipe
from llmrec.train.rows import TokenRows
from llmrec.train.sources import load_rows
from llmrec.train.stage import padding
from llmrec.train.tallrec import tune
from llmrec.train.trainer import AnswerTrainer, Collator

TUNING = {
    16: {"epochs": 20, "learning_rate": 1e-3, "batch_size": 8, "evaluate_every": 4, "patience": 4},
    64: {"epochs": 12, "learning_rate": 1e-3, "batch_size": 8, "evaluate_every": 12, "patience": 4},
    256: {"epochs": 6, "learning_rate": 1e-3, "batch_size": 8, "evaluate_every": 32, "patience": 3},
    8000: {"epochs": 2, "learning_rate": 5e-4, "batch_size": 16, "evaluate_every": 100, "patience": 4},
}
"""How each number of rows is tuned."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMREC_DATA", "../shared/data")))
    parser.add_argument("--rows", nargs="+", type=int, choices=TUNING, default=[16, 64, 256])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--valid-rows", type=int, default=1000)
    parser.add_argument("--runs", type=Path, default=Path("runs/tallrec"))
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--speed", action="store_true")
    arguments = parser.parse_args()
    if arguments.speed:
        measure_speed(arguments.data / "tallrec-movie")
        return
    for rows in arguments.rows:
        found = [run(arguments, rows, seed) for seed in arguments.seeds]
        print(f"{rows} rows: AUC {np.mean(found):.2f} ± {np.std(found):.2f} over seeds {arguments.seeds}", flush=True)


def run(arguments: argparse.Namespace, rows: int, seed: int) -> float:
    """Tune with one draw of rows, and return the test's AUC, times 100."""
    films, out = arguments.data / "tallrec-movie", arguments.runs / f"{rows}-{seed}"
    valid = {"rows": arguments.valid_rows} if arguments.valid_rows < 1000 else {}
    train = {"file": films / "train.rebuilt.json", **({"rows": rows} if rows < 8000 else {})}
    recipe = make_config(
        TallrecRecipe,
        {
            "out": out,
            "dtype": arguments.dtype,
            "seed": seed,
            "stages": [{"train": [train], "valid": {"file": films / "valid.json", **valid}, **TUNING[rows]}],
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


def measure_speed(films: Path, batch_size: int = 8, repeats: int = 3) -> None:
    """Print what loss and gradient of one batch take, ours and trl's, and by how much they differ."""
    recipe = make_config(TallrecRecipe, {"out": "unused", "dtype": "float32", "stages": [{"train": [{"file": films}]}]})
    tokens = PromptTokenizer(resolve_model(recipe.model))
    rows = load_rows(Source(file=films / "train.rebuilt.json", rows=batch_size), tokens, recipe.max_length, 0)
    base = load_base(recipe)
    ours = step_of_ours(add_adapter(base, recipe.lora, None).train(False), AnswerHead(base), tokens, rows)
    first = timed(ours, repeats)
    del ours, base
    theirs = step_of_trl(add_adapter(load_base(recipe), recipe.lora, None).train(False), tokens, rows)
    second = timed(theirs, repeats)
    print(f"ours: {first[0]:.2f} s, loss {first[1]:.6f}")
    print(f"trl:  {second[0]:.2f} s, loss {second[1]:.6f}, {second[0] / first[0]:.2f} x our time")
    print(json.dumps({"ours": first, "trl": second, "threads": torch.get_num_threads()}))


def step_of_ours(
    model: torch.nn.Module, head: AnswerHead, tokens: PromptTokenizer, rows: TokenRows
) -> Callable[[], float]:
    """Return a function that computes our loss and its gradient."""
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
    )
    batch = made.data_collator(list(made.train_dataset))
    return lambda: step(made, model, dict(batch))


def step_of_trl(model: torch.nn.Module, tokens: PromptTokenizer, rows: TokenRows) -> Callable[[], float]:
    """Return a function that computes trl's loss and its gradient."""
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
