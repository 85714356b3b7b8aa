"""Networks whose layers multiply: cross networks (DCN, DCN-v2) and attention between fields (AutoInt)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from llmrec.classic.ranking.features import FeatureSpace
from llmrec.classic.ranking.neural.fields import FieldVectors
from llmrec.classic.ranking.neural.layers import CrossMatrix, CrossVector, Deep, FieldAttention, mlp
from llmrec.classic.ranking.neural.ranker import DeepConfig, RowModule, TorchRanker
from llmrec.config import Config


class DCNConfig(DeepConfig):
    """Hyper-parameters of DCN."""

    layers: int = Field(3, ge=1)
    """Cross layers: products of up to so many fields and one."""


class DCN(TorchRanker[DCNConfig]):
    """Cross layers of rank 1 beside deep layers, on the fields' vectors behind one another.

    Paper: Wang, Fu, Fu, Wang, Deep & Cross Network for Ad Click Predictions, ADKDD 2017. Differs: no batch
    normalisation.
    """

    name: ClassVar[str] = "dcn"
    config_class: ClassVar[type[Config]] = DCNConfig

    def _module(self, space: FeatureSpace, config: DCNConfig) -> RowModule:
        return CrossNetwork(space, config, CrossVector)


class DCNv2Config(DCNConfig):
    """Hyper-parameters of DCN-v2."""

    rank: int | None = Field(None, ge=1)
    """Of the matrix of a cross layer; null for a full one."""


class DCNv2(TorchRanker[DCNv2Config]):
    """Cross layers with a matrix, full or of low rank, beside deep layers.

    Paper: Wang et al., DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to Rank
    Systems, WWW 2021. Of its forms the parallel one, without the mixture of low-rank experts.
    """

    name: ClassVar[str] = "dcn-v2"
    config_class: ClassVar[type[Config]] = DCNv2Config

    def _module(self, space: FeatureSpace, config: DCNv2Config) -> RowModule:
        return CrossNetwork(space, config, lambda width: CrossMatrix(width, config.rank))


class CrossNetwork(RowModule):
    """Cross layers beside deep ones; one linear layer reads both.

    Args:
        space: the features.
        config: widths.
        cross: makes a cross layer of a width.
    """

    def __init__(self, space: FeatureSpace, config: DCNConfig, cross: Callable[[int], nn.Module]) -> None:
        super().__init__(space)
        width = len(self.fields.names) * config.embedding_dim
        self.vectors = FieldVectors(self.fields, config.embedding_dim)
        self.crosses = nn.ModuleList([cross(width) for _ in range(config.layers)])
        self.deep = mlp(width, config.hidden, config.dropout)
        self.out = nn.Linear(width + [width, *config.hidden][-1], 1)

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of yes, (b,)."""
        first = self.vectors(self.fields(batch)).flatten(1)
        crossed = first
        for layer in self.crosses:
            crossed = layer(first, crossed)
        logits: Tensor = self.out(torch.cat([crossed, self.deep(first)], 1)).squeeze(1)
        return logits


class AutoIntConfig(DeepConfig):
    """Hyper-parameters of AutoInt."""

    layers: int = Field(2, ge=1)
    """Attention layers: combinations of ever more fields."""
    heads: int = Field(2, ge=1)
    """Attention heads of a layer."""
    head_dim: int = Field(16, ge=1)
    """Length of what comes out of a head."""
    hidden: tuple[int, ...] = ()
    """Widths of layers beside the attention (AutoInt+); none is AutoInt."""


class AutoInt(TorchRanker[AutoIntConfig]):
    """Self-attention between the fields of a row, layer upon layer.

    Paper: Song et al., AutoInt: Automatic Feature Interaction Learning via Self-Attentive Neural Networks, CIKM 2019.
    """

    name: ClassVar[str] = "autoint"
    config_class: ClassVar[type[Config]] = AutoIntConfig

    def _module(self, space: FeatureSpace, config: AutoIntConfig) -> RowModule:
        return Attentive(space, config)


class Attentive(RowModule):
    """The module of AutoInt."""

    def __init__(self, space: FeatureSpace, config: AutoIntConfig) -> None:
        super().__init__(space)
        self.vectors, fields = FieldVectors(self.fields, config.embedding_dim), len(self.fields.names)
        inputs = [config.embedding_dim, *[config.heads * config.head_dim] * config.layers]
        self.attention = nn.Sequential(*(FieldAttention(each, config.head_dim, config.heads) for each in inputs[:-1]))
        self.dropout, self.out = nn.Dropout(config.dropout), nn.Linear(fields * inputs[-1], 1)
        self.deep = Deep(fields * config.embedding_dim, config.hidden, config.dropout) if config.hidden else None

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of yes, (b,)."""
        vectors = self.vectors(self.fields(batch))
        found: Tensor = self.out(self.dropout(self.attention(vectors).flatten(1))).squeeze(1)
        return found if self.deep is None else found + self.deep(vectors.flatten(1))
