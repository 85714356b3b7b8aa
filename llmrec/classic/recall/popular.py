"""Popularity: everybody gets what most people had; the baseline that every model has to beat."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from llmrec.classic.recall.base.history import HistoryRecommender
from llmrec.classic.recall.base.store import Arrays
from llmrec.config import Config
from llmrec.data import Dataset, Queries
from llmrec.protocols import FloatArray, Watch


class PopularConfig(Config):
    """Popularity has nothing to set."""


class Popular(HistoryRecommender[PopularConfig]):
    """Scores an item by how many users had it; values are ignored, a user's repeated events count once."""

    name: ClassVar[str] = "popular"
    config_class: ClassVar[type[Config]] = PopularConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:  # noqa: ARG002 - solved in closed form
        return {}  # the base counts users for every model's fallback

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        pass

    def _score(self, queries: Queries) -> FloatArray:
        return np.tile(self.popularity, (len(queries), 1))
