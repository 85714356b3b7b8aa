"""Setwise ranking: heap sort whose question is which of a few candidates comes next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from llmrec.data import Candidates, Dataset, Queries
from llmrec.prompts.choosing import Chooser
from llmrec.prompts.prompting import PromptConfig, Prompter
from llmrec.protocols import Engine
from llmrec.rank.rounds import heap_order, in_rounds
from llmrec.rank.sorting import ordered


class SetwiseConfig(PromptConfig):
    """How candidates are ranked by sets."""

    template: str = "choose-label"
    """A template of labels that sees ``candidates`` and ``labels``."""
    size: int = Field(4, ge=3)
    """Candidates of a question, at most."""
    k: int = Field(10, ge=1)
    """How many of the best are found; the others keep their order behind them."""


class SetwiseRanker:
    """Finds the best by heap sort; each question is answered by the likeliest of the candidates' labels.

    Paper: Zhuang et al., A Setwise Approach for Effective and Highly Efficient Zero-shot Ranking with Large Language
    Models, SIGIR 2024.

    Args:
        engine: scores the labels.
        titles: the title of each item, in number order.
        config: template, size of a set, how many are found.
        train: whose users give examples.

    Attributes:
        counts: prompts ``shortened`` to fit the context.

    Raises:
        DataError: a row without a candidate.
        ConfigError: fewer labels than a set has candidates, or labels of several tokens.
    """

    config_class = SetwiseConfig

    def __init__(
        self,
        engine: Engine,
        titles: Sequence[str],
        config: SetwiseConfig | None = None,
        train: Dataset | None = None,
    ) -> None:
        self.config = config or SetwiseConfig()
        self.prompter = Prompter(
            engine, titles, self.config, answers=("continuation",), strategy="setwise", train=train
        )
        self.counts = self.prompter.counts
        self.chooser = Chooser(self.prompter, self.config.size)

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return the ``k`` best of each row in order, the others behind them without a score."""
        candidates.require_filled()
        histories, rows = self.prompter.histories(queries), self.prompter.rows(candidates.items)
        failed: set[int] = set()

        def ask(asked: list[tuple[int, tuple[int, ...]]]) -> list[int]:
            sets = [(histories[row], [rows[row][place] for place in members]) for row, members in asked]
            found = self.chooser.choose(sets)
            failed.update(row for (row, _), each in zip(asked, found, strict=True) if np.isnan(each).any())
            return [int(each.argmax()) for each in found]

        sorts = [heap_order(len(titles), self.config.k, self.config.size - 1) for titles in rows]
        return ordered(candidates, in_rounds(sorts, ask), self.config.k, failed)
