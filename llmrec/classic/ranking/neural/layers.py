"""Layers in which fields interact; every model takes its own from here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn


def pooled_products(vectors: Tensor) -> Tensor:
    """Return the sum over pairs of fields of their element-wise products, (b, d), in O(fields d).

    ½ ((sum_f v_f)² - sum_f v_f²), element by element: NFM's bi-interaction pooling. Summed over d it is the second
    order of a factorisation machine.

    Args:
        vectors: (b, fields, d).
    """
    return (vectors.sum(1).square() - vectors.square().sum(1)) / 2


def inner_products(vectors: Tensor) -> Tensor:
    """Return the inner product of each pair of fields, (b, fields (fields - 1) / 2), row by row of the triangle."""
    products = vectors @ vectors.transpose(1, 2)
    one, two = torch.triu_indices(vectors.shape[1], vectors.shape[1], 1, device=vectors.device)
    return products[:, one, two]


def pooled_outer_product(vectors: Tensor) -> Tensor:
    """Return the outer product of the fields' sum with itself, (b, d²): PNN's superposition of all pairs' products."""
    total = vectors.sum(1)
    return (total.unsqueeze(2) * total.unsqueeze(1)).flatten(1)


class Dice(nn.Module):
    """p s + a (1 - p) s with p = sigmoid((s - mean) / deviation): a PReLU that turns where the batch's values are.

    Mean and deviation are those of the batch in training, and running ones where it serves or the batch is one row.

    Paper: Zhou et al., Deep Interest Network for Click-Through Rate Prediction, KDD 2018.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))

    def forward(self, values: Tensor) -> Tensor:
        """Return (n, width)."""
        share = torch.sigmoid(
            F.batch_norm(values, self.mean, self.variance, training=self.training and len(values) > 1)
        )
        return values * (share + self.alpha * (1 - share))


def relu(width: int) -> nn.Module:  # noqa: ARG001 - called as Dice is
    """Return a rectifier for any width."""
    return nn.ReLU()


def mlp(
    inputs: int, hidden: Sequence[int], dropout: float, activation: Callable[[int], nn.Module] = relu
) -> nn.Sequential:
    """Return linear layers, each with an activation and dropout behind it; the identity without any."""
    made: list[nn.Module] = []
    for one, two in pairwise([inputs, *hidden]):
        made += [nn.Linear(one, two), activation(two), nn.Dropout(dropout)]
    return nn.Sequential(*made)


class Deep(nn.Module):
    """Layers on top of which stands one number: the logit of a row.

    Args:
        inputs: width of what comes in.
        hidden: widths of the layers.
        dropout: share of activations that training silences.
        activation: makes what stands behind a layer of a width.
    """

    def __init__(
        self, inputs: int, hidden: Sequence[int], dropout: float, activation: Callable[[int], nn.Module] = relu
    ) -> None:
        super().__init__()
        self.layers = mlp(inputs, hidden, dropout, activation)
        self.out = nn.Linear([inputs, *hidden][-1], 1)

    def forward(self, values: Tensor) -> Tensor:
        """Return (b,) for values (b, inputs)."""
        found: Tensor = self.out(self.layers(values)).squeeze(1)
        return found


class CrossVector(nn.Module):
    """A cross layer of rank 1 (DCN): x_0 (x · w) + b + x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Linear(width, 1, bias=False), nn.Parameter(torch.zeros(width))

    def forward(self, first: Tensor, values: Tensor) -> Tensor:
        """Return (b, width) for the network's input and the layer's input, both (b, width)."""
        found: Tensor = first * self.weight(values) + self.bias + values
        return found


class CrossMatrix(nn.Module):
    """A cross layer of full or low rank (DCN-v2): x_0 ∘ (W x + b) + x, where W is U V' with ``rank`` columns.

    Args:
        width: of x.
        rank: of W; None for a full matrix.
    """

    def __init__(self, width: int, rank: int | None = None) -> None:
        super().__init__()
        narrow = nn.Identity() if rank is None else nn.Linear(width, rank, bias=False)
        self.weight = nn.Sequential(narrow, nn.Linear(width if rank is None else rank, width))

    def forward(self, first: Tensor, values: Tensor) -> Tensor:
        """Return (b, width) for the network's input and the layer's input, both (b, width)."""
        found: Tensor = first * self.weight(values) + values
        return found


class Residual(nn.Module):
    """Two layers and a way around them (Deep Crossing): relu(x + W_2 relu(W_1 x + b_1) + b_2)."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, width))

    def forward(self, values: Tensor) -> Tensor:
        """Return (b, width)."""
        return F.relu(values + self.layers(values))


class FieldAttention(nn.Module):
    """Each field looks at all others (AutoInt): in every head softmax(q k') v without scaling, then relu(… + W x).

    Args:
        inputs: length of a field's vector.
        width: length of what comes out of a head.
        heads: how many.
    """

    def __init__(self, inputs: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries, self.keys, self.values, self.around = (
            nn.Linear(inputs, heads * width, bias=False) for _ in range(4)
        )

    def forward(self, vectors: Tensor) -> Tensor:
        """Return (b, fields, heads width) for vectors (b, fields, inputs)."""
        split = (len(vectors), vectors.shape[1], self.heads, -1)
        query, key, value = (
            layer(vectors).view(split).transpose(1, 2) for layer in (self.queries, self.keys, self.values)
        )
        seen = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        return F.relu(seen.transpose(1, 2).flatten(2) + self.around(vectors))
