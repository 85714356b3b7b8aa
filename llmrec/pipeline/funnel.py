"""The funnel: recall proposes, stages rank and cut, each counted and timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Candidates, Queries
from llmrec.data.split import first_in_row
from llmrec.errors import ConfigError, DataError
from llmrec.pipeline.moves import places
from llmrec.pipeline.stages import Stage, StageRun
from llmrec.protocols import Recommender

RECALL = "recall"
"""What the first stage is called."""


@dataclass(frozen=True, eq=False)
class Funnel:
    """What went through a pipeline.

    Attributes:
        lists: candidates of recall, then those that each stage handed on, all of the same queries.
        runs: what recall and each stage did.
    """

    lists: tuple[Candidates, ...]
    runs: tuple[StageRun, ...]

    @property
    def candidates(self) -> Candidates:
        """What came out at the end."""
        return self.lists[-1]


@dataclass(frozen=True, eq=False)
class Pipeline:
    """Recall and stages of rankers as one recommender.

    Attributes:
        recall: proposes candidates.
        keep: how many, for each query.
        stages: rankers in their order; none hands on more than the one before.

    Raises:
        ConfigError: a stage hands on more than comes in, or two share a name.
    """

    recall: Recommender
    keep: int
    stages: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        check_sizes([(RECALL, self.keep), *((stage.name, stage.keep) for stage in self.stages)])

    def run(
        self,
        queries: Queries,
        *,
        exclude_seen: bool = True,
        relevant: NDArray[np.int32] | None = None,
        entering: Callable[[str], None] | None = None,
    ) -> Funnel:
        """Return what each stage handed on, and what it did.

        Args:
            queries: q queries.
            exclude_seen: whether recall leaves the items of the history out.
            relevant: (q, r) item numbers, padded with -1; how many of them are handed on is counted.
            entering: told the name of each stage before it begins.

        Raises:
            LlmrecError: recall fails; the other stages are skipped where they do.
        """
        tell = entering or (lambda _: None)
        tell(RECALL)
        start = time.perf_counter()
        recalled = self.recall.recommend(queries, self.keep, exclude_seen=exclude_seen)
        seconds, left = time.perf_counter() - start, int((recalled.items >= 0).sum())
        lists, runs = [recalled], [StageRun(RECALL, queries=len(queries), left=left, seconds=seconds)]
        for stage in self.stages:
            tell(stage.name)
            kept, run = stage.run(queries, lists[-1])
            lists.append(kept)
            runs.append(run)
        if relevant is not None:
            wanted = first_in_row(relevant)
            runs = [
                replace(run, found=int((places(one.items, wanted) >= 0).sum()))
                for one, run in zip(lists, runs, strict=True)
            ]
        return Funnel(tuple(lists), tuple(runs))

    def recommend(self, queries: Queries, k: int, *, exclude_seen: bool = True) -> Candidates:
        """Return the k best items of each query, k being at most what the last stage hands on.

        Raises:
            DataError: k is larger than that, or below 1.
        """
        last = self.stages[-1].keep if self.stages else self.keep
        if not 1 <= k <= last:
            raise DataError(
                f"k = {k}",
                expected=f"1 to {last}, what the last stage hands on",
                cure="ask for fewer, or let it keep more",
            )
        return self.run(queries, exclude_seen=exclude_seen).candidates.top(k)


def check_sizes(sizes: Sequence[tuple[str, int]]) -> None:
    """Raise a ConfigError where a stage hands on more than the one before, or two share a name."""
    for (before, come), (name, keep) in pairwise(sizes):
        if keep > come:
            raise ConfigError(
                f"stage {name!r} keeps {keep}", expected=f"at most {come}, what {before!r} hands on", cure="lower it"
            )
    names = [name for name, _ in sizes]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two stages called {name!r}", expected="a name for each", cure="rename one")
