"""GRPO and RLOO through trl: of several answers to a prompt those above the others become likelier; resumable.

Papers: Shao et al., DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models, 2024 (GRPO);
Ahmadian et al., Back to Basics: Revisiting REINFORCE Style Optimization for Learning from Human Feedback in LLMs, ACL
2024 (RLOO). Prompts, rewards and settings are those of PPO, but for what only it has (a value head, an adaptive price).
"""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import set_seed
from transformers import PrinterCallback

from llmrec.config import write_run
from llmrec.data.files import write_json
from llmrec.data_prep.examples.table import prompts_of
from llmrec.errors import ConfigError
from llmrec.llm.adapters import resolve_adapter
from llmrec.llm.device import choose_device
from llmrec.llm.models import resolve_model
from llmrec.llm.tokens import PromptTokenizer
from llmrec.protocols import Reward
from llmrec.train.claim import claim, require_same, require_same_rows
from llmrec.train.contexts import load_contexts
from llmrec.train.feedback_recipe import GroupRecipe
from llmrec.train.finite import Finite
from llmrec.train.group_rewards import Judge, RewardWatcher
from llmrec.train.lora import add_adapter, load_base, require_base, save_adapter
from llmrec.train.packages import datasets, trl
from llmrec.train.ppo_record import Optimised, write_page
from llmrec.train.processes import join, together
from llmrec.train.record import ADAPTER, CHECKPOINTS, HISTORY, RUN, read_record
from llmrec.train.rewards import Weighted, load_rewards
from llmrec.train.rows import TokenRows
from llmrec.train.stage import is_mixed, padding
from llmrec.train.watching import Report, clean_checkpoints, find_checkpoint, quiet

ALGORITHMS = {"grpo": ("GRPOTrainer", "GRPOConfig"), "rloo": ("RLOOTrainer", "RLOOConfig")}
"""What trl calls the trainer and its settings, by name."""
SUMMARY = ("reward", "kl", "entropy", "tokens", "ended")
"""What the record has of the first and the last step."""
_MEANS = {
    "entropy": "entropy",
    "clip_fraction": "clip_ratio/region_mean",
    "policy_loss": "loss",
    "gradient_norm": "grad_norm",
    "learning_rate": "learning_rate",
}
"""What is the mean over a step's updates, and what trl calls it."""


def optimise_groups(
    algorithm: str, recipe: GroupRecipe, *, reward: Reward | None = None, report: Report | None = None
) -> Optimised:
    """Tune an adapter by GRPO or RLOO; killed, the same call goes on, and a run that is over is read back.

    The run folder gets ``adapter``, ``history.json``, ``curves.html`` and ``run.json``.

    Args:
        algorithm: one of ``ALGORITHMS``.
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
        before = _read(algorithm, recipe)
    if before is not None:
        return before
    with together():
        _require_whole_groups(recipe)
        _require_own(
            recipe, algorithm, [path.name for path in (recipe.out / CHECKPOINTS).glob("*") if any(path.iterdir())]
        )
        parts = (
            load_rewards(recipe.rewards, device=recipe.device, dtype=recipe.dtype)
            if reward is None
            else [Weighted("reward", reward)]
        )
        tokens = PromptTokenizer(resolve_model(recipe.model))
        policy = None if recipe.start is None else resolve_adapter(str(recipe.start), tokens.name)
        length, room = recipe.max_length, recipe.max_tokens
        contexts = load_contexts(recipe.prompts, tokens, max_length=length, room=room, seed=recipe.seed)
        digests = {"prompts": contexts.digest()}
        digests |= {} if policy is None else {"start": policy.digest}
        require_same_rows(recipe.out, digests)
        require_base(recipe)
    with together():
        model = load_base(recipe)
    if PartialState().is_main_process:
        claim(recipe, digests)
    set_seed(recipe.seed)  # of a new adapter's first weights
    model = add_adapter(model, recipe.lora, None if policy is None else policy.folder)
    judge = Judge(parts, contexts, recipe.samples)
    log = _learn(algorithm, model, tokens, recipe, judge, report)
    counts = {"prompts": len(contexts)} | {name: count for name, count in contexts.counts.items() if count}
    save_adapter(model, recipe.out / ADAPTER, tokens.name)
    result = Optimised(recipe.out / ADAPTER, log, counts, time.perf_counter() - start)
    if PartialState().is_main_process:
        _write(algorithm, recipe, result)
    return result


def _learn(
    algorithm: str,
    model: Any,  # noqa: ANN401 - peft's models are untyped
    tokens: PromptTokenizer,
    recipe: GroupRecipe,
    judge: Judge,
    report: Report | None,
) -> list[dict[str, Any]]:
    """Train the adapter, from the last checkpoint on; return the log, an entry for each step."""
    folder = recipe.out / CHECKPOINTS / algorithm
    if PartialState().is_main_process:
        clean_checkpoints(folder)
    PartialState().wait_for_everyone()
    last = find_checkpoint(folder)
    make, settings = _of_trl(algorithm)
    contexts, finite = judge.contexts, Finite(judge.contexts, None, str(folder))
    asked, numbers = _asked(contexts, tokens), in_order(len(contexts), recipe)
    rows = {"prompt": [asked[number] for number in numbers], "number": numbers}
    with quiet():
        padding(tokens)
        trainer = make(
            model=model,
            reward_funcs=[judge],
            args=settings(output_dir=str(folder), **_arguments(recipe)),
            train_dataset=datasets.Dataset.from_dict(rows),
            processing_class=tokens.tokenizer,
            callbacks=[RewardWatcher(finite, judge, report, last)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    return _in_words(trainer.state.log_history, recipe)


def _of_trl(algorithm: str) -> tuple[Any, Any]:
    """Return trl's trainer and settings; only now, as it imports vLLM too where that is installed, and warns."""
    trainer, settings = ALGORITHMS[algorithm]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(trl, trainer), getattr(trl, settings)


def _updates(recipe: GroupRecipe) -> int:
    """Return how many updates a step has."""
    return recipe.rollout // (recipe.batch_size * recipe.accumulation) * recipe.epochs


def _arguments(recipe: GroupRecipe) -> dict[str, Any]:
    """Return what both of trl's trainers are told."""
    return {
        "max_steps": recipe.steps * _updates(recipe),
        "per_device_train_batch_size": recipe.batch_size,
        "gradient_accumulation_steps": recipe.accumulation,
        "steps_per_generation": recipe.rollout // recipe.batch_size,
        "num_generations": recipe.generations,
        "num_iterations": recipe.epochs,
        "max_completion_length": recipe.max_tokens,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "beta": recipe.kl_coefficient,
        "epsilon": recipe.clip,
        "disable_dropout": True,  # an answer is to be as probable when it is learnt as it was when it was drawn
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "max_grad_norm": recipe.max_gradient_norm,
        "gradient_checkpointing": recipe.gradient_checkpointing,
        "seed": recipe.seed,
        "shuffle_dataset": False,
        "use_cpu": choose_device(recipe.device) == "cpu",
        "bf16": is_mixed(recipe),
        "save_strategy": "steps",
        "save_steps": recipe.checkpoint_every * _updates(recipe),  # answers in hand are not saved
        "save_total_limit": 1,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "ddp_find_unused_parameters": False,  # every step reaches the whole adapter
    }


def in_order(n: int, recipe: GroupRecipe) -> list[int]:
    """Return the numbers of n prompts as all steps ask them: each pass in an order of its own.

    trl's own shuffling starts anew where a run goes on after a kill.
    """
    wanted = recipe.steps * recipe.rollout * PartialState().num_processes // recipe.generations
    passes = range(-(-wanted // n))
    orders = [np.random.default_rng([recipe.seed, number]).permutation(n) for number in passes]
    return [int(number) for number in np.concatenate(orders)[:wanted]]


def _asked(contexts: TokenRows, tokens: PromptTokenizer) -> list[Any]:
    """Return what trl turns into the tokens of each prompt: texts, or messages where there is a chat template."""
    prompts = prompts_of(contexts.frame)
    if not tokens.tokenizer.chat_template:
        return [tokens.render(prompt) for prompt in prompts]
    return [
        [
            {"role": role, "content": tokens.plain(text)}
            for role, text in (("system", prompt.system), ("user", prompt.user))
            if text or role == "user"
        ]
        for prompt in prompts
    ]


def _in_words(history: Sequence[Mapping[str, Any]], recipe: GroupRecipe) -> list[dict[str, Any]]:
    """Return what trl logged, an entry for each step in PPO's words; lengths and KL are of an answer."""
    updates = [entry for entry in history if "loss" in entry]
    starts = [place for place, entry in enumerate(updates) if "reward" in entry]  # told of where answers are drawn
    steps = []
    for number, (begin, end) in enumerate(pairwise([*starts, len(updates)])):
        drawn, made = updates[begin], updates[begin:end]
        tokens = drawn["completions/mean_length"]
        means = {name: sum(entry.get(key, 0.0) for entry in made) / len(made) for name, key in _MEANS.items()}
        steps.append(
            {
                "step": number + 1,
                "reward": drawn["reward"],
                "reward_deviation": drawn["reward_std"],
                "equal_rewards": drawn["frac_reward_zero_std"],
                **{name: value for name, value in drawn.items() if name == "samples" or name.startswith("reward/")},
                **means,
                **({"kl": drawn["kl"] * tokens} if "kl" in drawn else {}),  # where it has a price
                "kl_coefficient": recipe.kl_coefficient,
                "tokens": tokens,
                "ended": 1 - drawn["completions/clipped_ratio"],
                "updates": len(made),
            }
        )
    return steps


def _require_whole_groups(recipe: GroupRecipe) -> None:
    update = recipe.batch_size * recipe.accumulation
    for name, size in (("batch_size x accumulation", update), ("generations", recipe.generations)):
        if recipe.rollout % size:
            raise ConfigError(
                f"rollout = {recipe.rollout} with {name} = {size}",
                expected=f"a multiple of {size}",
                cure=f"write rollout: {-(-recipe.rollout // size) * size}",
            )


def _read(algorithm: str, recipe: GroupRecipe) -> Optimised | None:
    """Return what a run that is over came to; None where it is not.

    Raises:
        ConfigError: it was the other algorithm's.
    """
    record = read_record(recipe)
    if record is None:
        return None
    history, run = record
    _require_own(recipe, algorithm, list(history))
    return Optimised(recipe.out / ADAPTER, history[algorithm], run["counts"], run["seconds"], before=True)


def _require_own(recipe: GroupRecipe, algorithm: str, begun: Sequence[str]) -> None:
    """Raise a ConfigError where a run folder is another algorithm's."""
    if begun and algorithm not in begun:
        raise ConfigError(
            f"{str(recipe.out)!r} is a run of {', '.join(begun)}", expected=algorithm, cure="name another out folder"
        )


def _write(algorithm: str, recipe: GroupRecipe, done: Optimised) -> None:
    """Write the log, its curves and, last, the record of a run whose adapter is there; checkpoints go."""
    write_json(recipe.out / HISTORY, {"history": {algorithm: done.log}})
    write_page(done.log, recipe.out / "curves.html", title=f"{algorithm.upper()} of {recipe.model}")
    ends = {name: {key: done.log[place].get(key) for key in SUMMARY} for name, place in (("first", 0), ("last", -1))}
    adapter = str(recipe.out / ADAPTER)
    write_run(
        recipe.out / RUN, recipe, algorithm=algorithm, adapter=adapter, **ends, counts=done.counts, seconds=done.seconds
    )
    shutil.rmtree(recipe.out / CHECKPOINTS, ignore_errors=True)
