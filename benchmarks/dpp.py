"""How fast DPP chooses: against a plain NumPy greedy that computes the determinant of every longer list anew.

    python benchmarks/dpp.py [--candidates 1000] [--dimensions 64] [--k 50] [--lists 16] [--runs 5]

Both begin with the same vectors and scores and must choose the same items; after a round that does not count they take
turns, and each round gives a ratio: above 1, ours is faster. The plain greedy asks ``numpy.linalg.slogdet`` of all
candidates at once, a stack of matrices, so that no Python loop over candidates slows it down; its kernel is computed
before the clock starts. It orders one list, ours ``--lists`` at once; both are given as seconds a list.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.classic.reranking.choosing import relevance
from llmrec.classic.reranking.dpp import DPP, DPPConfig
from llmrec.data import Candidates, Dataset, Interactions, Queries, Vocabulary
from llmrec.eval.significance import bootstrap_interval
from llmrec.eval.vectors import ItemVectors

Floats = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--dimensions", type=int, default=64)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--lists", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    model, candidates = make(arguments)
    queries = Queries.from_histories([()] * len(candidates))
    kernel, worth = matrix(model, candidates.items[0]), model.config.relevance * relevance(candidates)[0]
    plain = lambda: plain_greedy(kernel, worth, 1 - model.config.relevance, arguments.k)  # noqa: E731
    ours = lambda: model.rank(queries, candidates)  # noqa: E731
    chosen = candidates.items[0][plain()]
    if not np.array_equal(ours().items[0, : arguments.k], chosen):
        raise SystemExit("the two choose different items")
    seconds = np.array([[timed(plain), timed(ours) / len(candidates)] for _ in range(arguments.runs)])
    ratios = seconds[:, 0] / seconds[:, 1]
    low, high = bootstrap_interval(ratios)
    print(f"{arguments.candidates} candidates of {arguments.dimensions} dimensions, k = {arguments.k}")
    print(f"plain greedy  {np.median(seconds[:, 0]):8.3f} s a list")
    print(f"llmrec        {np.median(seconds[:, 1]):8.5f} s a list, {len(candidates)} at once")
    print(f"ratio         {np.mean(ratios):8.0f} [{low:.0f}, {high:.0f}]")


def make(arguments: argparse.Namespace) -> tuple[DPP, Candidates]:
    """Return a re-ranker over random vectors, and random lists of its items, the first candidate the most relevant."""
    rng = np.random.default_rng(0)
    n = 5 * arguments.candidates
    data = Dataset(
        name="random",
        interactions=Interactions.sort([0], [0], [0]),
        users=Vocabulary([0]),
        items=Vocabulary(range(n)),
        item_table=pl.DataFrame({"categories": ["any"] * n}),
    )
    model = DPP(DPPConfig(k=arguments.k, off_diagonal=1.0)).fit(data)
    model.vectors = ItemVectors(rng.normal(size=(n, arguments.dimensions)).astype(np.float32))
    items = np.stack([rng.permutation(n)[: arguments.candidates] for _ in range(arguments.lists)])
    return model, Candidates(items, -np.sort(-rng.random(items.shape), axis=1))


def matrix(model: DPP, items: NDArray[np.int32]) -> Floats:
    """Return the kernel of one list's items."""
    vectors = model.vectors.gather(items[None])[0]
    kernel = np.asarray(vectors @ vectors.T)
    np.fill_diagonal(kernel, 1)
    return kernel


def plain_greedy(kernel: Floats, worth: Floats, weight: float, k: int) -> list[int]:
    """Return the places chosen by the log-determinant of the list with each other candidate behind it."""
    chosen: list[int] = []
    left = np.arange(len(kernel))
    while len(chosen) < k:
        longer = np.column_stack([np.tile(np.array(chosen, int), (len(left), 1)), left])
        _, logs = np.linalg.slogdet(kernel[longer[:, :, None], longer[:, None, :]])
        best = int(np.argmax(worth[left] + weight * logs))
        chosen.append(int(left[best]))
        left = np.delete(left, best)
    return chosen


def timed(job: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
