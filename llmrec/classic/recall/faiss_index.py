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
WIDE = 16  # dimensions that a processor handles at once; others are several times slower
Rows = NDArray[np.integer]


class IndexConfig(Config):
    """Which index, and how hard it looks."""

    kind: Literal["flat", "ivf", "hnsw"] = "ivf"
    """flat compares all items and is exact; ivf looks into the nearest cells of a k-means; hnsw walks a graph, and is
    for vectors of like length."""
    recall: float = Field(0.96, gt=0, le=1)
    """Share of what flat finds that nprobe or ef_search is chosen for, on queries of training users; not read where
    that is given."""
    nlist: int | None = Field(None, ge=1)
    """Cells; null for 4 times the root of the number of items, at most one for 39 items; only read with kind=ivf."""
    nprobe: int | None = Field(None, ge=1)
    """Cells that a search looks into; null for as many as recall takes; only read with kind=ivf."""
    links: int = Field(32, ge=2)
    """Links of an item in the graph (M); only read with kind=hnsw."""
    ef_construction: int = Field(200, ge=1)
    """Items kept in view while an item is linked; only read with kind=hnsw."""
    ef_search: int | None = Field(None, ge=1)
    """Items kept in view by a search, or as many as are asked for; null for as many as recall takes; only read with
    kind=hnsw."""

    def cells(self, n: int) -> int:
        """Return how many cells ivf has for n items."""
        return max(1, min(int(4 * n**0.5), n // POINTS) if self.nlist is None else min(self.nlist, n))

    @property
    def given(self) -> int | None:
        """The effort of a search (nprobe or ef_search) where it is given."""
        return {"flat": None, "ivf": self.nprobe, "hnsw": self.ef_search}[self.kind]


def build(points: FloatArray, config: IndexConfig, seed: int) -> Any:  # noqa: ANN401 - faiss has no types
    """Return the index of finite points (n, d); None for kind=flat and for no points, which need none."""
    n, d = points.shape
    if config.kind == "flat" or not n:
        return None
    if config.kind == "hnsw":
        index = faiss.IndexHNSWFlat(d, config.links, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.rng = config.ef_construction, faiss.RandomGenerator(seed)
        with _one_thread():  # several link the items in an order that differs each time
            index.add(points)
        return index
    cells, (points, alike) = config.cells(n), _lengthened(points)
    means = faiss.Kmeans(
        points.shape[1], cells, seed=seed, niter=10, min_points_per_centroid=1, max_points_per_centroid=SAMPLE
    )
    means.train(points)
    centres = faiss.IndexFlatL2(points.shape[1])
    centres.add(means.centroids)
    codes = faiss.ScalarQuantizer.QT_8bit if alike else faiss.ScalarQuantizer.QT_fp16  # 8 bits: steps of one size
    index = faiss.IndexIVFScalarQuantizer(centres, points.shape[1], cells, codes, faiss.METRIC_L2, False)
    index.train(points[:: max(1, n // (SAMPLE << 10))])
    index.add(points)
    return index


def largest_effort(index: Any) -> int:  # noqa: ANN401
    """Return the effort beyond which a search of the index finds nothing more."""
    return int(index.nlist if isinstance(index, faiss.IndexIVF) else index.ntotal)


def usual_effort(index: Any) -> int:  # noqa: ANN401
    """Return the effort of a search where there is nothing to choose it by."""
    return 32 + index.nlist // 32 if isinstance(index, faiss.IndexIVF) else 400


def nearest(index: Any, vectors: FloatArray, k: int, effort: int, length: float) -> Rows:  # noqa: ANN401
    """Return about the rows of the k largest inner products with each vector (n, d), -1 where fewer are found.

    Args:
        index: what ``build`` returned, not None.
        vectors: (n, d), finite.
        k: at most the number of points.
        effort: cells that are looked into (ivf), items kept in view (hnsw).
        length: of the longest point.
    """
    if isinstance(index, faiss.IndexHNSW):
        parameters = faiss.SearchParametersHNSW(efSearch=max(effort, k))
        return np.asarray(index.search(np.ascontiguousarray(vectors), k, params=parameters)[1])
    d = vectors.shape[1]
    asked = np.zeros((len(vectors), index.d), np.float32)
    # As long as the points, which changes no order: what its codes are off would outweigh a short query.
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    asked[:, :d] = vectors * (length / np.where(norms > 0, norms, 1))
    asked[:, d : d + 1] = -length  # the shift; where there is no such dimension, or all have a zero there, it is lost
    return np.asarray(index.search(asked, k, params=faiss.SearchParametersIVF(nprobe=min(effort, index.nlist)))[1])


def exact(points: FloatArray, vectors: FloatArray, k: int) -> Rows:
    """Return the rows of the k points (n, d) with the largest inner products with each vector (q, d)."""
    rows: Rows = faiss.knn(np.ascontiguousarray(vectors), points, k, metric=faiss.METRIC_INNER_PRODUCT)[1]
    return rows


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


def longest(points: FloatArray) -> float:
    """Return the length of the longest point (n, d), 0 where there is none."""
    return float(np.sqrt(np.einsum("nd,nd->n", points, points, dtype=np.float64).max(initial=0)))


def _lengthened(points: FloatArray) -> tuple[FloatArray, bool]:
    """Return points of equal length M but for a shift, and whether they were as long before, to 0.1 %.

    One dimension more, sqrt(M² - |x|²), makes up for what a point lacks in length: the nearest to a query with a zero
    there has the largest inner product with it. Shifted by -M it is small for most, where numbers of 16 bits are
    finest. None is needed where all are as long. Zeros fill up to a multiple of ``WIDE``.
    """
    squares = np.einsum("nd,nd->n", points, points, dtype=np.float64)
    most, alike = squares.max(), bool(squares.min() >= 0.998 * squares.max())
    if not alike:
        lacking = np.sqrt(most - squares) - np.sqrt(most)
        points = np.hstack([points, lacking[:, None].astype(np.float32)])
    return np.pad(points, ((0, 0), (0, -points.shape[1] % WIDE))), alike


@contextmanager
def _one_thread() -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
