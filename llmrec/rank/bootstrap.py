"""Permutation bootstrapping: a strategy sees the candidates in several random orders, and its rankings vote."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmrec.config import Config, Part
from llmrec.data import Candidates, Dataset, Queries
from llmrec.protocols import Engine
from llmrec.rank.make import make_ranker


class BootstrapConfig(Config):
    """How rankings vote."""

    inner: Part = Part(name="one-token")
    """Strategy that ranks each order."""
    rounds: int = Field(3, ge=1)
    """Orders that each query is asked in."""
    seed: int = 0
    """Of the orders."""


class BootstrapRanker:
    """Ranks each row in several random orders and sums the places (Borda count), which evens out a model's bias.

    An order is drawn from the seed and the candidates: a row alone is asked as in a batch, a killed run as before.

    Paper: Hou et al., Large Language Models are Zero-Shot Rankers for Recommender Systems, ECIR 2024, section 3.3. In
    its published code all prompts of a user have one order; here each has its own.

    Args:
        engine: the model that the inner strategy asks.
        titles: the title of each item, in number order.
        config: inner strategy, rounds.
        train: whose users give examples.

    Attributes:
        counts: those of the inner strategy.

    Raises:
        DataError: a row without a candidate.
    """

    config_class = BootstrapConfig

    def __init__(
        self, engine: Engine, titles: Sequence[str], config: BootstrapConfig | None = None, train: Dataset | None = None
    ) -> None:
        self.config = config or BootstrapConfig()
        self.inner = make_ranker(self.config.inner, engine, titles, train)
        self.counts = self.inner.counts

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return each row by Borda count: how many candidates stood behind one in all rounds; ties keep their order."""
        candidates.require_filled()
        rounds, n = self.config.rounds, len(candidates)
        orders = [shuffled(row, self.config.seed, number) for row in candidates.items for number in range(rounds)]
        asked = np.stack(orders) if orders else np.zeros((0, candidates.items.shape[1]), np.int32)
        found = self.inner.rank(
            queries.select(np.repeat(np.arange(n), rounds)), Candidates(asked, np.zeros(asked.shape, np.float32))
        )
        points = np.zeros(candidates.items.shape, np.float32)
        # An order that could not be ranked has no vote.
        voted = (~np.isnan(found.scores)).sum(axis=1).reshape(n, rounds) > 0
        for row, items in enumerate(found.items.reshape(n, rounds, candidates.items.shape[1])):
            length = int((candidates.items[row] >= 0).sum())
            place = {item: at for at, item in enumerate(candidates.items[row, :length].tolist())}
            for ranking in items[voted[row], :length].tolist():
                points[row, [place[item] for item in ranking]] += length - 1 - np.arange(length)
        counted = (candidates.items >= 0) & voted.any(axis=1)[:, None]
        return candidates.with_scores(np.where(counted, points, np.nan).astype(np.float32))


def shuffled(items: NDArray[np.int32], seed: int, number: int) -> NDArray[np.int32]:
    """Return a row of candidates in an order drawn from seed, number and the candidates, padding last."""
    real = items[items >= 0]
    rng = np.random.default_rng([seed, number, *np.sort(real).tolist()])
    drawn: NDArray[np.int32] = np.concatenate([rng.permutation(np.sort(real)), items[items < 0]]).astype(np.int32)
    return drawn
