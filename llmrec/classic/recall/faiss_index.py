"""The kinds of index, by faiss: how each is built, searched, written and read. Nothing else imports faiss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmrec.config import Config
from llmrec.errors import ModelError
from llmrec.protocols import FloatArray

POINTS = 39  # of a cell on average, at least: faiss' own bound for k-means
SAMPLE = 64  # points of a cell that k-means looks at
Rows = NDArray[np.integer]


class IndexConfig(Config):
    """Which index, and how hard it looks."""

    kind: Literal["flat", "ivf", "hnsw"] = "ivf"
    """flat compares all items and is exact; ivf looks into the nearest cells of a k-means; hnsw walks a graph, and is
    for vectors of like length."""
    nlist: int | None = Field(None, ge=1)
    """Cells; null for 4 times the root of the number of items, at most one for 39 items; only read with kind=ivf."""
    nprobe: int | None = Field(None, ge=1)
    """Cells that a search looks into; null for 32 and a 32nd of the others; only read with kind=ivf."""
    links: int = Field(32, ge=2)
    """Links of an item in the graph (M); only read with kind=hnsw."""
    ef_construction: int = Field(200, ge=1)
    """Items kept in view while an item is linked; only read with kind=hnsw."""
    ef_search: int = Field(400, ge=1)
    """Items kept in view by a search, or as many as are asked for; only read with kind=hnsw."""

    def cells(self, n: int) -> int:
        """Return how many cells ivf has for n items."""
        return max(1, min(int(4 * n**0.5), n // POINTS) if self.nlist is None else min(self.nlist, n))

    def probes(self, cells: int) -> int:
        """Return how many of the cells a search looks into."""
        return min(32 + max(0, cells - 32) // 32 if self.nprobe is None else self.nprobe, cells)


def build(points: FloatArray, config: IndexConfig, seed: int) -> Any:  # noqa: ANN401 - faiss has no types
    """Return the index of finite points (n, d), of which there may be none."""
    n, d = points.shape
    if config.kind == "ivf" and n:
        points = _lengthened(points)
        index = faiss.IndexIVFFlat(faiss.IndexFlatL2(d + 1), d + 1, config.cells(n))
        index.cp.seed, index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = seed, 1, SAMPLE
        index.train(points)
        index.add(points)
        index.make_direct_map()  # to look vectors up by row
        return index
    if config.kind == "hnsw":
        index = faiss.IndexHNSWFlat(d, config.links, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.rng = config.ef_construction, faiss.RandomGenerator(seed)
        with _one_thread():  # several link the items in an order that differs each time
            index.add(points)
        return index
    index = faiss.IndexFlatIP(d)
    index.add(points)
    return index


def nearest(index: Any, vectors: FloatArray, k: int, config: IndexConfig, *, exact: bool = False) -> Rows:  # noqa: ANN401
    """Return the rows of the k largest inner products with each vector (n, d), -1 where fewer are found.

    Args:
        index: what ``build`` returned.
        vectors: (n, d), finite.
        k: at most the number of points.
        config: of the index.
        exact: compare all points.
    """
    if not k or not len(vectors):
        return np.full((len(vectors), k), -1, np.int64)
    vectors, parameters = np.ascontiguousarray(vectors), None
    if isinstance(index, faiss.IndexIVF):
        vectors = np.pad(vectors, ((0, 0), (0, 1)))
        parameters = faiss.SearchParametersIVF(nprobe=index.nlist if exact else config.probes(index.nlist))
    elif isinstance(index, faiss.IndexHNSW):
        parameters = faiss.SearchParametersHNSW(efSearch=max(config.ef_search, k))
        index, parameters = (faiss.downcast_index(index.storage), None) if exact else (index, parameters)
    rows: Rows = index.search(vectors, k, params=parameters)[1]
    return rows


def stored(index: Any, rows: Rows, dimensions: int) -> FloatArray:  # noqa: ANN401
    """Return the points (n, d) of some rows."""
    points: FloatArray = index.reconstruct_batch(rows.astype(np.int64))[:, :dimensions]
    return points


def write(index: Any, path: Path) -> None:  # noqa: ANN401
    """Write an index to a file."""
    faiss.write_index(index, str(path))


def read(path: Path, n: int) -> Any:  # noqa: ANN401
    """Read an index of n points; a ModelError where faiss cannot, or finds others."""
    try:
        index = faiss.read_index(str(path))
        if index.ntotal != n:
            raise RuntimeError(f"{index.ntotal} points for {n} items")  # noqa: TRY301 - one reply below
    except RuntimeError as error:
        raise ModelError(
            f"{str(path)!r} cannot be read ({str(error).splitlines()[0]})",
            expected=f"an index of faiss {faiss.__version__}",
            cure="build and save the index again",
        ) from None
    return index


def _lengthened(points: FloatArray) -> FloatArray:
    """Return points (n, d + 1) of equal length: the nearest to (query, 0) has the largest inner product with it."""
    squares = np.einsum("nd,nd->n", points, points, dtype=np.float64)
    return np.hstack([points, np.sqrt(squares.max() - squares)[:, None].astype(np.float32)])


@contextmanager
def _one_thread() -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
