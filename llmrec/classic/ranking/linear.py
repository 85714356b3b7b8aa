"""Logistic regression and factorisation machines on declared features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from llmrec.classic.ranking.features import FeatureSpace
from llmrec.classic.ranking.neural.fields import FieldVectors, Inputs
from llmrec.classic.ranking.neural.layers import pooled_products
from llmrec.classic.ranking.neural.ranker import FieldModule, RowModule, TorchConfig, TorchRanker
from llmrec.config import Config


class LogisticConfig(TorchConfig):
    """Hyper-parameters of logistic regression; ``embedding_dim`` is not read."""

    learning_rate: float = Field(1e-2, gt=0)
    """Step size of AdamW."""


class LogisticRegression(TorchRanker[LogisticConfig]):
    """A weight for each value: sigmoid(w0 + sum_f w_f x_f). It cannot tell which user likes which item.

    Paper: McMahan et al., Ad Click Prediction: a View from the Trenches, KDD 2013. Differs: AdamW instead of FTRL.
    """

    name: ClassVar[str] = "lr"
    config_class: ClassVar[type[Config]] = LogisticConfig

    def _module(self, space: FeatureSpace, config: LogisticConfig) -> RowModule:  # noqa: ARG002 - has no width
        return Linear(space)


class Linear(RowModule):
    """The module of logistic regression."""

    def __init__(self, space: FeatureSpace) -> None:
        super().__init__(space)
        self.bias, self.linear = nn.Parameter(torch.zeros(1)), FieldVectors(self.fields, 1, scale=0)

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of yes, (b,)."""
        logits: Tensor = self.bias + self.linear(self.fields(batch)).sum((1, 2))
        return logits


class FMConfig(TorchConfig):
    """Hyper-parameters of a factorisation machine."""


class FM(TorchRanker[FMConfig]):
    """A factorisation machine: w0 + sum_f w_f x_f + sum over pairs of fields of <v_f x_f, v_g x_g>, in O(fields d).

    Paper: Rendle, Factorization Machines, ICDM 2010. Differs: the values of one field (an item's categories, a
    history's items) are their mean and do not interact with each other.
    """

    name: ClassVar[str] = "fm"
    config_class: ClassVar[type[Config]] = FMConfig

    def _module(self, space: FeatureSpace, config: FMConfig) -> RowModule:
        return Machine(space, config.embedding_dim)


class Machine(FieldModule):
    """The module of a factorisation machine."""

    def interact(self, vectors: Tensor, inputs: Inputs) -> Tensor:  # noqa: ARG002 - vectors say all
        """Return the second order, (b,)."""
        return pooled_products(vectors).sum(1)
