"""An index of item vectors: the largest inner products without a look at every item."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from llmrec.classic.recall import faiss_index
from llmrec.classic.recall.base.store import AGAIN, read_arrays, read_config
from llmrec.classic.recall.faiss_index import IndexConfig, Rows
from llmrec.data import Candidates
from llmrec.data.candidates import check_k
from llmrec.data.files import atomic_folder, read_json, save_arrays, write_json
from llmrec.data.split import first_in_row
from llmrec.errors import DataError, ModelError
from llmrec.protocols import FloatArray

KIND, SCHEMA_VERSION = "vector-index", 1
INDEX, VECTORS = "index.faiss", "vectors.npz"
BLOCK = 1 << 25  # floats of found vectors that are looked at again at once
CACHED = 1 << 20  # floats that a processor's cache holds
MORE = 32  # items that are asked for beyond what is needed: equal scores, and what codes of 8 bits confuse


class VectorIndex:
    """Finds the items with the largest inner products with a query's vectors.

    Whatever the index finds is scored again exactly, so scores do not depend on its kind: only what is missed does. The
    cells of ivf hold codes of 8 bits a number. Its vectors are made as long as the longest, M, by one more dimension,
    sqrt(M² - |x|²): cells of a k-means are of use with vectors of all lengths then (Bachrach et al., Speeding Up the
    Xbox Recommender System Using a Euclidean Transformation for Inner-Product Spaces, RecSys 2014).

    Papers: Jégou, Douze, Schmid, Product Quantization for Nearest Neighbor Search, TPAMI 2011 (its inverted file, with
    a scalar quantiser); Malkov, Yashunin, Efficient and robust approximate nearest neighbor search using Hierarchical
    Navigable Small World graphs, TPAMI 2020; Douze et al., The Faiss library, 2024.

    Args:
        config: its kind and parameters.
        index: what ``faiss_index.build`` made of ``vectors``.
        vectors: (n, d), finite; row i is item ``items[i]``.
        items: (n,), ascending.
        n_items: size of the catalogue.
        effort: nprobe or ef_search.
    """

    def __init__(
        self,
        config: IndexConfig,
        index: Any,  # noqa: ANN401 - faiss has no types
        vectors: FloatArray,
        items: Rows,
        n_items: int,
        effort: int,
    ) -> None:
        self.config, self.index, self.vectors, self.items = config, index, vectors, items
        self.n_items, self.effort, self._length = n_items, effort, faiss_index.longest(vectors)
        self._known = np.zeros(n_items, np.bool_)
        self._known[items] = True

    @classmethod
    def build(
        cls,
        vectors: FloatArray,
        servable: NDArray[np.bool_] | None = None,
        config: IndexConfig | None = None,
        *,
        seed: int = 0,
    ) -> Self:
        """Return the index of a catalogue's vectors; a graph is built by one thread, so that its seed decides it.

        Args:
            vectors: (n_items, d), finite where servable.
            servable: (n_items,), which items can be found; None for all.
            config: None for the defaults.
            seed: of k-means and of the graph's levels.

        Raises:
            DataError: the shapes do not fit, or a vector is not finite.
        """
        config = config or IndexConfig()
        vectors = np.ascontiguousarray(vectors, np.float32)
        servable = np.ones(len(vectors), np.bool_) if servable is None else servable
        if vectors.ndim != 2 or not vectors.size or servable.shape != vectors.shape[:1]:
            raise DataError(
                f"vectors of shape {vectors.shape} with servable of shape {servable.shape}",
                expected="(n_items, d) and (n_items,), neither empty",
                cure="pass the vectors of the whole catalogue",
            )
        items = np.flatnonzero(servable)
        points = vectors if servable.all() else vectors[items]
        if not np.isfinite(points).all():
            raise DataError(
                f"the vector of item number {items[~np.isfinite(points).all(axis=1)][0]} is not finite",
                expected="finite numbers",
                cure="fit the model again, or take the item out of servable",
            )
        index = faiss_index.build(points, config, seed)
        effort = 0 if index is None else config.given or faiss_index.usual_effort(index)
        return cls(config, index, points, items, len(vectors), effort)

    def tune(self, vectors: FloatArray, k: int = 100) -> Self:
        """Make the effort of a search as small as ``config.recall`` allows on these queries, and return itself.

        Nothing is done for kind=flat, and where the recipe gives the effort.

        Args:
            vectors: (q, m, d) of queries as they will come; some hundreds.
            k: of so many items the share that flat would find is measured.

        Raises:
            ModelError: no effort is enough, as with a graph of vectors of very different lengths.
        """
        asked = vectors[~np.isnan(vectors).any(axis=2)]
        if self.index is None or self.config.given is not None or not len(asked):
            return self
        k, base = min(k, len(self.items)), np.arange(len(asked))[:, None] * len(self.items)
        truth, most = faiss_index.exact(self.vectors, asked, k) + base, faiss_index.largest_effort(self.index)
        size = min(k + MORE, len(self.items))
        for step in range(8, 200):
            self.effort = min(int(2 ** (step / 4)), most)
            found = faiss_index.nearest(self.index, asked, size, self.effort, self._length) + base
            share = np.isin(truth, found).mean()
            if share >= self.config.recall:
                return self
            if self.effort == most:
                break
        raise ModelError(
            f"an index of kind {self.config.kind} finds {share:.1%} of what flat finds, however hard it looks",
            expected=f"recall = {self.config.recall}",
            cure="choose kind=ivf, for vectors of all lengths, or kind=flat, or lower recall",
        )

    def search(self, vectors: FloatArray, k: int, *, exclude: NDArray[np.int32] | None = None) -> Candidates:
        """Return the k items with the largest inner product with any of a query's vectors.

        Equal scores go to the lower item number. Rows are padded with -1 where fewer than k items are in the index and
        not excluded, and wholly for a query without vectors. A row that is not filled is searched for again, eight
        times as hard and at last exactly. What a query gets does not depend on its company, but for rounding in faiss.

        Args:
            vectors: (q, m, d); a vector with a NaN is none.
            k: items wanted, at most the size of the catalogue.
            exclude: item numbers (q, h) that are not wanted, padded with -1: histories.

        Raises:
            DataError: k is outside the catalogue, or the shapes do not fit.
        """
        check_k(k, self.n_items)
        vectors = np.asarray(vectors, np.float32)
        seen = np.full((len(vectors), 0), -1, np.int32) if exclude is None else first_in_row(exclude)
        self._check(vectors, seen)
        n_seen = (self._known[seen] & (seen >= 0)).sum(axis=1)
        there = ~np.asarray(np.isnan(vectors).any(axis=2)).all(axis=1)
        wanted = np.where(there, np.minimum(k, len(self.items) - n_seen), 0)
        # Rounded up to few sizes, each searched for at once.
        extra = 2 ** np.ceil(np.log2(np.maximum(n_seen, MORE))).astype(np.int64)
        items, scores = np.full((len(vectors), k), -1, np.int32), np.full((len(vectors), k), np.nan, np.float32)
        for effort in (self.effort, 8 * self.effort, 0):
            short = (items >= 0).sum(axis=1) < wanted
            for size in (k + np.unique(extra[short])).tolist():
                rows = np.flatnonzero(short & (k + extra == size))
                for some in _blocks(rows, vectors.shape[1] * size * self.vectors.shape[1]):
                    items[some], scores[some] = self._best(vectors[some], k, seen[some], size, effort)
        return Candidates(items, scores)

    def _check(self, vectors: FloatArray, seen: NDArray[np.int32]) -> None:
        if vectors.ndim != 3 or vectors.shape[2] != self.vectors.shape[1] or len(seen) != len(vectors):
            raise DataError(
                f"query vectors of shape {vectors.shape} with {len(seen)} rows to exclude",
                expected=f"(q, m, {self.vectors.shape[1]}) and q rows",
                cure="ask with the vectors of the model that was indexed",
            )
        if np.isinf(vectors).any() or seen.max(initial=-1) >= self.n_items:
            raise DataError(
                "an infinite query vector" if np.isinf(vectors).any() else f"item number {seen.max()} to exclude",
                expected=f"finite vectors, and item numbers below {self.n_items}, the size of the catalogue",
                cure="ask with the vectors and the items of the model that was indexed",
            )

    def _best(
        self, vectors: FloatArray, k: int, seen: NDArray[np.int32], size: int, effort: int
    ) -> tuple[NDArray[np.int32], FloatArray]:
        """Return items and scores (q, k) from the ``size`` nearest items of each vector; effort 0 compares all."""
        q, m, _ = vectors.shape
        there, size = ~np.isnan(vectors).any(axis=2), min(size, len(self.items))
        found = np.full((q, m, max(size, k)), -1, np.int32)
        if effort:
            found[there, :size] = faiss_index.nearest(self.index, vectors[there], size, effort, self._length)
        else:
            found[there, :size] = faiss_index.exact(self.vectors, vectors[there], size)
        rows = found.reshape(q, -1)
        rows = rows if m == 1 else first_in_row(rows)
        items = np.where(rows >= 0, self.items[rows], -1)
        base = np.arange(q)[:, None] * self.n_items
        wanted = (rows >= 0) & ~np.isin(items + base, (seen + base)[seen >= 0])
        return _first(items, np.where(wanted, self._score(rows, vectors), np.float32(-np.inf)), k)

    def _score(self, rows: Rows, vectors: FloatArray) -> FloatArray:
        """Return the exact scores of rows (q, n), each the largest over the vectors of its query; -1 gets any."""
        best = np.full(rows.shape, -np.inf, np.float32)
        for some in _blocks(np.arange(len(rows)), rows.shape[1] * vectors.shape[2], CACHED):
            stored = self.vectors[rows[some]]
            for number in range(vectors.shape[1]):
                # Not a matrix product: its rounding depends on the place in the matrix, and equal vectors must tie.
                best[some] = np.fmax(best[some], np.einsum("qnd,qd->qn", stored, vectors[some, number]))
        return best

    def matches(self, vectors: FloatArray, servable: NDArray[np.bool_]) -> bool:
        """Return whether it was built of these vectors; noise of another machine's arithmetic (0.1 %) is none."""
        shape = (self.n_items, self.vectors.shape[1])
        if vectors.shape != shape or not np.array_equal(np.flatnonzero(servable), self.items):
            return False
        size = 1e-3 * float(np.abs(self.vectors).max(initial=0))
        parts = _blocks(np.arange(len(self.items)), shape[1])
        return all(np.allclose(self.vectors[rows], vectors[self.items[rows]], 1e-3, size) for rows in parts)

    def save(self, folder: Path) -> Path:
        """Write ``vectors.npz``, ``index.faiss`` and, with their digest, ``config.json``, whole or not at all."""
        with atomic_folder(folder) as temporary:
            save_arrays(temporary / VECTORS, items=self.items, vectors=self.vectors)
            if self.index is not None:
                faiss_index.write(self.index, temporary / INDEX)
            about = {"kind": KIND, "schema_version": SCHEMA_VERSION, "parameters": self.config.model_dump(mode="json")}
            found = {"n_items": self.n_items, "effort": self.effort, "digest": _digest(temporary)}
            write_json(temporary / "config.json", {**about, **found})
        return folder

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder that ``save`` wrote.

        Raises:
            ModelError: a file is missing, is not what was written, or is of another version of the format.
        """
        try:
            about = read_json(folder / "config.json")
        except DataError as error:
            raise ModelError(error.found, expected="the folder of a saved index", cure=AGAIN) from None
        for key, expected in (("kind", KIND), ("schema_version", SCHEMA_VERSION), ("digest", _digest(folder))):
            if about.get(key) != expected:
                raise ModelError(f"{key} {about.get(key)!r} in {str(folder)!r}", expected=repr(expected), cure=AGAIN)
        arrays, config = read_arrays(folder / VECTORS), read_config(folder, about, IndexConfig)
        items, path = arrays["items"], folder / INDEX
        index = faiss_index.read(path, len(items)) if path.is_file() else None
        return cls(config, index, arrays["vectors"], items, about["n_items"], about["effort"])


def _first(items: NDArray[np.int64], scores: FloatArray, k: int) -> tuple[NDArray[np.int32], FloatArray]:
    """Return the k best of each row, -1 and NaN where the score is -inf; equal scores go to the lower item number.

    Each score becomes an integer that orders as it does, with the item in its low bits: sorting those is several times
    faster than sorting by two keys.
    """
    bits = (scores + np.float32(0)).view(np.uint32)  # -0.0 becomes 0.0, so that the two tie
    descending = np.where(bits >> 31, bits, ~(bits | np.uint32(1 << 31)))
    keys = np.sort((descending.astype(np.uint64) << np.uint64(32)) | items.astype(np.uint32), axis=1)[:, :k]
    descending = (keys >> np.uint64(32)).astype(np.uint32)
    best = np.where(descending >> 31, descending, ~descending & np.uint32(0x7FFFFFFF)).view(np.float32)
    there = best > -np.inf
    return np.where(there, keys.astype(np.uint32).view(np.int32), -1), np.where(there, best, np.float32(np.nan))


def _blocks(rows: Rows, floats_per_row: int, floats: int | None = None) -> Iterator[Rows]:
    """Yield parts of ``rows`` that take at most ``floats`` (``BLOCK``) together; at least one row each."""
    step = max(1, (floats or BLOCK) // max(1, floats_per_row))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _digest(folder: Path) -> str:
    """Return the SHA-256 of what lies beside ``config.json``: what was changed is found before faiss reads it."""
    digest = hashlib.sha256()
    for path in sorted(folder / name for name in (INDEX, VECTORS) if (folder / name).is_file()):
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
