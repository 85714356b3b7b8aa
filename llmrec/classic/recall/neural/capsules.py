"""Capsules: routing by agreement groups the items of a history into a few vectors."""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-9  # under the root, so that a vector of zeros has a gradient


def squash(vectors: Tensor) -> Tensor:
    """Return vectors (…, d) of the same directions, their lengths r turned into r² / (1 + r²), below 1.

    Paper: Sabour, Frosst, Hinton, Dynamic Routing Between Capsules, NeurIPS 2017, equation 1.
    """
    square = vectors.square().sum(-1, keepdim=True)
    return vectors * (square / (1 + square) / torch.sqrt(square + TINY))


def used_interests(real: Tensor, most: int) -> Tensor:
    """Return which of ``most`` interests a history has, bool (b, most): the first max(1, min(most, log2 n)) of them.

    Args:
        real: bool (b, h), where the history holds an item; n of them in a row.
        most: interests at most.

    Paper: Li et al., CIKM 2019, equation 9; the logarithm is rounded down.
    """
    needed = 2 ** torch.arange(1, most + 1, device=real.device)
    used = real.sum(1, keepdim=True) >= needed
    used[:, 0] = True
    return used


def routing_weights(logits: Tensor, real: Tensor, used: Tensor) -> Tensor:
    """Return how each item is shared out among the interests, (b, k, h): sums over k are 1, and 0 in the padding.

    Args:
        logits: (b, k, h) or (k, h), the larger, the more an item belongs to an interest.
        real: bool (b, h), where the history holds an item.
        used: bool (b, k), interests that a history has, one at least; the others get nothing.
    """
    return logits.masked_fill(~used.unsqueeze(-1), -torch.inf).softmax(1) * real.unsqueeze(1)


def route(votes: Tensor, logits: Tensor, real: Tensor, used: Tensor, iterations: int) -> Tensor:
    """Return the capsules (b, k, d) that items agree on, of length below 1; zeros for an interest that is not used.

    Each iteration shares the items out by the softmax of their logits over the interests, sums and squashes their
    votes, and adds to a logit the inner product of the item's vote with the capsule. Only the last sum passes
    gradients on to the votes: the logits are no function to learn.

    Args:
        votes: (b, g, h, d), what each item says to the interests; g is 1 where all interests hear the same (MIND),
            and k where each hears its own (ComiRec).
        logits: (k, h), where the logits begin.
        real: bool (b, h), where the history holds an item.
        used: bool (b, k), interests that a history has.
        iterations: how often, at least 1.

    Paper: Sabour, Frosst, Hinton, NeurIPS 2017, procedure 1; for recommendation Li et al., CIKM 2019, algorithm 1.
    """
    b, groups, width, depth = votes.shape
    fixed = votes.detach()
    logits = logits.expand(b, *logits.shape)
    for _ in range(iterations - 1):
        capsules = squash(_pool(fixed, routing_weights(logits, real, used)))
        agreement = capsules.view(b, groups, -1, depth) @ fixed.transpose(2, 3)
        logits = logits + agreement.view(b, -1, width)
    return squash(_pool(votes, routing_weights(logits, real, used)))


def _pool(votes: Tensor, weights: Tensor) -> Tensor:
    """Return weighted sums (b, k, d) of votes (b, g, h, d) by weights (b, k, h); interest j hears the group j g / k."""
    b, groups, width, depth = votes.shape
    return (weights.view(b, groups, -1, width) @ votes).view(b, -1, depth)
