"""How far a title that gives orders moves its item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Candidates, Queries
from llmrec.errors import DataError
from llmrec.eval.significance import bootstrap_interval
from llmrec.protocols import FloatArray, Ranker


@dataclass(frozen=True, slots=True)
class InjectionEffect:
    """How many places items gained when their titles carried texts.

    Attributes:
        gained: places towards the front, negative towards the back, float32 (queries, texts).
        possible: places in front of each query's item under its clean title, int64 (queries,).
    """

    gained: FloatArray
    possible: NDArray[np.int64]

    @property
    def mean(self) -> float:
        """Mean over queries and texts."""
        return float(self.gained.mean())

    @property
    def by_text(self) -> FloatArray:
        """Mean over queries, (texts,)."""
        means: FloatArray = self.gained.mean(axis=0)
        return means

    def interval(self, seed: int = 0) -> tuple[float, float]:
        """Return a 95 % interval of the mean, queries drawn anew with all of their texts."""
        return bootstrap_interval(self.gained.mean(axis=1).astype(np.float64), seed=seed)


def measure_injection(
    make: Callable[[Sequence[str]], Ranker],
    titles: Sequence[str],
    texts: Sequence[str],
    queries: Queries,
    candidates: Candidates,
    *,
    seed: int = 0,
) -> InjectionEffect:
    """Return how far one candidate of each query moves when each of ``texts`` stands behind its title.

    The candidate is drawn from the seed. Its changed title is an item of its own, so that clean and changed lists are
    ranked in one batch. A strategy that draws from the item numbers (tournament, bootstrap) draws anew for these: its
    noise is in the interval.

    Args:
        make: returns the ranker of items with these titles: ``titles``, then one for each query and text.
        titles: the title of each item, in number order.
        texts: what an attacker writes, such as ``llmrec.testing.INJECTIONS``.
        queries: whose candidates are ranked.
        candidates: (q, n).
        seed: of the candidates drawn.

    Raises:
        DataError: no query, no text, or a row without a candidate.
    """
    candidates.require_filled()
    n, width = len(queries), len(texts)
    if not n or not width:
        raise DataError(f"{n} queries and {width} texts", expected="at least one of each", cure="give some")
    rng = np.random.default_rng(seed)
    places = rng.integers((candidates.items >= 0).sum(axis=1))
    attacked = candidates.items[np.arange(n), places]
    changed = np.repeat(candidates.items, width, axis=0)
    changed[np.arange(n * width), np.repeat(places, width)] = len(titles) + np.arange(n * width)
    ranker = make([*titles, *(f"{titles[item]} {text}" for item in attacked.tolist() for text in texts)])
    items = np.concatenate([candidates.items, changed])
    scores = np.concatenate([candidates.scores, np.repeat(candidates.scores, width, axis=0)])
    asked = queries.select(np.concatenate([np.arange(n), np.repeat(np.arange(n), width)]))
    ranked = ranker.rank(asked, Candidates(items, scores)).items
    clean = (ranked[:n] == attacked[:, None]).argmax(axis=1)
    moved = (ranked[n:] >= len(titles)).argmax(axis=1).reshape(n, width)
    return InjectionEffect((clean[:, None] - moved).astype(np.float32), clean)
