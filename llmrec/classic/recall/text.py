"""Text: items whose descriptions are near those of the history, also items that nobody has touched yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field

from llmrec.classic.recall.base.columns import text_lists
from llmrec.classic.recall.base.history import HistoryRecommender, row_blocks
from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.base.vectors import AnswersByVectors, answer, known_history
from llmrec.classic.recall.item_vectors.centroid import Centroids
from llmrec.config import Config, Part
from llmrec.data import Dataset, Queries
from llmrec.data.files import require_columns
from llmrec.errors import DataError
from llmrec.llm.embedding import make_embedder
from llmrec.protocols import Embedder, FloatArray, Watch

USUAL_COLUMNS = ("title", "categories", "description")
CHUNK = 1024  # texts between two reports of progress


class TextConfig(Config):
    """What an item's text is, and how a history asks."""

    columns: tuple[str, ...] | None = Field(None, min_length=1)
    """Columns of the item table that make the text; null takes what is there of title, categories, description."""
    embedder: Part = Part(name="sentence")
    """What turns texts into vectors; only read when the model is fitted."""
    history: int = Field(20, ge=1)
    """Newest items with a text that are read."""
    query: Literal["mean", "max"] = "mean"
    """Items near the mean of the history's vectors, or near any one of them."""
    decay: float = Field(0.6, gt=0, le=1)
    """What an item of the history weighs against the next newer one."""


class TextRecommender(AnswersByVectors, HistoryRecommender[TextConfig]):
    """Scores an item by the cosine of its text's vector with the history's: no event but the history's is read.

    With ``query=mean`` the weighted mean of the history's vectors asks, scaled to length 1. With ``query=max`` each
    item of the history asks, and an item's score is its largest weighted cosine. Items without text come after all
    others, and histories skip them; a history without any text gets popularity. An item that occurs twice in a history
    counts twice. Vectors are saved with the model: a loaded one embeds nothing.
    """

    name: ClassVar[str] = "text"
    config_class: ClassVar[type[Config]] = TextConfig

    def query_vectors(self, queries: Queries) -> FloatArray:
        """Return (q, m, d), NaN where a query has fewer than m vectors; ``query=mean`` has one, max one an item."""
        if self.config.query == "mean" or not queries.history.shape[1]:
            return self._vectors.query_vectors(queries)
        items, _ = known_history(queries, self.servable, self.config.history)
        weights = np.float32(self.config.decay) ** np.arange(items.shape[1], dtype=np.float32)[::-1, None]
        vectors: FloatArray = np.where(items[:, :, None] >= 0, self.item_vectors[items] * weights, np.float32(np.nan))
        return vectors

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:  # noqa: ARG002 - nothing is random
        texts = item_texts(data, self.config.columns)
        return {"vectors": embed_texts(make_embedder(self.config.embedder), texts, watch)}

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        vectors = arrays["vectors"]
        if vectors.ndim != 2 or len(vectors) != n_items:
            raise ValueError(f"vectors of shape {vectors.shape}")
        there = np.asarray(vectors.any(axis=1))
        self._vectors = Centroids(vectors, vectors, there, self.config.history, self.config.decay)

    def _score(self, queries: Queries) -> FloatArray:
        if self.config.query == "mean":
            return answer(self, queries)
        scores = np.zeros((len(queries), len(self.servable)), np.float32)
        for rows in row_blocks(len(queries), self.config.history * max(self.item_vectors.shape)):
            scores[rows] = answer(self, queries.select(rows))
        return scores


def item_texts(data: Dataset, columns: Sequence[str] | None = None) -> list[str]:
    """Return the text of each item: its columns that are not blank, joined by ". ", lists by ", "; "" where all are.

    Args:
        data: a data set.
        columns: columns of its item table; None takes those of ``USUAL_COLUMNS`` that are there.

    Raises:
        DataError: a column is not there, or no item has a text.
    """
    where = f"the item table of {data.name!r}"
    if columns is None:
        columns = [name for name in USUAL_COLUMNS if name in data.item_table.columns]
        if not columns:
            raise DataError(
                f"{where} has the columns {', '.join(data.item_table.columns)}",
                expected=f"one of {', '.join(USUAL_COLUMNS)}",
                cure="say which make an item's text: columns=…",
            )
    require_columns(data.item_table, columns, where=where)
    parts = [text_lists(data.item_table, name, where=where).list.join(", ") for name in columns]
    texts = pl.select(pl.concat_str([part.set(part == "", None) for part in parts], separator=". ", ignore_nulls=True))
    joined = texts.to_series().fill_null("")
    if not (joined != "").any():
        raise DataError(
            f"no item of {data.name!r} has a text in {', '.join(columns)}",
            expected="texts to embed",
            cure="name other columns, or fill them in",
        )
    return joined.to_list()


def embed_texts(embedder: Embedder, texts: Sequence[str], watch: Watch) -> FloatArray:
    """Return the vectors of texts, (n, d); equal texts are embedded once, so that their items tie exactly."""
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    distinct, found = list(numbers), []
    for start in range(0, len(distinct), CHUNK):
        found.append(embedder.embed(distinct[start : start + CHUNK]))
        if watch.report is not None:
            watch.report(min(start + CHUNK, len(distinct)), len(distinct), "texts embedded")
    return np.concatenate(found)[[numbers[text] for text in texts]]
