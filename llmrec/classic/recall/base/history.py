"""The base of recall models: histories in, scores of all items out, in blocks that bound memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from llmrec.classic.recall.base.store import (
    Arrays,
    Catalogue,
    read_about,
    read_arrays,
    read_catalogue,
    read_config,
    write_about,
)
from llmrec.config import Config
from llmrec.data import Candidates, Dataset, Queries
from llmrec.data.candidates import check_k
from llmrec.data.files import atomic_folder, save_arrays
from llmrec.errors import DataError, ModelError
from llmrec.protocols import UNWATCHED, FloatArray, Watch

BLOCK_FLOATS = 1 << 21  # 8 MiB of scores at once, which caches hold; ordering them needs about ten times that
BLOCK_ROWS = 16  # at least: a product with one row reads all items for it
C = TypeVar("C", bound=Config)


class HistoryRecommender(ABC, Generic[C]):
    """A recommender that scores all items from histories alone, so that unseen users are served like known ones.

    A history that says nothing (empty, or only items without training events) gets popularity scores: how many users
    had each item. Unless a model says otherwise, what it learns from is binary, who had what: a repeated item
    counts once, in training and in a history, and interaction values (ratings) are ignored.

    Args:
        config: hyper-parameters; None for the defaults of ``config_class``.
    """

    name: ClassVar[str]
    config_class: ClassVar[type[Config]]

    def __init__(self, config: C | None = None) -> None:
        self.config: C = cast("C", self.config_class()) if config is None else config
        self._catalogue: Catalogue | None = None
        self._arrays: Arrays = {}

    @abstractmethod
    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:
        """Return the model's arrays, learned from a data set with at least one interaction."""

    @abstractmethod
    def _score(self, queries: Queries) -> FloatArray:
        """Return new scores (q, n_items); a row of zeros for a history that says nothing, -inf for never."""

    @abstractmethod
    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        """Take over what ``_learn`` returned; a ValueError or KeyError where it does not fit ``n_items``."""

    @property
    def catalogue(self) -> Catalogue:
        """What the model was fitted on.

        Raises:
            ModelError: it is not fitted yet.
        """
        if self._catalogue is None:
            raise ModelError(f"{self.name} without weights", expected="a fitted model", cure="call fit or load first")
        return self._catalogue

    @property
    def popularity(self) -> FloatArray:
        """How many users had each item, float32 (n_items,)."""
        return cast("FloatArray", self._arrays["popularity"])

    @property
    def validation_ndcg(self) -> NDArray[np.float64]:
        """Validation NDCG@10 after each epoch of training; empty for models without epochs or validation."""
        return self._arrays.get("validation_ndcg", np.zeros(0))

    def fit(self, data: Dataset, *, seed: int = 0, watch: Watch = UNWATCHED) -> Self:
        """Learn from ``data`` and return itself.

        Raises:
            DataError: the data set has no interaction, or lacks what the model needs.
            ModelError: what was learned is not finite.
        """
        return self._fit(data, lambda: self._learn(data, seed, watch))

    def _fit(self, data: Dataset, learn: Callable[[], Arrays]) -> Self:
        counts = popularity(data)
        arrays = learn()
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise ModelError(
                    f"{self.name} learned NaN or infinity in {name!r}",
                    expected="finite weights",
                    cure="lower the learning rate, raise the regularization, or look for extreme values in the data",
                )
        self._take(Catalogue.of(data), {"popularity": counts, **arrays})
        return self

    def recommend(self, queries: Queries, k: int, *, exclude_seen: bool = True) -> Candidates:
        """Return the k best items of each query; equal scores go to the lower item number.

        Args:
            queries: q queries; only their history is read.
            k: items wanted, at most the size of the catalogue; padded with -1 where fewer are left.
            exclude_seen: leave the items of the history out.

        Raises:
            DataError: k or an item of a history is outside the catalogue.
            ModelError: the model is not fitted.
        """
        n_items = self.catalogue.n_items
        check_k(k, n_items)
        found = [
            self._best(queries.select(rows), k, exclude_seen=exclude_seen) for rows in row_blocks(len(queries), n_items)
        ]
        return Candidates(np.concatenate([one.items for one in found]), np.concatenate([one.scores for one in found]))

    def _best(self, queries: Queries, k: int, *, exclude_seen: bool) -> Candidates:
        seen = history_entries(queries, self.catalogue.n_items)
        scores = self._score(queries)
        scores[~scores.any(axis=1)] = self.popularity
        if exclude_seen:
            scores[seen] = -np.inf
        return Candidates.best(scores, k)

    def _take(self, catalogue: Catalogue, arrays: Arrays) -> None:
        self._adopt(arrays, catalogue.n_items)
        self._catalogue, self._arrays = catalogue, arrays

    def _replaced(self, arrays: Arrays) -> Self:
        """Return a model of the same config and catalogue with some arrays replaced."""
        model = type(self)(self.config)
        model._take(self.catalogue, {**self._arrays, **arrays})  # noqa: SLF001 - its own kind
        return model

    def save(self, folder: Path) -> Path:
        """Write ``config.json`` and ``weights.npz``, whole or not at all."""
        with atomic_folder(folder) as temporary:
            write_about(temporary, self.name, self.config, self.catalogue)
            save_arrays(temporary / "weights.npz", **self._arrays)
        return folder

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder that ``save`` wrote.

        Raises:
            ModelError: a file is missing or damaged, the weights are not finite, or another model was saved there.
        """
        about = read_about(folder, name=cls.name)
        model = cls(cast("C", read_config(folder, about, cls.config_class)))
        path, catalogue = folder / "weights.npz", read_catalogue(folder, about)
        arrays = read_arrays(path)
        try:
            if arrays["popularity"].shape != (catalogue.n_items,):
                raise ValueError(f"popularity of shape {arrays['popularity'].shape}")  # noqa: TRY301 - one reply below
            model._take(catalogue, arrays)
        except (KeyError, ValueError) as error:
            raise ModelError(
                f"{str(path)!r} does not fit its config.json ({error})",
                expected=f"the weights of {cls.name} for {catalogue.n_items} items",
                cure="fit and save the model again",
            ) from None
        return model


def row_blocks(n_rows: int, floats_per_row: int) -> Iterator[slice]:
    """Yield slices of rows that take ``BLOCK_FLOATS`` together, or ``BLOCK_ROWS`` where that is more; at least one."""
    step = max(BLOCK_ROWS, BLOCK_FLOATS // max(1, floats_per_row))
    for start in range(0, max(n_rows, 1), step):
        yield slice(start, start + step)


def popularity(data: Dataset) -> FloatArray:
    """Return how many users had each item, float32 (n_items,); raise a DataError if nobody had any."""
    if not len(data.interactions):
        raise DataError(
            f"data set {data.name!r} has no interaction", expected="events to learn from", cure="check how it was split"
        )
    return np.bincount(seen_matrix(data).indices, minlength=len(data.items)).astype(np.float32)


def seen_matrix(data: Dataset) -> csr_matrix:
    """Return ones where a user had an item, float32 (n_users, n_items)."""
    return _ones(data.interactions.users, data.interactions.items, (len(data.users), len(data.items)))


def history_entries(queries: Queries, n_items: int) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Return row and item of each event of the histories; raise a DataError for an item beyond ``n_items``."""
    if queries.history.size and queries.history.max() >= n_items:
        raise DataError(
            f"item number {queries.history.max()} in a history",
            expected=f"numbers from 0 to {n_items - 1}, the model's catalogue",
            cure="use the data set that the model was fitted on",
        )
    return queries.entries


def history_matrix(queries: Queries, n_items: int) -> csr_matrix:
    """Return ones where a history holds an item, float32 (q, n_items); raise a DataError for an item beyond."""
    return _ones(*history_entries(queries, n_items), (len(queries), n_items))


def _ones(rows: NDArray[Any], columns: NDArray[Any], shape: tuple[int, int]) -> csr_matrix:
    matrix = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
