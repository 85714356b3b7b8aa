"""The item graph: which item was followed by which how often, and weighted walks on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec.classic.recall.item_vectors.sessions import Sessions
from llmrec.classic.training import Batch


@dataclass(frozen=True, eq=False)
class Graph:
    """Directed edges, each as often as its weight says, those of an item together.

    So an edge is drawn by its weight in one step, where cumulated weights need a search.

    Attributes:
        starts: int64 (n_items + 1,), the edges of item i are those from ``starts[i]`` to ``starts[i + 1]``.
        targets: int32 (e,), where each edge leads.
    """

    starts: NDArray[np.int64]
    targets: NDArray[np.int32]

    @classmethod
    def of(cls, sessions: Sessions, n_items: int) -> Graph:
        """Return the graph of items that follow one another in a session; an edge weighs how often they do."""
        joined = sessions.joined
        sources, targets = sessions.items[:-1][joined], sessions.items[1:][joined]
        starts = np.append(0, np.cumsum(np.bincount(sources, minlength=n_items)))
        return cls(starts, targets[np.argsort(sources, kind="stable")])

    @property
    def leads_on(self) -> NDArray[np.bool_]:
        """Which items have an edge to another one, (n_items,)."""
        return np.diff(self.starts) > 0

    def walk(self, first: NDArray[np.int64], length: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return walks (b, length) from items (b,), -1 behind an item without an edge that leads on.

        Each step takes an edge with probability weight / sum of the item's weights.
        """
        walks = np.full((len(first), length), -1, np.int64)
        walks[:, 0] = at = first
        alive = np.arange(len(first))
        for step in range(1, length):
            edges = self.starts[at + 1] - self.starts[at]
            goes_on = edges > 0
            alive, at, edges = alive[goes_on], at[goes_on], edges[goes_on]
            chosen = (rng.random(len(alive)) * edges).astype(np.int64)
            walks[alive, step] = at = self.targets[self.starts[at] + chosen]
        return walks


class Walks:
    """New walks in each epoch, so many from each item.

    A batch has ``items`` and ``sessions`` (b, length + 2 window), int64; a walk is a row, with -1 around it.

    Args:
        graph: where to walk.
        walks: from each item that leads on, in an epoch.
        length: items of a walk.
        window: places around it.
        batch_size: walks of a batch.
    """

    def __init__(self, graph: Graph, *, walks: int, length: int, window: int, batch_size: int) -> None:
        self.graph, self.length, self.window, self.batch_size = graph, length, window, batch_size
        self.firsts = np.repeat(np.flatnonzero(graph.leads_on), walks)

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.firsts) // self.batch_size)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield the walks from all items, in random order."""
        firsts = rng.permutation(self.firsts)
        for start in range(0, len(firsts), self.batch_size):
            walks = self.graph.walk(firsts[start : start + self.batch_size], self.length, rng)
            items = np.pad(walks, ((0, 0), (self.window, self.window)), constant_values=-1)
            yield {"items": items, "sessions": np.zeros_like(items)}
