"""Pairwise ranking prompting: which of two candidates comes next, asked in both orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import expit

from llmrec.data import Candidates, Dataset, Queries
from llmrec.prompts.choosing import Chooser
from llmrec.prompts.prompting import PromptConfig, Prompter
from llmrec.protocols import Engine
from llmrec.rank.rounds import Sets, by_pairs, heap_order, in_rounds, sliding_order
from llmrec.rank.sorting import ordered

Prefer = Callable[[list[tuple[int, tuple[int, ...]]]], list[float]]
"""Takes (row, (first, second)), returns how probable it is that the first is better."""


class PairwiseConfig(PromptConfig):
    """How candidates are ranked by pairs."""

    template: str = "choose-label"
    """A template of labels that sees ``candidates`` and ``labels``."""
    method: Literal["all", "heap", "sliding"] = "heap"
    """All pairs (n (n - 1) prompts), heap sort, or ``k`` passes in which the better of two neighbours moves up."""
    k: int = Field(10, ge=1)
    """How many of the best heap sort or the passes find; the others keep their order behind them."""


class PairwiseRanker:
    """Compares two candidates at a time, each pair in both orders, whose log-odds are averaged.

    A model prefers a place as well as an item: what it adds to the log-odds of the first place cancels out. A tie
    leaves the incoming order. With ``method=all`` a candidate's score is its mean probability of beating another one.

    Paper: Qin et al., Large Language Models are Effective Text Rankers with Pairwise Ranking Prompting, NAACL Findings
    2024. There, answers that change with the order count as half.

    Args:
        engine: scores the labels.
        titles: the title of each item, in number order.
        config: template, method.
        train: whose users give examples.

    Attributes:
        counts: prompts ``shortened`` to fit the context.

    Raises:
        DataError: a row without a candidate.
        ConfigError: a template without two labels of one token.
    """

    config_class = PairwiseConfig

    def __init__(
        self,
        engine: Engine,
        titles: Sequence[str],
        config: PairwiseConfig | None = None,
        train: Dataset | None = None,
    ) -> None:
        self.config = config or PairwiseConfig()
        self.prompter = Prompter(
            engine, titles, self.config, answers=("continuation",), strategy="pairwise", train=train
        )
        self.counts = self.prompter.counts
        self.chooser = Chooser(self.prompter, 2)

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return each row in order; scores are mean probabilities (``all``) or count down, NaN behind the best."""
        candidates.require_filled()
        histories, rows = self.prompter.histories(queries), self.prompter.rows(candidates.items)
        failed: set[int] = set()

        def prefer(asked: list[tuple[int, tuple[int, ...]]]) -> list[float]:
            pairs = [(histories[row], [rows[row][first], rows[row][second]]) for row, (first, second) in asked]
            first: list[float] = expit(self.chooser.vote(pairs).margins).tolist()
            failed.update(row for (row, _), each in zip(asked, first, strict=True) if np.isnan(each))
            return first

        if self.config.method == "all":
            wins = self._all(candidates, [len(titles) for titles in rows], prefer)
            wins[list(failed)] = np.nan
            return candidates.with_scores(wins.astype(np.float32))

        def sort(n: int) -> Sets:
            if self.config.method == "sliding":
                return sliding_order(n, self.config.k)
            return by_pairs(heap_order(n, self.config.k, 2))

        sorts = [sort(len(titles)) for titles in rows]
        orders = in_rounds(sorts, lambda asked: [int(first < 0.5) for first in prefer(asked)])
        return ordered(candidates, orders, self.config.k, failed)

    def _all(self, candidates: Candidates, lengths: list[int], prefer: Prefer) -> NDArray[np.float64]:
        """Return how often each candidate is likely to beat another one, NaN in padding."""
        asked: list[tuple[int, tuple[int, ...]]] = [
            (row, pair) for row, n in enumerate(lengths) for pair in combinations(range(n), 2)
        ]
        wins = np.zeros(candidates.items.shape)
        places = [np.flatnonzero(row >= 0) for row in candidates.items]
        for (row, (first, second)), value in zip(asked, prefer(asked), strict=True):
            wins[row, places[row][first]] += value
            wins[row, places[row][second]] += 1 - value
        others = np.maximum(np.array(lengths) - 1, 1)[:, None]
        return np.where(candidates.items >= 0, wins / others, np.nan)
