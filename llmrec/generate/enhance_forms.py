"""The two forms of a matcher, by torch: one network over everything, or a dot product with the item."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llmrec.classic.recall.neural.towers import layers
from llmrec.generate.enhance_recipe import MatcherConfig


class MlpMatcher(nn.Module):
    """MLP([c; j; j']), or MLP([c; j]) where nothing generated is read.

    Args:
        embedding_dim: length of a vector. Inputs are multiplied by its root: the numbers in them are of size 1 then.
        config: the layers.
        generated: whether j' is read.
    """

    def __init__(self, embedding_dim: int, config: MatcherConfig, *, generated: bool) -> None:
        super().__init__()
        self.generated, self.scale = generated, embedding_dim**0.5
        net = layers((3 if generated else 2) * embedding_dim, config.hidden, 1, config.dropout)
        self.first, self.rest = net[0], net[1:]

    def forward(self, contexts: Tensor, items: Tensor, generated: Tensor) -> Tensor:
        """Return logits (b,) of vectors (b, d) each."""
        parts = [contexts, items, *([generated] if self.generated else [])]
        logits: Tensor = self.rest(self.first(torch.cat(parts, 1) * self.scale)).squeeze(1)
        return logits

    def every(self, contexts: Tensor, items: Tensor, generated: Tensor) -> Tensor:
        """Return logits (q, i) of contexts (q, d) with all items (i, d): the first layer is a sum over its inputs."""
        weights = (self.first.weight * self.scale).split(items.shape[1], 1)
        asked = contexts @ weights[0].T + self.first.bias
        if self.generated:
            asked = asked + generated @ weights[2].T
        logits: Tensor = self.rest(asked[:, None] + items @ weights[1].T).squeeze(2)
        return logits


class DotMatcher(nn.Module):
    """dot(MLP([c; j']), j), or dot(MLP(c), j) where nothing generated is read, and a number for how common a match is.

    Args:
        embedding_dim: length of a vector. Inputs of the MLP are multiplied by its root.
        config: the layers.
        generated: whether j' is read.
    """

    def __init__(self, embedding_dim: int, config: MatcherConfig, *, generated: bool) -> None:
        super().__init__()
        self.generated, self.scale = generated, embedding_dim**0.5
        self.net = layers((2 if generated else 1) * embedding_dim, config.hidden, embedding_dim, config.dropout)
        self.bias = nn.Parameter(torch.zeros(()))

    def queries(self, contexts: Tensor, generated: Tensor) -> Tensor:
        """Return (q, d): what items are multiplied by."""
        parts = [contexts, *([generated] if self.generated else [])]
        vectors: Tensor = self.net(torch.cat(parts, 1) * self.scale)
        return vectors

    def forward(self, contexts: Tensor, items: Tensor, generated: Tensor) -> Tensor:
        """Return logits (b,) of vectors (b, d) each."""
        return (self.queries(contexts, generated) * items).sum(1) + self.bias

    def every(self, contexts: Tensor, items: Tensor, generated: Tensor) -> Tensor:
        """Return logits (q, i) of contexts (q, d) with all items (i, d)."""
        return self.queries(contexts, generated) @ items.T + self.bias
