"""BST: a Transformer over the history and the target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from pydantic import Field
from torch import Tensor, nn

from llmrec.classic.ranking.features import FeatureConfig, FeatureSpace
from llmrec.classic.ranking.neural.layers import Deep
from llmrec.classic.ranking.neural.ranker import DeepConfig, RowModule, TorchRanker
from llmrec.classic.ranking.neural.sequences import SequenceModule, require_heads
from llmrec.config import Config


class BSTConfig(DeepConfig):
    """Hyper-parameters of BST."""

    features: FeatureConfig = Field(default_factory=lambda: FeatureConfig(history=20))
    """What it reads."""
    layers: int = Field(1, ge=1)
    """Of the Transformer."""
    heads: int = Field(2, ge=1)
    """Attention heads; they divide the length of an item's vectors."""


class BST(TorchRanker[BSTConfig]):
    """Self-attention between the events and the target, each with a vector of its place; layers read all places.

    Paper: Chen et al., Behavior Sequence Transformer for E-commerce Recommendation in Alibaba, DLP-KDD 2019. Differs:
    places count back from the target instead of the time that has passed, and are added to the items' vectors.
    """

    name: ClassVar[str] = "bst"
    config_class: ClassVar[type[Config]] = BSTConfig

    def _module(self, space: FeatureSpace, config: BSTConfig) -> RowModule:
        return SequenceTransformer(space, config)


class SequenceTransformer(SequenceModule):
    """The module of BST."""

    def __init__(self, space: FeatureSpace, config: BSTConfig) -> None:
        super().__init__(space, config.embedding_dim)
        width, self.places = self.item_width, config.features.history + 1
        require_heads(config.heads, width)
        self.position = nn.Parameter(torch.empty(self.places, width).normal_(0, 0.05))  # the target's is the last
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, config.heads, 4 * width, config.dropout, nn.LeakyReLU(), batch_first=True)
            for _ in range(config.layers)
        )
        self.deep = Deep(self.width + self.places * width, config.hidden, config.dropout)

    def sequence(self, target: Tensor, events: Tensor, real: Tensor) -> Tensor:
        """Return what the Transformer makes of events and target, (b, places, w), zeros in the padding."""
        found = torch.cat([events, target.unsqueeze(1)], 1)
        there = F.pad(real, (0, 1), value=True)
        found = found + self.position[-found.shape[1] :]
        for layer in self.layers:
            found = layer(found, src_key_padding_mask=~there)
        return F.pad(found * there.unsqueeze(2), (0, 0, self.places - found.shape[1], 0))

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of yes, (b,)."""
        fields, *rest = self.read(batch)
        logits: Tensor = self.deep(torch.cat([fields, self.sequence(*rest).flatten(1)], 1))
        return logits
