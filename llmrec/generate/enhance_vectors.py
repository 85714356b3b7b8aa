"""Vectors of contexts, items and generated texts, kept between runs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy.sparse import csr_matrix

from llmrec.classic.recall.item_vectors.centroid import Centroids
from llmrec.classic.recall.text import TextConfig, embed_texts
from llmrec.data import Queries
from llmrec.data.files import atomic_file
from llmrec.errors import DataError
from llmrec.generate.enhance_pairs import Corpus
from llmrec.generate.enhance_recipe import EnhanceRecipe
from llmrec.generate.enhance_sources import GeneratedTexts
from llmrec.llm.embedding import make_embedder
from llmrec.protocols import FloatArray, Watch


@dataclass(frozen=True, eq=False)
class Vectors:
    """What a text encoder makes of contexts, items and what was generated for each context.

    Attributes:
        contexts: float32 (c, d).
        items: float32 (i, d); zeros for an item without a text.
        generated: float32 (c, d), the mean of a context's generated texts; zeros where it has none.

    Raises:
        DataError: the shapes do not fit, or a number is not finite.
    """

    contexts: FloatArray
    items: FloatArray
    generated: FloatArray

    def __post_init__(self) -> None:
        shapes = [getattr(self, each.name).shape for each in fields(self)]
        if self.contexts.ndim != 2 or shapes[0] != shapes[2] or shapes[1][1:] != shapes[0][1:]:
            raise DataError(
                f"vectors of contexts, items and generated texts of shapes {', '.join(map(str, shapes))}",
                expected="(c, d), (i, d) and (c, d)",
                cure="embed all with one embedder",
            )
        for each in fields(self):
            finite = np.isfinite(getattr(self, each.name)).all(axis=1)
            if not finite.all():
                raise DataError(
                    f"{each.name} has NaN or infinity in the vector of number {int(np.argmin(finite))}",
                    expected="finite numbers",
                    cure="embed that text again, or with another embedder",
                )

    @property
    def embedding_dim(self) -> int:
        """Length of a vector."""
        return int(self.contexts.shape[1])


def read_vectors(path: Path, corpus: Corpus, texts: GeneratedTexts, recipe: EnhanceRecipe, watch: Watch) -> Vectors:
    """Return the vectors that ``path`` keeps of these very texts; else embed them and write it."""
    digest = _digest(corpus, texts, recipe)
    kept = _kept(path, digest)
    if kept is not None:
        return kept
    vectors = embed_corpus(corpus, texts, recipe, watch)
    with atomic_file(path) as temporary:
        save_file(asdict(vectors), temporary, metadata={"digest": digest})
    return vectors


def embed_corpus(corpus: Corpus, texts: GeneratedTexts, recipe: EnhanceRecipe, watch: Watch) -> Vectors:
    """Return the vectors of a corpus; equal texts are embedded once."""
    embedder = make_embedder(recipe.embedder)
    asked = corpus.contexts["text"].to_list() if recipe.context == "text" else []
    every = embed_texts(embedder, [*corpus.items, *texts.texts, *asked], watch)
    items, written, contexts = np.split(every, np.cumsum([len(corpus.items), len(texts.texts)]))
    if recipe.context == "history":
        contexts = np.nan_to_num(history_vectors(items, corpus.histories))
    return Vectors(contexts, items, _means(written, texts.contexts, corpus.contexts.height))


def history_vectors(items: FloatArray, histories: np.ndarray) -> FloatArray:
    """Return (q, d), the vectors that ``text`` recall asks with; NaN for a history without a text.

    Args:
        items: (i, d), zeros where an item has no text.
        histories: item numbers (q, h), left-padded with -1.
    """
    usual = TextConfig()
    centroids = Centroids(items, items, np.asarray(items.any(axis=1)), usual.history, usual.decay)
    vectors: FloatArray = centroids.query_vectors(Queries(np.full(len(histories), -1), histories))[:, 0]
    return vectors


def _means(vectors: FloatArray, owners: np.ndarray, n: int) -> FloatArray:
    """Return (n, d), the mean of each owner's vectors, zeros where it has none."""
    counts = np.bincount(owners, minlength=n)
    sums = csr_matrix((np.ones(len(owners), np.float32), (owners, np.arange(len(owners)))), (n, len(owners))) @ vectors
    means: FloatArray = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
    return means


def _digest(corpus: Corpus, texts: GeneratedTexts, recipe: EnhanceRecipe) -> str:
    """Return what says that vectors are of these texts, by this embedder."""
    said = [recipe.embedder.model_dump(mode="json"), recipe.context, corpus.items, corpus.contexts["text"].to_list()]
    found = hashlib.sha256(json.dumps([*said, texts.texts]).encode())
    for numbers in (texts.contexts.astype("<i8"), corpus.histories.astype("<i4")):
        found.update(f"{numbers.shape}".encode() + numbers.tobytes())
    return found.hexdigest()


def _kept(path: Path, digest: str) -> Vectors | None:
    """Return the vectors in a file; None where there is none, a damaged one, or one of other texts."""
    try:
        with safe_open(path, "np") as file:
            if (file.metadata() or {}).get("digest") != digest:
                return None
            return Vectors(*(file.get_tensor(each.name) for each in fields(Vectors)))
    except (OSError, SafetensorError):
        return None
