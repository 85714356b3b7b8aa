"""Crossed features: a weight for each combination of two categories, hashed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from llmrec.classic.ranking.neural.fields import Fields, Inputs
from llmrec.errors import ConfigError

PRIME = 2_654_435_761  # Knuth's multiplier


class Crosses(nn.Module):
    """The wide part of Wide&Deep: the sum over pairs of categories of the weight of their values' combination.

    Args:
        fields: which categories there are.
        pairs: names of two categories with one value each.
        buckets: weights of a pair; combinations are hashed into them.

    Raises:
        ConfigError: a name is no such category.
    """

    def __init__(self, fields: Fields, pairs: Sequence[tuple[str, str]], buckets: int) -> None:
        super().__init__()
        known = list(fields.names[: fields.user_codes.shape[1] + fields.item_codes.shape[1]])
        for name in (each for pair in pairs for each in pair):
            if name not in known:
                raise ConfigError(
                    f"crossed feature {name!r}",
                    expected="a category with one value a row",
                    cure=f"choose from {', '.join(known)}",
                )
        self.places = [(known.index(one), known.index(two)) for one, two in pairs]
        self.buckets = buckets
        self.weight = nn.Parameter(torch.zeros(len(pairs), buckets))

    def forward(self, inputs: Inputs) -> Tensor:
        """Return (b,)."""
        total = self.weight.new_zeros(len(inputs.single))
        for row, (one, two) in enumerate(self.places):
            keys = (inputs.single[:, one] * PRIME + inputs.single[:, two]) % self.buckets
            total = total + self.weight[row, keys]
        return total
