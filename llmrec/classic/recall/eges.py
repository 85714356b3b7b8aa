"""EGES: walks on the graph of what followed what, and side information that also speaks for new items."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from llmrec.classic.recall.base.history import HistoryRecommender, row_blocks
from llmrec.classic.recall.base.side import Side, read_side
from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.base.vectors import AnswersByVectors
from llmrec.classic.recall.item_vectors.centroid import unit
from llmrec.classic.recall.item_vectors.graph import Graph, Walks
from llmrec.classic.recall.item_vectors.sessions import cut_sessions
from llmrec.classic.recall.item_vectors.skipgram import (
    Noise,
    SkipGram,
    SkipGramConfig,
    centroids,
    fit_vectors,
    uniform_embedding,
)
from llmrec.config import Config
from llmrec.data import Dataset
from llmrec.protocols import FloatArray, Watch


class EGESConfig(SkipGramConfig):
    """Hyper-parameters of EGES."""

    epochs: int = Field(5, ge=1)
    """Times that walks start from all items, at most."""
    batch_size: int = Field(128, ge=1)
    """Walks that a step learns from."""
    gap: float = Field(3600, gt=0)
    """Seconds without an event that end a session."""
    walks: int = Field(20, ge=1)
    """Walks from each item in an epoch."""
    walk_length: int = Field(10, ge=2)
    """Items of a walk."""
    columns: tuple[str, ...] | None = None
    """Columns of the item table; null takes what is there of categories, subcategory, brand, author; () none."""


class EGES(AnswersByVectors, HistoryRecommender[EGESConfig]):
    """Skip-gram on walks over the item graph; an item's vector is its own and those of its side information, weighed.

    The graph has an edge from each item to the next of the same session, and walks take edges by their weight. Item v
    with its own vector W0 and one vector Wj for each column of side information (of a list, the mean) has
    H = sum exp(aj) Wj / sum exp(aj), the weights a being its own. An item that nothing ever followed starts no walk: it
    has the mean of its side vectors instead, so that **items without any event are proposed**. An item is scored by the
    cosine of its vector with the mean of the newest items' (unit) vectors. Where there is no side information either,
    an item comes last, and histories skip it. Without columns (``columns=()``) it is the paper's BGE, which serves no
    new items.

    Paper: Wang et al., Billion-scale Commodity Embedding for E-commerce Recommendation in Alibaba, KDD 2018. Differs: a
    column that says nothing of an item gets no weight; each epoch walks anew; a batch shares its negatives; a session
    ends with a pause instead of after an hour.
    """

    name: ClassVar[str] = "eges"
    config_class: ClassVar[type[Config]] = EGESConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:
        config, n_items = self.config, len(data.items)
        sessions, side = cut_sessions(data, config.gap), read_side(data, config.columns)
        graph = Graph.of(sessions, n_items)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            weighed = Weighed(n_items, config.embedding_dim, side)
            module = SkipGram(weighed, Noise(sessions.frequency(n_items), config.exponent), n_items, config)
        batches = Walks(
            graph, walks=config.walks, length=config.walk_length, window=config.window, batch_size=config.batch_size
        )

        def arrays() -> Arrays:
            vectors, servable = item_vectors(weighed, graph.leads_on)
            return {"vectors": unit(vectors), "servable": servable}

        return fit_vectors(module, batches, config, arrays, name=self.name, data=data, seed=seed, watch=watch)

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        self._vectors = centroids(arrays, self.config, n_items)


class Weighed(nn.Module):
    """An item's own vector and those of its side information, weighed by a softmax of the item's own weights.

    Args:
        n_items: size of the catalogue.
        embedding_dim: length of the vectors.
        side: side information of c columns.
    """

    def __init__(self, n_items: int, embedding_dim: int, side: Side) -> None:
        super().__init__()
        self.own = uniform_embedding(n_items, embedding_dim)
        self.columns = side.counts.shape[1]
        if self.columns:
            self.values = uniform_embedding(side.values, embedding_dim)
            self.attention = nn.Embedding(n_items, self.columns + 1)
            nn.init.zeros_(self.attention.weight)
        for name, array in (("members", side.members), ("starts", side.starts), ("counts", side.counts)):
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

    members: Tensor
    starts: Tensor
    counts: Tensor

    def forward(self, items: Tensor) -> Tensor:
        """Return the vectors (…, d) of item numbers (…)."""
        own: Tensor = self.own(items)
        if not self.columns:
            return own
        parts = torch.cat([own.unsqueeze(-2), self.side(items)], dim=-2)
        silent = F.pad(self.counts[items] == 0, (1, 0))  # an item's own vector always speaks
        weights = self.attention(items).masked_fill(silent, -torch.inf).softmax(-1)
        mixed: Tensor = (weights.unsqueeze(-1) * parts).sum(-2)
        return mixed

    def side(self, items: Tensor) -> Tensor:
        """Return the mean vectors of each column's members, (…, c, d), of item numbers (…); zeros without any."""
        counts, starts = self.counts[items].flatten(), self.starts[items].flatten()
        bags = counts.cumsum(0) - counts
        places = torch.arange(int(counts.sum()), device=items.device) + (starts - bags).repeat_interleave(counts)
        means = F.embedding_bag(self.members[places], self.values.weight, bags, mode="mean")
        return means.view(*items.shape, self.columns, -1)

    def new(self, items: Tensor) -> Tensor:
        """Return the mean (…, d) of the vectors of an item's columns that say something; zeros where none does."""
        if not self.columns:
            return torch.zeros_like(self.own(items))
        said = (self.counts[items] > 0).sum(-1, keepdim=True)
        mean: Tensor = self.side(items).sum(-2) / said.clamp(min=1)
        return mean


def item_vectors(weighed: Weighed, learned: NDArray[np.bool_]) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return the vectors (n_items, d) of learned items and of new ones, and which of them have one."""
    device, n_items = weighed.own.weight.device, len(learned)
    vectors = np.zeros(weighed.own.weight.shape, np.float32)
    with torch.inference_mode():
        for block in row_blocks(n_items, vectors.shape[1] * (weighed.columns + 2)):
            items, known = torch.arange(n_items, device=device)[block], torch.from_numpy(learned[block]).to(device)
            found = torch.where(known.unsqueeze(-1), weighed(items), weighed.new(items))
            vectors[block] = found.float().cpu().numpy()
    return vectors, learned | (weighed.counts > 0).any(-1).cpu().numpy()
