"""Ranking by likelihood: how probable each candidate's title is after the history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from llmrec.data import Candidates, Dataset, Queries
from llmrec.prompts.continuing import Continuations
from llmrec.prompts.prompting import PromptConfig, Prompter
from llmrec.protocols import Engine, FloatArray


class LikelihoodConfig(PromptConfig):
    """How candidates are ranked by likelihood."""

    template: str = "likelihood-list"
    """A template whose answer is a continuation."""
    score: Literal["sum", "mean", "calibrated"] = "sum"
    """The title's log-probability, the same for each of its tokens, or less what it is without any history."""


class LikelihoodRanker:
    """Orders candidates by the log-probability of their titles after the history.

    Nothing is generated, so no answer is unreadable; it is what a base model, which follows no instructions, does well.
    A sum favours short titles, a mean long ones of predictable words; ``calibrated`` subtracts the log-probability
    after a prompt without history (what the model thinks of the title itself).

    Source: Sileo, Vossen, Raymaekers, Zero-Shot Recommendation as Language Modeling, ECIR 2022; calibrated: Holtzman et
    al., Surface Form Competition, EMNLP 2021 (domain-conditional PMI).

    Args:
        engine: the engine that scores answers.
        titles: the title of each item, in number order.
        config: template, history, score.
        train: whose users give examples.

    Attributes:
        counts: prompts ``shortened`` to fit the context.

    Raises:
        DataError: a row without a candidate.
        ConfigError: a template whose answer is written, not scored.
    """

    config_class = LikelihoodConfig

    def __init__(
        self,
        engine: Engine,
        titles: Sequence[str],
        config: LikelihoodConfig | None = None,
        train: Dataset | None = None,
    ) -> None:
        self.config = config or LikelihoodConfig()
        self.prompter = Prompter(
            engine, titles, self.config, answers=("continuation",), strategy="likelihood", train=train
        )
        self.counts = self.prompter.counts
        self.template = self.prompter.template
        self.continuations = Continuations(self.prompter)

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return each row ordered by its score (natural logarithms), best first."""
        candidates.require_filled()
        answers = [self.continuations.answers(row) for row in self.prompter.rows(candidates.items)]
        found = self.continuations.logprobs(self.prompter.histories(queries), answers)
        scores = np.full(candidates.items.shape, np.nan, np.float32)
        scores[candidates.items >= 0] = self._scored(answers, found)
        return candidates.with_scores(scores)

    def _scored(self, answers: list[list[str]], found: list[FloatArray]) -> FloatArray:
        """Return the scores of all answers, one row after the other."""
        values = np.concatenate(found) if found else np.zeros(0, np.float32)
        if self.config.score == "sum":
            return values
        texts = [answer for row in answers for answer in row]
        distinct = list(dict.fromkeys(texts))
        mean = self.config.score == "mean"
        of_each = self.prompter.engine.count_tokens(distinct) if mean else self.continuations.alone(distinct).tolist()
        by_text = dict(zip(distinct, of_each, strict=True))
        others = np.array([by_text[text] for text in texts], np.float32)
        return values / others if mean else values - others
