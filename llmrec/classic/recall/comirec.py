"""ComiRec: several interests a user, by dynamic routing or by self-attention."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.neural.capsules import route
from llmrec.classic.recall.neural.encoder import Encoder
from llmrec.classic.recall.neural.interests import Extractor, InterestEncoder
from llmrec.classic.recall.neural.pairs import PairsConfig, pairs
from llmrec.classic.recall.neural.recommender import NeuralRecommender
from llmrec.classic.training import Batches
from llmrec.config import Config
from llmrec.data import Dataset


class ComiRecConfig(PairsConfig):
    """Hyper-parameters of ComiRec."""

    history: int = Field(20, ge=1)
    """How many of the newest items are read."""
    interests: int = Field(4, ge=1)
    """Vectors of a query."""
    extractor: Literal["attention", "routing"] = "attention"
    """Self-attention (ComiRec-SA) or dynamic routing (ComiRec-DR)."""
    iterations: int = Field(3, ge=1)
    """Of dynamic routing; only read with extractor=routing."""


class ComiRec(NeuralRecommender[ComiRecConfig]):
    """Always ``interests`` vectors a query; an item's score is its largest inner product with any.

    In training, the vector nearest to the target answers for it.

    Paper: Cen et al., Controllable Multi-Interest Framework for Recommendation, KDD 2020. Differs: cross-entropy over
    all items by default; places are counted from the newest. Its controllable aggregation, which trades the score of
    a list for the diversity of its categories, orders candidates that are there: it is re-ranking, not recall.
    """

    name: ClassVar[str] = "comirec"
    config_class: ClassVar[type[Config]] = ComiRecConfig

    def _encoder(self, n_items: int, features: Arrays) -> Encoder:  # noqa: ARG002 - it has none
        extractor = SelfAttentive if self.config.extractor == "attention" else OwnMaps
        return InterestEncoder(self.config, n_items, extractor(self.config))

    def _batches(self, data: Dataset, features: Arrays) -> Batches:  # noqa: ARG002 - it has none
        return pairs(data, self.config)


class SelfAttentive(Extractor):
    """Each interest attends to the history with weights of its own: V = softmax(W2 tanh(W1 (H + P))) H, equation 5.

    P is a learned vector for each place; as in the authors' code, it moves the weights, not what is weighted.
    """

    def __init__(self, config: ComiRecConfig) -> None:
        super().__init__()
        width = config.embedding_dim
        self.places = nn.Parameter(torch.randn(config.history, width) * 0.02)
        self.weigh = nn.Sequential(
            nn.Linear(width, 4 * width, bias=False), nn.Tanh(), nn.Linear(4 * width, config.interests, bias=False)
        )

    def forward(self, items: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Return (b, k, d) and that all of them are used, bool (b, k); see ``Extractor``."""
        logits = self.weigh(items + self.places[len(self.places) - items.shape[1] :])
        weights = logits.masked_fill(~real.unsqueeze(-1), -torch.inf).softmax(1)
        vectors = weights.transpose(1, 2) @ items
        return vectors, torch.ones_like(vectors[:, :, 0], dtype=torch.bool)


class OwnMaps(Extractor):
    """Dynamic routing where each pair of a place and an interest has a linear map of its own; logits begin at 0.

    Capsules, of length below 1, are stretched by the root of d: the softmax over items is never sharp otherwise.
    """

    def __init__(self, config: ComiRecConfig) -> None:
        super().__init__()
        width = config.embedding_dim
        self.interests, self.iterations = config.interests, config.iterations
        self.maps = nn.Parameter(torch.randn(config.interests, config.history, width, width) * width**-0.5)

    def forward(self, items: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Return (b, k, d) and that all of them are used, bool (b, k); see ``Extractor``."""
        maps = self.maps[:, self.maps.shape[1] - items.shape[1] :]
        votes = torch.einsum("bhd,khde->bkhe", items, maps)
        used = torch.ones(len(items), self.interests, dtype=torch.bool, device=items.device)
        capsules = route(votes, votes.new_zeros(self.interests, items.shape[1]), real, used, self.iterations)
        return capsules * math.sqrt(items.shape[2]), used
