"""Popularity: everybody gets what most people had; the baseline that every model has to beat."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.sparse import csr_matrix

from llmrec.classic.recall.history import HistoryRecommender
from llmrec.classic.recall.store import Arrays
from llmrec.config import Config
from llmrec.protocols import FloatArray


class PopularConfig(Config):
    """Popularity has nothing to set."""


class Popular(HistoryRecommender[PopularConfig]):
    """Scores an item by how many users had it; values are ignored, a user's repeated events count once."""

    name: ClassVar[str] = "popular"
    config_class: ClassVar[type[Config]] = PopularConfig

    def _learn(self, seen: csr_matrix, seed: int) -> Arrays:  # noqa: ARG002 - nothing is random here
        return {}  # the base counts users for every model's fallback

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        pass

    def _score(self, histories: csr_matrix) -> FloatArray:
        return np.tile(self.popularity, (histories.shape[0], 1))
