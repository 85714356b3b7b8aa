"""The base of rankers that are fitted: a score for each candidate, and a folder that they are stored in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from llmrec.classic.fitted import (
    fitted_class,
    read_fitted,
    require_finite,
    require_fitted,
    require_rows,
    write_fitted,
)
from llmrec.classic.recall.base.store import Arrays, Catalogue
from llmrec.config import Config, Part, make_config
from llmrec.data import Candidates, Dataset, Queries
from llmrec.protocols import UNWATCHED, FloatArray, Ranker, Storable, Trainable, Watch
from llmrec.registry import LEARNED_RANKERS

KIND = "ranker"
BLOCK = 1 << 15  # candidates that are scored at once
C = TypeVar("C", bound=Config)


class LearnedRanker(Ranker, Trainable, Storable, Protocol):
    """A ranker that can be made from its config, fitted and stored.

    Attributes:
        counts: what was asked of it that it did not learn, by name.
    """

    name: ClassVar[str]
    config_class: ClassVar[type[Config]]
    counts: Counter[str]

    def __init__(self, config: Any | None = None) -> None:  # noqa: ANN401 - of config_class
        ...

    @property
    def catalogue(self) -> Catalogue:
        """What it was fitted on; a ModelError before that."""
        ...


class FittedRanker(ABC, Generic[C]):
    """A ranker that scores each candidate by itself; equal scores keep the incoming order.

    Args:
        config: hyper-parameters; None for the defaults of ``config_class``.

    Attributes:
        config: the same; once fitted, with what its nulls stand for.
        counts: rows ranked so far whose value of a category was not learned, by ``unknown CATEGORY``.
    """

    name: ClassVar[str]
    config_class: ClassVar[type[Config]]

    def __init__(self, config: C | None = None) -> None:
        self.config: C = cast("C", self.config_class()) if config is None else config
        self.counts: Counter[str] = Counter()
        self._catalogue: Catalogue | None = None
        self._arrays: Arrays = {}

    @abstractmethod
    def _learn(self, data: Dataset, seed: int, watch: Watch) -> tuple[C, Arrays]:
        """Return the resolved config and the model's arrays."""

    @abstractmethod
    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        """Take over what ``_learn`` returned; a ValueError or KeyError where it does not fit."""

    @abstractmethod
    def _score(self, queries: Queries, candidates: Candidates) -> FloatArray:
        """Return a score for each place of the candidates (q, k); what padding gets does not matter."""

    @property
    def catalogue(self) -> Catalogue:
        """What the ranker was fitted on.

        Raises:
            ModelError: it is not fitted yet.
        """
        return require_fitted(self.name, self._catalogue)

    @property
    def validation_auc(self) -> NDArray[np.float64]:
        """Validation AUC after each epoch, or of all trees; empty without validation."""
        return self._arrays.get("validation_auc", np.zeros(0))

    def fit(self, data: Dataset, *, seed: int = 0, watch: Watch = UNWATCHED) -> Self:
        """Learn from ``data`` and return itself.

        Raises:
            ConfigError: a feature that is none.
            DataError: the data set lacks events, labels of both kinds, or what a feature needs.
            ModelError: what was learned is not finite.
        """
        config, arrays = self._learn(data, seed, watch)
        self.config = config
        return self._take(Catalogue.of(data), arrays)

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return each row of candidates by score, best first.

        Args:
            queries: q queries; an unseen user is served from the history.
            candidates: q rows of candidates.

        Raises:
            DataError: a row has no candidate, there is not one for each query, or an item is outside the catalogue.
            ModelError: the ranker is not fitted.
        """
        require_rows(queries, candidates, self.catalogue.n_items)
        scores, step = np.zeros(candidates.items.shape, np.float32), max(1, BLOCK // max(candidates.items.shape[1], 1))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            scores[part] = self._score(queries.select(part), candidates.select(part))
        return candidates.with_scores(scores)

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


def make_learned_ranker(part: Part) -> LearnedRanker:
    """Return an unfitted ranker; a ConfigError or UnknownNameError where the part is none."""
    kind: type[LearnedRanker] = LEARNED_RANKERS.get(part.name)
    return kind(make_config(kind.config_class, part.parameters))


def load_learned_ranker(folder: Path) -> LearnedRanker:
    """Return the ranker in a folder, whichever it is, through the registry.

    Raises:
        ModelError: the folder is none that a ranker wrote, is damaged, or its ranker is not registered.
    """
    return cast("LearnedRanker", fitted_class(folder, LEARNED_RANKERS).load(folder))
