"""Airbnb's listing embeddings: click sessions, what was booked in the end, and negatives from the same market."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from llmrec.classic.recall.base.history import HistoryRecommender
from llmrec.classic.recall.base.side import single_values
from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.base.vectors import AnswersByVectors
from llmrec.classic.recall.item_vectors.centroid import unit
from llmrec.classic.recall.item_vectors.sessions import Sessions, cut_sessions
from llmrec.classic.recall.item_vectors.skipgram import (
    Noise,
    SkipGram,
    SkipGramConfig,
    Stretches,
    centroids,
    fit_vectors,
    uniform_embedding,
)
from llmrec.config import Config
from llmrec.data import Dataset
from llmrec.errors import DataError
from llmrec.protocols import Watch


class AirbnbConfig(SkipGramConfig):
    """Hyper-parameters of Airbnb's listing embeddings."""

    gap: float = Field(1800, gt=0)
    """Seconds without an event that end a session."""
    booked_above: float = 4.0
    """An event with a value above it is a booking; where all values are equal, each session's last event is one."""
    market: str | None = None
    """Column of the item table whose value is an item's market; null has no negatives from the same market."""
    market_negatives: int = Field(5, ge=1)
    """Negatives of the same market for each pair of near items; only read with a market."""


class Airbnb(AnswersByVectors, HistoryRecommender[AirbnbConfig]):
    """Items seen near one another in a session, and near what their session led to.

    For each centre l with vector v and each near item c with context vector v', the loss is -log s(v'_c v_l); the
    booking b that the session leads to after l adds -log s(v'_b v_l) once, however far away it is; random items n, and
    items m of l's market, each add -log s(-v' v_l). A session with several bookings leads to the next one at each
    place. An item is scored by the cosine of its vector with the mean of the newest items' (unit) vectors. An item that
    only stood alone in sessions has no vector: it comes last, and histories skip it.

    Paper: Grbovic, Cheng, Real-time Personalization using Embeddings for Search Ranking at Airbnb, KDD 2018, equation
    5. Differs: how many negatives a pair gets is a parameter; those of a batch are shared; booked sessions are not
    oversampled; new listings get no vector from the three nearest, which needs places on a map; types of users and
    listings are left out.
    """

    name: ClassVar[str] = "airbnb"
    config_class: ClassVar[type[Config]] = AirbnbConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:
        sessions = cut_sessions(data, self.config.gap)
        booked = next_booked(sessions, bookings(data, sessions, self.config.booked_above))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = Listings(sessions, len(data.items), self.config, markets(data, self.config.market))
        batches = Stretches(sessions, self.config.window, self.config.batch_size, {"booked": booked})

        def arrays() -> Arrays:
            vectors = unit(module.vectors.weight.detach().float().cpu().numpy())
            return {"vectors": vectors, "servable": sessions.frequency(len(data.items)) > 0}

        return fit_vectors(module, batches, self.config, arrays, name=self.name, data=data, seed=seed, watch=watch)

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        self._vectors = centroids(arrays, self.config, n_items)


class Listings(nn.Module):
    """Skip-gram with the booked item as context of all that led to it, and negatives of the centre's own market.

    Args:
        sessions: what is learned from.
        n_items: size of the catalogue.
        config: hyper-parameters.
        groups: (n_items,), the market of each item, 0 where it has none; None draws no such negatives.
    """

    def __init__(
        self, sessions: Sessions, n_items: int, config: AirbnbConfig, groups: NDArray[np.int64] | None = None
    ) -> None:
        super().__init__()
        self.config = config
        counts = sessions.frequency(n_items)
        self.vectors = uniform_embedding(n_items, config.embedding_dim)
        self.pairs = SkipGram(self.vectors, Noise(counts, config.exponent), n_items, config)
        self.market = None if groups is None else Noise(counts, config.exponent, groups)

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the summed loss, and how many positive pairs there are."""
        centre, booked = batch["items"][:, self.config.window : -self.config.window], batch["booked"]
        hidden, loss, near = self.pairs.windows(batch)
        led = (booked >= 0) & (booked != centre)
        logits = (hidden * self.pairs.contexts(booked.clamp(min=0))).sum(-1)
        loss = loss + (F.softplus(-logits.float()) * led).sum()
        if self.market is not None:
            loss = loss + self._market_loss(hidden, centre, near, self.market)
        return loss, near.sum() + led.sum()

    def _market_loss(self, hidden: Tensor, centre: Tensor, near: Tensor, market: Noise) -> Tensor:
        """Weigh a centre's negatives by its near pairs; items without a market, and the centre itself, do not count."""
        drawn = market.beside(centre.clamp(min=0), self.config.market_negatives)
        logits = (self.pairs.contexts(drawn) @ hidden.unsqueeze(-1)).squeeze(-1)
        counts = (drawn != centre.unsqueeze(-1)) & (market.groups[centre.clamp(min=0)] > 0).unsqueeze(-1)
        return (F.softplus(logits.float()) * counts * near.unsqueeze(-1)).sum()


def bookings(data: Dataset, sessions: Sessions, booked_above: float) -> NDArray[np.bool_]:
    """Return which events of the sessions are bookings, (n,).

    Raises:
        DataError: values differ, but none is above ``booked_above``.
    """
    if not data.interactions.rated:
        return sessions.ends
    booked: NDArray[np.bool_] = sessions.values > booked_above
    if not booked.any():
        raise DataError(
            f"no event of {data.name!r} has a value above booked_above = {booked_above:g}",
            expected=f"bookings; the largest value is {sessions.values.max():g}",
            cure="lower booked_above",
        )
    return booked


def next_booked(sessions: Sessions, booked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the item that each event leads to: the next one booked in its session, itself included; -1 for none."""
    places = np.where(booked, np.arange(len(booked)), len(booked))
    following = np.minimum.accumulate(places[::-1])[::-1]
    led = following < np.repeat(sessions.starts[1:], np.diff(sessions.starts))
    return np.where(led, sessions.items[np.minimum(following, len(booked) - 1)], -1).astype(np.int64)


def markets(data: Dataset, column: str | None) -> NDArray[np.int64] | None:
    """Return the market of each item from 1, 0 where it has none; None without a column."""
    return None if column is None else single_values(data, column)
