"""Swing: two items are near if pairs of users had both, and the more so the less else those users have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_matrix

from llmrec.classic.recall.base.history import HistoryRecommender, seen_matrix
from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.neighbourhood.nearest import (
    Numbers,
    Similarities,
    best_of_rows,
    nearest_matrix,
    ranges,
    similarity_arrays,
)
from llmrec.config import Config
from llmrec.data import Dataset, Queries
from llmrec.protocols import FloatArray, Watch

FEW = 64  # users of an item whose pairs are listed one by one; the pairs of more are a matrix
PAIRS = 1 << 22  # pairs listed at once, at most (but for a single item): about 200 MiB
_Found = tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.floating]]  # items, their neighbours, similarities


class SwingConfig(Config):
    """Hyper-parameters of Swing."""

    alpha: float = Field(1.0, ge=0)
    """Added to the number of items that two users have in common: the larger, the less it matters."""
    weight_users: bool = True
    """Weigh a user by 1 / sqrt(items that the user had); else all the same."""
    discount: float = Field(1.0, ge=0, le=2)
    """Power of the numbers of users of both items by which their similarity is divided; 0 is the paper's."""
    neighbours: int = Field(400, ge=1)
    """Most similar items kept for each item."""
    max_users: int = Field(300, ge=2)
    """Of an item with more users, a sample of so many stands for all; fitting grows with its square."""


class Swing(HistoryRecommender[SwingConfig]):
    """Scores an item by its swing similarity to the history's items, summed.

    s(i, j) is the sum over unordered pairs of users u, v who both had i and j of w_u w_v / (alpha + |I_u & I_v|), where
    I_u are the items of u and w_u = 1 / sqrt(|I_u|) (or 1). Two users who agree in little but i and j say more about
    them than two who had everything. The sum is divided by (|U_i| |U_j|) ** discount: without it (0, as in the paper)
    popular items, which many pairs of users had, are near everything. Each item keeps its nearest; the others follow by
    popularity, as in item-kNN.

    Row i of a popular item comes from a sample of its users, scaled by the share of pairs kept, so that it is unbiased;
    what two users have in common is always counted in full. Then s(i, j) and s(j, i) may differ a little.

    Paper: Yang et al., Large Scale Product Graph Construction for Recommendation in E-commerce, 2020
    (arXiv:2010.05525). The sample and the discount are ours.
    """

    name: ClassVar[str] = "swing"
    config_class: ClassVar[type[Config]] = SwingConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:  # noqa: ARG002 - one pass over the items
        graph = _Graph.of(seen_matrix(data), self.config, seed)
        kept = [_best(found, self.config.neighbours) for found in chain(graph.few(), graph.many())]
        rows, columns, values = (np.concatenate(parts) for parts in zip(*kept, strict=True))
        similarity = nearest_matrix(rows, columns, values, (graph.n_items, graph.n_items), self.config.neighbours)
        return similarity_arrays(similarity)

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        self._similarities = Similarities(arrays, n_items)

    def _score(self, queries: Queries) -> FloatArray:
        return self._similarities.scores(queries)

    @property
    def similarity(self) -> csr_matrix:
        """What was learned, (n_items, n_items): row i has the neighbours of item i."""
        return self._similarities.matrix


@dataclass(frozen=True)
class _Graph:
    """Who had what, from both sides.

    Attributes:
        seen: ones (n_users, n_items).
        starts: (n_items + 1,), item i has ``users[starts[i]:starts[i + 1]]``.
        users: the users of each item, or a sample of them.
        weights: (n_users,), w_u.
        scale: (n_items,), by how much pairs of users outnumber those in the sample, times ``shares``.
        shares: (n_items,), what an item's similarities are multiplied by, whichever of the two it is.
        alpha: see the config.
    """

    seen: csr_matrix
    starts: Numbers
    users: NDArray[np.integer]
    weights: NDArray[np.float64]
    scale: NDArray[np.float64]
    shares: NDArray[np.float64]
    alpha: float

    @classmethod
    def of(cls, seen: csr_matrix, config: SwingConfig, seed: int) -> _Graph:
        had = np.maximum(np.diff(seen.indptr), 1)
        weights = 1 / np.sqrt(had) if config.weight_users else np.ones(len(had))
        of_items = seen.T.tocsr()
        starts, users = of_items.indptr.astype(np.int64), of_items.indices
        counts = np.diff(starts)
        if counts.max() > config.max_users:
            owner = np.repeat(np.arange(len(counts)), counts)
            drawn = np.lexsort((np.random.default_rng(seed).random(len(users)), owner))
            kept = np.sort(drawn[np.arange(len(users)) - starts[owner] < config.max_users])
            users, starts = users[kept], np.concatenate([[0], np.cumsum(np.minimum(counts, config.max_users))])
        pairs = [np.maximum(each * (each - 1), 1) for each in (counts, np.diff(starts))]
        shares = np.maximum(counts, 1.0) ** -config.discount
        return cls(seen, starts, users, weights, pairs[0] / pairs[1] * shares, shares, config.alpha)

    @property
    def n_items(self) -> int:
        return cast("int", self.seen.shape[1])

    def few(self) -> Iterator[_Found]:
        """Yield the similarities of items with at most ``FEW`` users, many items at a time."""
        counts = np.diff(self.starts)
        items = np.flatnonzero((counts > 1) & (counts <= FEW))
        reach = np.zeros(self.n_items, np.int64)
        reach[counts > 0] = np.add.reduceat(np.diff(self.seen.indptr)[self.users], self.starts[:-1][counts > 0])
        # Two users are listed once for each item that both had: in all, at most so often.
        block = np.cumsum(reach[items] * (counts[items] - 1)) // (2 * PAIRS)
        for chosen in np.split(items, np.flatnonzero(np.diff(block)) + 1):
            yield self._list_pairs(chosen)

    def _list_pairs(self, items: Numbers) -> _Found:
        counts = np.diff(self.starts)[items]
        users = self.users[ranges(self.starts[items], counts)]
        owner, place = np.repeat(np.arange(len(items)), counts), ranges(np.zeros_like(counts), counts)
        # Every item j that a user of item i had: sorted, the users who had both i and j lie side by side, a run.
        reach = np.diff(self.seen.indptr)[users]
        other = self.seen.indices[ranges(self.seen.indptr[users], reach)]
        keys = np.repeat(owner * self.n_items * FEW + place, reach) + other * np.int64(FEW)
        keys.sort()
        keys, lengths = _without_singles(keys)
        place, pair = keys % FEW, keys[np.cumsum(lengths) - lengths] // FEW
        # A square of counts cells for each i holds what two of its users have in common: how often they are listed.
        of, squares = pair // self.n_items, np.cumsum(counts**2) - counts**2
        row = np.repeat(squares[of], lengths) + place * np.repeat(counts[of], lengths)
        after = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(keys)) - 1
        cell = np.repeat(row, after) + place[ranges(np.arange(1, len(keys) + 1), after)]
        common = np.bincount(cell, minlength=int((counts**2).sum()))
        weights = self.weights[users]
        terms = np.repeat(weights, counts[owner]) * weights[ranges((np.cumsum(counts) - counts)[owner], counts[owner])]
        terms = (terms / (self.alpha + common + (common == 0)))[cell]
        listed = lengths * (lengths - 1) // 2
        sums = np.add.reduceat(terms, np.cumsum(listed) - listed) if len(terms) else np.zeros(0)
        rows, columns = items[of], pair % self.n_items
        others = rows != columns
        return rows[others], columns[others], (sums * self.scale[rows] * self.shares[columns])[others]

    def many(self) -> Iterator[_Found]:
        """Yield the similarities of items with more users, one item at a time."""
        for item in np.flatnonzero(np.diff(self.starts) > FEW):
            users = self.users[self.starts[item] : self.starts[item + 1]]
            had = self.seen[users]
            columns = np.flatnonzero(np.bincount(had.indices, minlength=self.n_items) > 1)
            dense = had[:, columns].toarray()
            terms = np.outer(self.weights[users], self.weights[users]) / (self.alpha + dense @ dense.T)
            np.fill_diagonal(terms, 0)
            sums = np.einsum("uj,uj->j", dense, terms.astype(np.float32) @ dense) / 2  # each pair is there twice
            others = columns != item
            sums, columns = sums[others], columns[others]
            yield np.full(len(columns), item), columns, sums * self.scale[item] * self.shares[columns]


def _without_singles(keys: Numbers) -> tuple[Numbers, Numbers]:
    """Return sorted keys (the user in their low part) without runs of one user, and the length of each run."""
    starts = np.flatnonzero(np.diff(keys // FEW, prepend=-1))
    lengths = np.diff(starts, append=len(keys))
    return keys[np.repeat(lengths > 1, lengths)], lengths[lengths > 1]


def _best(found: _Found, k: int) -> _Found:
    rows, columns, values = found
    kept = best_of_rows(rows, columns, values.astype(np.float32), k)
    return rows[kept], columns[kept], values[kept]
