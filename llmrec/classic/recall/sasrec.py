"""SASRec: self-attention over the history, with softmax or gBCE losses."""

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


class SASRecConfig(NextItemConfig):
    """Hyper-parameters of SASRec."""


class SASRec(NeuralRecommender[SASRecConfig]):
    """A causal transformer over the history; an item's score is its inner product with the last place's output.

    Paper: Kang, McAuley, Self-Attentive Sequential Recommendation, ICDM 2018. Differs in the loss (cross-entropy over
    all items, as Klenitskiy and Vasilev, RecSys 2023; or Petrov and Macdonald's gBCE, RecSys 2023), in layer norms
    before each part, and in a final one.
    """

    name: ClassVar[str] = "sasrec"
    config_class: ClassVar[type[Config]] = SASRecConfig

    def _encoder(self, n_items: int, features: Arrays) -> Encoder:  # noqa: ARG002 - it has none
        return NextItemEncoder(self.config, n_items, Transformer(self.config))

    def _batches(self, data: Dataset, features: Arrays) -> Batches:  # noqa: ARG002 - it has none
        return Windows(data, self.config.history, self.config.batch_size)


class Transformer(Layers):
    """Causal self-attention and feed-forward layers, each with a layer norm before it and a residual around it."""

    def __init__(self, config: NextItemConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.embedding_dim)

    def forward(self, inputs: Tensor, real: Tensor, times: Tensor) -> Tensor:  # noqa: ARG002 - order is all it reads
        """Return (b, h, d); see ``Layers``."""
        width = inputs.shape[1]
        causal = torch.ones(width, width, dtype=torch.bool, device=inputs.device).tril()
        # Padding may look at itself: a softmax over nothing is NaN.
        itself = torch.eye(width, dtype=torch.bool, device=inputs.device)
        allowed = ((causal & real[:, None, :]) | itself)[:, None]
        for block in self.blocks:
            inputs = block(inputs, allowed)
        normed: Tensor = self.norm(inputs)
        return normed


class _Block(nn.Module):
    def __init__(self, config: NextItemConfig) -> None:
        super().__init__()
        width = config.embedding_dim
        self.heads = config.heads
        self.attention_norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, inputs: Tensor, allowed: Tensor) -> Tensor:
        b, h, d = inputs.shape
        query, key, value = (
            part.view(b, h, self.heads, d // self.heads).transpose(1, 2)
            for part in self.qkv(self.attention_norm(inputs)).chunk(3, dim=-1)
        )
        # Attention weights are not dropped: on a CPU that would forgo the fused kernel.
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        inputs = inputs + self.dropout(self.out(seen.transpose(1, 2).reshape(b, h, d)))
        fed: Tensor = inputs + self.dropout(self.feed(self.feed_norm(inputs)))
        return fed
