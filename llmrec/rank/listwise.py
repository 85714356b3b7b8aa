"""Listwise ranking by generation: the model reads the candidates and writes them in order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmrec.config import Config
from llmrec.data import Candidates, Queries
from llmrec.prompts.answers import PARSERS
from llmrec.prompts.template import clean_text, load_template
from llmrec.protocols import Generator, Sampling
from llmrec.rank.texts import require_answer, rows_of_titles


class ListwiseConfig(Config):
    """How a model writes rankings."""

    template: str = "llmrank-recency"
    """``llmrank-sequential``, ``llmrank-recency``, ``llmrank-in-context``, or the path of a YAML file."""
    history: int = 20
    """How many of the newest items the model reads."""
    max_tokens: int = 400
    """Longest answer; a title takes about ten tokens with its number."""
    temperature: float = 0.0
    """0 is greedy."""
    seed: int = 0
    """Of the random draws, where the temperature is above 0."""


class ListwiseRanker:
    """Asks for the candidates in order and reads the answer (LLMRank: Hou et al., ECIR 2024).

    The result is always a permutation of the candidates: titles that the answer names come first in its order, the
    others follow in their incoming order without a score. Unlike the paper's code, nothing is asked again when the
    relevant item is missing from the answer: that would leak the label.

    Args:
        generator: the engine that writes.
        titles: the title of each item, in number order.
        config: template, history length, sampling.

    Attributes:
        counts: since the ranker was made: answers ``read`` with every candidate, ``partial`` ones, ``unread`` ones (the
            incoming order is kept), ``failed`` ones (the engine gave an error), and ``unmatched_lines``.

    Raises:
        DataError: a row without a candidate.
        ConfigError: a template whose answer is scored, not written.
    """

    config_class = ListwiseConfig

    def __init__(self, generator: Generator, titles: Sequence[str], config: ListwiseConfig | None = None) -> None:
        self.generator, self.titles, self.config = generator, titles, config or ListwiseConfig()
        self.template = load_template(self.config.template)
        require_answer(self.template, "ranking", strategy="listwise")
        self.counts = {"read": 0, "partial": 0, "unread": 0, "failed": 0, "unmatched_lines": 0}

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return each row in the model's order; the score counts down from the number of candidates, NaN if unnamed."""
        candidates.require_filled()
        histories = rows_of_titles(queries.last(self.config.history).history, self.titles)
        # Cleaned here already, so that an answer is compared with what the model was shown.
        texts = [[clean_text(title) for title in row] for row in rows_of_titles(candidates.items, self.titles)]
        prompts = [
            self.template.render(history=history, candidates=row) for history, row in zip(histories, texts, strict=True)
        ]
        sampling = Sampling(
            max_tokens=self.config.max_tokens, temperature=self.config.temperature, seed=self.config.seed
        )
        scores = np.full(candidates.items.shape, np.nan, np.float32)
        for row, completion in enumerate(self.generator.generate(prompts, sampling)):
            places = np.flatnonzero(candidates.items[row] >= 0)
            order = self._read(completion.text, texts[row], failed=completion.finish == "error")
            scores[row, places[list(order)]] = len(places) - np.arange(len(order))
        return candidates.with_scores(scores)

    def _read(self, text: str, titles: list[str], *, failed: bool) -> tuple[int, ...]:
        reading = PARSERS[self.template.answer](text, titles)
        named = len(reading.order)
        outcome = "failed" if failed else "read" if named == len(titles) else "partial" if named else "unread"
        self.counts[outcome] += 1
        self.counts["unmatched_lines"] += reading.unmatched
        return reading.order
