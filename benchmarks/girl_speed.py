"""A step of PPO against its bare model calls: ``girl.py --speed``."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch.nn import functional

from llmrec.config import make_config
from llmrec.llm.models import resolve_model
from llmrec.llm.tokens import PromptTokenizer
from llmrec.train.contexts import load_contexts
from llmrec.train.finite import precision
from llmrec.train.policy import build_policy
from llmrec.train.ppo import Ppo
from llmrec.train.ppo_recipe import PpoRecipe
from llmrec.train.rewards import Weighted, distinct_words
from llmrec.train.rollouts import Batch

ROWS, PROMPT, ANSWER = 8, 64, 32


def measure_speed(repeats: int = 3) -> None:
    """Print what a step takes, in parts, and what the same model calls take without PPO around them."""
    trainer = make_trainer()
    numbers, answers = trainer.draw()
    rollout = trainer.score(numbers, answers)
    batch = Batch.of(rollout, list(range(ROWS)), trainer.padding)
    calls = {"rollout": lambda: bare_rollout(trainer, batch), "scoring": lambda: bare_scoring(trainer, batch)}
    calls["update"] = lambda: bare_update(trainer, batch)
    parts, bare = {name: [] for name in calls}, {name: [] for name in calls}
    for _ in range(repeats):
        entry = trainer.step()
        for name, call in calls.items():
            parts[name].append(entry[f"{name}_seconds"])
            bare[name].append(timed(call))
    ours, theirs = ({name: float(np.median(each)) for name, each in of.items()} for of in (parts, bare))
    for name in calls:
        print(f"{name}: {ours[name]:.2f} s, bare {theirs[name]:.2f} s, {ours[name] / theirs[name]:.2f} times")
    ratio = sum(ours.values()) / sum(theirs.values())
    print(f"step: {sum(ours.values()):.2f} s, bare {sum(theirs.values()):.2f} s, {ratio:.2f} times", flush=True)


def make_trainer() -> Ppo:
    """Return a trainer with prompts of ``PROMPT`` tokens or nearly so, whose answers never end early."""
    tokens = PromptTokenizer(resolve_model("gemma-3-270m"))
    folder = Path(tempfile.mkdtemp())
    words = [f" film{number}" for number in range(400)]
    prompts = []
    for row in range(ROWS * 8):
        ids = tokens.tokenizer("".join(words[row:]), add_special_tokens=False).input_ids
        prompts.append(tokens.tokenizer.decode(ids[: PROMPT - 1]))  # and one that begins a text
    pl.DataFrame({"prompt": prompts, "completion": ["x"] * len(prompts)}).write_ndjson(folder / "rows.jsonl")
    recipe = make_config(
        PpoRecipe,
        {
            "out": folder / "run",
            "prompts": {"file": folder / "rows.jsonl", "repeats": True},
            "steps": 100,
            "rollout": ROWS,
            "batch_size": ROWS,
            "epochs": 1,
            "max_tokens": ANSWER,
            "max_length": 256,
        },
    )
    contexts = load_contexts(recipe.prompts, tokens, max_length=256, room=ANSWER, seed=0)
    trainer = Ppo(recipe, build_policy(recipe), tokens, contexts, [Weighted("words", distinct_words)])
    trainer.sampler.base.generation_config.min_new_tokens = ANSWER  # the same work each time
    return trainer


def bare_rollout(trainer: Ppo, batch: Batch) -> None:
    """Let transformers take the likeliest token each time: model calls and next to nothing else."""
    base, ids = trainer.policy.model.get_base_model(), batch.ids[:, :-ANSWER]
    more = {"do_sample": False, "min_new_tokens": ANSWER, "max_new_tokens": ANSWER}
    with torch.no_grad(), precision(trainer.policy.model, "cpu", mixed=trainer.policy.mixed):
        base.generate(input_ids=ids, attention_mask=batch.mask[:, :-ANSWER], **more)


def loss_of(trainer: Ppo, batch: Batch) -> torch.Tensor:
    """Return the mean log-loss of the answers, the model's head read at them only."""
    with precision(trainer.policy.model, "cpu", mixed=trainer.policy.mixed):
        logits = trainer.policy.model(input_ids=batch.ids, attention_mask=batch.mask, logits_to_keep=ANSWER + 1).logits[
            :, :-1
        ]
    return functional.cross_entropy(logits.float().flatten(0, 1), batch.ids[:, -ANSWER:].flatten())


def bare_scoring(trainer: Ppo, batch: Batch) -> None:
    """Read the answers twice, as policy and as reference."""
    with torch.no_grad():
        loss_of(trainer, batch)
        with trainer.policy.as_reference():
            loss_of(trainer, batch)


def bare_update(trainer: Ppo, batch: Batch) -> None:
    """Compute a gradient; the optimiser's step is of the adapter alone and takes no time."""
    loss_of(trainer, batch).backward()
    trainer.optimizer.zero_grad()


def timed(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
