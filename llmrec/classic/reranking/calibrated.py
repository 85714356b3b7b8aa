"""Calibrated recommendation: the list's categories in the shares that the user's history has them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.reranking.base import GreedyConfig, Reranker
from llmrec.classic.reranking.choosing import Choice, relevance
from llmrec.classic.reranking.likeness import category_arrays, vectors_of
from llmrec.config import Config
from llmrec.data import Candidates, Dataset, Queries
from llmrec.eval.vectors import Floats, ItemVectors
from llmrec.protocols import Watch


class CalibratedConfig(GreedyConfig):
    """What is calibrated, and how much it weighs."""

    relevance: float = Field(0.5, ge=0, le=1)
    """1 less the paper's lambda: weight of the scores against the calibration; 1 keeps the incoming order."""
    column: str = "categories"
    """Column of the item table; an item counts for each of its categories in equal parts."""
    smoothing: float = Field(0.01, gt=0, lt=1)
    """The paper's alpha: share of the history's distribution that is mixed into the list's."""


class Calibrated(Reranker[CalibratedConfig]):
    """Chooses, place after place, the candidate that leaves the best list so far.

    A list is worth ``relevance`` times the sum of its scores, scaled to 0..1 among the candidates, less
    (1 - ``relevance``) times the Kullback-Leibler divergence of its categories from the history's. Items without a
    category leave the divergence as it is. A history without any keeps the incoming order.

    Paper: Steck, Calibrated Recommendations, RecSys 2018; all items of a history and all places of a list weigh the
    same.
    """

    name: ClassVar[str] = "calibrated"
    config_class: ClassVar[type[Config]] = CalibratedConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:  # noqa: ARG002 - nothing is random
        return category_arrays(data, self.config.column)

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        self.categories = vectors_of(arrays, n_items)

    def _order(self, queries: Queries, candidates: Candidates) -> Candidates:
        choice, weight = Choice(candidates), self.config.relevance
        wanted = weight * relevance(candidates)
        balance = Balance(self.categories, queries.history, candidates.items, self.config.smoothing)
        for _ in range(min(self.config.k, wanted.shape[1])):
            balance.add(choice.take(wanted - (1 - weight) * balance.divergences()))
        return choice.ordered()


class Balance:
    """How far b lists are from the categories of their histories, while candidates are added to them.

    Args:
        categories: those of all items.
        history: item numbers (b, h).
        items: the candidates' numbers (b, n).
        smoothing: share of the history's distribution that is mixed into the list's.
    """

    def __init__(
        self, categories: ItemVectors, history: NDArray[np.int32], items: NDArray[np.int32], smoothing: float
    ) -> None:
        (b, n), h = items.shape, history.shape[1]
        place, column, _, width = categories.entries(np.hstack([history, items]))
        row, within = np.divmod(place, max(h + n, 1))
        cell, share, past = row * width + column, 1 / np.bincount(place)[place], within < h
        wanted = np.bincount(cell[past], share[past], b * width)
        sums = np.maximum(wanted.reshape(b, width).sum(axis=1), 1)  # an item counts 1, so less is none
        self.smoothing, self.shape, self.width = smoothing, (b, n), width
        self.wanted = wanted / np.repeat(sums, width)
        self.place, self.cell, self.share = (row * n + within - h)[~past], cell[~past], share[~past]
        self.has = np.bincount(self.place, minlength=b * n) > 0
        self.found, self.filled = np.zeros(b * width), np.zeros(b)

    def divergences(self) -> Floats:
        """Return the divergence of each list after each candidate, natural logarithms, (b, n)."""
        row = self.place // max(self.shape[1], 1)
        kept = self._terms(np.arange(len(self.found)), 0, np.repeat(self.filled + 1, self.width))
        changed = self._terms(self.cell, self.share, self.filled[row] + 1) - kept[self.cell]
        more = np.bincount(self.place, changed, len(self.has)).reshape(self.shape)
        same = self._terms(np.arange(len(self.found)), 0, np.repeat(np.maximum(self.filled, 1), self.width))
        each, before = (terms.reshape(-1, self.width).sum(axis=1)[:, None] for terms in (kept, same))
        return -np.where(self.has.reshape(self.shape), each + more, before)

    def add(self, places: NDArray[np.intp]) -> None:
        """Add one candidate to each list, given by its place (b,)."""
        chosen = np.arange(self.shape[0]) * self.shape[1] + places
        mark = np.zeros(len(self.has), np.bool_)
        mark[chosen] = True
        new = mark[self.place]
        self.found += np.bincount(self.cell[new], self.share[new], len(self.found))
        self.filled += self.has[chosen]

    def _terms(self, cell: NDArray[np.intp], more: Floats | int, filled: Floats) -> Floats:
        """Return p log(q / p) of some categories, where p is wanted and q what the list has with ``more`` of it."""
        wanted = self.wanted[cell]
        mixed = (1 - self.smoothing) * (self.found[cell] + more) / filled + self.smoothing * wanted
        ratio = np.where(wanted > 0, mixed / np.where(wanted > 0, wanted, 1), 1)
        return np.asarray(wanted * np.log(ratio))
