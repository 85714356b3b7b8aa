"""A recommender that answers from an index of its item vectors, for catalogues too large to score whole."""

from __future__ import annotations

from inspect import getattr_static
from pathlib import Path
from typing import ClassVar, Protocol, Self, cast

import numpy as np

from llmrec.classic.recall.base.history import history_matrix
from llmrec.classic.recall.base.store import (
    Catalogue,
    RecallModel,
    load_recommender,
    make_recommender,
    read_about,
    read_catalogue,
    read_config,
    write_about,
)
from llmrec.classic.recall.faiss_index import IndexConfig
from llmrec.classic.recall.index import VectorIndex
from llmrec.config import Config, Part
from llmrec.data import Candidates, Dataset, Queries
from llmrec.data.candidates import check_k
from llmrec.data.files import atomic_folder
from llmrec.errors import ConfigError, ModelError
from llmrec.protocols import UNWATCHED, VectorModel, Watch

USERS = 500  # whose queries the index is tuned on


class IndexedConfig(Config):
    """What to index, and how."""

    member: Part | None = Part(name="als")
    """A recommender that scores by vectors; null where one is handed over."""
    index: IndexConfig = IndexConfig()
    """The index of its items."""


class VectorRecallModel(RecallModel, VectorModel, Protocol):
    """A recall model that scores by vectors."""


class IndexedRecommender:
    """Answers as its member does, by way of an index of the member's item vectors.

    The index holds the items that the member learned a vector of. What it cannot answer, the member does: a query
    whose history says nothing, and the last places where hardly an item is left. With ``index.kind=flat`` the answers
    are the member's own.

    Args:
        config: what to index and how; None for the defaults.
        member: a recommender to index, instead of making ``config.member`` (which becomes null). If it is fitted
            already, ``build`` is enough.

    Raises:
        ConfigError: there is no member, or it does not score by vectors.
    """

    name: ClassVar[str] = "indexed"
    config_class: ClassVar[type[Config]] = IndexedConfig

    def __init__(self, config: IndexedConfig | None = None, member: RecallModel | None = None) -> None:
        config = config or IndexedConfig()
        self.config = config if member is None else config.model_copy(update={"member": None})
        if member is None and config.member is None:
            raise ConfigError("no member", expected="a recommender to index", cure="name one: member=als")
        self.member = _with_vectors(member or make_recommender(cast("Part", config.member)))
        self._index: VectorIndex | None = None

    @property
    def catalogue(self) -> Catalogue:
        """What the member was fitted on; a ModelError before that."""
        return self.member.catalogue

    @property
    def index(self) -> VectorIndex:
        """The index of the member's items.

        Raises:
            ModelError: it is not built yet.
        """
        if self._index is None:
            raise ModelError("an index without items", expected="a fitted model", cure="call fit, build or load first")
        return self._index

    def fit(self, data: Dataset, *, seed: int = 0, watch: Watch = UNWATCHED) -> Self:
        """Fit the member, build the index, and return itself."""
        self.member.fit(data, seed=seed, watch=watch)
        return self.build(data, seed=seed)

    def build(self, data: Dataset, *, seed: int = 0) -> Self:
        """Build the index of a member that is fitted already, tuned on some users of its data, and return itself.

        Raises:
            ModelError: the member is not fitted, or on other items.
        """
        if self.catalogue.items_digest != Catalogue.of(data).items_digest:
            raise ModelError(
                f"{self.member.name} fitted on {self.catalogue.n_items} items of {self.catalogue.dataset!r}",
                expected=f"the {len(data.items)} items of {data.name!r}",
                cure="pass the data set that it was fitted on",
            )
        vectors, servable = self.member.item_vectors, self.member.servable
        index = VectorIndex.build(vectors, servable, self.config.index, seed=seed)
        users = np.random.default_rng(seed).permutation(len(data.users))[:USERS]
        self._index = index.tune(self.member.query_vectors(data.queries(users)))
        return self

    def recommend(self, queries: Queries, k: int, *, exclude_seen: bool = True) -> Candidates:
        """Return the k best items of each query that the index finds; equal scores go to the lower item number.

        Raises:
            DataError: k or an item of a history is outside the catalogue.
            ModelError: the model is not fitted.
        """
        index, n_items = self.index, self.catalogue.n_items
        check_k(k, n_items)
        n_seen = np.diff(history_matrix(queries, n_items).indptr) if exclude_seen else np.zeros(len(queries), np.int64)
        vectors = self.member.query_vectors(queries)
        found = index.search(vectors, k, exclude=queries.history if exclude_seen else None)
        short = (found.items >= 0).sum(axis=1) < np.minimum(k, n_items - n_seen)
        if not short.any():
            return found
        items, scores = found.items.copy(), found.scores.copy()
        blank = np.asarray((queries.history < 0).all(axis=1))
        for rows in (np.flatnonzero(short & blank), np.flatnonzero(short & ~blank)):
            asked = rows[:1] if len(rows) and blank[rows[0]] else rows  # who did nothing gets what the others get
            own = self.member.recommend(queries.select(asked), k, exclude_seen=exclude_seen)
            items[rows], scores[rows] = own.items, own.scores
        return Candidates(items, scores)

    def save(self, folder: Path) -> Path:
        """Write ``config.json``, ``member/`` and ``index/``, whole or not at all."""
        with atomic_folder(folder) as temporary:
            write_about(temporary, self.name, self.config, self.catalogue, members=1)
            self.member.save(temporary / "member")
            self.index.save(temporary / "index")
        return folder

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder that ``save`` wrote.

        Raises:
            ModelError: the folder of the member or of the index is damaged, or they do not fit each other.
        """
        about = read_about(folder, name=cls.name)
        config, catalogue = read_config(folder, about, IndexedConfig), read_catalogue(folder, about)
        member = load_recommender(folder / "member")
        try:
            model = cls(config, member)
        except ConfigError as error:
            raise ModelError(error.found, expected=error.expected, cure="fit and save the model again") from None
        model.config, model._index = config, VectorIndex.load(folder / "index")
        if member.catalogue != catalogue or not model._index.matches(model.member.item_vectors, model.member.servable):
            raise ModelError(
                f"the index in {str(folder)!r} is not of the {member.name} beside it",
                expected=f"the vectors of its {catalogue.n_items} items of {catalogue.dataset!r}",
                cure="fit and save the model again",
            )
        return model


def _with_vectors(member: RecallModel) -> VectorRecallModel:
    """Return the member, or raise a ConfigError if it is no VectorModel.

    Looked up without calling anything: ``isinstance`` reads the properties, which an unfitted model cannot answer.
    """
    missing = [name for name in ("item_vectors", "servable", "query_vectors") if getattr_static(member, name, 0) == 0]
    if missing:
        raise ConfigError(
            f"recommender {member.name!r} has no {missing[0]}",
            expected="one that scores items by vectors",
            cure="index als, sasrec, dssm or another of them, and use this one without an index",
        )
    return cast("VectorRecallModel", member)
