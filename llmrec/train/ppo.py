"""PPO, from answers that are drawn to updates that make the better ones likelier; resumable to the bit.

A step draws an answer to each of some prompts, judges the answers, takes the KL to the reference off the reward token
by token, and learns from them for some passes (Schulman et al., 2017) with advantages by GAE (Schulman et al., 2016),
whitened over the step. The price of a nat may follow a target (Ziegler et al., 2019). GIRL (Zheng et al., 2023) tunes
what describes a user's ideal item so. Unlike in Ziegler et al. the value head shares the policy's layers and reads
hidden states of one size; it begins with the mean of the first step's rewards, where they normalise rewards beforehand;
and advantages are 0 where a step's are all equal.

The maths is in ``losses``. What a step draws follows from the seed and its number alone, whatever came before.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from llmrec.llm.device import choose_device
from llmrec.llm.tokens import PromptTokenizer
from llmrec.train import losses
from llmrec.train.finite import Finite
from llmrec.train.policy import Policy
from llmrec.train.ppo_recipe import PpoRecipe
from llmrec.train.ppo_record import write_log
from llmrec.train.ppo_state import Log, Progress, load_state, save_state
from llmrec.train.processes import together
from llmrec.train.record import CHECKPOINTS
from llmrec.train.rewards import Weighted, WeightedRewards
from llmrec.train.rollouts import Batch, Ids, Rollout, Sampler, TransformersSampler, end_tokens, pass_over
from llmrec.train.rows import ROW, SOURCE, TokenRows
from llmrec.train.stage import padding
from llmrec.train.watching import Report

log = logging.getLogger(__name__)


class Ppo:
    """The loop.

    Args:
        recipe: the run's.
        policy: as ``build_policy`` returns it.
        tokens: the model's tokenizer.
        contexts: what is asked.
        parts: what judges answers.
        sampler: draws answers; None draws with the policy's own model.
    """

    def __init__(
        self,
        recipe: PpoRecipe,
        policy: Policy,
        tokens: PromptTokenizer,
        contexts: TokenRows,
        parts: Sequence[Weighted],
        sampler: Sampler | None = None,
    ) -> None:
        self.recipe, self.policy, self.tokens, self.contexts = recipe, policy, tokens, contexts
        self.ends, self.padding = end_tokens(policy.model, tokens.tokenizer), padding(tokens)
        self.sampler = sampler or TransformersSampler(policy, self.ends, self.padding, recipe)
        self.asked: list[int] = []
        self.rewards = WeightedRewards(parts, lambda row: f"row {contexts.name([self.asked[row]])}")
        self.columns = [name for name in contexts.frame.columns if name not in {"prompt", "system", ROW, SOURCE}]
        self.finite = Finite(contexts, None, str(recipe.out / CHECKPOINTS))
        self.accelerator = Accelerator(cpu=choose_device(recipe.device) == "cpu", mixed_precision="no")
        self.learnt = [weight for weight in policy.parameters() if weight.requires_grad]
        groups = [{"params": policy.adapter_weights()}, {"params": list(policy.value.parameters())}]
        optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
        self.wrapped, self.optimizer = self.accelerator.prepare(policy, optimizer)
        self.progress = Progress(0, recipe.kl_coefficient, [])

    @property
    def first(self) -> bool:
        """Whether this process writes and reports."""
        return bool(self.accelerator.is_main_process)

    def run(self, report: Report | None = None) -> Log:
        """Make all steps that are left; return the log of all."""
        recipe, folder = self.recipe, self.recipe.out / CHECKPOINTS
        self.progress = load_state(folder, self.policy, self.optimizer) or self.progress
        try:
            while self.progress.step < recipe.steps:
                entry = self.step()
                if entry["step"] % recipe.checkpoint_every == 0:
                    save_state(folder, self.policy, self.optimizer, self.progress, self.tokens.name)
                if report is not None and self.first:
                    report(entry["step"], recipe.steps, f"reward {entry['reward']:.3f}, KL {entry['kl']:.3f}")
        finally:
            if self.first:
                write_log(recipe, self.progress.log)
        return self.progress.log

    def step(self) -> dict[str, Any]:
        """Draw, judge and learn once; return what is logged of it."""
        begin = time.perf_counter()
        answers = self.draw()
        drawn = time.perf_counter()
        rollout = self.score(*answers)
        advantages, returns, entry = self.judge(rollout)
        judged = time.perf_counter()
        entry |= self.learn(rollout, advantages, returns)
        entry |= {"rollout_seconds": drawn - begin, "scoring_seconds": judged - drawn}
        entry["update_seconds"] = time.perf_counter() - judged
        coefficient, recipe = self.progress.coefficient, self.recipe
        if recipe.kl_target is not None:
            coefficient = losses.adapt(coefficient, entry["kl"], recipe.kl_target, recipe.kl_gain)
        self.progress = Progress(entry["step"], coefficient, [*self.progress.log, entry])
        return entry

    def draw(self) -> tuple[list[int], Ids]:
        """Return the numbers of this process's prompts in this step, and an answer to each."""
        size, state = self.recipe.rollout, self.accelerator
        start = (self.progress.step * state.num_processes + state.process_index) * size
        numbers = pass_over(len(self.contexts), start, size, self.recipe.seed)
        return numbers, self.sampler([self.contexts.prompts[number] for number in numbers], range(start, start + size))

    @torch.no_grad()
    def score(self, numbers: list[int], answers: Ids) -> Rollout:
        """Return answers with what policy, value head and reference say of their tokens."""
        prompts = [self.contexts.prompts[number] for number in numbers]
        rollout = Rollout.of(numbers, prompts, answers, self.policy.device)
        order = sorted(range(len(answers)), key=lambda row: len(prompts[row]) + len(answers[row]))
        for begin in range(0, len(order), self.recipe.batch_size):
            rows = order[begin : begin + self.recipe.batch_size]
            batch = Batch.of(rollout, rows, self.padding)
            logits, values = self.policy(batch.ids, batch.mask, batch.wanted)
            rollout.put("values", rows, values)
            rollout.put("logprobs", rows, losses.token_logprobs(logits, batch.tokens))
            rollout.put("entropy", rows, losses.entropies(logits))
            del logits  # gigabytes, where a vocabulary is large
            with self.policy.as_reference():
                logits, _ = self.policy(batch.ids, batch.mask, batch.wanted)
            rollout.put("reference", rows, losses.token_logprobs(logits, batch.tokens))
        found = float((rollout.logprobs + rollout.reference + rollout.values).sum())
        self.finite.require_loss(found, numbers, step=self.progress.step, training=True)
        return rollout

    def judge(self, rollout: Rollout) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Return advantages and returns (n, t) of a rollout, and what is logged of it."""
        recipe, mask, self.asked = self.recipe, rollout.mask, rollout.numbers
        texts: list[str] = self.tokens.tokenizer.batch_decode(rollout.answers, skip_special_tokens=True)
        frame = self.contexts.frame[rollout.numbers]
        prompts, columns = frame["prompt"].to_list(), frame.select(self.columns).to_dict(as_series=False)
        with together():
            parts = self.rewards.each(prompts, texts, columns)
        ended = torch.tensor([answer[-1] in self.ends for answer in rollout.answers])
        judged = self.rewards.total(parts) - ~ended.numpy() * (recipe.missing_end_penalty or 0.0)
        scores = torch.tensor(judged, dtype=torch.float32, device=mask.device)
        if self.progress.step == 0:
            self._start_values(rollout, scores)
        kl = losses.kl_k1(rollout.logprobs, rollout.reference)
        rewards = losses.token_rewards(scores, kl, mask, self.progress.coefficient)
        advantages, returns = losses.gae(rewards, rollout.values, mask, gamma=recipe.gamma, lam=recipe.lam)
        sums = {"ended": ended.sum()} | {f"reward/{name}": torch.tensor(each.sum()) for name, each in parts.items()}
        entry = self._describe(rollout, scores, sums, advantages)
        shown = zip(prompts[: recipe.samples], texts, judged.tolist(), strict=False)
        entry["samples"] = [{"prompt": prompt, "answer": text, "reward": reward} for prompt, text, reward in shown]
        if entry["equal_rewards"]:
            return torch.zeros_like(advantages), returns, entry
        return losses.whiten(advantages, mask, self._total), returns, entry

    def _start_values(self, rollout: Rollout, scores: torch.Tensor) -> None:
        """Expect the mean of the first rewards of each answer: from 0, late tokens alone would look good at first."""
        mean = self.accelerator.gather(scores).mean()
        with torch.no_grad():
            self.policy.value.bias.fill_(mean)
        rollout.values[rollout.mask] += mean

    def _describe(
        self, rollout: Rollout, scores: torch.Tensor, sums: dict[str, torch.Tensor], advantages: torch.Tensor
    ) -> dict[str, Any]:
        """Return what is logged of the answers of all processes, given sums over those of this one."""
        mask, everywhere = rollout.mask, self.accelerator.gather(scores)
        kl = torch.where(mask, losses.kl_k3(rollout.logprobs, rollout.reference), 0.0)
        of_tokens = {"entropy": rollout.entropy[mask], "value_error": advantages[mask].square()}
        of_answers = {**sums, "kl": kl.sum(), "tokens": mask.sum()}
        count = self._total(mask.sum())
        entry = {
            "step": self.progress.step + 1,
            "reward": float(everywhere.mean()),
            "reward_deviation": float(everywhere.std(correction=0)),
            "kl_coefficient": self.progress.coefficient,
            **{name: float(self._total(each.to(mask.device)) / len(everywhere)) for name, each in of_answers.items()},
            **{name: float(self._total(each.sum()) / count) for name, each in of_tokens.items()},
            "equal_rewards": len(everywhere) > 1 and bool(everywhere.max() == everywhere.min()),
        }
        if entry["equal_rewards"] and self.first:
            said = "step %d: all %d rewards are %.4g, so advantages are zero and nothing is preferred"
            log.warning(said, entry["step"], len(everywhere), entry["reward"])
        return entry

    def learn(self, rollout: Rollout, advantages: torch.Tensor, returns: torch.Tensor) -> dict[str, Any]:
        """Make a step's updates, fewer where the policy has gone far from the one that drew; return what is logged."""
        recipe = self.recipe
        left = 1.0 - self.progress.step / recipe.steps
        for group, rate in zip(
            self.optimizer.param_groups, (recipe.learning_rate, recipe.value_learning_rate), strict=True
        ):
            group["lr"] = rate * left
        sums, updates, norm = torch.zeros(5, device=rollout.mask.device), 0, 0.0
        for rows in self._minibatches(len(rollout.numbers)):
            found = self._losses_of(rollout, advantages, returns, rows)
            sums += found
            if recipe.stop_kl is not None and found[3] > recipe.stop_kl * found[4]:
                self.optimizer.zero_grad()
                break
            norm = float(self.accelerator.clip_grad_norm_(self.learnt, recipe.max_gradient_norm))
            self.finite.require_gradient({"grad_norm": norm, "loss": 0.0}, self.progress.step + 1)
            self.optimizer.step()
            self.optimizer.zero_grad()
            updates += 1
        names = ("policy_loss", "value_loss", "clip_fraction", "update_kl")
        means = dict(zip(names, (sums[:4] / sums[4]).tolist(), strict=True))
        return means | {"updates": updates, "gradient_norm": norm, "learning_rate": recipe.learning_rate * left}

    def _minibatches(self, n: int) -> Iterator[list[int]]:
        """Yield the rows of each update, those of a pass in an order of its own."""
        size = self.recipe.batch_size * self.recipe.accumulation
        for number in range(self.recipe.epochs):
            order = np.random.default_rng([self.recipe.seed, self.progress.step, number]).permutation(n)
            yield from (order[begin : begin + size].tolist() for begin in range(0, n, size))

    def _losses_of(
        self, rollout: Rollout, advantages: torch.Tensor, returns: torch.Tensor, rows: list[int]
    ) -> torch.Tensor:
        """Add the gradient of some rows' mean loss; return sums over their tokens in all processes.

        They are of policy losses, value losses, clipped tokens, nats from the policy that drew to this one, and tokens.
        """
        recipe, state, size = self.recipe, self.accelerator, self.recipe.batch_size
        count = self._total(rollout.mask[rows].sum())
        sums = torch.zeros(5, device=rollout.mask.device)
        for begin in range(0, len(rows), size):
            some = rows[begin : begin + size]
            mask, batch = rollout.mask[some], Batch.of(rollout, some, self.padding)
            old = rollout.logprobs[some][mask]
            with nullcontext() if begin + size >= len(rows) else state.no_sync(self.wrapped):
                logits, values = self.wrapped(batch.ids, batch.mask, batch.wanted)
                logprobs = losses.token_logprobs(logits, batch.tokens)
                policy, clipped = losses.policy_losses(logprobs, old, advantages[some][mask], recipe.clip)
                value = losses.value_losses(values, rollout.values[some][mask], returns[some][mask], recipe.value_clip)
                loss = policy.sum() + recipe.value_coefficient * value.sum()
                if recipe.entropy_coefficient:
                    loss = loss - recipe.entropy_coefficient * losses.entropies(logits).sum()
                numbers = [rollout.numbers[row] for row in some]
                self.finite.require_loss(float(loss.detach()), numbers, step=self.progress.step, training=True)
                state.backward(loss * state.num_processes / count)  # gradients are averaged over the processes
                del logits
            parts = (policy, value, clipped, losses.kl_k3(old, logprobs), torch.ones_like(old))
            sums += torch.stack([part.detach().sum() for part in parts])
        return self._total(sums)

    def _total(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over the processes."""
        total: torch.Tensor = self.accelerator.reduce(tensor, "sum")
        return total
