"""Encoders: torch modules that turn histories into vectors which meet the items' by inner product."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from llmrec.classic.training import TrainingConfig


class NeuralConfig(TrainingConfig):
    """What models that encode a history share."""

    embedding_dim: int = Field(64, ge=1)
    """Length of the item and query vectors."""
    history: int = Field(50, ge=1)
    """How many of the newest items are read."""


class Encoder(nn.Module, ABC):
    """A module that turns histories into vectors which meet the items' by inner product.

    Attributes:
        temperature: divides the inner products in training.
    """

    temperature: float = 1.0

    @abstractmethod
    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the sum of a batch's losses and how many there were; its random draws are torch's."""

    @abstractmethod
    def encode(self, history: Tensor, times: Tensor) -> Tensor:
        """Return (b, m, d) for histories with at least one real item; NaN for an interest that a query does not have.

        Args:
            history: item numbers, int64 (b, h), left-padded with -1.
            times: Unix seconds of the history's events, int64 (b, h); 0 in the padding, and throughout where times are
                not known: all events at one moment.
        """

    @abstractmethod
    def items(self) -> Tensor:
        """Return the vectors (n_items, d) of all items."""

    def some_items(self, items: Tensor) -> Tensor:
        """Return the vectors (b, d) of item numbers (b,)."""
        return self.items()[items]


class ItemEmbedding(nn.Module):
    """A vector for each item, and a fixed zero vector for padding.

    Args:
        n_items: size of the catalogue.
        embedding_dim: length of a vector.
        scale: standard deviation at the start.
    """

    def __init__(self, n_items: int, embedding_dim: int, scale: float = 0.02) -> None:
        super().__init__()
        self.table = nn.Embedding(n_items + 1, embedding_dim, padding_idx=0)
        with torch.no_grad():
            self.table.weight[1:].normal_(0, scale)

    def forward(self, items: Tensor) -> Tensor:
        """Return the vectors of item numbers; -1 gives zeros."""
        vectors: Tensor = self.table(items + 1)
        return vectors

    def all(self) -> Tensor:
        """Return the vectors (n_items, d) of all items."""
        return self.table.weight[1:]
