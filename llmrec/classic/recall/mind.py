"""MIND: a few interest capsules a user, routed from the history."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.neural.capsules import route, used_interests
from llmrec.classic.recall.neural.encoder import Encoder
from llmrec.classic.recall.neural.interests import Extractor, InterestEncoder
from llmrec.classic.recall.neural.pairs import PairsConfig, pairs
from llmrec.classic.recall.neural.recommender import NeuralRecommender
from llmrec.classic.training import Batches
from llmrec.config import Config
from llmrec.data import Dataset


class MINDConfig(PairsConfig):
    """Hyper-parameters of MIND."""

    history: int = Field(10, ge=1)
    """How many of the newest items are read."""
    interests: int = Field(4, ge=1)
    """Vectors of a query, at most."""
    iterations: int = Field(3, ge=1)
    """Of dynamic routing."""
    power: float | None = Field(None, ge=1, allow_inf_nan=False)
    """Of label-aware attention: the larger, the more the interest nearest to the target counts; null for it alone."""


class MIND(NeuralRecommender[MINDConfig]):
    """Capsules that the items of the history agree on; an item's score is its largest inner product with any.

    A history of n items has max(1, min(``interests``, log2 n)) of them. All items and interests share one bilinear
    map. Where routing begins is drawn once, a normal number for each interest and place counted from the newest, and
    kept with the weights: the same history always gets the same interests. The order of a history matters only so far.

    Paper: Li et al., Multi-Interest Network with Dynamic Routing for Recommendation at Tmall, CIKM 2019. Differs: no
    user profile and no side information of items; logits are drawn once, not for every query; the second layer upon
    the capsules is linear, since a ReLU would leave item vectors with negative numbers out of reach; cross-entropy
    over all items by default.
    """

    name: ClassVar[str] = "mind"
    config_class: ClassVar[type[Config]] = MINDConfig

    def _encoder(self, n_items: int, features: Arrays) -> Encoder:  # noqa: ARG002 - it has none
        return InterestEncoder(self.config, n_items, B2I(self.config), power=self.config.power)

    def _batches(self, data: Dataset, features: Arrays) -> Batches:  # noqa: ARG002 - it has none
        return pairs(data, self.config)


class B2I(Extractor):
    """Behaviour-to-interest routing with one bilinear map, and two dense layers upon each capsule."""

    logits: Tensor

    def __init__(self, config: MINDConfig) -> None:
        super().__init__()
        width = config.embedding_dim
        self.most, self.iterations = config.interests, config.iterations
        self.bilinear = nn.Linear(width, width, bias=False)
        self.register_buffer("logits", torch.randn(config.interests, config.history))
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))

    def forward(self, items: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Return (b, k, d) and which interests are used, bool (b, k); see ``Extractor``."""
        used = used_interests(real, self.most)
        logits = self.logits[:, self.logits.shape[1] - items.shape[1] :]
        capsules = route(self.bilinear(items).unsqueeze(1), logits, real, used, self.iterations)
        return self.dense(capsules), used
