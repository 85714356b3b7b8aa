"""Pairwise simulation: users are asked which of two cold items they would take; what is consistent is kept.

Wang et al., Large Language Models as Data Augmenters for Cold-Start Item Recommendation, WWW Companion 2024 (arXiv
2402.11724). There each pair is asked once; here in both orders, and log-odds weigh what is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from llmrec.coldstart.asking import Taste
from llmrec.coldstart.budget import BudgetedEngine
from llmrec.coldstart.pairs import Pairs
from llmrec.data import Dataset
from llmrec.data.files import require_columns
from llmrec.data.preferences import Preferences
from llmrec.errors import DataError
from llmrec.prompts.votes import LOST, TIED, WON, Votes

Progress = Callable[[int, int], None]
"""Called with pairs that blocks have done, and how many there are."""
ANSWERS = ("user", "first", "second", "odds_first", "odds_second")
OUTCOMES = {WON: "first", LOST: "second", TIED: "inconsistent"}


@dataclass(frozen=True, eq=False)
class Simulated:
    """What was said of the pairs that were asked.

    Attributes:
        pairs: n of them.
        votes: log-odds of the first item of each.
        counts: ``pairs``; of them ``kept``, ``inconsistent`` where the orders disagree or one is even, ``failed`` where
            the engine gave no number; ``not_asked`` further ones for want of budget; prompts ``shortened`` to fit.
        exhausted: whether the budget ended it.
    """

    pairs: Pairs
    votes: Votes
    counts: Counter[str]
    exhausted: bool = False

    @property
    def preferences(self) -> Preferences:
        """The pairs on which both orders agree, weighted by the margin: the mean of their log-odds."""
        scores = self.votes.scores()
        kept = np.isin(scores, (WON, LOST))
        won, pairs = scores[kept] == WON, self.pairs.select(kept)
        return Preferences(
            pairs.users,
            np.where(won, pairs.first, pairs.second),
            np.where(won, pairs.second, pairs.first),
            np.abs(self.votes.margins[kept]).astype(np.float32),
        )

    def first(self, n: int) -> Simulated:
        """Return what is said of the first n pairs: a simulation with a smaller budget says the same of them."""
        votes = Votes(self.votes.first[:n], self.votes.second[:n])
        return Simulated(self.pairs.select(slice(n)), votes, count_votes(votes), self.exhausted)

    @classmethod
    def from_frame(cls, frame: pl.DataFrame, data: Dataset, *, exhausted: bool = False) -> Simulated:
        """Return what ``to_frame`` wrote of the same data set; it does not hold how prompts had to be changed.

        Raises:
            DataError: a column is missing, or the pairs are of other users or items.
        """
        require_columns(frame, ANSWERS, where="the table of answers")
        users = data.users.numbers(frame["user"])
        first, second = (data.items.numbers(frame[name]) for name in ("first", "second"))
        if min(each.min(initial=0) for each in (users, first, second)) < 0:
            raise DataError(
                f"answers about users or items that {data.name!r} does not have",
                expected="those of a simulation on this data set",
                cure="simulate again",
            )
        odds = (frame[name].fill_null(float("nan")).to_numpy() for name in ("odds_first", "odds_second"))
        votes = Votes(*odds)
        return cls(Pairs(users, first, second), votes, count_votes(votes), exhausted)

    def to_frame(self, data: Dataset) -> pl.DataFrame:
        """Return a row for each pair: ids of user and items, log-odds of the first item in each order, the outcome."""
        odds = [pl.Series(each, dtype=pl.Float64).fill_nan(None) for each in (self.votes.first, self.votes.second)]
        return pl.DataFrame(
            {
                "user": data.users.decode(self.pairs.users),
                "first": data.items.decode(self.pairs.first),
                "second": data.items.decode(self.pairs.second),
                "odds_first": odds[0],
                "odds_second": odds[1],
                "outcome": [OUTCOMES.get(score, "failed") for score in self.votes.scores().tolist()],
            },
            schema_overrides={"outcome": pl.String},
        )


def count_votes(votes: Votes) -> Counter[str]:
    """Return how many ``pairs`` there are, and of them ``kept``, ``inconsistent`` and ``failed``."""
    scores = votes.scores()
    return Counter(
        pairs=len(scores),
        kept=int(np.isin(scores, (WON, LOST)).sum()),
        inconsistent=int((scores == TIED).sum()),
        failed=int(np.isnan(scores).sum()),
    )


def simulate_pairs(
    taste: Taste,
    pairs: Pairs,
    *,
    engine: BudgetedEngine | None = None,
    block: int = 2048,
    progress: Progress | None = None,
) -> Simulated:
    """Return what a taste says of pairs, as many as the budget allows.

    Args:
        taste: a language model asked in one way, or a control.
        pairs: questions.
        engine: what ``taste`` asks, two prompts a pair which count ``together``; None for a control.
        block: questions that are held in memory and asked together.
        progress: told of pairs done before each block.
    """
    first, second = [np.zeros(0)], [np.zeros(0)]
    asked = 0
    for start in range(0, len(pairs), block):
        if progress is not None:
            progress(start, len(pairs))
        some, before = pairs.select(slice(start, start + block)), 0 if engine is None else engine.refused
        votes = taste.compare(some)
        n = len(some) - (0 if engine is None else (engine.refused - before) // 2)
        first.append(votes.first[:n])
        second.append(votes.second[:n])
        asked += n
        if n < len(some):
            break
    votes = Votes(np.concatenate(first), np.concatenate(second))
    counts = count_votes(votes)
    counts.update(not_asked=len(pairs) - asked, shortened=taste.counts["shortened"])
    return Simulated(pairs.select(slice(asked)), votes, counts, exhausted=asked < len(pairs))
