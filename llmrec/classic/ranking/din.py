"""DIN: the history as the target item sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from llmrec.classic.ranking.features import FeatureSpace
from llmrec.classic.ranking.neural.layers import Deep, Dice
from llmrec.classic.ranking.neural.ranker import DeepConfig, RowModule, TorchRanker
from llmrec.classic.ranking.neural.sequences import ActivationUnit, SequenceModule, weighted
from llmrec.config import Config


class DINConfig(DeepConfig):
    """Hyper-parameters of DIN."""

    attention: tuple[Annotated[int, Field(ge=1)], ...] = Field((36,), min_length=1)
    """Widths of the layers that say how much an event counts."""


class DIN(TorchRanker[DINConfig]):
    """Layers on the fields and on the sum of the history's items, each as much as it has to do with the target.

    The weight of an event comes from layers on event, target and their product. Weights do not sum to 1, so that a
    history that is all about the target says more than one that has a single event of its kind.

    Paper: Zhou et al., Deep Interest Network for Click-Through Rate Prediction, KDD 2018. Differs: AdamW's decay
    instead of mini-batch aware regularisation.
    """

    name: ClassVar[str] = "din"
    config_class: ClassVar[type[Config]] = DINConfig

    def _module(self, space: FeatureSpace, config: DINConfig) -> RowModule:
        return Interests(space, config)


class Interests(SequenceModule):
    """The module of DIN."""

    def __init__(self, space: FeatureSpace, config: DINConfig) -> None:
        super().__init__(space, config.embedding_dim)
        self.unit = ActivationUnit(self.item_width, config.attention)
        self.deep = Deep(self.width + self.item_width, config.hidden, config.dropout, Dice)

    def interest(self, target: Tensor, events: Tensor, real: Tensor) -> Tensor:
        """Return what the history says of the target, (b, w)."""
        return weighted(self.unit(target, events, real), events)

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of yes, (b,)."""
        fields, *rest = self.read(batch)
        logits: Tensor = self.deep(torch.cat([fields, self.interest(*rest)], 1))
        return logits
