"""Lists with what was clicked of them: what a list-wise model learns from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrec.classic.reranking.choosing import relevance
from llmrec.classic.training import Batch
from llmrec.data import Candidates, Dataset, Queries, Targets
from llmrec.data.queries import pad_ragged
from llmrec.errors import DataError
from llmrec.eval.metrics import compute, relevant_places

ASKED = ("ndcg@10",)


@dataclass(frozen=True, eq=False)
class Lists:
    """Candidates with which of them are relevant, at least one in each list.

    Attributes:
        queries: who was asked for, q of them.
        candidates: (q, n), best first.
        targets: what is relevant, of the same q queries.
        clicked: which candidates are relevant, (q, n).
    """

    queries: Queries
    candidates: Candidates
    targets: Targets
    clicked: NDArray[np.bool_]

    @classmethod
    def of(cls, candidates: Candidates, targets: Targets, *, k: int, where: str) -> Lists:
        """Return the lists whose first k candidates have a relevant one.

        Args:
            candidates: (q, n), best first.
            targets: the same q queries with their relevant items.
            k: how much of a list counts.
            where: what they are of, for messages.

        Raises:
            DataError: none has, or there is not one list for each target.
        """
        candidates = candidates.top(k)
        if len(candidates) != len(targets):
            raise DataError(
                f"{len(candidates)} rows of candidates for {len(targets)} targets",
                expected="one row for each query",
                cure="learn from the targets that the candidates were made for",
            )
        clicked, _ = relevant_places(candidates.items, targets.relevant, candidates.items.shape[1])
        rows = np.asarray(clicked.any(axis=1), np.bool_)
        if not rows.any():
            raise DataError(
                f"{len(candidates):,} lists of {where}, none with a relevant item among its first {k}",
                expected="lists to learn from",
                cure="recall more candidates, raise k, or split so that training has clicks",
            )
        chosen = targets.select(rows)
        return cls(chosen.queries, candidates.select(rows), chosen, clicked[rows])

    @classmethod
    def shown(cls, data: Dataset, *, history: int, k: int) -> Lists:
        """Return the impressions of a data set in which something among the first k was clicked.

        Histories hold what came before an impression. Scores are not known: the order is that of the impression.

        Raises:
            DataError: there are none.
        """
        if data.impressions is None or not data.impressions.clicked.any():
            raise DataError(
                f"{data.name!r} has no impressions with clicks",
                expected="lists that users were shown, and what they chose",
                cure="call fit_lists with candidates and the targets that they were made for",
            )
        known = data.impressions
        numbers = np.repeat(np.arange(len(known)), np.diff(known.offsets))
        asked = np.unique(numbers[known.clicked])
        some = known.select(asked)
        row = np.repeat(np.arange(len(some)), np.diff(some.offsets))
        within = np.arange(len(row)) - some.offsets[row]
        items = np.full((len(some), int(np.diff(some.offsets).max())), -1, np.int32)
        items[row, within] = some.items
        queries = data.queries(some.users, history=history, before=some.times)
        targets = Targets(queries, pad_ragged(row[some.clicked], some.items[some.clicked], len(some)), items)
        return cls.of(targets.candidates(), targets, k=k, where=repr(data.name))

    def ndcg(self, ranked: Candidates) -> float:
        """Return the mean NDCG@10 of these lists in another order."""
        return float(compute(ranked, self.targets, ASKED)[ASKED[0]].mean())


class ListBatches:
    """Lists as batches, every one once an epoch in random order.

    Args:
        lists: what to learn from.
        history: newest items that are read.
        batch_size: lists of a batch.
    """

    def __init__(self, lists: Lists, history: int, batch_size: int) -> None:
        self.arrays = list_arrays(lists.queries, lists.candidates, history)
        self.clicked, self.batch_size = lists.clicked, batch_size

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.clicked) // self.batch_size)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield every list once."""
        order = rng.permutation(len(self.clicked))
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            yield {**{name: array[rows] for name, array in self.arrays.items()}, "clicked": self.clicked[rows]}


def list_arrays(queries: Queries, candidates: Candidates, history: int) -> Batch:
    """Return what a list-wise model reads: ``items`` (q, n), ``scores`` (q, n) from 0 to 1, ``history`` (q, h)."""
    return {
        "items": candidates.items.astype(np.int64),
        "scores": relevance(candidates).astype(np.float32),
        "history": queries.last(history).history.astype(np.int64),
    }
