"""Pointwise ranking: a yes/no question about each candidate, answered by the odds of one token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmrec.data import Candidates, Dataset, Queries
from llmrec.prompts.choosing import YesNo
from llmrec.prompts.prompting import PromptConfig, Prompter
from llmrec.protocols import Engine


class PointwiseConfig(PromptConfig):
    """How candidates are ranked by yes/no questions."""

    template: str = "pointwise-yes-no"
    """A template of two labels that sees ``target``; what is behind the history should be short."""
    like_above: float = 3.0
    """Ratings above it are likes, for a template that sees ``liked`` and ``disliked``."""


class PointwiseRanker:
    """Orders candidates by log p(yes) - log p(no), read off one position.

    A query's prompts differ at their end only, so an engine that shares prefixes reads the history once. A template
    that sees ``liked`` and ``disliked`` is told the same history by its ratings, so that its prompts are those of
    ``yes_no_from_ratings`` with a ``window`` of as many items, and the scores those of ``score_yes_no``.

    Source: Liang et al., Holistic Evaluation of Language Models, 2022, for yes/no relevance; Bao et al., TALLRec,
    RecSys 2023, for recommendation.

    Args:
        engine: scores the labels.
        titles: the title of each item, in number order.
        config: template, history, examples.
        train: whose users give examples.

    Attributes:
        counts: prompts ``shortened`` to fit the context.

    Raises:
        DataError: a row without a candidate; or the template asks for likes, and there are no ratings to tell them by.
        ConfigError: a template without two labels, or with labels that one token each does not tell.
    """

    config_class = PointwiseConfig

    def __init__(
        self,
        engine: Engine,
        titles: Sequence[str],
        config: PointwiseConfig | None = None,
        train: Dataset | None = None,
    ) -> None:
        self.config = config or PointwiseConfig()
        self.prompter = Prompter(
            engine,
            titles,
            self.config,
            answers=("continuation",),
            strategy="pointwise",
            train=train,
            like_above=self.config.like_above,
        )
        self.counts = self.prompter.counts
        self.yes_no = YesNo(self.prompter)

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return each row ordered by the log-odds of yes, best first."""
        candidates.require_filled()
        pasts, rows = self.prompter.pasts(queries), self.prompter.rows(candidates.items)
        asked = [(past, title) for past, titles in zip(pasts, rows, strict=True) for title in titles]
        scores = np.full(candidates.items.shape, np.nan, np.float32)
        scores[candidates.items >= 0] = self.yes_no.odds(asked)
        return candidates.with_scores(scores)
