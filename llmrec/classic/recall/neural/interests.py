"""Several interests a user: an extractor turns the history into k vectors, and the nearest one answers for an item."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from llmrec.classic.recall.neural.encoder import Encoder, ItemEmbedding
from llmrec.classic.recall.neural.pairs import PairsConfig, pairs_loss


class Extractor(nn.Module, ABC):
    """What turns the embeddings of a history into interests."""

    @abstractmethod
    def forward(self, items: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Return vectors (b, k, d) and which of them a query has, bool (b, k), one at least.

        Args:
            items: (b, h, d), embeddings times the root of d; zeros in the padding on the left.
            real: bool (b, h), where the history holds an item.
        """


class InterestEncoder(Encoder):
    """Item embeddings, an extractor of interests, and a softmax loss on what is asked about the target.

    Args:
        config: hyper-parameters.
        n_items: size of the catalogue.
        extractor: what turns histories into interests.
        power: of label-aware attention; None for the nearest interest alone.
    """

    def __init__(self, config: PairsConfig, n_items: int, extractor: Extractor, *, power: float | None = None) -> None:
        super().__init__()
        self.config, self.power = config, power
        self.embedding = ItemEmbedding(n_items, config.embedding_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.extractor = extractor

    def interests(self, history: Tensor) -> tuple[Tensor, Tensor]:
        """Return vectors (b, k, d) of histories (b, h), and which of them are used, bool (b, k)."""
        scaled = self.embedding(history) * math.sqrt(self.config.embedding_dim)
        vectors, used = self.extractor(scaled, history >= 0)
        return self.dropout(vectors), used

    def encode(self, history: Tensor, times: Tensor) -> Tensor:  # noqa: ARG002 - the order is enough
        """Return (b, k, d); NaN for an interest that a query does not have."""
        vectors, used = self.interests(history)
        return vectors.masked_fill(~used.unsqueeze(-1), torch.nan)

    def items(self) -> Tensor:
        """Return the item embeddings (n_items, d)."""
        return self.embedding.all()

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the summed loss of ``Pairs`` and how many there are."""
        vectors, used = self.interests(batch["history"])
        asked = label_aware(vectors, used, self.embedding(batch["target"]), self.power)
        return pairs_loss(asked, self.items(), batch["target"], self.config)


def label_aware(vectors: Tensor, used: Tensor, target: Tensor, power: float | None) -> Tensor:
    """Return (b, d): each row's vectors weighted by the softmax of their inner products with the target to a power.

    Args:
        vectors: (b, k, d).
        used: bool (b, k), vectors that count, one at least.
        target: (b, d), embeddings of the targets.
        power: at least 1, the sign of a product is kept; None is infinity: the vector nearest to the target.

    Paper: Li et al., CIKM 2019, equation 8, where the power of a negative product is left open.
    """
    products = (vectors @ target.unsqueeze(-1)).squeeze(-1)
    if power is None:
        nearest = products.masked_fill(~used, -torch.inf).argmax(1)
        return vectors[torch.arange(len(vectors), device=vectors.device), nearest]
    raised = products.sign() * products.abs() ** power
    weights = raised.masked_fill(~used, -torch.inf).softmax(1)
    return (weights.unsqueeze(1) @ vectors).squeeze(1)
