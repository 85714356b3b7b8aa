"""FM as recall: a factorisation machine split into a query vector and an item vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.neural.encoder import Encoder, ItemEmbedding
from llmrec.classic.recall.neural.features import FeatureEmbedding
from llmrec.classic.recall.neural.recommender import NeuralRecommender
from llmrec.classic.recall.neural.towers import (
    HistoryPooling,
    Negatives,
    SampledConfig,
    draw_chances,
    pairs,
    tower_features,
)
from llmrec.classic.training import Batches
from llmrec.config import Config
from llmrec.data import Dataset


class FMConfig(SampledConfig):
    """Hyper-parameters of FM; the vectors that an index holds are one longer than ``embedding_dim``."""


class FM(NeuralRecommender[FMConfig]):
    """A factorisation machine over what the user had, what the user had last, the item, and the item's categories.

    Its features are those of the paper's figure 1 that a history gives: other items (a bag, its values sum to 1), the
    last item, and the active item; ``columns`` add the item's categories. With x the values, w and v the parameters
    of features, U those of the query and I those of the item, the machine says

        w0 + sum_f w_f x_f + 1/2 (|sum_f x_f v_f|^2 - sum_f |x_f v_f|^2)
            = what does not depend on the item + b_I + <sum_U x v, sum_I x v>,
        b_I = sum_I w x + 1/2 (|sum_I x v|^2 - sum_I |x v|^2).

    So (1, sum_U x v) is the query's vector and (b_I, sum_I x v) the item's: their inner product orders items exactly
    as the machine does. What does not depend on the item changes no softmax over items either, and is not learned.

    Paper: Rendle, Factorization Machines, ICDM 2010. Differs: learned with a sampled softmax over what came next
    instead of from ratings, and the values of the bag are learned for its places.
    """

    name: ClassVar[str] = "fm"
    config_class: ClassVar[type[Config]] = FMConfig

    def _features(self, data: Dataset) -> Arrays:
        return tower_features(data, self.config)

    def _encoder(self, n_items: int, features: Arrays) -> Encoder:
        return Machine(self.config, n_items, features)

    def _batches(self, data: Dataset, features: Arrays) -> Batches:  # noqa: ARG002 - rows need none
        return pairs(data, self.config)


class Machine(Encoder):
    """The parameters of a factorisation machine that an order of items depends on.

    Args:
        config: hyper-parameters.
        n_items: size of the catalogue.
        features: what ``_features`` returned.
    """

    def __init__(self, config: FMConfig, n_items: int, features: Arrays) -> None:
        super().__init__()
        self.bag = HistoryPooling(n_items, config.embedding_dim, config.history)
        self.last = ItemEmbedding(n_items, config.embedding_dim)
        self.linear = FeatureEmbedding(features, n_items, 1, scale=0)
        self.vector = FeatureEmbedding(features, n_items, config.embedding_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.negatives = Negatives(draw_chances(features, n_items, config.power), config.negatives)

    def query(self, history: Tensor) -> Tensor:
        """Return (b, 1 + d), (1, sum of x v), for item numbers (b, h)."""
        vectors = self.dropout(self.bag(history) + self.last(history[:, -1]))
        return torch.cat([vectors.new_ones(len(vectors), 1), vectors], 1)

    def item(self, items: Tensor) -> Tensor:
        """Return (b, 1 + d), (own terms, sum of x v), for item numbers (b,)."""
        vectors = self.vector(items)
        among = (vectors.square().sum(1) - self.vector.squares(items)) / 2
        return torch.cat([self.linear(items) + among.unsqueeze(1), vectors], 1)

    def encode(self, history: Tensor, times: Tensor) -> Tensor:  # noqa: ARG002 - not read
        """Return (b, 1, 1 + d)."""
        return self.query(history).unsqueeze(1)

    def items(self) -> Tensor:
        """Return (n_items, 1 + d)."""
        return self.item(self.vector.every())

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the summed loss of the rows and their number."""
        vectors = self.query(batch["history"])
        rows = torch.tensor(len(vectors), device=vectors.device)
        return self.negatives.loss(vectors, self.item, batch["target"]), rows
