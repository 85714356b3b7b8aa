"""Top-100 for 6,040 queries from an index over a million items of 64 dimensions, against flat search: speed and recall.

    OMP_NUM_THREADS=1 python benchmarks/index.py [--items 100000] [--vectors normalised als-shop …] [--kind ivf]

All kinds are of one faiss and one run, with the threads that it was started with; on a machine that others use too, the
ratio of CPU times is the one to read. Each search is ``VectorIndex.search`` as recommenders call it, with histories of
20 items excluded. Vectors are made:

- ``normalised``: items lie around topics, topics around themes; topics are of very different sizes. Neighbours are as
  near (median cosine of the nearest .87, of the tenth .84) as those that ALS and BPR learn from MovieLens 1M and from
  Amazon's games. A query is the mean of a history: five items, the popular ones likelier, from each of three topics.
  All have length 1, as those of two towers and of texts.
- ``als-shop``: the same, with lengths as different as those that ALS learns of Amazon's games (log-normal, .95).
- ``als-films``: the same, with lengths as those of MovieLens 1M: a half-normal distribution.
- ``gaussian``: items and queries without any structure. Nothing finds neighbours there but a look at nearly everything,
  and no model learns such vectors: shown so that the others are not taken for more than they are.
"""

from __future__ import annotations

import argparse
import time

import faiss
import numpy as np
from numpy.typing import NDArray

from llmrec.classic.recall.faiss_index import IndexConfig
from llmrec.classic.recall.index import VectorIndex
from llmrec.data import Candidates
from llmrec.errors import ModelError

Vectors = NDArray[np.float32]
Lengths = NDArray[np.float64]
K, SEEN = 100, 20
VECTORS = ("normalised", "als-shop", "als-films", "gaussian")
TUNING = 500  # other queries, for which the defaults choose how hard to look
SETTINGS = {
    "ivf (defaults)": IndexConfig(kind="ivf"),
    "ivf recall=0.99": IndexConfig(kind="ivf", recall=0.99),
    "ivf nprobe=16": IndexConfig(kind="ivf", nprobe=16),
    "ivf nprobe=64": IndexConfig(kind="ivf", nprobe=64),
    "ivf nprobe=256": IndexConfig(kind="ivf", nprobe=256),
    "hnsw (defaults)": IndexConfig(kind="hnsw"),
    "hnsw ef_search=200": IndexConfig(kind="hnsw", ef_search=200),
    "hnsw ef_search=800": IndexConfig(kind="hnsw", ef_search=800),
}


def clustered(n: int, q: int, d: int, popularity: Lengths, rng: np.random.Generator) -> tuple[Vectors, Vectors]:
    """Return items (n, d), each as long as it is popular, and queries (q, d)."""
    n_topics = max(10, n // 300)
    themes = rng.normal(size=(max(2, n_topics // 60), d))
    topics = unit(0.7 * themes[rng.integers(0, len(themes), n_topics)] + 0.7 * rng.normal(size=(n_topics, d)))
    sizes = (1 + np.arange(n_topics)) ** -0.7
    topic = rng.choice(n_topics, n, p=sizes / sizes.sum())
    spectrum = (1 + np.arange(d)) ** -0.3
    items = unit((topics[topic] + 0.55 / np.sqrt(d) * rng.normal(size=(n, d))) * spectrum)
    by_topic = np.argsort(topic, kind="stable")
    first = np.searchsorted(topic[by_topic], np.arange(n_topics + 1))
    liked = topic[rng.integers(0, n, (q, 3))][:, :, None, None]
    drawn = by_topic[first[liked] + (rng.random((q, 3, 5, 3)) * (first[liked + 1] - first[liked])).astype(int)]
    chosen = np.take_along_axis(drawn, popularity[drawn].argmax(axis=3)[..., None], axis=3).reshape(q, 15)
    queries = np.zeros((q, d))
    for number in range(15):
        queries += items[chosen[:, number]]
    return (items * popularity[:, None]).astype(np.float32), queries.astype(np.float32)


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the vectors with length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make(kind: str, n: int, q: int, d: int, rng: np.random.Generator) -> tuple[Vectors, Vectors]:
    """Return items and queries of a kind that the module describes."""
    if kind == "gaussian":
        return rng.normal(size=(n, d)).astype(np.float32), rng.normal(size=(q, d)).astype(np.float32)
    popularity = np.abs(rng.normal(size=n)) if kind == "als-films" else rng.lognormal(0, 0.95, n)
    items, queries = clustered(n, q, d, popularity, rng)
    return (unit(items) if kind == "normalised" else items), queries


def recall(found: Candidates, truth: Candidates) -> float:
    """Return the share of the true items that were found."""
    base = np.arange(len(truth))[:, None] << 32
    return float(np.isin(truth.items + base, found.items + base).mean())


def timed(index: VectorIndex, queries: Vectors, seen: NDArray[np.int32]) -> tuple[float, float, Candidates]:
    """Return wall and CPU seconds of a search, and what it found."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = index.search(queries[:, None], K, exclude=seen)
    return time.perf_counter() - wall, time.process_time() - cpu, found


def measure(kind: str, n: int, q: int, d: int, only: str) -> None:
    rng = np.random.default_rng(0)
    items, everyone = make(kind, n, q + TUNING, d, rng)
    queries, others = everyone[:q], everyone[q:, None]
    seen = rng.integers(0, n, (q, SEEN), dtype=np.int32)
    flat_wall, flat_cpu, truth = timed(VectorIndex.build(items, config=IndexConfig(kind="flat")), queries, seen)
    print(f"{kind}: {n:,} items of {d} dimensions, {q:,} queries, top {K}, {faiss.omp_get_max_threads()} threads")
    print(f"  {'flat':20} {flat_wall:7.2f} s wall {flat_cpu:7.2f} s CPU", flush=True)
    for index_kind in ("ivf", "hnsw"):
        if only in {"", index_kind}:
            start = time.process_time()
            index = VectorIndex.build(items, config=IndexConfig(kind=index_kind))
            print(f"  {index_kind} built in {time.process_time() - start:.0f} s CPU", flush=True)
            for name, config in SETTINGS.items():
                if config.kind == index_kind:
                    index.config, index.effort = config, config.given or 0
                    try:
                        index.tune(others)
                    except ModelError as error:
                        print(f"  {name:20} {error.found}", flush=True)
                        continue
                    wall, cpu, found = timed(index, queries, seen)
                    print(
                        f"  {name:20} {wall:7.2f} s wall {cpu:7.2f} s CPU  {flat_wall / wall:6.1f} times flat by wall, "
                        f"{flat_cpu / cpu:6.1f} by CPU  recall@{K} {recall(found, truth):.4f}  effort {index.effort}",
                        flush=True,
                    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=6_040)
    parser.add_argument("--dimensions", type=int, default=64)
    parser.add_argument("--vectors", nargs="+", choices=VECTORS, default=["normalised", "als-shop"])
    parser.add_argument("--kind", choices=("ivf", "hnsw"), default="", help="only this index")
    arguments = parser.parse_args()
    for kind in arguments.vectors:
        measure(kind, arguments.items, arguments.queries, arguments.dimensions, arguments.kind)


if __name__ == "__main__":
    main()
