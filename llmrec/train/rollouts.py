"""Answers drawn from the policy as it is, and rows of prompt and answer ready for a forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from transformers import GenerationConfig

from llmrec.errors import ModelError
from llmrec.llm.sampling import SeededSampling
from llmrec.llm.shared_prefix import left_pad
from llmrec.protocols import Sampling
from llmrec.train.finite import precision
from llmrec.train.policy import Policy
from llmrec.train.ppo_recipe import PpoRecipe

Ids = list[list[int]]


class Sampler(Protocol):
    """Draws answers from the policy: temperature 1, no token left out, since PPO learns from what it would say."""

    def __call__(self, prompts: Sequence[list[int]], streams: Sequence[int]) -> Ids:
        """Return the tokens of one answer to each prompt, its end token too where it came to one; never none.

        Args:
            prompts: token ids.
            streams: a number for each, which no other answer of the run has: the seed of its randomness.
        """
        ...


class TransformersSampler:
    """Draws with the model that learns, through transformers, in batches padded on the left.

    What is drawn for a prompt does not depend on the batch that it is in, but for rounding.

    Args:
        policy: the one that learns.
        ends: tokens that end an answer.
        padding: token to pad with.
        recipe: says ``max_tokens``, ``batch_size`` and ``seed``.
    """

    def __init__(self, policy: Policy, ends: frozenset[int], padding: int, recipe: PpoRecipe) -> None:
        self.policy, self.ends, self.batch_size = policy, ends, recipe.batch_size
        self.base: Any = policy.model.get_base_model()
        self.sampling = Sampling(max_tokens=recipe.max_tokens, temperature=1.0, seed=recipe.seed)
        # What a model's own file says of repetition or of tokens left out would make answers another policy's.
        self.base.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
            eos_token_id=sorted(ends), pad_token_id=padding, max_new_tokens=recipe.max_tokens, do_sample=False
        )

    @torch.no_grad()
    def __call__(self, prompts: Sequence[list[int]], streams: Sequence[int]) -> Ids:
        """Return the tokens of one answer to each prompt."""
        order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
        found: dict[int, list[int]] = {}
        for begin in range(0, len(order), self.batch_size):
            rows = order[begin : begin + self.batch_size]
            found.update(
                zip(rows, self._draw([prompts[row] for row in rows], [streams[row] for row in rows]), strict=True)
            )
        return [found[row] for row in range(len(prompts))]

    def _draw(self, prompts: Ids, streams: Sequence[int]) -> Ids:
        ids, mask = left_pad(prompts, self.base.device)
        noise = SeededSampling(self.sampling, [[*prompt, n] for prompt, n in zip(prompts, streams, strict=True)])
        with precision(self.policy.model, ids.device.type, mixed=self.policy.mixed):
            output = self.base.generate(input_ids=ids, attention_mask=mask, logits_processor=[noise])
        return [self._ended(row) for row in output[:, ids.shape[1] :].tolist()]

    def _ended(self, row: list[int]) -> list[int]:
        end = next((place for place, token in enumerate(row) if token in self.ends), len(row))
        return row[: end + 1]


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:  # noqa: ANN401 - transformers is untyped
    """Return the tokens that end an answer: the tokenizer's, and those that the model's file names.

    Raises:
        ModelError: there is none.
    """
    named = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])} - {None}
    if not ends:
        raise ModelError(
            "a model without a token that ends a text", expected="one", cure="take a model whose tokenizer has one"
        )
    return frozenset(ends)


@dataclass(frozen=True, eq=False)
class Rollout:
    """The answers of a step that a process drew: n rows, t tokens of the longest; 0 where an answer has none.

    Attributes:
        numbers: (n,) of their prompts.
        prompts: token ids.
        answers: token ids, an end token too.
        mask: bool (n, t), where an answer has a token.
        logprobs: (n, t), by the policy that drew them.
        reference: (n, t), by the reference.
        values: (n, t), rewards to come as foretold.
        entropy: (n, t), of the policy's distribution.
    """

    numbers: list[int]
    prompts: Ids
    answers: Ids
    mask: torch.Tensor
    logprobs: torch.Tensor
    reference: torch.Tensor
    values: torch.Tensor
    entropy: torch.Tensor

    @classmethod
    def of(cls, numbers: list[int], prompts: Ids, answers: Ids, device: torch.device) -> Rollout:
        """Return answers that nothing is known of yet."""
        lengths = torch.tensor([len(answer) for answer in answers])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        return cls(numbers, prompts, answers, mask.to(device), *torch.zeros(4, *mask.shape, device=device).unbind(0))

    def put(
        self, name: Literal["logprobs", "reference", "values", "entropy"], rows: list[int], flat: torch.Tensor
    ) -> None:
        """Write numbers of all tokens of some rows, flat."""
        table: torch.Tensor = getattr(self, name)
        block = table.new_zeros(len(rows), table.shape[1])
        block[self.mask[rows]] = flat
        table[rows] = block


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of prompt and answer, padded on the right.

    Attributes:
        ids: int64 (rows, length).
        mask: int64 (rows, length), 0 where padded.
        wanted: bool (rows, length), where an answer's token is to be foretold.
        tokens: these tokens, flat.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    wanted: torch.Tensor
    tokens: torch.Tensor

    @classmethod
    def of(cls, rollout: Rollout, rows: list[int], padding: int) -> Batch:
        """Return some rows of a rollout."""
        pairs = [(rollout.prompts[row], rollout.answers[row]) for row in rows]
        ids = torch.full((len(pairs), max(len(prompt) + len(answer) for prompt, answer in pairs)), padding)
        mask, wanted = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
        for row, (prompt, answer) in enumerate(pairs):
            end = len(prompt) + len(answer)
            ids[row, :end] = torch.tensor(prompt + answer)
            mask[row, :end] = 1
            wanted[row, len(prompt) - 1 : end - 1] = True
        tokens = torch.tensor([token for _, answer in pairs for token in answer])
        return cls(*(each.to(rollout.mask.device) for each in (ids, mask, wanted, tokens)))


def pass_over(n: int, start: int, count: int, seed: int) -> list[int]:
    """Return the next numbers of an endless walk over 0..n-1: pass by pass, each in an order of its own.

    Args:
        n: how many there are.
        start: how many were taken before.
        count: how many to take.
        seed: of the orders.
    """
    places = range(start, start + count)
    orders = {turn: np.random.default_rng([seed, turn]).permutation(n) for turn in {place // n for place in places}}
    return [int(orders[place // n][place % n]) for place in places]
