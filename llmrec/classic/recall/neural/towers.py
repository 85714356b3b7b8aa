"""What two-tower models share: rows to learn from, a pooled history, layers, and negatives drawn by popularity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.neural.batches import Pairs
from llmrec.classic.recall.neural.encoder import NeuralConfig
from llmrec.classic.recall.neural.features import item_features
from llmrec.classic.recall.neural.losses import sampled_softmax
from llmrec.data import Dataset

SHARES = "target_shares"


class TowerConfig(NeuralConfig):
    """What two-tower models share."""

    epochs: int = Field(30, ge=1)
    """Passes over the training data, at most."""
    batch_size: int = Field(1024, ge=1)
    """Rows of a step, over all processes and parts together; a row is an event and the history before it."""
    learning_rate: float = Field(4e-3, gt=0)
    """Step size of AdamW."""
    per_user: int | None = Field(50, ge=1)
    """At most so many events of each user in an epoch, drawn anew each time, so that all count alike; None for all."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of activations that training silences."""
    columns: tuple[str, ...] = ()
    """Columns of the item table whose categories describe items too, for example categories."""


class SampledConfig(TowerConfig):
    """What two-tower models with a sampled softmax share."""

    negatives: int = Field(1024, ge=1)
    """Items drawn for the rows of a batch to share."""
    power: float = Field(0.5, ge=0, le=1)
    """Negatives are drawn by this power of an item's share among the targets: 0 is uniformly, 1 by popularity."""


def tower_features(data: Dataset, config: TowerConfig) -> Arrays:
    """Return the features of items and how often each is a target; a DataError where a column does not fit."""
    return {**item_features(data, config.columns), SHARES: target_shares(data, config.per_user)}


def pairs(data: Dataset, config: TowerConfig) -> Pairs:
    """Return a row for each event but a user's first; a DataError where nobody has two."""
    return Pairs(data, config.history, config.batch_size, config.per_user)


def target_shares(data: Dataset, per_user: int | None) -> NDArray[np.float64]:
    """Return how probable each item is as the target of a row, (n_items,), where rows are drawn as ``Pairs`` does."""
    order, starts = data.by_user
    counts = np.diff(starts)
    places = np.arange(len(order)) - np.repeat(starts[:-1], counts)
    chances = np.ones(len(counts)) if per_user is None else np.minimum(per_user / np.maximum(counts - 1, 1), 1)
    weights = np.where(places > 0, np.repeat(chances, counts), 0)
    shares = np.bincount(data.interactions.items[order], weights, minlength=len(data.items))
    return np.asarray(shares / max(shares.sum(), np.finfo(np.float64).tiny))


def draw_chances(features: Arrays, n_items: int, power: float = 1.0) -> NDArray[np.float64]:
    """Return a power of the items' shares among the targets, to sum 1; never a target counts like rarely one.

    Raises:
        ValueError: the shares are of another catalogue.
    """
    shares = np.asarray(features[SHARES], np.float64)
    if shares.shape != (n_items,):
        raise ValueError(f"{SHARES} of shape {shares.shape}")
    chances = np.maximum(shares, shares[shares > 0].min(initial=1)) ** power
    return np.asarray(chances / chances.sum())


class HistoryPooling(nn.Module):
    """A vector for each item, and the weighted mean of a history's.

    The weights are a softmax over a learned number for each place, counted from the newest: all alike at the start.

    Args:
        n_items: size of the catalogue.
        embedding_dim: length of a vector.
        history: places.
        scale: standard deviation of the vectors at the start.
    """

    def __init__(self, n_items: int, embedding_dim: int, history: int, scale: float = 0.02) -> None:
        super().__init__()
        self.table = nn.Embedding(n_items + 1, embedding_dim, padding_idx=0)
        self.places = nn.Parameter(torch.zeros(history))
        with torch.no_grad():
            self.table.weight[1:].normal_(0, scale)

    def weights(self, history: Tensor) -> Tensor:
        """Return (b, h), 0 in the padding and 1 in all, for item numbers (b, h) with at least one real item a row."""
        places = self.places[len(self.places) - history.shape[1] :].expand(history.shape)
        return places.masked_fill(history < 0, -torch.inf).softmax(1)

    def forward(self, history: Tensor) -> Tensor:
        """Return (b, d) for item numbers (b, h), left-padded with -1, at least one real item a row."""
        weights, table = self.weights(history), self.table.weight
        return F.embedding_bag(history + 1, table, mode="sum", per_sample_weights=weights, padding_idx=0)


def layers(inputs: int, hidden: Sequence[int], outputs: int, dropout: float) -> nn.Sequential:
    """Return linear layers with ReLU and dropout between them."""
    sizes = [inputs, *hidden]
    made: list[nn.Module] = []
    for one, two in pairwise(sizes):
        made += [nn.Linear(one, two), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*made, nn.Linear(sizes[-1], outputs))


class Negatives(nn.Module):
    """Draws items, and knows the softmax loss of targets among them.

    Args:
        chances: (n_items,), how probable each item is, see ``draw_chances``.
        number: items drawn for a batch.
    """

    cumulative: Tensor
    log_q: Tensor

    def __init__(self, chances: NDArray[np.float64], number: int) -> None:
        super().__init__()
        self.number = number
        self.register_buffer("cumulative", torch.from_numpy(np.cumsum(chances)), persistent=False)
        self.register_buffer("log_q", torch.from_numpy(np.log(chances).astype(np.float32)), persistent=False)

    def draw(self) -> Tensor:
        """Return item numbers (number,), drawn with replacement."""
        uniform = torch.rand(self.number, dtype=torch.float64, device=self.cumulative.device)
        return torch.searchsorted(self.cumulative, uniform, right=True).clamp(max=len(self.cumulative) - 1)

    def loss(self, vectors: Tensor, items: Callable[[Tensor], Tensor], targets: Tensor) -> Tensor:
        """Return the summed cross-entropy of targets (b,) among themselves and negatives; see ``sampled_softmax``.

        Args:
            vectors: (b, d).
            items: from item numbers (u,) to their vectors (u, d); asked once, for those that take part only.
            targets: (b,).
        """
        some, places = torch.unique(torch.cat([targets, self.draw()]), return_inverse=True)
        wanted, drawn = places[: len(targets)], places[len(targets) :]
        return sampled_softmax(vectors, items(some), wanted, drawn, self.log_q[some])
