"""Ranking metrics with binary relevance, vectorised over queries.

A metric is named ``kind@k``: ``hr``, ``recall``, ``precision``, ``ndcg``, ``mrr`` and ``map`` give one number a query,
``coverage`` and ``gini`` give one for the whole batch. ``lists`` has the others, which ask what items are. Conventions
are those of ranx (Bassani, ECIR 2022) and trec_eval.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Candidates, Targets
from llmrec.errors import DataError, UnknownNameError, did_you_mean

PerQuery = NDArray[np.float64]
_Formula = Callable[[NDArray[np.bool_], NDArray[np.int64]], PerQuery]


def _hit_rate(hits: NDArray[np.bool_], relevant: NDArray[np.int64]) -> PerQuery:  # noqa: ARG001 - one signature for all
    """1 where any of the first k is relevant."""
    return np.asarray(hits.any(axis=1), np.float64)


def _recall(hits: NDArray[np.bool_], relevant: NDArray[np.int64]) -> PerQuery:
    """Found share of the relevant items; the divisor is their number r, also where r > k."""
    return np.asarray(hits.sum(axis=1) / relevant, np.float64)


def _precision(hits: NDArray[np.bool_], relevant: NDArray[np.int64]) -> PerQuery:  # noqa: ARG001
    """Relevant share of k places, also where fewer than k were filled."""
    return np.asarray(hits.sum(axis=1) / hits.shape[1], np.float64)


def _ndcg(hits: NDArray[np.bool_], relevant: NDArray[np.int64]) -> PerQuery:
    """Gain 1 / log2(rank + 1) over that of min(r, k) hits in front (Järvelin, Kekäläinen, TOIS 2002)."""
    discount = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.cumsum(discount)[np.minimum(relevant, hits.shape[1]) - 1]
    return np.asarray(hits @ discount / ideal, np.float64)


def _mrr(hits: NDArray[np.bool_], relevant: NDArray[np.int64]) -> PerQuery:  # noqa: ARG001
    """1 / rank of the first relevant item, 0 where none is among the first k."""
    return np.where(hits.any(axis=1), 1 / (hits.argmax(axis=1) + 1), 0.0)


def _average_precision(hits: NDArray[np.bool_], relevant: NDArray[np.int64]) -> PerQuery:
    """Precision at each hit, summed, over r.

    The divisor is the number of relevant items r, as in ranx and trec_eval, not min(r, k) as in some
    recommender libraries: with r > k even a perfect list stays below 1.
    """
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return np.asarray((precision * hits).sum(axis=1) / relevant, np.float64)


FORMULAS: Mapping[str, _Formula] = {
    "hr": _hit_rate,
    "recall": _recall,
    "precision": _precision,
    "ndcg": _ndcg,
    "mrr": _mrr,
    "map": _average_precision,
}
LISTS = ("diversity", "novelty", "lift", "serendipity")
WHOLE = ("coverage", "gini")
KINDS = (*FORMULAS, *LISTS, *WHOLE)


@dataclass(frozen=True, slots=True)
class Metric:
    """A parsed metric name.

    Attributes:
        kind: one of ``KINDS``.
        k: how many places count, at least 1.
    """

    kind: str
    k: int

    @classmethod
    def parse(cls, name: str) -> Metric:
        """Return the metric called ``kind@k``.

        Raises:
            UnknownNameError: the name has another form, or nothing is called so.
        """
        form = re.fullmatch(r"([^@]*)@([1-9][0-9]*)", name)
        kind = form[1] if form else name.partition("@")[0]
        if form is None or kind not in KINDS:
            cure = f"write for example '{kind}@10'" if kind in KINDS else did_you_mean(kind, KINDS)
            raise UnknownNameError(f"unknown metric {name!r}", expected="kind@k, as in 'ndcg@10'", cure=cure)
        return cls(kind, int(form[2]))

    def __str__(self) -> str:
        return f"{self.kind}@{self.k}"


def compute(candidates: Candidates, targets: Targets, metrics: Sequence[str]) -> dict[str, PerQuery]:
    """Return the per-query values of each metric, float64 (q,).

    A k beyond the width of the candidates is allowed: places that are missing or padded count as misses. A relevant
    item that is listed twice counts once.

    Args:
        candidates: (q, k') items, best first.
        targets: the same q queries with their relevant items.
        metrics: names such as ``ndcg@10``.

    Raises:
        UnknownNameError: a name is no metric, or none of those above: ``coverage`` has no value for a single query.
        DataError: there are not as many rows of candidates as targets, or the targets have no labels.
    """
    parsed = {name: Metric.parse(name) for name in metrics}
    for name, metric in parsed.items():
        if metric.kind not in FORMULAS:
            call = f"{metric.kind}()" if metric.kind in WHOLE else "list_metrics()"
            raise UnknownNameError(
                f"per-query metric {name!r}", expected=f"one of {', '.join(FORMULAS)}", cure=f"call {call} for it"
            )
    if len(candidates) != len(targets):
        raise DataError(
            f"{len(candidates)} rows of candidates for {len(targets)} targets",
            expected="one row for each query",
            cure="evaluate the targets that the candidates were made for",
        )
    if not targets.labelled:
        raise DataError(
            "targets without labels",
            expected="the relevant items of each query",
            cure="evaluate 'valid', or hand the ranking in where the labels are kept",
        )
    width = max((metric.k for metric in parsed.values()), default=0)
    hits, relevant = relevant_places(candidates.items, targets.relevant, width)
    return {name: FORMULAS[metric.kind](hits[:, : metric.k], relevant) for name, metric in parsed.items()}


def relevant_places(
    items: NDArray[np.int32], relevant: NDArray[np.int32], width: int
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return which of the first ``width`` places are relevant (q, width), and the number of relevant items (q,).

    Each pair of a query and an item becomes one integer, so that memory grows with q (k + r), not with q k r.
    """
    items = items[:, :width]
    base = 1 + max(int(items.max(initial=0)), int(relevant.max(initial=0)))
    rows = np.arange(len(items), dtype=np.int64)[:, None] * base
    wanted = np.unique((rows + relevant)[relevant >= 0])
    hits = np.zeros((len(items), width), np.bool_)
    hits[:, : items.shape[1]] = np.isin(rows + items, wanted) & (items >= 0)
    return hits, np.bincount(wanted // base, minlength=len(items))


def coverage(candidates: Candidates, k: int, n_items: int) -> float:
    """Return the share of the catalogue that is among the first k of any query.

    Args:
        candidates: (q, k') items.
        k: how many places of each query count.
        n_items: size of the catalogue.

    Raises:
        DataError: a candidate is no item of the catalogue.
    """
    return int((_shown(candidates, k, n_items) > 0).sum()) / n_items


def gini(candidates: Candidates, k: int, n_items: int) -> float:
    """Return how unevenly the first k of all queries are spread over the catalogue: 0 is evenly, near 1 on one item.

    With the times x_i that item i is shown, from the least on, it is the sum of (2 i - n - 1) x_i over n sum x_i; 0
    where nothing is shown.

    Args:
        candidates: (q, k') items.
        k: how many places of each query count.
        n_items: size of the catalogue.

    Raises:
        DataError: a candidate is no item of the catalogue.

    Paper: Fleder, Hosanagar, Blockbuster Culture's Next Rise or Fall, Management Science 2009.
    """
    shown = np.sort(_shown(candidates, k, n_items))
    weights = 2 * np.arange(1, n_items + 1) - n_items - 1
    return float(weights @ shown / max(n_items * int(shown.sum()), 1))


def _shown(candidates: Candidates, k: int, n_items: int) -> NDArray[np.int64]:
    """Return how often each item is among the first k, (n_items,)."""
    items = candidates.items[:, :k]
    if items.max(initial=-1) >= n_items:
        raise DataError(
            f"candidate item number {items.max()}",
            expected=f"numbers from 0 to {n_items - 1}",
            cure="pass n_items = len(dataset.items) of the data set that the candidates were made from",
        )
    return np.bincount(items[items >= 0], minlength=n_items)
