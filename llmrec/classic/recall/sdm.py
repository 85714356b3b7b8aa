"""SDM: the current session through an LSTM and self-attention, fused with what the user did before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from torch import Tensor, nn

from llmrec.classic.recall.base.side import Side, read_side
from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.neural.encoder import Encoder, ItemEmbedding
from llmrec.classic.recall.neural.pairs import PairsConfig, pairs, pairs_loss
from llmrec.classic.recall.neural.recommender import NeuralRecommender
from llmrec.classic.training import Batches
from llmrec.config import Config
from llmrec.data import Dataset
from llmrec.data.queries import pad_ragged

COLUMN = "column_"


class SDMConfig(PairsConfig):
    """Hyper-parameters of SDM."""

    short_history: int = Field(20, ge=1)
    """Newest items that the current session has at most."""
    gap: float = Field(600.0, gt=0, allow_inf_nan=False)
    """Seconds without an event after which a new session begins."""
    heads: int = Field(4, ge=1, validate_default=True)
    """Of self-attention; divides embedding_dim."""
    columns: tuple[str, ...] = ()
    """Columns of the item table whose categories describe items, for example categories."""

    @field_validator("heads")
    @classmethod
    def _divides(cls, heads: int, info: ValidationInfo) -> int:
        width = info.data.get("embedding_dim", heads)
        if width % heads:
            raise PydanticCustomError("heads", "a divisor of embedding_dim = {width}", {"width": width})
        return heads


class SDM(NeuralRecommender[SDMConfig]):
    """The newest session and all that came before it, each turned into a vector, weighed against each other by a gate.

    The session ends with the newest event and begins after the last pause of more than ``gap`` seconds, or with the
    newest ``short_history`` items where that is later. Without times these items are the session. What is
    older, within the newest ``history`` items, is long-term behaviour, pooled for the item itself and for each of
    ``columns`` on its own.

    Paper: Lv et al., SDM: Sequential Deep Matching Model for Online Large-scale Recommender System, CIKM 2019.
    Differs: users have no profile; a linear map of the newest output of the session stands in for its embedding, so
    that unseen users are served; long-term behaviour is bounded by a number of items, not by seven days; the LSTM has
    one layer; a residual and a layer norm around self-attention, as in the authors' code; cross-entropy over all items
    by default.
    """

    name: ClassVar[str] = "sdm"
    config_class: ClassVar[type[Config]] = SDMConfig

    def _features(self, data: Dataset) -> Arrays:
        side = read_side(data, self.config.columns)
        return {f"{COLUMN}{place}": _padded(side, place) for place in range(len(self.config.columns))}

    def _encoder(self, n_items: int, features: Arrays) -> Encoder:
        columns = [features[f"{COLUMN}{place}"] for place in range(len(self.config.columns))]
        if any(len(column) != n_items for column in columns):
            raise ValueError(f"columns of {[len(column) for column in columns]} items")
        return LongShort(self.config, n_items, columns)

    def _batches(self, data: Dataset, features: Arrays) -> Batches:  # noqa: ARG002 - the encoder has them
        return pairs(data, self.config)


def _padded(side: Side, place: int) -> NDArray[np.int64]:
    """Return each item's categories in one column, numbered from 1, left-padded with 0, (n_items, most of an item)."""
    counts, starts = side.counts[:, place], side.starts[:, place]
    items = np.repeat(np.arange(len(counts)), counts)
    members = side.members[np.arange(len(items)) + np.repeat(starts - np.cumsum(counts) + counts, counts)]
    return pad_ragged(items, members - members.min() + 1, len(counts), fill=0)


class CategoryEmbedding(nn.Module):
    """A vector for each category of a column; an item gets the mean of its categories' vectors, zeros without any.

    Args:
        numbers: int64 (n_items, c), categories from 1, padded with 0.
        embedding_dim: length of a vector.
        scale: standard deviation at the start.
    """

    numbers: Tensor

    def __init__(self, numbers: NDArray[np.int64], embedding_dim: int, scale: float = 0.02) -> None:
        super().__init__()
        with_padding = np.pad(numbers, ((1, 0), (0, 0)))  # so that item -1 has no category
        self.register_buffer("numbers", torch.from_numpy(with_padding), persistent=False)
        self.table = nn.Embedding(int(numbers.max()) + 1, embedding_dim, padding_idx=0)
        with torch.no_grad():
            self.table.weight[1:].normal_(0, scale)

    def forward(self, items: Tensor) -> Tensor:
        """Return (…, d) for item numbers (…); -1 gives zeros."""
        numbers = self.numbers[items + 1]
        total: Tensor = self.table(numbers).sum(-2)
        return total / (numbers > 0).sum(-1, keepdim=True).clamp(min=1)


class LongShort(Encoder):
    """Both sides and the gate between them: (1 - g) * long + g * short.

    Args:
        config: hyper-parameters.
        n_items: size of the catalogue.
        columns: for each column, what ``CategoryEmbedding`` takes.
    """

    def __init__(self, config: SDMConfig, n_items: int, columns: Sequence[NDArray[np.int64]]) -> None:
        super().__init__()
        width, features = config.embedding_dim, 1 + len(columns)
        self.config = config
        self.embedding = ItemEmbedding(n_items, width)
        self.categories = nn.ModuleList(CategoryEmbedding(numbers, width) for numbers in columns)
        self.short = ShortTerm(features * width, width, config.heads, config.dropout)
        self.profile = nn.Linear(width, width)
        self.long = nn.Linear(features * width, width)
        self.gate = nn.Linear(3 * width, width)
        self.dropout = nn.Dropout(config.dropout)

    def features(self, items: Tensor) -> Tensor:
        """Return (…, f, d), a vector of the item itself and one of each column, for item numbers (…)."""
        vectors = torch.stack([self.embedding(items), *(part(items) for part in self.categories)], -2)
        return vectors * math.sqrt(self.config.embedding_dim)

    def vectors(self, history: Tensor, times: Tensor) -> Tensor:
        """Return (b, d) for histories and their times (b, h); see ``Encoder.encode``."""
        now = current_session(history, times, gap=self.config.gap, most=self.config.short_history)
        session = to_front(history, now)[:, : self.config.short_history]
        outputs, newest = self.short(self.features(session).flatten(2), session >= 0)
        user = self.profile(newest)
        short = attend(user, outputs, session >= 0)
        before = history.masked_fill(now, -1)
        pooled = [attend(user, part, before >= 0) for part in self.features(before).unbind(2)]
        long = torch.tanh(self.long(self.dropout(torch.cat(pooled, 1))))
        gate = torch.sigmoid(self.gate(torch.cat([user, short, long], 1)))
        fused: Tensor = (1 - gate) * long + gate * short
        return fused

    def encode(self, history: Tensor, times: Tensor) -> Tensor:
        """Return (b, 1, d)."""
        return self.vectors(history, times).unsqueeze(1)

    def items(self) -> Tensor:
        """Return the item embeddings (n_items, d)."""
        return self.embedding.all()

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the summed loss of ``Pairs`` and how many there are."""
        vectors = self.vectors(batch["history"], batch["times"])
        return pairs_loss(vectors, self.items(), batch["target"], self.config)


class ShortTerm(nn.Module):
    """An LSTM over the session, and multi-head self-attention over its outputs."""

    def __init__(self, inputs: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.lstm = nn.LSTM(inputs, width, batch_first=True)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs (b, s, d), those in the padding mean nothing, and the newest one (b, d).

        Args:
            inputs: (b, s, f * d), from oldest to newest, padded on the right: what comes later moves no output.
            real: bool (b, s), where the session holds an item, one at least.
        """
        hidden, _ = self.lstm(self.dropout(inputs))
        b, s, d = hidden.shape
        query, key, value = (
            part.view(b, s, self.heads, d // self.heads).transpose(1, 2) for part in self.qkv(hidden).chunk(3, dim=-1)
        )
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=real[:, None, None])
        outputs = self.norm(hidden + self.dropout(self.out(seen.transpose(1, 2).reshape(b, s, d))))
        return outputs, outputs[torch.arange(b, device=outputs.device), real.sum(1) - 1]


def current_session(history: Tensor, times: Tensor, *, gap: float, most: int) -> Tensor:
    """Return which places belong to the session of the newest event, bool (b, h).

    Args:
        history: item numbers (b, h), left-padded with -1.
        times: Unix seconds (b, h); where all are equal no pause is known.
        gap: seconds; a longer pause between two events ends a session.
        most: newest items that it has at most.
    """
    now = history >= 0
    pauses = now[:, :-1] & (times[:, 1:] - times[:, :-1] > gap)
    after_the_last_pause = pauses.flip(1).cumsum(1).flip(1) == 0
    now[:, :-1] &= after_the_last_pause
    now[:, : max(0, now.shape[1] - most)] = False
    return now


def to_front(items: Tensor, chosen: Tensor) -> Tensor:
    """Return items (b, h) with the chosen ones first, in their order, and -1 behind them."""
    order = chosen.long().argsort(dim=1, descending=True, stable=True)
    return items.masked_fill(~chosen, -1).gather(1, order)


def attend(query: Tensor, keys: Tensor, real: Tensor) -> Tensor:
    """Return (b, d), keys (b, n, d) weighted by the softmax of their inner products with a query (b, d).

    Keys that are not ``real`` (b, n) do not count; zeros where none is.
    """
    logits = (keys @ query.unsqueeze(-1)).squeeze(-1)
    weights = logits.masked_fill(~real, torch.finfo(logits.dtype).min).softmax(1) * real
    return (weights.unsqueeze(1) @ keys).squeeze(1)
