"""Deep networks on the vectors of fields: Wide&Deep, FNN, PNN, NFM, DeepFM and Deep Crossing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from llmrec.classic.ranking.features import FeatureSpace
from llmrec.classic.ranking.linear import Machine
from llmrec.classic.ranking.neural.crosses import Crosses
from llmrec.classic.ranking.neural.fields import FieldVectors, Inputs
from llmrec.classic.ranking.neural.layers import (
    Deep,
    Residual,
    inner_products,
    pooled_outer_product,
    pooled_products,
)
from llmrec.classic.ranking.neural.ranker import DeepConfig, FieldModule, Fit, RowModule, TorchRanker
from llmrec.config import Config


class WideDeepConfig(DeepConfig):
    """Hyper-parameters of Wide&Deep."""

    crosses: tuple[tuple[str, str], ...] = ()
    """Pairs of categories with one value whose combinations are features of the wide part."""
    cross_buckets: int = Field(100_000, ge=1)
    """Weights that the combinations of a pair are hashed into."""


class WideDeep(TorchRanker[WideDeepConfig]):
    """A wide part, linear in features and in crossed ones, that remembers, beside layers that generalise.

    Paper: Cheng et al., Wide & Deep Learning for Recommender Systems, DLRS 2016. Differs: both parts are learned with
    AdamW instead of FTRL with L1 and AdaGrad.
    """

    name: ClassVar[str] = "wide-deep"
    config_class: ClassVar[type[Config]] = WideDeepConfig

    def _module(self, space: FeatureSpace, config: WideDeepConfig) -> RowModule:
        return WideAndDeep(space, config)


class WideAndDeep(FieldModule):
    """The module of Wide&Deep."""

    def __init__(self, space: FeatureSpace, config: WideDeepConfig) -> None:
        super().__init__(space, config.embedding_dim)
        self.crosses = Crosses(self.fields, config.crosses, config.cross_buckets)
        self.deep = Deep(self.width, config.hidden, config.dropout)

    def interact(self, vectors: Tensor, inputs: Inputs) -> Tensor:
        """Return what the layers and the crossed features say, (b,)."""
        logits: Tensor = self.deep(vectors.flatten(1)) + self.crosses(inputs)
        return logits


class FNNConfig(DeepConfig):
    """Hyper-parameters of FNN."""


class FNN(TorchRanker[FNNConfig]):
    """Layers on weights and vectors that a factorisation machine learned first, and that go on learning.

    The machine is trained like an ``fm``: as long, and stopped by the same validation rows.

    Paper: Zhang, Du, Wang, Deep Learning over Multi-field Categorical Data, ECIR 2016. Differs: ReLU instead of tanh,
    AdamW instead of stochastic gradient descent.
    """

    name: ClassVar[str] = "fnn"
    config_class: ClassVar[type[Config]] = FNNConfig

    def _module(self, space: FeatureSpace, config: FNNConfig) -> RowModule:
        return OnMachine(space, config)

    def _start(self, space: FeatureSpace, config: FNNConfig, fit: Fit) -> RowModule:
        machine, module = Machine(space, config.embedding_dim), OnMachine(space, config)
        fit(machine, "fm")
        module.linear.load_state_dict(machine.linear.state_dict())
        module.vectors.load_state_dict(machine.vectors.state_dict())
        return module


class OnMachine(RowModule):
    """The module of FNN."""

    def __init__(self, space: FeatureSpace, config: FNNConfig) -> None:
        super().__init__(space)
        self.linear = FieldVectors(self.fields, 1, scale=0)
        self.vectors = FieldVectors(self.fields, config.embedding_dim)
        self.deep = Deep(len(self.fields.names) * (1 + config.embedding_dim), config.hidden, config.dropout)

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of yes, (b,)."""
        inputs = self.fields(batch)
        logits: Tensor = self.deep(torch.cat([self.linear(inputs), self.vectors(inputs)], 2).flatten(1))
        return logits


class PNNConfig(DeepConfig):
    """Hyper-parameters of PNN."""

    product: Literal["inner", "outer"] = "inner"
    """Inner products of all pairs of fields, or the outer product of their sum with itself."""


class PNN(TorchRanker[PNNConfig]):
    """Layers on the fields' vectors and on products of them.

    Paper: Qu et al., Product-based Neural Networks for User Response Prediction, ICDM 2016. Differs: the inner
    products are all computed instead of factorised, since fields are few.
    """

    name: ClassVar[str] = "pnn"
    config_class: ClassVar[type[Config]] = PNNConfig

    def _module(self, space: FeatureSpace, config: PNNConfig) -> RowModule:
        return Products(space, config)


class Products(RowModule):
    """The module of PNN."""

    def __init__(self, space: FeatureSpace, config: PNNConfig) -> None:
        super().__init__(space)
        self.vectors, fields = FieldVectors(self.fields, config.embedding_dim), len(self.fields.names)
        self.product = inner_products if config.product == "inner" else pooled_outer_product
        products = fields * (fields - 1) // 2 if config.product == "inner" else config.embedding_dim**2
        self.deep = Deep(fields * config.embedding_dim + products, config.hidden, config.dropout)

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of yes, (b,)."""
        vectors = self.vectors(self.fields(batch))
        logits: Tensor = self.deep(torch.cat([vectors.flatten(1), self.product(vectors)], 1))
        return logits


class NFMConfig(DeepConfig):
    """Hyper-parameters of NFM."""

    hidden: tuple[int, ...] = (64,)
    """Widths of the layers; none and no dropout is a factorisation machine whose dimensions are weighed."""


class NFM(TorchRanker[NFMConfig]):
    """Layers on the sum of the products of all pairs of fields, beside a linear part.

    Paper: He, Chua, Neural Factorization Machines for Sparse Predictive Analytics, SIGIR 2017. Differs: no batch
    normalisation.
    """

    name: ClassVar[str] = "nfm"
    config_class: ClassVar[type[Config]] = NFMConfig

    def _module(self, space: FeatureSpace, config: NFMConfig) -> RowModule:
        return OnPooledProducts(space, config)


class OnPooledProducts(FieldModule):
    """The module of NFM."""

    def __init__(self, space: FeatureSpace, config: NFMConfig) -> None:
        super().__init__(space, config.embedding_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.deep = Deep(config.embedding_dim, config.hidden, config.dropout)

    def interact(self, vectors: Tensor, inputs: Inputs) -> Tensor:  # noqa: ARG002 - vectors say all
        """Return what the layers say of the pooled products, (b,)."""
        logits: Tensor = self.deep(self.dropout(pooled_products(vectors)))
        return logits


class DeepFMConfig(DeepConfig):
    """Hyper-parameters of DeepFM."""


class DeepFM(TorchRanker[DeepFMConfig]):
    """A factorisation machine and layers on the same vectors, added.

    Paper: Guo et al., DeepFM: A Factorization-Machine based Neural Network for CTR Prediction, IJCAI 2017.
    """

    name: ClassVar[str] = "deepfm"
    config_class: ClassVar[type[Config]] = DeepFMConfig

    def _module(self, space: FeatureSpace, config: DeepFMConfig) -> RowModule:
        return DeepMachine(space, config)


class DeepMachine(FieldModule):
    """The module of DeepFM."""

    def __init__(self, space: FeatureSpace, config: DeepFMConfig) -> None:
        super().__init__(space, config.embedding_dim)
        self.deep = Deep(self.width, config.hidden, config.dropout)

    def interact(self, vectors: Tensor, inputs: Inputs) -> Tensor:  # noqa: ARG002 - vectors say all
        """Return the second order and what the layers say, (b,)."""
        logits: Tensor = pooled_products(vectors).sum(1) + self.deep(vectors.flatten(1))
        return logits


class DeepCrossingConfig(DeepConfig):
    """Hyper-parameters of Deep Crossing."""


class DeepCrossing(TorchRanker[DeepCrossingConfig]):
    """Residual units on the fields' vectors behind one another; ``hidden`` are the widths inside the units.

    Paper: Shan et al., Deep Crossing: Web-Scale Modeling without Manually Crafted Combinatorial Features, KDD 2016.
    """

    name: ClassVar[str] = "deep-crossing"
    config_class: ClassVar[type[Config]] = DeepCrossingConfig

    def _module(self, space: FeatureSpace, config: DeepCrossingConfig) -> RowModule:
        return ResidualUnits(space, config)


class ResidualUnits(RowModule):
    """The module of Deep Crossing."""

    def __init__(self, space: FeatureSpace, config: DeepCrossingConfig) -> None:
        super().__init__(space)
        width = len(self.fields.names) * config.embedding_dim
        self.vectors = FieldVectors(self.fields, config.embedding_dim)
        self.units = nn.Sequential(*(Residual(width, inner, config.dropout) for inner in config.hidden))
        self.out = nn.Linear(width, 1)

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of yes, (b,)."""
        logits: Tensor = self.out(self.units(self.vectors(self.fields(batch)).flatten(1))).squeeze(1)
        return logits
