"""Personalised gates: what a network computes counts more or less by who asks (LHUC, POSO, PEPNet)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from pydantic import Field
from torch import Tensor, nn

from llmrec.classic.ranking.features import FeatureSpace
from llmrec.classic.ranking.multitask import TasksRanker
from llmrec.classic.ranking.neural.fields import FieldVectors
from llmrec.classic.ranking.neural.ranker import DeepConfig, RowModule, TorchRanker
from llmrec.classic.ranking.neural.tasks import Experts, TaskModule, TasksConfig, Widths
from llmrec.config import Config
from llmrec.errors import ConfigError


class LHUCConfig(DeepConfig):
    """Hyper-parameters of LHUC."""

    gate: int = Field(32, ge=1)
    """Width of the layer inside a gate."""


class LHUC(TorchRanker[LHUCConfig]):
    """Layers whose units count between nothing and twice as much by who the user is.

    The gates read the user's id and columns, and begin at one: then it is a network without gates.

    Paper: Swietojanski, Li, Renals, Learning Hidden Unit Contributions for Unsupervised Acoustic Model Adaptation,
    IEEE/ACM TASLP 2016. Differs: a unit's amplitude is computed from the user's vectors, not learned a speaker.
    """

    name: ClassVar[str] = "lhuc"
    config_class: ClassVar[type[Config]] = LHUCConfig

    def _module(self, space: FeatureSpace, config: LHUCConfig) -> RowModule:
        return Contributions(space, config)


class POSOConfig(DeepConfig):
    """Hyper-parameters of POSO."""

    hidden: Widths = Field((128, 64), min_length=1)
    """Widths of a copy's layers."""
    copies: int = Field(3, ge=1)
    """Networks beside one another that are mixed by how much is known of the user."""
    gate: int = Field(16, ge=1)
    """Width of the layer inside the gate."""


class POSO(TorchRanker[POSOConfig]):
    """Copies of a network, each with a weight of its own for users with much or little history.

    What is mixed is 2 / copies times the sum over copies of sigmoid(gate) and the copy's layers. The gate reads nothing
    but how many events the history has (0, 1 to 2, 3 to 6, 7 to 14, …), which the many rows of regular users cannot
    drown, and begins at ½: then it is the mean of the copies.

    Paper: Dai et al., POSO: Personalized Cold Start Modules for Large-scale Recommender Systems, 2021; the form for
    layers, with sigmoid gates.
    """

    name: ClassVar[str] = "poso"
    config_class: ClassVar[type[Config]] = POSOConfig

    def _module(self, space: FeatureSpace, config: POSOConfig) -> RowModule:
        return ColdStart(space, config)


class PEPNetConfig(TasksConfig):
    """Hyper-parameters of PEPNet; ``tower`` is not read, ``hidden`` are the widths of each task's network."""

    domain: str | None = None
    """The category whose vector says which features count (EPNet), such as ``user.region``; null for none."""
    gate: int = Field(32, ge=1)
    """Width of the layer inside a gate."""


class PEPNet(TasksRanker[PEPNetConfig]):
    """Gates on the fields by domain (EPNet), and on the layers of each task's network by user and item (PPNet).

    Gates read the vectors that they weigh too, but do not teach them, and begin at one.

    Paper: Chang et al., PEPNet: Parameter and Embedding Personalized Network for Infusing with Personalized Prior
    Information, KDD 2023.
    """

    name: ClassVar[str] = "pepnet"
    config_class: ClassVar[type[Config]] = PEPNetConfig

    def _module(self, space: FeatureSpace, config: PEPNetConfig) -> RowModule:
        return Personalised(space, config)


class Gate(nn.Module):
    """Numbers between 0 and 2 from what it reads, 2 sigmoid(W relu(V x + b) + c), 1 at the start (Gate NU).

    Args:
        inputs: width of what it reads.
        hidden: width of the layer inside.
        width: how many numbers.
    """

    def __init__(self, inputs: int, hidden: int, width: int) -> None:
        super().__init__()
        self.inside, self.out = nn.Linear(inputs, hidden), nn.Linear(hidden, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, values: Tensor) -> Tensor:
        """Return (b, width) for (b, inputs)."""
        return 2 * torch.sigmoid(self.out(F.relu(self.inside(values))))


class GatedDeep(nn.Module):
    """Layers, each with a gate behind it, and a logit on top.

    Args:
        inputs: width of what comes in.
        hidden: widths of the layers.
        dropout: share of activations that training silences.
        reads: width of what the gates read.
        gate: width of the layer inside a gate.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], dropout: float, reads: int, gate: int) -> None:
        super().__init__()
        widths = [inputs, *hidden]
        self.layers = nn.ModuleList(nn.Linear(one, two) for one, two in pairwise(widths))
        self.gates = nn.ModuleList(Gate(reads, gate, each) for each in hidden)
        self.dropout, self.out = nn.Dropout(dropout), nn.Linear(widths[-1], 1)

    def forward(self, values: Tensor, read: Tensor) -> Tensor:
        """Return (b,) for values (b, inputs) and what the gates read (b, reads)."""
        for layer, gate in zip(self.layers, self.gates, strict=True):
            values = self.dropout(F.relu(layer(values)) * gate(read))
        found: Tensor = self.out(values).squeeze(1)
        return found


class Contributions(RowModule):
    """The module of LHUC."""

    def __init__(self, space: FeatureSpace, config: LHUCConfig) -> None:
        super().__init__(space)
        self.vectors = FieldVectors(self.fields, config.embedding_dim)
        of_users = [each.name for each in space.categories if each.owner == "user"]
        if not of_users:
            raise ConfigError(
                "features without a category of users",
                expected="user, or a column of users, for the gates to read",
                cure="add user to features.categories",
            )
        self.mine = places(self.fields.names, of_users)
        reads = len(of_users) * config.embedding_dim
        width = len(self.fields.names) * config.embedding_dim
        self.deep = GatedDeep(width, config.hidden, config.dropout, reads, config.gate)

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of yes, (b,)."""
        vectors = self.vectors(self.fields(batch))
        logits: Tensor = self.deep(vectors.flatten(1), vectors[:, self.mine].flatten(1))
        return logits


class ColdStart(RowModule):
    """The module of POSO."""

    bounds: Tensor

    def __init__(self, space: FeatureSpace, config: POSOConfig) -> None:
        super().__init__(space)
        if not space.config.history:
            raise ConfigError(
                "features.history = 0", expected="at least 1: the gate counts events", cure="set features.history"
            )
        self.vectors = FieldVectors(self.fields, config.embedding_dim)
        sizes = [2**power - 1 for power in range(1, (space.config.history + 1).bit_length())]
        self.register_buffer("bounds", torch.tensor(sizes), persistent=False)
        self.known = nn.Embedding(len(sizes) + 1, config.gate)
        self.gate = Gate(config.gate, config.gate, config.copies)
        width = len(self.fields.names) * config.embedding_dim
        self.copies = Experts(config.copies, width, config.hidden, config.dropout)
        self.out = nn.Linear(config.hidden[-1], 1)

    def shares(self, history: Tensor) -> Tensor:
        """Return what each copy counts, (b, copies), for histories (b, h)."""
        many = torch.bucketize((history >= 0).sum(1), self.bounds, right=True)
        found: Tensor = self.gate(self.known(many))
        return found / found.shape[1]

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of yes, (b,)."""
        copies = self.copies(self.vectors(self.fields(batch)).flatten(1))
        logits: Tensor = self.out((self.shares(batch["history"]).unsqueeze(1) @ copies).squeeze(1)).squeeze(1)
        return logits


class Personalised(TaskModule):
    """The module of PEPNet."""

    def __init__(self, space: FeatureSpace, config: PEPNetConfig) -> None:
        super().__init__(space, config)
        names = [each.name for each in space.categories]
        prior = [name for name in ("user", "item") if name in names]
        if not prior or config.domain not in {None, *names}:
            raise ConfigError(
                f"domain {config.domain!r} with the categories {', '.join(names)}",
                expected="a domain among them, and user or item for the gates to read",
                cure="change domain or features.categories",
            )
        self.prior = places(self.fields.names, prior)
        self.domain = [] if config.domain is None else places(self.fields.names, [config.domain])
        dim = config.embedding_dim
        self.epnet = Gate(len(self.domain) * dim + self.width, config.gate, self.width)
        self.ppnet = nn.ModuleList(
            GatedDeep(self.width, config.hidden, config.dropout, len(prior) * dim + self.width, config.gate)
            for _ in range(config.tasks)
        )

    @property
    def last(self) -> list[Tensor]:
        """The weights of the gate on the fields: nothing nearer to the tasks is shared."""
        return [self.epnet.out.weight]

    def task_logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of each task, (b, tasks)."""
        vectors = self.vectors(self.fields(batch))
        plain = vectors.flatten(1)
        values = plain * self.epnet(torch.cat([vectors[:, self.domain].flatten(1), plain.detach()], 1))
        read = torch.cat([vectors[:, self.prior].flatten(1), values.detach()], 1)
        return torch.stack([each(values, read) for each in self.ppnet], 1)


def places(names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Return where fields stand."""
    return [names.index(name) for name in wanted]
