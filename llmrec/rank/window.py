"""Sliding windows: a strategy for short lists ranks a long one, from the end to the front."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field, model_validator

from llmrec.config import Config, Part
from llmrec.data import Candidates, Dataset, Queries
from llmrec.protocols import Engine
from llmrec.rank.make import make_ranker


class WindowConfig(Config):
    """How a long list is ranked in windows."""

    inner: Part = Part(name="one-token")
    """Strategy that ranks a window."""
    size: int = Field(20, ge=2)
    """Candidates of a window."""
    step: int = Field(10, ge=1)
    """Candidates by which the window moves to the front; size - step of them are compared again."""

    @model_validator(mode="after")
    def _check(self) -> WindowConfig:
        if self.step >= self.size:
            raise ValueError(f"step = {self.step} is not below size = {self.size}: windows would not overlap")
        return self


class WindowRanker:
    """Ranks the last ``size`` candidates, then a window ``step`` further to the front, until the first are ranked.

    What is good climbs as the window moves: the best ``size`` - ``step`` of each window are in the next one.

    Paper: Sun et al., Is ChatGPT Good at Search? Investigating Large Language Models as Re-Ranking Agents (RankGPT),
    EMNLP 2023.

    Args:
        engine: the model that the inner strategy asks.
        titles: the title of each item, in number order.
        config: inner strategy, windows.
        train: whose users give examples.

    Attributes:
        counts: those of the inner strategy.

    Raises:
        DataError: a row without a candidate.
    """

    config_class = WindowConfig

    def __init__(
        self, engine: Engine, titles: Sequence[str], config: WindowConfig | None = None, train: Dataset | None = None
    ) -> None:
        self.config = config or WindowConfig()
        self.inner = make_ranker(self.config.inner, engine, titles, train)
        self.counts = self.inner.counts

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return each row in its final order; the score counts down from the number of candidates."""
        candidates.require_filled()
        items = candidates.items.copy()
        ends = (items >= 0).sum(axis=1)
        lengths = ends.copy()
        while (rows := np.flatnonzero(ends > 0)).size:
            starts = np.maximum(ends[rows] - self.config.size, 0)
            places = starts[:, None] + np.arange(min(self.config.size, items.shape[1]))
            inside = places < ends[rows, None]
            window = np.where(inside, items[rows[:, None], np.minimum(places, items.shape[1] - 1)], -1)
            found = self.inner.rank(queries.select(rows), Candidates(window, np.zeros(window.shape, np.float32)))
            items[np.repeat(rows, inside.sum(axis=1)), places[inside]] = found.items[inside]
            ends[rows] = np.where(starts > 0, ends[rows] - self.config.step, 0)
        scores = np.where(items >= 0, lengths[:, None] - np.arange(items.shape[1]), np.nan)
        return Candidates(items, scores.astype(np.float32))
