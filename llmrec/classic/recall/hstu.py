"""HSTU: gated pointwise attention over the history, with biases for distance and elapsed time."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.neural.batches import Windows
from llmrec.classic.recall.neural.encoder import Encoder
from llmrec.classic.recall.neural.next_item import Layers, NextItemConfig, NextItemEncoder
from llmrec.classic.recall.neural.recommender import NeuralRecommender
from llmrec.classic.training import Batches
from llmrec.config import Config
from llmrec.data import Dataset

BUCKETS = 64  # of elapsed time: the last begins at e^(63 * 0.301) seconds, which is more than five years


class HSTUConfig(NextItemConfig):
    """Hyper-parameters of HSTU."""


class HSTU(NeuralRecommender[HSTUConfig]):
    """Layers in which attention weights are SiLU activations, not a softmax, and a gate takes the feed-forward's place.

    Paper: Zhai et al., Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for Generative
    Recommendations, ICML 2024. As the retrieval model there: sequences of items only. Differs in the loss
    (cross-entropy over all items by default, sampled and of L2-normalised vectors there), in a layer norm behind
    the layers, and in weights that are divided by how many events a place sees, not by the longest history. Where
    times are not known, all events happen at one moment.
    """

    name: ClassVar[str] = "hstu"
    config_class: ClassVar[type[Config]] = HSTUConfig

    def _encoder(self, n_items: int, features: Arrays) -> Encoder:  # noqa: ARG002 - it has none
        return NextItemEncoder(self.config, n_items, Transducer(self.config))

    def _batches(self, data: Dataset, features: Arrays) -> Batches:  # noqa: ARG002 - it has none
        return Windows(data, self.config.history, self.config.batch_size)


class Transducer(Layers):
    """HSTU's layers and a layer norm behind them."""

    def __init__(self, config: NextItemConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.embedding_dim)

    def forward(self, inputs: Tensor, real: Tensor, times: Tensor) -> Tensor:
        """Return (b, h, d); see ``Layers``."""
        width = inputs.shape[1]
        causal = torch.ones(width, width, dtype=torch.bool, device=inputs.device).tril()
        allowed = causal & real[:, None, :]
        share = allowed / allowed.sum(-1, keepdim=True).clamp(min=1)
        places = torch.arange(width, device=inputs.device)
        distance = (places[:, None] - places).clamp(min=0)
        # The moment of the prediction is not known when serving: the newest event that a place sees stands for it.
        elapsed = elapsed_bucket(times[:, :, None] - times[:, None, :]) if bool(times.any()) else None
        for block in self.blocks:
            inputs = block(inputs, share[:, None], distance, elapsed)
        normed: Tensor = self.norm(inputs)
        return normed


def elapsed_bucket(seconds: Tensor) -> Tensor:
    """Return the bucket 0 to ``BUCKETS`` - 1 of elapsed seconds: ln(max(1, |seconds|)) / 0.301, rounded down."""
    logarithms = seconds.abs().clamp(min=1).float().log()
    return (logarithms / 0.301).long().clamp(max=BUCKETS - 1)


class _Block(nn.Module):
    """One layer: u, v, q, k = SiLU(W norm(x)); x + W'(norm(SiLU(q k' + bias) v / n) * u)."""

    def __init__(self, config: NextItemConfig) -> None:
        super().__init__()
        width = config.embedding_dim
        self.heads = config.heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.uvqk, self.out = nn.Linear(width, 4 * width), nn.Linear(width, width)
        self.by_distance = nn.Parameter(torch.randn(config.history) * 0.02)
        self.by_time = nn.Parameter(torch.randn(BUCKETS) * 0.02)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, inputs: Tensor, share: Tensor, distance: Tensor, elapsed: Tensor | None) -> Tensor:
        b, h, d = inputs.shape
        gate, *rest = F.silu(self.uvqk(self.before(inputs))).chunk(4, dim=-1)
        value, query, key = (part.view(b, h, self.heads, d // self.heads).transpose(1, 2) for part in rest)
        bias = self.by_distance[distance]
        bias = bias if elapsed is None else bias + self.by_time[elapsed].unsqueeze(1)
        weights = F.silu(query @ key.transpose(-1, -2) + bias) * share
        seen = (weights.to(value.dtype) @ value).transpose(1, 2).reshape(b, h, d)
        found: Tensor = inputs + self.out(self.dropout(self.after(seen) * gate))
        return found
