"""Listwise ranking by one token: candidates carry letters, and the letters' odds at the first position rank them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from llmrec.data import Candidates, Dataset, Queries
from llmrec.prompts.choosing import Chooser
from llmrec.prompts.prompting import PromptConfig, Prompter
from llmrec.protocols import Engine


class OneTokenConfig(PromptConfig):
    """How a list is ranked by one token."""

    template: str = "choose-label"
    """A template of labels that sees ``candidates`` and ``labels``."""
    size: int = Field(20, ge=2)
    """Candidates of a prompt, at most; longer lists need strategy ``window``."""


class OneTokenRanker:
    """Orders candidates by the log-probability of their labels as the next token: one prompt a query, nothing written.

    Paper: Gangi Reddy et al., FIRST: Faster Improved Listwise Reranking with Single Token Decoding, EMNLP 2024. There
    the model is tuned for it; here any model is asked.

    Args:
        engine: scores the labels.
        titles: the title of each item, in number order.
        config: template, history, examples.
        train: whose users give examples.

    Attributes:
        counts: prompts ``shortened`` to fit the context.

    Raises:
        DataError: a row without a candidate.
        ConfigError: fewer labels than candidates, or labels of several tokens.
    """

    config_class = OneTokenConfig

    def __init__(
        self,
        engine: Engine,
        titles: Sequence[str],
        config: OneTokenConfig | None = None,
        train: Dataset | None = None,
    ) -> None:
        self.config = config or OneTokenConfig()
        self.prompter = Prompter(
            engine, titles, self.config, answers=("continuation",), strategy="one-token", train=train
        )
        self.counts = self.prompter.counts
        self.chooser = Chooser(self.prompter, self.config.size)

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return each row ordered by the log-probability of the candidates' labels, best first."""
        candidates.require_filled()
        rows = self.prompter.rows(candidates.items)
        asked = list(zip(self.prompter.histories(queries), rows, strict=True))
        scores = np.full(candidates.items.shape, np.nan, np.float32)
        for row, found in enumerate(self.chooser.choose(asked)):
            scores[row, candidates.items[row] >= 0] = found
        return candidates.with_scores(scores)
