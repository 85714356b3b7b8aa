"""What models share that learn to predict an item from the history before it, one vector or several a history."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from llmrec.classic.recall.neural.batches import Pairs
from llmrec.classic.recall.neural.encoder import NeuralConfig
from llmrec.classic.recall.neural.losses import item_softmax
from llmrec.data import Dataset


class PairsConfig(NeuralConfig):
    """What MIND, ComiRec and SDM share."""

    batch_size: int = Field(512, ge=1)
    """Rows of a step, over all processes and parts together; a row is an event and the history before it."""
    learning_rate: float = Field(2e-3, gt=0)
    """Step size of AdamW."""
    per_user: int | None = Field(50, ge=1)
    """At most so many events of each user in an epoch, drawn anew each time, so that all count alike; null for all."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of activations that training silences."""
    loss: Literal["softmax", "sampled"] = "softmax"
    """Cross-entropy over all items, or over shared negatives with logQ correction."""
    negatives: int = Field(1024, ge=1)
    """Items drawn uniformly for a batch; only read with loss=sampled."""


def pairs(data: Dataset, config: PairsConfig) -> Pairs:
    """Return what such a model learns from; a DataError where nobody has two events."""
    return Pairs(data, config.history, config.batch_size, config.per_user)


def pairs_loss(vectors: Tensor, items: Tensor, targets: Tensor, config: PairsConfig) -> tuple[Tensor, Tensor]:
    """Return the summed cross-entropy of targets (b,) for vectors (b, d) and items (n, d), and how many there are."""
    negatives = config.negatives if config.loss == "sampled" else None
    loss = item_softmax(vectors, items, targets, negatives=negatives)
    return loss, torch.tensor(len(targets), device=loss.device)
