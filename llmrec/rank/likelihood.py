"""Ranking by likelihood: how probable each candidate's title is after the history."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmrec.config import Config
from llmrec.data import Candidates, Queries
from llmrec.prompts.template import load_template
from llmrec.protocols import Scorer
from llmrec.rank.texts import require_answer, rows_of_titles


class LikelihoodConfig(Config):
    """How candidates are ranked by likelihood."""

    template: str = "likelihood-list"
    """A template whose answer is a continuation: a built-in name or the path of a YAML file."""
    history: int = 20
    """How many of the newest items the model reads."""


class LikelihoodRanker:
    """Orders candidates by the summed log-probability of their titles after the history.

    Nothing is generated, so no answer is unreadable; it is what a base model, which follows no instructions, does well.
    Source: Sileo, Vossen, Raymaekers, Zero-Shot Recommendation as Language Modeling, ECIR 2022. Scores are not
    normalised by length.

    Args:
        scorer: the engine that scores answers.
        titles: the title of each item, in number order.
        config: template and history length.

    Attributes:
        counts: empty, since no answer is written that could be unreadable.

    Raises:
        DataError: a row without a candidate.
        ConfigError: a template whose answer is written, not scored.
    """

    config_class = LikelihoodConfig

    def __init__(self, scorer: Scorer, titles: Sequence[str], config: LikelihoodConfig | None = None) -> None:
        self.scorer, self.titles, self.config = scorer, titles, config or LikelihoodConfig()
        self.counts: dict[str, int] = {}
        self.template = load_template(self.config.template)
        require_answer(self.template, "continuation", strategy="likelihood")

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return each row ordered by log-probability (natural, summed over the title's tokens), best first."""
        candidates.require_filled()
        histories = rows_of_titles(queries.last(self.config.history).history, self.titles)
        prompts = [self.template.render(history=history) for history in histories]
        texts = rows_of_titles(candidates.items, self.titles)
        answers = [[self.template.render_answer(title) for title in row] for row in texts]
        scores = np.full(candidates.items.shape, np.nan, np.float32)
        for row, values in enumerate(self.scorer.logprobs(prompts, answers)):
            scores[row, candidates.items[row] >= 0] = values
        return candidates.with_scores(scores)
