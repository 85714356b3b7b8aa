"""A PPO run: its inputs checked before the model is loaded, its folder claimed, its result kept."""

from __future__ import annotations

import time

from accelerate.utils import parse_flag_from_env

from llmrec.errors import ConfigError
from llmrec.llm.adapters import resolve_adapter
from llmrec.llm.models import resolve_model
from llmrec.llm.tokens import PromptTokenizer
from llmrec.protocols import Reward
from llmrec.train.claim import claim, require_same, require_same_rows
from llmrec.train.contexts import load_contexts
from llmrec.train.lora import require_base, save_adapter
from llmrec.train.policy import build_policy
from llmrec.train.ppo import Ppo
from llmrec.train.ppo_recipe import PpoRecipe
from llmrec.train.ppo_record import Optimised, read_optimised, write_optimised
from llmrec.train.processes import join, together
from llmrec.train.record import ADAPTER
from llmrec.train.rewards import Weighted, load_rewards
from llmrec.train.rows import TokenRows
from llmrec.train.watching import Report


def optimise(recipe: PpoRecipe, *, reward: Reward | None = None, report: Report | None = None) -> Optimised:
    """Tune an adapter by PPO; killed, the same call goes on, and a run that is over is read back.

    The run folder gets ``adapter``, ``history.json``, ``curves.html`` and ``run.json``. What everything depends on is
    read and checked before the model is loaded.

    Args:
        recipe: what to learn from, and how.
        reward: judges answers in place of the recipe's ``rewards``.
        report: told how it goes.

    Raises:
        LlmrecError: an input cannot be used, the model does not fit into memory, the run folder is another recipe's, a
            reward is not a finite number for each answer, or the loss is not a number.
    """
    start = time.perf_counter()
    join(recipe.device)
    with together():
        require_same(recipe)
        before = read_optimised(recipe)
    if before is not None:
        return before
    with together():
        parts, tokens, contexts, rows = _read(recipe, reward)
    with together():
        policy = build_policy(recipe)
    trainer = Ppo(recipe, policy, tokens, contexts, parts)
    if trainer.first:
        claim(recipe, rows)
    counts = {"prompts": len(contexts)} | {name: count for name, count in contexts.counts.items() if count}
    done = trainer.run(report)
    save_adapter(policy.model, recipe.out / ADAPTER, tokens.name)
    result = Optimised(recipe.out / ADAPTER, done, counts, time.perf_counter() - start)
    if trainer.first:
        write_optimised(recipe, result)
    return result


def _read(
    recipe: PpoRecipe, reward: Reward | None
) -> tuple[list[Weighted], PromptTokenizer, TokenRows, dict[str, str]]:
    """Return rewards, tokenizer, prompts, and what tells the inputs from others; what is wrong is said."""
    _require_possible(recipe)
    parts = [Weighted("reward", reward)] if reward is not None else _named(recipe)
    tokens = PromptTokenizer(resolve_model(recipe.model))
    length, room = recipe.max_length, recipe.max_tokens
    contexts = load_contexts(recipe.prompts, tokens, max_length=length, room=room, seed=recipe.seed)
    rows = {"prompts": contexts.digest()} | _start_digest(recipe, tokens)
    require_same_rows(recipe.out, rows)
    require_base(recipe)
    return parts, tokens, contexts, rows


def _require_possible(recipe: PpoRecipe) -> None:
    if recipe.gradient_checkpointing:
        raise ConfigError(
            "gradient_checkpointing = true with PPO",
            expected="false: models checkpoint in training mode only, which PPO never is in",
            cure="lower batch_size and raise accumulation to save memory",
        )
    if parse_flag_from_env("ACCELERATE_USE_FSDP"):
        raise ConfigError(
            "PPO under FSDP", expected="a whole model in each process", cure="launch with configs/accelerate/ddp.yaml"
        )


def _start_digest(recipe: PpoRecipe, tokens: PromptTokenizer) -> dict[str, str]:
    return {} if recipe.start is None else {"start": resolve_adapter(str(recipe.start), tokens.name).digest}


def _named(recipe: PpoRecipe) -> list[Weighted]:
    return load_rewards(recipe.rewards, device=recipe.device, dtype=recipe.dtype)
