"""DSSM: a tower for the history and one for the item, compared by cosine, learned with an in-batch softmax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from pydantic import Field
from torch import Tensor, nn

from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.neural.encoder import Encoder
from llmrec.classic.recall.neural.features import FeatureEmbedding
from llmrec.classic.recall.neural.losses import in_batch_softmax
from llmrec.classic.recall.neural.recommender import NeuralRecommender
from llmrec.classic.recall.neural.towers import HistoryPooling, TowerConfig, draw_chances, layers, pairs, tower_features
from llmrec.classic.training import Batches
from llmrec.config import Config
from llmrec.data import Dataset


class DSSMConfig(TowerConfig):
    """Hyper-parameters of DSSM; ``accumulation`` and several processes leave each part its own negatives only."""

    hidden: tuple[int, ...] = (256,)
    """Widths of the layers of each tower."""
    temperature: float = Field(0.07, gt=0)
    """Divides the cosines in training; small is sharp."""


class DSSM(NeuralRecommender[DSSMConfig]):
    """Two towers of layers, over the history's mean and over the item's features; the score is their cosine.

    Learned with a softmax over the targets of the batch. A popular item is a negative more often: the logarithm of how
    often (logQ) is taken off its logits in training, so that popular items are not pushed down for it.

    Paper: Huang et al., Learning Deep Structured Semantic Models for Web Search using Clickthrough Data, CIKM 2013, as
    Yi et al., Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations, RecSys 2019, learn it.
    Differs: item numbers and categories instead of words, the mean is weighted by learned numbers for the places, and
    an item's frequency is counted beforehand rather than estimated on the way.
    """

    name: ClassVar[str] = "dssm"
    config_class: ClassVar[type[Config]] = DSSMConfig

    def _features(self, data: Dataset) -> Arrays:
        return tower_features(data, self.config)

    def _encoder(self, n_items: int, features: Arrays) -> Encoder:
        return Towers(self.config, n_items, features)

    def _batches(self, data: Dataset, features: Arrays) -> Batches:  # noqa: ARG002 - rows need none
        return pairs(data, self.config)


class Towers(Encoder):
    """The two towers of DSSM.

    Args:
        config: hyper-parameters.
        n_items: size of the catalogue.
        features: what ``_features`` returned.
    """

    log_q: Tensor

    def __init__(self, config: DSSMConfig, n_items: int, features: Arrays) -> None:
        super().__init__()
        width = config.embedding_dim
        self.temperature = config.temperature
        self.pooling = HistoryPooling(n_items, width, config.history)
        self.feature = FeatureEmbedding(features, n_items, width)
        self.dropout = nn.Dropout(config.dropout)
        self.query_layers = layers(width, config.hidden, width, config.dropout)
        self.item_layers = layers(width, config.hidden, width, config.dropout)
        log_q = np.log(draw_chances(features, n_items)).astype(np.float32)
        self.register_buffer("log_q", torch.from_numpy(log_q), persistent=False)

    def query(self, history: Tensor) -> Tensor:
        """Return (b, d) of length 1 for item numbers (b, h)."""
        return F.normalize(self.query_layers(self.dropout(self.pooling(history))), dim=1)

    def item(self, items: Tensor) -> Tensor:
        """Return (b, d) of length 1 for item numbers (b,)."""
        return F.normalize(self.item_layers(self.feature(items)), dim=1)

    def encode(self, history: Tensor, times: Tensor) -> Tensor:  # noqa: ARG002 - not read
        """Return (b, 1, d) of length 1."""
        return self.query(history).unsqueeze(1)

    def items(self) -> Tensor:
        """Return (n_items, d) of length 1."""
        return self.item(self.feature.every())

    def some_items(self, items: Tensor) -> Tensor:
        """Return (b, d) of length 1 for item numbers (b,)."""
        return self.item(items)

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the summed loss of the rows and their number."""
        vectors, targets = self.query(batch["history"]), batch["target"]
        loss = in_batch_softmax(vectors, self.item(targets), targets, self.log_q, temperature=self.temperature)
        return loss, torch.tensor(len(vectors), device=vectors.device)
