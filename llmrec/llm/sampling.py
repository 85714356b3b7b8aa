"""Sampling for the transformers engine that does not depend on the company a prompt is in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from transformers import LogitsProcessor, StoppingCriteria

from llmrec.protocols import Sampling


class PermutationOnly(LogitsProcessor):
    """Lets through only the tokens of a permutation that a row has not written yet.

    Args:
        tokens: the tokens of each row's permutation, (batch, n).
        start: where the new tokens begin.
    """

    def __init__(self, tokens: torch.Tensor, start: int) -> None:
        self.tokens, self.start = tokens, start

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores (batch, vocabulary), minus infinity for all other tokens."""
        allowed = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, self.tokens, value=True)
        allowed.scatter_(1, input_ids[:, self.start :], value=False)
        return scores.masked_fill(~allowed, -torch.inf)


class SeededSampling(LogitsProcessor):
    """Temperature and top-p sampling with a random stream for each prompt.

    Greedy decoding over log-probabilities with Gumbel noise draws exactly from the softmax (Gumbel-max trick), and
    the noise of a row comes from a generator seeded by the sampling seed and the prompt's tokens. transformers' own
    sampling draws one stream for a whole batch: a resumed run, batched otherwise, would write other texts.

    Args:
        sampling: temperature, top_p and seed.
        prompts: token ids of each row.
    """

    def __init__(self, sampling: Sampling, prompts: Sequence[Sequence[int]]) -> None:
        self.sampling = sampling
        self.streams = [torch.Generator().manual_seed(_seed(sampling.seed, prompt)) for prompt in prompts]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """Return noisy scores (batch, vocabulary) whose argmax is a sample."""
        scores = scores.float() / self.sampling.temperature
        if self.sampling.top_p < 1:
            ordered, tokens = scores.softmax(-1).sort(descending=True)
            outside = ordered.cumsum(-1) - ordered >= self.sampling.top_p
            scores = scores.masked_fill(torch.zeros_like(outside).scatter(1, tokens, outside), -torch.inf)
        uniform = torch.stack([torch.rand(scores.shape[1], generator=stream) for stream in self.streams])
        noise = -(-uniform.clamp(min=1e-20).log()).log()
        return scores + noise.to(scores.device)


class StopAtText(StoppingCriteria):
    """Ends a row once its new text holds one of the stop texts.

    Args:
        tokenizer: to read the new tokens with.
        stop: the stop texts.
        start: where the new tokens begin.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str], start: int) -> None:  # noqa: ANN401
        self.tokenizer, self.stop, self.start = tokenizer, stop, start
        # A stop text can begin inside a token: as many tokens as it has characters always cover it.
        self.window = max(map(len, stop)) + 1

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:  # noqa: ANN401, ARG002
        """Return bool (batch,): which rows are done."""
        recent = self.tokenizer.batch_decode(input_ids[:, self.start :][:, -self.window :], skip_special_tokens=True)
        return torch.tensor([any(stop in text for stop in self.stop) for text in recent], device=input_ids.device)


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """Return the text before the first stop text, and whether there was one."""
    places = [place for place in (text.find(one) for one in stop) if place >= 0]
    return (text[: min(places)], True) if places else (text, False)


def _seed(seed: int, prompt: Sequence[int]) -> int:
    digest = hashlib.blake2b(f"{seed}:{list(prompt)}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
