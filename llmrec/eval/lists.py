"""What lists are like beside how relevant: how various, how novel, how popular, and where they surprise.

These metrics need to know what items are. As ``compute`` does, each gives one number a query for its first k places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Candidates, Dataset, Targets
from llmrec.errors import DataError, UnknownNameError
from llmrec.eval.metrics import LISTS, Metric, PerQuery, relevant_places
from llmrec.eval.vectors import Floats, ItemVectors

COMPARING = ("diversity", "serendipity")
"""The metrics that compare items."""
BLOCK = 1 << 22  # numbers of item vectors at once


@dataclass(frozen=True, eq=False)
class ItemFacts:
    """What is known of items.

    Attributes:
        users: how many users had something.
        counts: how many of them had each item, (n_items,).
        vectors: what items are compared by; None where it does not matter.
    """

    users: int
    counts: NDArray[np.int64]
    vectors: ItemVectors | None = None

    @classmethod
    def of(cls, train: Dataset, vectors: ItemVectors | None = None) -> ItemFacts:
        """Return the facts of a data set's training events; a user's repeated item counts once."""
        events = train.interactions
        pairs = np.unique(events.users.astype(np.int64) * len(train.items) + events.items)
        counts = np.bincount(pairs % max(len(train.items), 1), minlength=len(train.items))
        return cls(len(np.unique(events.users)), counts, vectors)


@dataclass(frozen=True, eq=False)
class _Lists:
    """What the formulas read of some queries: items (b, k), histories (b, h), hits (b, k)."""

    items: NDArray[np.int32]
    history: NDArray[np.int32]
    hits: NDArray[np.bool_]
    facts: ItemFacts


def _diversity(lists: _Lists) -> PerQuery:
    """Mean of 1 - likeness over all pairs of a list, 0 where there is none (Smyth, McClave, ICCBR 2001).

    Items of which nothing is known are like nothing.
    """
    vectors, real = _vectors(lists.facts).gather(lists.items), lists.items >= 0
    n = real.sum(axis=1)
    # Of vectors that sum to s, the products of all ordered pairs sum to |s|^2; less those with themselves.
    alike = (vectors.sum(axis=1) ** 2).sum(axis=1) - (vectors**2).sum(axis=(1, 2))
    pairs = n * (n - 1)
    return np.where(pairs > 0, 1 - alike / np.maximum(pairs, 1), 0.0)


def _novelty(lists: _Lists) -> PerQuery:
    """Mean self-information of a list's items, in bits: -log2 of the share of users who had one.

    An item that nobody had counts as if one had (Vargas, Castells, RecSys 2011; Zhou et al., PNAS 2010).
    """
    share = np.maximum(lists.facts.counts, 1) / max(lists.facts.users, 1)
    return _means(-np.log2(np.minimum(share, 1)), lists.items)


def _lift(lists: _Lists) -> PerQuery:
    """How many times more popular a list's items are than the history's, less 1 (Abdollahpouri et al., RecSys 2020).

    A popularity is the number of users. A history that is empty, or of items that nobody had, is as popular as what the
    mean event of training is about; an empty list is as popular as its history.
    """
    counts = lists.facts.counts.astype(np.float64)
    usual = float((counts**2).sum() / max(counts.sum(), 1))
    profile = _means(counts, lists.history)
    profile = np.where(profile > 0, profile, max(usual, 1))
    shown = np.where((lists.items >= 0).any(axis=1), _means(counts, lists.items), profile)
    return np.asarray(shown / profile - 1)


def _serendipity(lists: _Lists) -> PerQuery:
    """Sum over the relevant items of a list of 1 - their mean likeness to the history's items, over k places.

    Nothing is like an empty history (Zhang et al., Auralist, WSDM 2012; Kaminskas, Bridge, TiiS 2016).
    """
    known = (lists.history >= 0).sum(axis=1, keepdims=True)
    both = _vectors(lists.facts).gather(np.hstack([lists.history, lists.items]))
    width = lists.history.shape[1]
    past = both[:, :width].sum(axis=1) / np.maximum(known, 1)
    likeness = (both[:, width:] @ past[:, :, None])[:, :, 0]
    return np.asarray((lists.hits * (1 - likeness)).sum(axis=1) / lists.items.shape[1])


FORMULAS: Mapping[str, Callable[[_Lists], PerQuery]] = {
    "diversity": _diversity,
    "novelty": _novelty,
    "lift": _lift,
    "serendipity": _serendipity,
}


def list_metrics(
    candidates: Candidates, targets: Targets, metrics: Sequence[str], facts: ItemFacts
) -> dict[str, PerQuery]:
    """Return the per-query values of each metric, float64 (q,).

    Places that are padded do not count, but for serendipity, of which they are misses.

    Args:
        candidates: (q, k') items, best first.
        targets: the same q queries; serendipity reads their relevant items.
        metrics: names such as ``diversity@10``.
        facts: what is known of items.

    Raises:
        UnknownNameError: a name is no metric of lists.
        DataError: an item is outside the catalogue, or a metric compares items and there is nothing to compare.
    """
    parsed = {name: Metric.parse(name) for name in metrics}
    for name, metric in parsed.items():
        if metric.kind not in FORMULAS:
            raise UnknownNameError(
                f"metric of lists {name!r}", expected=f"one of {', '.join(LISTS)}", cure="call compute() for it"
            )
    largest = max(int(candidates.items.max(initial=-1)), int(targets.queries.history.max(initial=-1)))
    if largest >= len(facts.counts):
        raise DataError(
            f"item number {largest}",
            expected=f"numbers from 0 to {len(facts.counts) - 1}",
            cure="take the facts of the data set that the candidates were made from",
        )
    return {name: _values(candidates, targets, metric, facts) for name, metric in parsed.items()}


def _values(candidates: Candidates, targets: Targets, metric: Metric, facts: ItemFacts) -> PerQuery:
    """Return the values of one metric, some queries after the other."""
    width, history = metric.k, targets.queries.history
    items = np.full((len(candidates), width), -1, np.int32)
    items[:, : candidates.items.shape[1]] = candidates.items[:, :width]
    hits, _ = relevant_places(candidates.items, targets.relevant, width)
    each = (width + history.shape[1]) * (1 if facts.vectors is None else facts.vectors.widest(width + history.shape[1]))
    step = max(1, BLOCK // each)
    parts = [np.zeros(0)]
    for start in range(0, len(items), step):
        rows = slice(start, start + step)
        parts.append(FORMULAS[metric.kind](_Lists(items[rows], history[rows], hits[rows], facts)))
    return np.concatenate(parts)


def _vectors(facts: ItemFacts) -> ItemVectors:
    if facts.vectors is None:
        raise DataError(
            "no item vectors",
            expected="what items are compared by, for diversity and serendipity",
            cure="pass ItemFacts with vectors",
        )
    return facts.vectors


def _means(values: Floats, items: NDArray[np.int32]) -> PerQuery:
    """Return the mean value of each row's items, padding left out; 0 of none."""
    real = items >= 0
    sums = np.where(real, values[items], 0).sum(axis=1)
    return np.asarray(sums / np.maximum(real.sum(axis=1), 1), np.float64)
