"""Parts of the rankers that look at each event of a history: events beside the target item, and attention to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from llmrec.classic.ranking.features import FeatureSpace
from llmrec.classic.ranking.neural.fields import FieldVectors
from llmrec.classic.ranking.neural.layers import Dice
from llmrec.classic.ranking.neural.ranker import RowModule
from llmrec.errors import ConfigError


class Read(NamedTuple):
    """What b rows say.

    Attributes:
        fields: (b, width), the vectors of all fields behind one another, the target's among them.
        target: (b, w), those of the target item's categories.
        events: (b, h, w), those of the history's items, left-padded with zeros.
        real: bool (b, h), what is no padding.
    """

    fields: Tensor
    target: Tensor
    events: Tensor
    real: Tensor


class SequenceModule(RowModule):
    """A module that looks at each event of the history, with the vectors that the target item has.

    Args:
        space: the features.
        embedding_dim: length of a field's vector.

    Attributes:
        width: length of all fields' vectors behind one another.
        item_width: length of an item's.

    Raises:
        ConfigError: no history is read, or no category of items.
    """

    def __init__(self, space: FeatureSpace, embedding_dim: int) -> None:
        super().__init__(space, pooled=False)
        names = [each.name for each in space.categories if each.owner == "item"]
        if not names or not space.config.history:
            raise ConfigError(
                f"features.history = {space.config.history} with {len(names)} categories of items",
                expected="at least one of each: the model looks at the items of a history",
                cure="set features.history, and add item to features.categories",
            )
        self.vectors = FieldVectors(self.fields, embedding_dim)
        self.width, self.item_width = len(self.fields.names) * embedding_dim, len(names) * embedding_dim

    def read(self, batch: Mapping[str, Tensor]) -> Read:
        """Return the vectors of a batch."""
        target, events = self.items(batch["item"]), self.items(batch["history"])
        return Read(self.vectors(self.fields(batch)).flatten(1), target, events, batch["history"] >= 0)

    def items(self, items: Tensor) -> Tensor:
        """Return the vectors (…, w) of items, zeros for -1."""
        return self.vectors.items(items).flatten(-2)


class ActivationUnit(nn.Module):
    """How much an event counts for a target (DIN): layers on event, target and their product; no softmax.

    Args:
        width: length of an item's vector.
        hidden: widths of the layers, each with Dice behind it.
    """

    def __init__(self, width: int, hidden: Sequence[int]) -> None:
        super().__init__()
        # One layer on three vectors, in two parts: the target's is computed once a row, not once an event.
        self.of_event, self.of_target = nn.Linear(2 * width, hidden[0], bias=False), nn.Linear(width, hidden[0])
        made: list[nn.Module] = [Dice(hidden[0])]
        for one, two in pairwise(hidden):
            made += [nn.Linear(one, two), Dice(two)]
        self.rest = nn.Sequential(*made, nn.Linear(hidden[-1], 1))

    def forward(self, target: Tensor, events: Tensor, real: Tensor) -> Tensor:
        """Return (b, h), 0 in the padding, for targets (b, w), events (b, h, w) and which of them are real (b, h)."""
        rows, there = real.nonzero()[:, 0], events[real]  # only real events meet Dice's mean
        first = self.of_event(torch.cat([there, there * target[rows]], 1)) + self.of_target(target)[rows]
        found = self.rest(first).squeeze(1)
        weights: Tensor = found.new_zeros(real.shape).masked_scatter(real, found)
        return weights


def weighted(weights: Tensor, events: Tensor) -> Tensor:
    """Return the sum of weight times event, (b, w), for weights (b, h) and events (b, h, w)."""
    return (weights.unsqueeze(1) @ events).squeeze(1)


def require_heads(heads: int, width: int) -> None:
    """Raise a ConfigError unless attention heads divide the length of an item's vectors."""
    if width % heads:
        raise ConfigError(
            f"heads = {heads} for vectors of {width}", expected="a divisor", cure="change heads or embedding_dim"
        )
