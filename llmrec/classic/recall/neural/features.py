"""An item as a bag of features, itself and its categories, each with a learned vector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from llmrec.classic.recall.base.side import read_side
from llmrec.classic.recall.base.store import Arrays
from llmrec.data import Dataset
from llmrec.data.queries import pad_ragged

NUMBERS, WEIGHTS = "feature_numbers", "feature_weights"


def item_features(data: Dataset, columns: Sequence[str]) -> Arrays:
    """Return which features each item has: itself, with weight 1, and its categories, which share 1 in each column.

    Args:
        data: the data set.
        columns: of its item table; see ``read_side`` for what they may hold.

    Returns:
        ``feature_numbers`` int32 (n_items, f): 1 + i is item i, then come the categories, 0 is padding;
        ``feature_weights`` float32 (n_items, f), 0 in the padding.

    Raises:
        DataError: a column is missing, or says nothing.
    """
    n_items, side = len(data.items), read_side(data, columns)
    rows = np.repeat(np.arange(n_items), side.counts.sum(axis=1))
    shares = np.repeat(1 / np.maximum(side.counts, 1), side.counts.ravel()).astype(np.float32)
    numbers = pad_ragged(rows, (1 + n_items + side.members).astype(np.int32), n_items, fill=0)
    weights = pad_ragged(rows, shares, n_items, fill=0)
    itself = np.arange(1, n_items + 1, dtype=np.int32)[:, None]
    return {NUMBERS: np.hstack([itself, numbers]), WEIGHTS: np.hstack([np.ones_like(itself, np.float32), weights])}


class FeatureEmbedding(nn.Module):
    """A vector for each feature, and an item's vector: the weighted sum of those of its features.

    Args:
        features: what ``item_features`` returned.
        n_items: size of the catalogue.
        embedding_dim: length of a vector.
        scale: standard deviation at the start.

    Raises:
        ValueError: the features are of another catalogue.
    """

    numbers: Tensor
    weights: Tensor

    def __init__(self, features: Arrays, n_items: int, embedding_dim: int, scale: float = 0.02) -> None:
        super().__init__()
        numbers, weights = np.array(features[NUMBERS], np.int64), np.array(features[WEIGHTS], np.float32)
        if len(numbers) != n_items or numbers.shape != weights.shape or numbers.min() < 0:
            raise ValueError(f"features of shape {numbers.shape} with weights of shape {weights.shape}")
        self.register_buffer("numbers", torch.from_numpy(numbers), persistent=False)
        self.register_buffer("weights", torch.from_numpy(weights), persistent=False)
        self.table = nn.Embedding(int(numbers.max()) + 1, embedding_dim, padding_idx=0)
        with torch.no_grad():
            self.table.weight[1:].normal_(0, scale)

    def forward(self, items: Tensor) -> Tensor:
        """Return (b, d) for item numbers (b,)."""
        return F.embedding_bag(
            self.numbers[items],
            self.table.weight,
            mode="sum",
            per_sample_weights=self.weights[items].to(self.table.weight.dtype),
            padding_idx=0,
        )

    def every(self) -> Tensor:
        """Return the numbers of all items, (n_items,)."""
        return torch.arange(len(self.numbers), device=self.numbers.device)

    def all(self) -> Tensor:
        """Return the vectors (n_items, d) of all items."""
        vectors: Tensor = self(self.every())
        return vectors

    def squares(self, items: Tensor) -> Tensor:
        """Return (b,): the sum of the squared lengths of the weighted vectors of item numbers (b,)."""
        weighted = self.table(self.numbers[items]) * self.weights[items].unsqueeze(-1)
        total: Tensor = weighted.square().sum((1, 2))
        return total
