"""Small PPO runs: prompts, a reward for one letter, and a model whose first answers are anything."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from tuning import save

from llmrec.config import make_config
from llmrec.llm.tokens import PromptTokenizer
from llmrec.train.contexts import load_contexts
from llmrec.train.policy import build_policy
from llmrec.train.ppo import Ppo
from llmrec.train.ppo_recipe import PpoRecipe
from llmrec.train.rewards import Weighted

LENGTH = 8


def asks(n):
    """Prompts of unlike lengths, all different."""
    return [{"prompt": f"{'word ' * (number % 4)}{number}:\n"} for number in range(n)]


def share_of_a(prompts, completions, **columns):
    """The share of an answer's places that hold an a."""
    return [text.count("a") / LENGTH for text in completions]


def scrambled(prompts, completions, **columns):
    """A number from 0 to 1 of each answer, as good as drawn at random."""
    return [sum(map(ord, text)) % 7 / 6 for text in completions]


def words(log):
    """A log without how long things took."""
    return [{key: value for key, value in entry.items() if not key.endswith("_seconds")} for entry in log]


def loosened(tiny_model, folder, *, size=0.3, end=None):
    """The tiny model with smaller logits, so that many tokens are likely; with ``end`` it ends at once or never.

    Args:
        tiny_model: its folder.
        folder: to write.
        size: of the logits.
        end: True or False.
    """
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    model.model.norm.weight.data = (1 + model.model.norm.weight.data) * size - 1
    if end is not None:
        # All embeddings, which are the head too, get one large number in common: so do all hidden states, and the end
        # token's row has more of it than others, or less.
        weight = model.get_input_embeddings().weight.data
        weight[:, 0] += 20
        weight[2, 0] += 20 if end else -60
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return str(folder)


def ppo_recipe(model, folder, *, n=40, **changed):
    """A recipe for a small model, quick to learn the letter a."""
    values = {
        "out": folder / "run",
        "model": str(model),
        "device": "cpu",
        "dtype": "float32",
        "prompts": {"file": str(save(folder / "asks.jsonl", asks(n)))},
        "steps": 4,
        "rollout": 8,
        "batch_size": 8,
        "epochs": 2,
        "max_tokens": LENGTH,
        "max_length": 64,
        "learning_rate": 1e-2,
        "value_learning_rate": 1e-2,
        "checkpoint_every": 1,
    }
    return make_config(PpoRecipe, values | changed)


def ppo_of(recipe, reward=scrambled, sampler=None):
    """The loop of a recipe, ready for its first step."""
    tokens = PromptTokenizer(recipe.model)
    contexts = load_contexts(
        recipe.prompts, tokens, max_length=recipe.max_length, room=recipe.max_tokens, seed=recipe.seed
    )
    return Ppo(recipe, build_policy(recipe), tokens, contexts, [Weighted("reward", reward)], sampler)


def environment():
    """Of processes that run a recipe: they find this module's rewards, and compute with as many threads."""
    here = str(Path(__file__).parent)
    paths = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": str(torch.get_num_threads())}


def kill_when_there(command, path):
    """Run a command, SIGKILL it as soon as a path is there; it must not have ended by itself."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()) as process:
        deadline = time.monotonic() + 120
        while not path.exists():
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline, "no checkpoint"
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
