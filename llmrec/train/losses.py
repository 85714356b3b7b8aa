"""The arithmetic of PPO on tensors, each function small enough to check by hand.

Rows are responses, columns their tokens; ``mask`` is True where there is one, from the first column on. What is called
*flat* has one number for each token of many responses, row by row.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

Total = Callable[[torch.Tensor], torch.Tensor]
"""Sums a tensor over processes."""
_TINY = 1e-8
_ROWS_AT_ONCE = 16
"""Rows of logits whose copies stay near the processor: a vocabulary may have 262,144 words."""


def _alone(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def token_logprobs(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return the natural log-probability of each token, flat, from logits (n, vocabulary) in float32.

    With its gradient torch's cross-entropy takes half the time of a gather and a sum of exponentials.
    """
    return -functional.cross_entropy(logits, tokens, reduction="none")


def entropies(logits: torch.Tensor) -> torch.Tensor:
    """Return the entropy in nats of each position's distribution, flat, from logits (n, vocabulary)."""
    return torch.cat([_entropies(block) for block in torch.split(logits, _ROWS_AT_ONCE)])


def _entropies(logits: torch.Tensor) -> torch.Tensor:
    logprobs = logits.log_softmax(1)
    return -(logprobs.exp() * logprobs).sum(1)


def kl_k1(logprobs: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return each token's estimate of KL(policy, reference) that is linear, of either sign: what the reward pays for.

    Both estimators are unbiased for tokens that the policy drew (Schulman: Approximating KL divergence, 2020).
    """
    return logprobs - reference


def kl_k3(logprobs: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return each token's estimate of KL(policy, reference) that is never negative and varies less: for reports."""
    ratio = reference - logprobs
    return ratio.expm1() - ratio


def token_rewards(scores: torch.Tensor, kl: torch.Tensor, mask: torch.Tensor, coefficient: float) -> torch.Tensor:
    """Return rewards (rows, tokens): each token pays its KL, and the last of a response gets the response's score.

    Args:
        scores: (rows,).
        kl: (rows, tokens), of each token.
        mask: bool (rows, tokens); each row has a token.
        coefficient: price of a nat.
    """
    rewards = torch.where(mask, -coefficient * kl, 0.0)
    rewards[torch.arange(len(scores)), mask.sum(1) - 1] += scores
    return rewards


def gae(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, *, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return advantages and returns (rows, tokens), 0 where there is no token (GAE: Schulman et al., ICLR 2016).

    A response ends with its last token: nothing is to be had behind it, also where it was cut off by its length.

    Args:
        rewards: (rows, tokens).
        values: (rows, tokens), the rewards to come as foretold before each token.
        mask: bool (rows, tokens).
        gamma: what a reward loses with each token that it is away.
        lam: 1 takes the rewards that came, 0 believes the next value; between them variance is traded for bias.
    """
    values = torch.where(mask, values, 0.0)
    advantages = torch.zeros_like(values)
    following = value = torch.zeros_like(values[:, 0])
    for place in reversed(range(values.shape[1])):
        surprise = rewards[:, place] + gamma * value - values[:, place]
        following = torch.where(mask[:, place], surprise + gamma * lam * following, 0.0)
        advantages[:, place], value = following, values[:, place]
    return advantages, advantages + values


def whiten(values: torch.Tensor, mask: torch.Tensor, total: Total = _alone) -> torch.Tensor:
    """Return values with mean 0 and variance 1 over the mask, 0 elsewhere; equal ones become 0.

    Args:
        values: (rows, tokens).
        mask: bool (rows, tokens).
        total: sums over processes, so that all whiten by the same two numbers.
    """
    count = total(mask.sum())
    mean = total(values[mask].sum()) / count
    variance = total((values[mask] - mean).square().sum()) / count
    return torch.where(mask, (values - mean) * (variance + _TINY).rsqrt(), 0.0)


def policy_losses(
    logprobs: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, clip: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each token's clipped loss, flat, and where clipping took its gradient (Schulman et al., 2017, eq. 7).

    Args:
        logprobs: by the policy that learns.
        old: by the policy that drew the tokens.
        advantages: of the tokens.
        clip: how far from 1 the ratio of both probabilities may go to be rewarded.
    """
    ratio = (logprobs - old).exp()
    free, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    return torch.maximum(free, clipped), clipped > free


def value_losses(values: torch.Tensor, old: torch.Tensor, returns: torch.Tensor, clip: float) -> torch.Tensor:
    """Return each token's loss, flat: half the squared error, the larger one of the value and of that near the old one.

    Args:
        values: foretold now.
        old: foretold when the tokens were drawn.
        returns: what should have been.
        clip: how far from ``old`` a value may go to be rewarded.
    """
    near = torch.clamp(values, old - clip, old + clip)
    return 0.5 * torch.maximum((values - returns).square(), (near - returns).square())


def adapt(coefficient: float, kl: float, target: float, gain: float) -> float:
    """Return the next price of a nat: higher where KL is above its target (Ziegler et al., 2019, section 2.2).

    Args:
        coefficient: the price now.
        kl: nats of a response.
        target: what it should be.
        gain: how much the price moves for an error of one target; an error counts as 0.2 targets at most.
    """
    error = min(max(kl / target - 1.0, -0.2), 0.2)
    return coefficient * (1.0 + gain * error)
