"""The base of re-rankers: fitted on a data set, they order candidates in blocks that bound memory, and save."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import ClassVar, Generic, Self, TypeVar, cast

import numpy as np
from pydantic import Field

from llmrec.classic.fitted import (
    fitted_class,
    read_fitted,
    require_finite,
    require_fitted,
    require_rows,
    write_fitted,
)
from llmrec.classic.recall.base.history import row_blocks
from llmrec.classic.recall.base.store import Arrays, Catalogue
from llmrec.config import Config, Part, make_config
from llmrec.data import Candidates, Dataset, Queries
from llmrec.protocols import UNWATCHED, Watch
from llmrec.registry.reranking import RERANKERS

KIND = "re-ranker"
C = TypeVar("C", bound=Config)


class GreedyConfig(Config):
    """What re-rankers share that choose one candidate after the other."""

    relevance: float = Field(0.7, ge=0, le=1)
    """Weight of a candidate's score against the rest of the list; 1 keeps the incoming order."""
    k: int = Field(50, ge=1)
    """Places that are chosen; the other candidates follow in their incoming order."""


class Reranker(ABC, Generic[C]):
    """A ranker of whole lists: it learns what items are from a data set, and orders candidates.

    Args:
        config: parameters; None for the defaults of ``config_class``.

    Attributes:
        final: whether its order must stand as it is, since places are given on purpose: no other score may blur it.
        counts: what could not be done as asked so far, by name.
    """

    name: ClassVar[str]
    config_class: ClassVar[type[Config]]
    final: ClassVar[bool] = False

    def __init__(self, config: C | None = None) -> None:
        self.config: C = cast("C", self.config_class()) if config is None else config
        self.counts: Counter[str] = Counter()
        self._catalogue: Catalogue | None = None
        self._arrays: Arrays = {}

    @abstractmethod
    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:
        """Return what is read or learned from a data set."""

    @abstractmethod
    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        """Take over what ``_learn`` returned; a ValueError or KeyError where it does not fit ``n_items``."""

    @abstractmethod
    def _order(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return the candidates of some queries in another order."""

    def _floats(self, width: int) -> int:
        """Return how many numbers a row of ``width`` candidates takes in memory."""
        return width

    @property
    def catalogue(self) -> Catalogue:
        """What the re-ranker was fitted on; a ModelError before that."""
        return require_fitted(self.name, self._catalogue)

    def fit(self, data: Dataset, *, seed: int = 0, watch: Watch = UNWATCHED) -> Self:
        """Read or learn from ``data`` what is needed, and return itself.

        Raises:
            DataError: the data set lacks it.
            ModelError: what was learned is not finite, or a model that it asks cannot be used.
        """
        return self._take(Catalogue.of(data), self._learn(data, seed, watch))

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return each row of candidates in another order, best first.

        Args:
            queries: q queries.
            candidates: their candidates (q, k), best first.

        Raises:
            DataError: a row has no candidate, there is not one for each query, or an item is outside the catalogue.
            ModelError: the re-ranker is not fitted.
        """
        require_rows(queries, candidates, self.catalogue.n_items)
        if not len(candidates):
            return candidates
        parts = [
            self._order(queries.select(rows), candidates.select(rows))
            for rows in row_blocks(len(candidates), self._floats(candidates.items.shape[1]))
        ]
        return Candidates(np.concatenate([each.items for each in parts]), np.concatenate([p.scores for p in parts]))

    def _take(self, catalogue: Catalogue, arrays: Arrays) -> Self:
        """Take over arrays that were learned or loaded; a ModelError where a number is not finite."""
        require_finite(self.name, arrays)
        self._adopt(arrays, catalogue.n_items)
        self._catalogue, self._arrays = catalogue, arrays
        return self

    def save(self, folder: Path) -> Path:
        """Write ``config.json`` and ``weights.safetensors``, whole or not at all."""
        return write_fitted(folder, self.name, self.config, self.catalogue, self._arrays, kind=KIND)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder that ``save`` wrote.

        Raises:
            ModelError: a file is missing or damaged, the weights are not finite, or something else was saved there.
        """
        kept = read_fitted(folder, cls.name, cls.config_class, kind=KIND)
        made = cls(cast("C", kept.config))
        with kept.adopted():
            return made._take(kept.catalogue, kept.arrays)


def make_reranker(part: Part) -> Reranker[Config]:
    """Return an unfitted re-ranker; a ConfigError or UnknownNameError where the part is none."""
    kind: type[Reranker[Config]] = RERANKERS.get(part.name)
    return kind(make_config(kind.config_class, part.parameters))


def load_reranker(folder: Path) -> Reranker[Config]:
    """Return the re-ranker in a folder, whichever it is, through the registry.

    Raises:
        ModelError: the folder is none that a re-ranker wrote, is damaged, or its re-ranker is not registered.
    """
    return cast("Reranker[Config]", fitted_class(folder, RERANKERS).load(folder))
