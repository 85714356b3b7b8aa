"""Listwise ranking by generation: the model reads the candidates and writes them in order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from llmrec.data import Candidates, Dataset, Queries
from llmrec.prompts.answers import PARSERS
from llmrec.protocols import Completion, Engine, Sampling
from llmrec.rank.examples import Example
from llmrec.rank.prompting import PromptConfig, Prompter, Variables

OUTCOMES = ("read", "partial", "unread", "failed", "refused", "cut_off", "missing", "duplicate", "invented")


class ListwiseConfig(PromptConfig):
    """How a model writes rankings."""

    template: str = "llmrank-recency"
    """``llmrank-sequential``, ``-recency``, ``-in-context``, ``-chain-of-thought``, or the path of a YAML file."""
    max_tokens: int = Field(400, ge=1)
    """Longest answer; a title takes about ten tokens with its number."""
    temperature: float = Field(0.0, ge=0)
    """0 is greedy."""


class ListwiseRanker:
    """Asks for the candidates in order and reads the answer (LLMRank: Hou et al., ECIR 2024).

    The result is always a permutation of the candidates: titles that the answer names come first in its order, the
    others follow in their incoming order without a score. Unlike the paper's code, nothing is asked again when the
    relevant item is missing from the answer: that would leak the label.

    Args:
        engine: the engine that writes.
        titles: the title of each item, in number order.
        config: template, history length, sampling.
        train: whose users give examples.

    Attributes:
        counts: since the ranker was made. Answers: ``read`` with every candidate, ``partial``, ``unread`` (the incoming
            order is kept), of these ``refused``; ``failed`` (the engine gave an error); ``cut_off`` (out of tokens).
            Candidates: ``missing`` from an answer, ``duplicate`` in it. Lines that named no candidate: ``invented``.
            Prompts ``shortened`` to fit the context.

    Raises:
        DataError: a row without a candidate.
        ConfigError: a template whose answer is scored, not written.
    """

    config_class = ListwiseConfig

    def __init__(
        self,
        engine: Engine,
        titles: Sequence[str],
        config: ListwiseConfig | None = None,
        train: Dataset | None = None,
    ) -> None:
        self.config = config or ListwiseConfig()
        self.prompter = Prompter(engine, titles, self.config, answers=PARSERS, strategy="listwise", train=train)
        self.counts = self.prompter.counts
        self.counts.update(dict.fromkeys(OUTCOMES, 0))
        self.prompter.show(self._solve)

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return each row in the model's order; the score counts down from the number of candidates, NaN if unnamed."""
        candidates.require_filled()
        config, rows = self.config, self.prompter.rows(candidates.items)
        sampling = Sampling(max_tokens=config.max_tokens, temperature=config.temperature, seed=config.seed)
        asked: list[tuple[list[str], Variables]] = [
            (history, {"candidates": titles})
            for history, titles in zip(self.prompter.histories(queries), rows, strict=True)
        ]
        prompts = self.prompter.prompts(asked, max_tokens=config.max_tokens)
        scores = np.full(candidates.items.shape, np.nan, np.float32)
        for row, completion in enumerate(self.prompter.engine.generate(prompts, sampling)):
            places = np.flatnonzero(candidates.items[row] >= 0)
            order = self._read(completion, rows[row])
            scores[row, places[list(order)]] = len(places) - np.arange(len(order))
        return candidates.with_scores(scores)

    def _read(self, completion: Completion, titles: list[str]) -> tuple[int, ...]:
        if completion.finish == "error":
            self.counts["failed"] += 1
            return ()
        reading = PARSERS[self.prompter.template.answer](completion.text, titles)
        named = len(reading.order)
        self.counts["read" if named == len(titles) else "partial" if named else "unread"] += 1
        self.counts["refused"] += reading.refused
        self.counts["cut_off"] += completion.finish == "length"
        self.counts["missing"] += len(titles) - named
        self.counts["duplicate"] += reading.duplicates
        self.counts["invented"] += reading.invented
        return reading.order

    def _solve(self, example: Example) -> list[tuple[Variables, str]]:
        """Return the chosen item first, the others as they were shown."""
        titles = self.prompter.titles(example.candidates)
        best = [titles[example.target], *titles[: example.target], *titles[example.target + 1 :]]
        answer = "".join(f"\n{place}. {title}" for place, title in enumerate(best, 1))
        return [({"candidates": titles}, answer)]
