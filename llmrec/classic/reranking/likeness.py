"""What makes two items alike: categories in common, near texts, or near vectors of a fitted recommender."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import model_validator
from scipy.sparse import csr_matrix

from llmrec.classic.recall.base.side import read_side
from llmrec.classic.recall.base.store import Arrays, check_catalogue, load_recommender
from llmrec.classic.recall.text import embed_texts, item_texts
from llmrec.config import Config, Part
from llmrec.data import Dataset
from llmrec.errors import ModelError
from llmrec.eval.vectors import ItemVectors
from llmrec.llm.embedding import make_embedder
from llmrec.protocols import UNWATCHED, FloatArray, VectorModel, Watch


class Likeness(Config):
    """What two items are compared by, one of three; the column ``categories`` if none is named."""

    column: str | None = None
    """Column of the item table; n and m categories of which c are shared are c / sqrt(n m) alike."""
    embedder: Part | None = None
    """What turns titles, categories and descriptions into vectors, which are compared by their cosine."""
    recommender: Path | None = None
    """Folder of a fitted recommender, whose item vectors are compared by their cosine."""

    @model_validator(mode="after")
    def _check(self) -> Likeness:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"one of column, embedder and recommender, not {' and '.join(given)}")
        return self

    def read(self, data: Dataset, watch: Watch = UNWATCHED) -> Arrays:
        """Return the vectors of a data set's items as arrays to store; ``vectors_of`` reads them.

        Raises:
            DataError: the column is not there or says nothing, or no item has a text.
            ModelError: the recommender has no item vectors, or is of other items.
        """
        if self.recommender is not None:
            return {"vectors": _learned(self.recommender, data)}
        if self.embedder is not None:
            return {"vectors": embed_texts(make_embedder(self.embedder), item_texts(data), watch)}
        return category_arrays(data, self.column or "categories")


def category_arrays(data: Dataset, column: str) -> Arrays:
    """Return the categories in a column of the item table as arrays to store; ``vectors_of`` reads them.

    Raises:
        DataError: the column is not there, or says nothing.
    """
    side = read_side(data, [column])
    starts = np.append(side.starts[:, 0], len(side.members))
    return {"starts": starts, "members": side.members, "categories": np.array([side.values])}


def vectors_of(arrays: Arrays, n_items: int) -> ItemVectors:
    """Return what ``read`` or ``category_arrays`` read; a ValueError or KeyError where it is of other items."""
    if "vectors" in arrays:
        vectors = arrays["vectors"]
        if vectors.ndim != 2 or len(vectors) != n_items:
            raise ValueError(f"vectors of shape {vectors.shape}")
        return ItemVectors(vectors.astype(np.float32, copy=False))
    starts, members = arrays["starts"], arrays["members"]
    shape = (n_items, int(arrays["categories"][0]))
    return ItemVectors(csr_matrix((np.ones(len(members), np.float32), members, starts), shape=shape))


def _learned(folder: Path, data: Dataset) -> FloatArray:
    check_catalogue(folder, data)
    model = load_recommender(folder)
    if not isinstance(model, VectorModel):
        raise ModelError(
            f"{str(folder)!r} holds the recommender {model.name!r}",
            expected="one with item vectors, such as als, item2vec or dssm",
            cure="name another folder, a column or an embedder",
        )
    return np.where(model.servable[:, None], model.item_vectors, np.float32(0))
