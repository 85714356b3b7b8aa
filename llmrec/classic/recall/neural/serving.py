"""Vectors in, scores out: how encoders of histories answer queries."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec.classic.recall.base.vectors import Numbers, known_history
from llmrec.classic.recall.neural.encoder import Encoder
from llmrec.data import Queries
from llmrec.protocols import FloatArray

ROWS = 256  # queries that are encoded at once
NOBODY = np.zeros((1, 1), np.int64)


class Serving:
    """A fitted encoder that answers queries.

    Args:
        module: the encoder.
        read: bool (n_items,), items with training events; histories skip the others.
        history: newest items that are read.
        taught: bool (n_items,), items that an auxiliary term taught; none by default. What is neither read nor taught
            comes last in scores.
    """

    def __init__(
        self, module: Encoder, read: NDArray[np.bool_], history: int, taught: NDArray[np.bool_] | None = None
    ) -> None:
        self.module, self.read, self.history = module, read, history
        self.servable = read if taught is None else read | taught
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
        history, times = known_history(queries, self.read, self.history)
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


def trim(history: Numbers, times: Numbers) -> tuple[Numbers, Numbers]:
    """Return left-padded rows without the columns that are padding in all of them; at least one must not be."""
    first = int(np.argmax((history >= 0).any(axis=0)))
    return history[:, first:], times[:, first:]
