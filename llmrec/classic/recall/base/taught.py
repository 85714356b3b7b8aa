"""Items that a model serves without an event of them: taught by preferences, or placed by those who would take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from llmrec.data import Queries
from llmrec.protocols import FloatArray

TAUGHT = "taught"  # the model's array of them


@runtime_checkable
class TakesItems(Protocol):
    """A model of vectors that can be given items which it was not fitted on."""

    def query_vectors(self, queries: Queries) -> FloatArray:
        """Return (q, 1, d), NaN where the history says nothing."""
        ...

    def with_takers(self, taken: csr_matrix, users: FloatArray) -> Self:
        """Return a model that serves items by vectors made from those of their users; what else it serves stays.

        Args:
            taken: (n_items, u), how probable it is that a user takes an item, 0 to 1; an empty row is no new item.
            users: (u, d), the query vectors of all users of training.
        """
        ...


def read_taught(arrays: Mapping[str, NDArray[Any]], n_items: int) -> NDArray[np.bool_]:
    """Return which items a model has from elsewhere than events, (n_items,): none where its arrays do not say.

    Raises:
        ValueError: the array is of another catalogue.
    """
    taught = arrays.get(TAUGHT, np.zeros(n_items, np.bool_))
    if taught.shape != (n_items,) or taught.dtype != np.bool_:
        raise ValueError(f"{TAUGHT} of shape {taught.shape} and type {taught.dtype}")
    return taught


def written_taught(taught: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """Return the array that ``read_taught`` reads; none where there is no such item."""
    return {TAUGHT: taught} if taught.any() else {}
