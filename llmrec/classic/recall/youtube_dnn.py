"""YouTubeDNN: the pooled history and the age of the example through layers, learned with a sampled softmax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.neural.encoder import Encoder
from llmrec.classic.recall.neural.features import FeatureEmbedding
from llmrec.classic.recall.neural.recommender import NeuralRecommender
from llmrec.classic.recall.neural.towers import (
    HistoryPooling,
    Negatives,
    SampledConfig,
    draw_chances,
    layers,
    pairs,
    tower_features,
)
from llmrec.classic.training import Batches
from llmrec.config import Config
from llmrec.data import Dataset

CLOCK = "clock"
DAY = 86_400


class YouTubeDNNConfig(SampledConfig):
    """Hyper-parameters of YouTubeDNN."""

    hidden: tuple[int, ...] = (256,)
    """Widths of the layers between the pooled history and the query vector."""


class YouTubeDNN(NeuralRecommender[YouTubeDNNConfig]):
    """Classification of the next item: layers over the history's mean and the example's age give the query vector.

    The age is how long before the end of training an event happened, and 0 when the model is asked: popularity then
    is that of the end of training, not of all its time. A data set without a clock has no ages. Each user gives the
    same number of examples to an epoch (``per_user``), and a target's history is what came before it.

    Paper: Covington, Adams, Sargin, Deep Neural Networks for YouTube Recommendations, RecSys 2016. Differs: the mean
    is weighted by learned numbers for the places, one wide layer stands for the tower, the age is on a logarithmic
    scale, and there are no searches or demographics. ``columns`` give item vectors parts that items share.
    """

    name: ClassVar[str] = "youtube-dnn"
    config_class: ClassVar[type[Config]] = YouTubeDNNConfig

    def _features(self, data: Dataset) -> Arrays:
        return {**tower_features(data, self.config), CLOCK: training_clock(data)}

    def _encoder(self, n_items: int, features: Arrays) -> Encoder:
        return Network(self.config, n_items, features)

    def _batches(self, data: Dataset, features: Arrays) -> Batches:  # noqa: ARG002 - rows need none
        return pairs(data, self.config)


def training_clock(data: Dataset) -> NDArray[np.int64]:
    """Return the end of training in Unix seconds and how long it lasted; zeros without a clock."""
    times = data.interactions.times
    return np.array([times[-1], times[-1] - times[0]] if data.clock else [0, 0], np.int64)


class Network(Encoder):
    """The network of YouTubeDNN; item vectors are the weights of its softmax.

    Args:
        config: hyper-parameters.
        n_items: size of the catalogue.
        features: what ``_features`` returned.
    """

    def __init__(self, config: YouTubeDNNConfig, n_items: int, features: Arrays) -> None:
        super().__init__()
        width = config.embedding_dim
        self.end, self.span = features[CLOCK].tolist()
        self.pooling = HistoryPooling(n_items, width, config.history)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = layers(width + 1, config.hidden, width, config.dropout)
        self.item = FeatureEmbedding(features, n_items, width)
        self.negatives = Negatives(draw_chances(features, n_items, config.power), config.negatives)

    def age(self, time: Tensor) -> Tensor:
        """Return (b,): ln(1 + days before the end), as a share of that of the first event; 0 without a clock."""
        if not self.span:
            return torch.zeros(len(time), device=time.device)
        days = (self.end - time).clamp(min=0).float() / DAY
        return torch.log1p(days) / float(np.log1p(self.span / DAY))

    def query(self, history: Tensor, age: Tensor) -> Tensor:
        """Return (b, d) for item numbers (b, h) and ages (b,)."""
        vectors: Tensor = self.layers(torch.cat([self.dropout(self.pooling(history)), age.unsqueeze(1)], 1))
        return vectors

    def encode(self, history: Tensor, times: Tensor) -> Tensor:  # noqa: ARG002 - the moment of asking is the end
        """Return (b, 1, d) at age 0."""
        return self.query(history, torch.zeros(len(history), device=history.device)).unsqueeze(1)

    def items(self) -> Tensor:
        """Return the weights of the softmax (n_items, d)."""
        return self.item.all()

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the summed loss of the rows and their number."""
        vectors = self.query(batch["history"], self.age(batch["time"]))
        rows = torch.tensor(len(vectors), device=vectors.device)
        return self.negatives.loss(vectors, self.item, batch["target"]), rows
