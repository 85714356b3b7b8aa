"""Long histories: a search for the events that have to do with the target, then attention to those (SIM, ETA)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from pydantic import Field
from torch import Tensor, nn

from llmrec.classic.ranking.base.categories import KNOWN
from llmrec.classic.ranking.features import FeatureConfig, FeatureSpace
from llmrec.classic.ranking.neural.layers import Deep, Dice
from llmrec.classic.ranking.neural.ranker import DeepConfig, RowModule, TorchRanker
from llmrec.classic.ranking.neural.sequences import ActivationUnit, SequenceModule, require_heads, weighted
from llmrec.classic.recall.base.side import USUAL_COLUMNS
from llmrec.config import Config
from llmrec.errors import ConfigError


class LongConfig(DeepConfig):
    """What rankers of long histories share; ``features.history`` is how far they look back."""

    features: FeatureConfig = Field(default_factory=lambda: FeatureConfig(history=500))
    """What it reads."""
    recent: int = Field(20, ge=1)
    """Newest events that are all attended to, as DIN does."""
    k: int = Field(20, ge=1)
    """Events that the search keeps."""
    heads: int = Field(2, ge=1)
    """Attention heads on what was found; they divide the length of an item's vectors."""
    attention: tuple[Annotated[int, Field(ge=1)], ...] = Field((36,), min_length=1)
    """Widths of the layers that say how much a recent event counts."""


class SIMConfig(LongConfig):
    """Hyper-parameters of SIM."""

    search: Literal["hard", "soft"] = "hard"
    """Events of the target's category, or those with the largest inner product of learned vectors."""
    category: str | None = None
    """Of the items' categories the one that the hard search goes by; null: the first usual one."""


class SIM(TorchRanker[SIMConfig]):
    """The recent events as DIN sees them, and of a long history what a search finds for the target.

    The hard search takes the newest events that share a category with the target. The soft search takes those of the
    largest inner product of two learned projections, which learn from a ranker of their own beside the model's.

    Paper: Pi et al., Search-based User Interest Modeling with Lifelong Sequential Behavior Data for Click-Through Rate
    Prediction, CIKM 2020. Differs: no vectors of the time that has passed; the soft search is exact.
    """

    name: ClassVar[str] = "sim"
    config_class: ClassVar[type[Config]] = SIMConfig

    def _module(self, space: FeatureSpace, config: SIMConfig) -> RowModule:
        return SoftSearch(space, config) if config.search == "soft" else HardSearch(space, config)


class ETAConfig(LongConfig):
    """Hyper-parameters of ETA."""

    bits: int = Field(64, ge=1)
    """Length of a hash."""


class ETA(TorchRanker[ETAConfig]):
    """SIM whose search compares hashes of the vectors that attention reads, and so needs nothing of its own to learn.

    A bit says on which side of a random plane a vector lies; the events whose hashes differ in the fewest bits from the
    target's are kept.

    Paper: Chen et al., Efficient Long Sequential User Data Modeling for Click-Through Rate Prediction, 2022.
    """

    name: ClassVar[str] = "eta"
    config_class: ClassVar[type[Config]] = ETAConfig

    def _module(self, space: FeatureSpace, config: ETAConfig) -> RowModule:
        return HashSearch(space, config)


class Searching(SequenceModule):
    """The module of rankers that search: DIN on recent events, several heads on the events found.

    Args:
        space: the features.
        config: widths and how many events.

    Raises:
        ConfigError: the heads do not divide the length of an item's vectors.
    """

    def __init__(self, space: FeatureSpace, config: LongConfig) -> None:
        super().__init__(space, config.embedding_dim)
        require_heads(config.heads, self.item_width)
        self.recent, self.k = config.recent, config.k
        self.unit = ActivationUnit(self.item_width, config.attention)
        self.found = TargetAttention(self.item_width, config.heads)
        self.deep = Deep(self.width + 2 * self.item_width, config.hidden, config.dropout, Dice)

    @abstractmethod
    def likeness(self, history: Tensor, target: Tensor) -> Tensor:
        """Return how close events (b, h) are to targets (b,), item numbers both; -inf for what must not be found."""

    def search(self, history: Tensor, target: Tensor) -> Tensor:
        """Return the events that are found, item numbers (b, k), -1 where there are fewer."""
        with torch.no_grad():  # what is found is no number that could be a little larger
            close = self.likeness(history, target).masked_fill(history < 0, -torch.inf)
            best, places = close.topk(min(self.k, history.shape[1]), 1)
            return history.gather(1, places).masked_fill(best == -torch.inf, -1)

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of yes, (b,)."""
        target, found = self.items(batch["item"]), self.search(batch["history"], batch["item"])
        near = batch["history"][:, -self.recent :]
        events = self.items(near)
        recent = weighted(self.unit(target, events, near >= 0), events)
        fields, long = self.vectors(self.fields(batch)).flatten(1), self.found(target, self.items(found), found >= 0)
        logits: Tensor = self.deep(torch.cat([fields, recent, long], 1))
        return logits


class HardSearch(Searching):
    """The module of SIM with a hard search."""

    codes: Tensor

    def __init__(self, space: FeatureSpace, config: SIMConfig) -> None:
        super().__init__(space, config)
        names = [each.name for each in space.categories if each.owner == "item"]
        usual = next((f"item.{name}" for name in USUAL_COLUMNS if f"item.{name}" in names), None)
        name = config.category or usual
        if name not in names:
            raise ConfigError(
                f"category {name!r} for a hard search",
                expected=f"one of the items' that the model reads: {', '.join(names)}",
                cure="set category, or search=soft",
            )
        self.register_buffer("codes", torch.from_numpy(space.codes(str(name)).astype("int64")), persistent=False)

    def likeness(self, history: Tensor, target: Tensor) -> Tensor:
        """Return the events' places, the newest highest, where one shares a known category with the target."""
        events, wanted = self.codes[history + 1], self.codes[target + 1]
        same = torch.zeros_like(history, dtype=torch.bool)
        for each in wanted.unbind(1):
            same |= ((events == each[:, None, None]) & (events >= KNOWN)).any(2)
        order = torch.arange(history.shape[1], device=history.device, dtype=torch.float32)
        return order.expand(same.shape).masked_fill(~same, -torch.inf)


class SoftSearch(Searching):
    """The module of SIM with a soft search."""

    def __init__(self, space: FeatureSpace, config: SIMConfig) -> None:
        super().__init__(space, config)
        self.of_event, self.of_target = (nn.Linear(self.item_width, self.item_width, bias=False) for _ in range(2))
        self.searcher = Deep(2 * self.item_width, config.hidden, config.dropout, Dice)

    def likeness(self, history: Tensor, target: Tensor) -> Tensor:
        """Return the inner product of the projections of event and target."""
        return self.close(self.items(history), self.items(target))

    def close(self, events: Tensor, target: Tensor) -> Tensor:
        """Return (b, h) for vectors (b, h, w) and (b, w)."""
        found: Tensor = (self.of_event(events) @ self.of_target(target).unsqueeze(2)).squeeze(2)
        return found

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the summed cross-entropy of the model and of the ranker that teaches the search, and their rows."""
        loss, rows = super().forward(batch)
        real, events, target = batch["history"] >= 0, self.items(batch["history"]), self.items(batch["item"])
        weights = self.close(events, target) * real / real.sum(1, keepdim=True).clamp(min=1)
        taught = self.searcher(torch.cat([weighted(weights, events), target], 1))
        return loss + F.binary_cross_entropy_with_logits(taught.float(), batch["label"], reduction="sum"), rows


class HashSearch(Searching):
    """The module of ETA."""

    planes: Tensor

    def __init__(self, space: FeatureSpace, config: ETAConfig) -> None:
        super().__init__(space, config)
        self.register_buffer("planes", torch.randn(self.item_width, config.bits))
        self.oldest = 1 + config.features.history

    def likeness(self, history: Tensor, target: Tensor) -> Tensor:
        """Return minus the number of bits in which the hashes of event and target differ; newer events win ties."""
        hashes, wanted = (sim_hash(self.items(each), self.planes) for each in (history, target))
        age = torch.arange(history.shape[1], 0, -1, device=history.device) / self.oldest
        return -differing(hashes, wanted.unsqueeze(1)) - age


def sim_hash(vectors: Tensor, planes: Tensor) -> Tensor:
    """Return on which side of each plane (d, bits) vectors (…, d) lie, 1 or -1, (…, bits).

    Paper: Charikar, Similarity Estimation Techniques from Rounding Algorithms, STOC 2002.
    """
    return torch.where(vectors @ planes >= 0, 1.0, -1.0)


def differing(one: Tensor, two: Tensor) -> Tensor:
    """Return in how many bits hashes (b, h, bits) and (b, 1, bits) differ, (b, h)."""
    return (one.shape[-1] - (one @ two.transpose(1, 2)).squeeze(2)) / 2


class TargetAttention(nn.Module):
    """What several heads of the target read of events: softmax(q k' / √d) v, side by side, and mixed.

    Args:
        width: length of an item's vector.
        heads: how many; they divide it.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, target: Tensor, events: Tensor, there: Tensor) -> Tensor:
        """Return (b, w), zeros without events, for targets (b, w) and events (b, k, w) that are there (b, k)."""
        query = self.query(target).view(len(target), self.heads, 1, -1)
        key, value = (
            layer(events).view(*events.shape[:2], self.heads, -1).transpose(1, 2) for layer in (self.key, self.value)
        )
        some = there.any(1)
        mask = (there | ~some[:, None])[:, None, None]  # a row of nothing looks at padding, and is then cleared
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        read: Tensor = self.out(seen.flatten(1)) * some[:, None]
        return read
