"""A stage of the funnel: a ranker, how many candidates it hands on, and what it did to them."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from llmrec.classic.recall.fuse import weighted_fusion
from llmrec.data import Candidates, Queries
from llmrec.errors import ConfigError, DataError, LlmrecError
from llmrec.pipeline.limit import TimeLimit
from llmrec.pipeline.moves import moves
from llmrec.protocols import Ranker

FAILURES = (LlmrecError, RuntimeError, OSError, MemoryError)
"""What skips a stage: bad input, an engine, a driver or a connection that fails, a lack of memory. Others are bugs."""

logger = logging.getLogger(__name__)


@runtime_checkable
class Counting(Protocol):
    """A ranker that counts what could not be done as asked, by name."""

    counts: Counter[str]


@runtime_checkable
class Placing(Protocol):
    """A ranker that says whether its order must stand as it is: rules and exploration give places on purpose."""

    final: bool


@dataclass(frozen=True, slots=True)
class StageRun:
    """What a stage did to the lists of some queries; ``+`` adds what it did to those of others.

    Attributes:
        name: of the stage.
        queries: how many.
        entered: candidates that came in; 0 for recall.
        left: candidates handed on.
        moved: places that those handed on moved, up or down, added up.
        stayed: how many of them were among as many first ones that came in.
        firsts: queries whose first candidate is another.
        found: relevant items handed on, where they are known.
        seconds: that it took.
        skipped: queries that it was skipped for.
        counts: what its ranker could not do as asked.
        error: why it was skipped the first time.
    """

    name: str
    queries: int = 0
    entered: int = 0
    left: int = 0
    moved: int = 0
    stayed: int = 0
    firsts: int = 0
    found: int = 0
    seconds: float = 0.0
    skipped: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    error: str = ""

    def __add__(self, other: StageRun) -> StageRun:
        summed = {
            name: getattr(self, name) + getattr(other, name)
            for name in ("queries", "entered", "left", "moved", "stayed", "firsts", "found", "seconds", "skipped")
        }
        counts = Counter(self.counts)
        counts.update(other.counts)  # unlike +, keeps names that were counted zero times
        return replace(self, **summed, counts=counts, error=self.error or other.error)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**asdict(replace(self, counts=Counter())), "counts": dict(self.counts)}  # asdict spoils a Counter

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> StageRun:
        """Return what ``to_dict`` gave."""
        return cls(**{**values, "counts": Counter(values["counts"])})

    @property
    def shift(self) -> float:
        """Mean places that a candidate handed on has moved, up or down."""
        return self.moved / max(self.left, 1)

    @property
    def overlap(self) -> float:
        """Share of the candidates handed on that were among as many first ones that came in: 1 where all were."""
        return self.stayed / max(self.left, 1)

    @property
    def changed(self) -> float:
        """Share of the queries whose first candidate is another."""
        return self.firsts / max(self.queries, 1)


@dataclass(frozen=True, eq=False)
class Stage:
    """A ranker in its place.

    Attributes:
        name: what reports call it.
        ranker: orders all candidates that come in.
        keep: the first so many are handed on.
        weight: of the ranker's scores against those that came in, both standardised over the list; 1 for it alone.
        limit: how long it may take for the queries of one call; None for any time.

    Raises:
        ConfigError: ``keep`` is below 1, ``weight`` not above 0 and at most 1, or below 1 for an order that must stand.
    """

    name: str
    ranker: Ranker
    keep: int
    weight: float = 1.0
    limit: TimeLimit | None = None

    def __post_init__(self) -> None:
        if self.keep < 1 or not 0 < self.weight <= 1:
            raise ConfigError(
                f"stage {self.name!r} with keep = {self.keep} and weight = {self.weight:g}",
                expected="keep from 1 on and a weight above 0, at most 1",
                cure="change it, or leave the stage out",
            )
        check_weight(self.name, self.weight, self.ranker)

    def run(self, queries: Queries, candidates: Candidates) -> tuple[Candidates, StageRun]:
        """Return the best ``keep`` of each row and what was done.

        A ranker that fails or is late is skipped: the incoming order is kept, cut to ``keep``; that is logged and
        counted. What is a bug, such as a TypeError, is raised. Rows without a candidate stay as they are.
        """
        start, before, error = time.perf_counter(), self._counts(), ""
        try:
            ranked = self._filled(queries, candidates)
        except FAILURES as failure:
            ranked, error = candidates, str(failure).partition("\n")[0] or type(failure).__name__
            unexpected = not isinstance(failure, LlmrecError)
            logger.warning("stage %s skipped for %d queries: %s", self.name, len(queries), error, exc_info=unexpected)
        kept = ranked.top(self.keep)
        moved, stayed, firsts = moves(candidates, kept)
        counts = {name: count - before[name] for name, count in self._counts().items()}
        return kept, StageRun(
            self.name,
            queries=len(queries),
            entered=int((candidates.items >= 0).sum()),
            left=int((kept.items >= 0).sum()),
            moved=moved,
            stayed=stayed,
            firsts=firsts,
            seconds=time.perf_counter() - start,
            skipped=len(queries) if error else 0,
            counts=Counter(counts),
            error=error,
        )

    def _counts(self) -> Counter[str]:
        return Counter(self.ranker.counts) if isinstance(self.ranker, Counting) else Counter()

    def _filled(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Rank the rows that have a candidate: one query without any is no reason to skip all others."""
        some = np.asarray((candidates.items >= 0).any(axis=1))
        if some.all():
            return self._ranked(queries, candidates)
        if not some.any():
            return candidates
        ranked = self._ranked(queries.select(some), candidates.select(some))
        items = np.full((len(some), ranked.items.shape[1]), -1, np.int32)
        scores = np.full(items.shape, np.nan, np.float32)
        items[some], scores[some] = ranked.items, ranked.scores
        return Candidates(items, scores)

    def _ranked(self, queries: Queries, candidates: Candidates) -> Candidates:
        def rank() -> Candidates:
            return self.ranker.rank(queries, candidates)

        ranked = rank() if self.limit is None else self.limit.call(rank)
        if len(ranked) != len(candidates):
            raise DataError(
                f"{len(ranked)} rows from the ranker of stage {self.name!r}",
                expected=f"{len(candidates)}, one for each query",
                cure="mend the ranker: it returns each row in another order",
            )
        if self.weight == 1:
            return ranked
        width, weights = candidates.items.shape[1], [1 - self.weight, self.weight]
        return weighted_fusion([candidates, ranked], weights, max(width, 1), normalise="zscore")


def check_weight(stage: str, weight: float, ranker: object) -> None:
    """Raise a ConfigError where a ranker, or its class, gives places on purpose and a weight would blur them.

    Weighed against the scores that came in, what a rule blocks would come back, and the chances of an exploration would
    not be those that it states.
    """
    if weight < 1 and isinstance(ranker, Placing) and ranker.final:
        kind = ranker if isinstance(ranker, type) else type(ranker)
        raise ConfigError(
            f"stage {stage!r} with weight = {weight:g} for {kind.__name__}",
            expected="weight = 1 for a ranker that gives places on purpose",
            cure="drop the weight, or give it to the stage before",
        )
