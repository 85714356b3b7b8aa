"""Skip-gram with negative sampling on stretches of events: what lies near an item against what lies anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.base.vectors import answer
from llmrec.classic.recall.item_vectors.centroid import Centroids
from llmrec.classic.recall.item_vectors.sessions import Sessions
from llmrec.classic.recall.neural.fitting import Scores, fit_module
from llmrec.classic.training import Batch, Batches, TrainingConfig
from llmrec.data import Dataset
from llmrec.protocols import Watch

STRETCH = 32  # events whose windows are computed together
DRAWS = 256  # negatives of a batch; more make the gradient less noisy


class SkipGramConfig(TrainingConfig):
    """What models of items in context share."""

    epochs: int = Field(10, ge=1)
    """Passes over the training data, at most."""
    batch_size: int = Field(64, ge=1)
    """Stretches of 32 events that a step learns from."""
    learning_rate: float = Field(0.02, gt=0)
    """Step size of AdamW."""
    embedding_dim: int = Field(64, ge=1)
    """Length of the item vectors."""
    window: int = Field(5, ge=1)
    """Items to either side that count as near."""
    negatives: int = Field(5, ge=1)
    """Weight of what is drawn at random: so many negatives for each pair of near items."""
    exponent: float = Field(0.75, ge=-1, le=1)
    """Negatives are drawn by frequency to this power; 0 draws all items alike."""
    history: int = Field(10, ge=1)
    """Newest items with a vector that are read."""
    decay: float = Field(0.5, gt=0, le=1)
    """What an item of the history weighs against the next newer one."""


class Noise(nn.Module):
    """Draws items by frequency to a power, from all items or from a group of them.

    Args:
        frequency: (n_items,); items with 0 are never drawn.
        exponent: the power.
        groups: int (n_items,), from 0; None puts all into one.
    """

    def __init__(self, frequency: NDArray[np.int64], exponent: float, groups: NDArray[np.int64] | None = None) -> None:
        super().__init__()
        groups = np.zeros(len(frequency), np.int64) if groups is None else groups
        drawn = np.flatnonzero(frequency > 0)
        drawn = drawn[np.argsort(groups[drawn], kind="stable")]
        upto = np.append(0.0, np.cumsum(frequency[drawn].astype(np.float64) ** exponent))
        bounds = np.searchsorted(groups[drawn], np.arange(groups.max(initial=0) + 2))
        for name, array in (("groups", groups), ("drawn", drawn), ("upto", upto), ("bounds", bounds)):
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)), persistent=False)

    groups: Tensor
    drawn: Tensor
    upto: Tensor
    bounds: Tensor

    def anywhere(self, n: int) -> Tensor:
        """Return n items (n,) of the first group: of all, where there is one."""
        return self._draw(torch.zeros(n, dtype=torch.int64, device=self.upto.device))

    def beside(self, items: Tensor, n: int) -> Tensor:
        """Return n items (…, n) of the group of each of ``items`` (…)."""
        return self._draw(self.groups[items].unsqueeze(-1).expand(*items.shape, n))

    def _draw(self, groups: Tensor) -> Tensor:
        first, end = self.bounds[groups], self.bounds[groups + 1]
        low, high = self.upto[first], self.upto[end]
        points = low + torch.rand(groups.shape, dtype=torch.float64, device=low.device) * (high - low)
        places = torch.searchsorted(self.upto, points, right=True) - 1
        return self.drawn[places.clamp(min=first, max=end - 1)]


class SkipGram(nn.Module):
    """Vectors of items as centres and as contexts; near pairs have large inner products.

    With h a centre's vector, z the context vectors and K ``negatives``, a near pair (v, u) adds
    -log s(h_v z_u) - K E[log s(-h_v z_n)], n drawn by ``noise``: the loss of word2vec. The expectation is the mean over
    ``DRAWS`` negatives that the whole batch shares, a matrix product, where word2vec draws K for each pair.

    Args:
        centres: gives item numbers (…) their vectors (…, d).
        noise: draws the negatives.
        n_items: size of the catalogue.
        config: hyper-parameters.

    Paper: Mikolov et al., Distributed Representations of Words and Phrases and their Compositionality, NeurIPS 2013.
    """

    def __init__(self, centres: nn.Module, noise: Noise, n_items: int, config: SkipGramConfig) -> None:
        super().__init__()
        self.config, self.centres, self.noise = config, centres, noise
        self.contexts = nn.Embedding(n_items, config.embedding_dim)
        nn.init.zeros_(self.contexts.weight)

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the summed loss of all near pairs, and how many there are."""
        _, loss, near = self.windows(batch)
        return loss, near.sum()

    def windows(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the centres' vectors (b, l, d), the summed loss, and how many items are near each centre (b, l)."""
        items, window = batch["items"], self.config.window
        hidden: Tensor = self.centres(items[:, window:-window].clamp(min=0))
        pairs = near_pairs(items, batch["sessions"], window)
        near = pairs.sum(-1)
        logits = hidden @ self.contexts(items.clamp(min=0)).transpose(1, 2)
        drawn = hidden @ self.contexts(self.noise.anywhere(DRAWS)).T
        # softplus(x) is -log s(-x)
        against = F.softplus(drawn.float()).mean(-1) * near * self.config.negatives
        return hidden, (F.softplus(-logits.float()) * pairs).sum() + against.sum(), near


def near_pairs(items: Tensor, sessions: Tensor, window: int) -> Tensor:
    """Return which places are near which, bool (b, l, l + 2 window).

    Centre i is place i + window; near are other items of its session at most ``window`` places away. Items and sessions
    have the shape (b, l + 2 window); an item of -1 is nowhere.
    """
    places = torch.arange(items.shape[1], device=items.device)
    distance = (places[None, :] - places[window:-window, None]).abs()
    middle = items[:, window:-window, None]
    near = (distance <= window) & (middle != items[:, None, :]) & (middle >= 0) & (items[:, None, :] >= 0)
    return near & (sessions[:, window:-window, None] == sessions[:, None, :])


class Stretches:
    """Sessions end to end, cut into stretches of ``STRETCH`` events with a window's more on both sides.

    So each pair of near events occurs once in an epoch, and short sessions cost no padding. A batch has ``items`` and
    ``sessions`` (b, l + 2 window), int64, -1 where there is nothing, and those of ``more`` (b, l).

    Args:
        sessions: what to learn from.
        window: items to either side.
        batch_size: stretches of a batch.
        more: int (n,), further facts of the events.
    """

    def __init__(
        self, sessions: Sessions, window: int, batch_size: int, more: Mapping[str, NDArray[np.int64]] | None = None
    ) -> None:
        self.window, self.batch_size = window, batch_size
        self.count = -(-len(sessions.items) // STRETCH)
        behind = self.count * STRETCH - len(sessions.items)

        def around(values: NDArray[np.integer], width: int) -> NDArray[np.int64]:
            return np.pad(values.astype(np.int64), (width, behind + width), constant_values=-1)

        self.events = {"items": around(sessions.items, window), "sessions": around(sessions.numbers, window)}
        self.more = {name: around(values, 0) for name, values in (more or {}).items()}

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-self.count // self.batch_size)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield all stretches once, in random order."""
        firsts = rng.permutation(self.count) * STRETCH
        for start in range(0, self.count, self.batch_size):
            first = firsts[start : start + self.batch_size, None]
            wide, narrow = first + np.arange(STRETCH + 2 * self.window), first + np.arange(STRETCH)
            yield {name: values[wide] for name, values in self.events.items()} | {
                name: values[narrow] for name, values in self.more.items()
            }


def uniform_embedding(n: int, dim: int) -> nn.Embedding:
    """Return n vectors drawn as word2vec does: evenly within 1 / (2 dim) of zero."""
    table = nn.Embedding(n, dim)
    nn.init.uniform_(table.weight, -0.5 / dim, 0.5 / dim)
    return table


def fit_vectors(
    module: nn.Module,
    batches: Batches,
    config: SkipGramConfig,
    learned: Callable[[], Arrays],
    *,
    name: str,
    data: Dataset,
    seed: int,
    watch: Watch,
) -> Arrays:
    """Train in place, see ``fit_module``, and return what ``learned`` does: all items' ``vectors`` and ``servable``."""

    def serve() -> Scores:
        return partial(answer, centroids(learned(), config, len(data.items)))

    fit_module(module, batches, config, serve, name=name, data=data, seed=seed, watch=watch)
    return learned()


def centroids(arrays: Arrays, config: SkipGramConfig, n_items: int) -> Centroids:
    """Return what ``fit_vectors`` returned as a model; a ValueError where it is of another catalogue."""
    vectors, servable = arrays["vectors"], arrays["servable"]
    if len(servable) != n_items:
        raise ValueError(f"servable of shape {servable.shape}")
    return Centroids(vectors, vectors, servable, config.history, config.decay)
