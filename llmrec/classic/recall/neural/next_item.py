"""Next-item prediction: at every place of a window, layers that look back only, and a loss on the item to come."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from llmrec.classic.recall.neural.encoder import Encoder, ItemEmbedding, NeuralConfig
from llmrec.classic.recall.neural.losses import gbce, item_softmax


class NextItemConfig(NeuralConfig):
    """What SASRec and HSTU share."""

    history: int = Field(200, ge=1)
    """How many of the newest items are read."""
    blocks: int = Field(2, ge=1)
    """Layers, one upon the other."""
    heads: int = Field(2, ge=1)
    """Attention heads of a layer; divides embedding_dim."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of activations that training silences."""
    loss: Literal["softmax", "sampled", "gbce"] = "softmax"
    """Cross-entropy over all items, over shared negatives with logQ correction, or generalised binary cross-entropy."""
    negatives: int = Field(256, ge=1)
    """Items drawn uniformly: a batch's with loss=sampled, a row's with loss=gbce."""
    calibration: float = Field(0.75, ge=0, le=1)
    """gBCE's t: 0 is plain binary cross-entropy; only read with loss=gbce."""


class Layers(nn.Module, ABC):
    """What stands between the embeddings and the prediction."""

    @abstractmethod
    def forward(self, inputs: Tensor, real: Tensor, times: Tensor) -> Tensor:
        """Return (b, h, d) from inputs (b, h, d), where place t depends on places up to t that are ``real`` only.

        Args:
            inputs: (b, h, d), zeros in the padding.
            real: (b, h), where there is an item.
            times: (b, h), Unix seconds; all 0 where they are not known.
        """


class NextItemEncoder(Encoder):
    """Item embeddings, a learned position for each place counted from the newest, layers, and a loss.

    Args:
        config: hyper-parameters.
        n_items: size of the catalogue.
        layers: what looks back.
    """

    def __init__(self, config: NextItemConfig, n_items: int, layers: Layers) -> None:
        super().__init__()
        self.config = config
        self.embedding = ItemEmbedding(n_items, config.embedding_dim)
        self.positions = nn.Parameter(torch.randn(config.history, config.embedding_dim) * 0.02)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = layers

    def hidden(self, history: Tensor, times: Tensor) -> Tensor:
        """Return (b, h, d): what is expected after each place of item numbers (b, h), left-padded with -1."""
        scaled = self.embedding(history) * self.config.embedding_dim**0.5
        inputs = self.dropout(scaled + self.positions[len(self.positions) - history.shape[1] :])
        real = history >= 0
        hidden: Tensor = self.layers(inputs * real.unsqueeze(-1), real, times)
        return hidden

    def encode(self, history: Tensor, times: Tensor) -> Tensor:
        """Return (b, 1, d), what is expected after the newest item."""
        return self.hidden(history, times)[:, -1:]

    def items(self) -> Tensor:
        """Return the item embeddings (n_items, d)."""
        return self.embedding.all()

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the summed loss over all places with a target, and how many there are."""
        hidden, target = self.hidden(batch["history"], batch["times"]), batch["target"]
        real = target >= 0
        loss = self._gbce(hidden, target, real) if self.config.loss == "gbce" else self._softmax(hidden, target, real)
        return loss, real.sum()

    def _softmax(self, hidden: Tensor, target: Tensor, real: Tensor) -> Tensor:
        negatives = self.config.negatives if self.config.loss == "sampled" else None
        return item_softmax(hidden[real], self.items(), target[real], negatives=negatives)

    def _gbce(self, hidden: Tensor, target: Tensor, real: Tensor) -> Tensor:
        """Draw each row's negatives once for all its places: gSASRec draws them for each place."""
        items = self.items()
        drawn = torch.randint(len(items), (len(hidden), self.config.negatives), device=hidden.device)
        negative = torch.einsum("bhd,bkd->bhk", hidden, items[drawn])
        positive = (hidden * self.embedding(target)).sum(-1)
        return gbce(positive[real], negative[real], n_items=len(items), calibration=self.config.calibration)
