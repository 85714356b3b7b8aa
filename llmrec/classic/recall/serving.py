"""Vectors in, scores out: how encoders of histories answer queries, and how early stopping judges them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec.classic.recall.encoder import Encoder
from llmrec.classic.recall.vectors import Numbers, known_history, vector_scores
from llmrec.data import Candidates, Queries, Targets
from llmrec.eval.metrics import compute
from llmrec.protocols import FloatArray

Scores = Callable[[Queries], FloatArray]
ROWS = 256  # queries that are encoded at once
NOBODY = np.zeros((1, 1), np.int64)
VALIDATION = 10_000  # queries that early stopping looks at, at most


class Serving:
    """A fitted encoder that answers queries.

    Args:
        module: the encoder.
        servable: bool (n_items,), items that were learned; the others come last in scores, and histories skip them.
        history: newest items that are read.
    """

    def __init__(self, module: Encoder, servable: NDArray[np.bool_], history: int) -> None:
        self.module, self.servable, self.history = module, servable, history
        self.device = next(module.parameters()).device
        module.eval()

    @cached_property
    def item_vectors(self) -> FloatArray:
        """The vectors of all items, (n_items, d)."""
        with torch.inference_mode():
            vectors: FloatArray = self.module.items().float().cpu().numpy()
        return vectors

    def query_vectors(self, queries: Queries) -> FloatArray:
        """Return (q, m, d), NaN where a query has fewer than m vectors or a history that says nothing."""
        history, times = known_history(queries, self.servable, self.history)
        asked = np.flatnonzero((history >= 0).any(axis=1)) if history.shape[1] else np.zeros(0, np.int64)
        found: FloatArray | None = None
        with torch.inference_mode():
            for start in range(0, max(len(asked), 1), ROWS):
                rows = asked[start : start + ROWS]
                some, when = trim(history[rows], times[rows]) if len(rows) else (NOBODY, NOBODY)  # for its shape
                inputs = (torch.from_numpy(each).to(self.device) for each in (some, when))
                vectors = self.module.encode(*inputs).float().cpu().numpy()
                if found is None:
                    found = np.full((len(queries), *vectors.shape[1:]), np.nan, np.float32)
                found[rows] = vectors[: len(rows)]
        assert found is not None  # noqa: S101 - the loop runs at least once
        return found

    def scores(self, queries: Queries) -> FloatArray:
        """Return (q, n_items): the largest inner product; zeros where the history says nothing."""
        return vector_scores(self.query_vectors(queries), self.item_vectors, self.servable)


def trim(history: Numbers, times: Numbers) -> tuple[Numbers, Numbers]:
    """Return left-padded rows without the columns that are padding in all of them; at least one must not be."""
    first = int(np.argmax((history >= 0).any(axis=0)))
    return history[:, first:], times[:, first:]


def sample(targets: Targets, seed: int) -> Targets:
    """Return at most ``VALIDATION`` of the targets."""
    if len(targets) <= VALIDATION:
        return targets
    rows = np.sort(np.random.default_rng(seed).permutation(len(targets))[:VALIDATION])
    return Targets(targets.queries.select(rows), targets.relevant[rows])


def validation_ndcg(scores: Scores, targets: Targets, rows: int = 512) -> float:
    """Return the mean NDCG@10 of ranking all unseen items by ``scores``."""
    total = 0.0
    for start in range(0, len(targets), rows):
        part = slice(start, start + rows)
        queries = targets.queries.select(part)
        found = scores(queries)
        row, place = np.nonzero(queries.history >= 0)
        found[row, queries.history[row, place]] = -np.inf
        best = Candidates.best(found, min(10, found.shape[1]))
        total += float(compute(best, Targets(queries, targets.relevant[part]), ("ndcg@10",))["ndcg@10"].sum())
    return total / len(targets)
