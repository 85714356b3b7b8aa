"""Listwise ranking by generation: the model reads the candidates and writes them in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pydantic import Field

from llmrec.data import Candidates, Dataset, Queries
from llmrec.prompts.answers import PARSERS
from llmrec.prompts.choosing import first_labels, single_tokens
from llmrec.prompts.examples import Example
from llmrec.prompts.prompting import PromptConfig, Prompter, Variables, require_answer
from llmrec.protocols import Completion, Engine, Prompt, Sampling

OUTCOMES = ("read", "partial", "unread", "failed", "refused", "cut_off", "missing", "duplicate", "invented")


class ListwiseConfig(PromptConfig):
    """How a model writes rankings."""

    template: str = "llmrank-recency"
    """``llmrank-sequential``, ``-recency``, ``-in-context``, ``-chain-of-thought``, ``-identifiers``, or the path of a
    YAML file."""
    max_tokens: int = Field(400, ge=1)
    """Longest answer; a title takes about ten tokens with its number."""
    temperature: float = Field(0.0, ge=0)
    """0 is greedy."""
    constrained: bool = False
    """Let the engine write nothing but a permutation of the labels; for templates whose answer is ``identifiers``, on
    engines that can be held to it."""


class ListwiseRanker:
    """Asks for the candidates in order and reads the answer (LLMRank: Hou et al., ECIR 2024).

    The result is always a permutation of the candidates: titles that the answer names come first in its order, the
    others follow in their incoming order without a score. Unlike the paper's code, nothing is asked again when the
    relevant item is missing from the answer: that would leak the label. With ``constrained`` every answer is a
    permutation by the way it is written; else the last line of an answer that ran out of tokens is not read, since a
    torn title may be another one.

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
        ConfigError: a template whose answer is scored, not written; fewer labels than candidates; ``constrained`` with
            an answer of titles or labels of several tokens.
        EngineError: ``constrained`` on an engine that cannot be held to it.
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
        self.labelled = self.prompter.template.answer == "identifiers"
        if self.config.constrained:
            require_answer(self.prompter.template, ("identifiers",), strategy="listwise, constrained")
        self.prompter.show(self._solve)

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return each row in the model's order; the score counts down from the number of candidates, NaN if unnamed."""
        candidates.require_filled()
        config, rows = self.config, self.prompter.rows(candidates.items)
        asked: list[tuple[list[str], Variables]] = [
            (history, self._variables(titles))
            for history, titles in zip(self.prompter.histories(queries), rows, strict=True)
        ]
        prompts = self.prompter.prompts(asked, max_tokens=config.max_tokens)
        scores = np.full(candidates.items.shape, np.nan, np.float32)
        for row, completion in enumerate(self._write(prompts, [len(titles) for titles in rows])):
            places = np.flatnonzero(candidates.items[row] >= 0)
            order = self._read(completion, self._names(rows[row]))
            scores[row, places[list(order)]] = len(places) - np.arange(len(order))
        return candidates.with_scores(scores)

    def _names(self, titles: list[str]) -> list[str]:
        """Return what an answer calls candidates by."""
        return first_labels(self.prompter, len(titles)) if self.labelled else titles

    def _variables(self, titles: list[str]) -> Variables:
        return {"candidates": titles} | ({"labels": self._names(titles)} if self.labelled else {})

    def _write(self, prompts: list[Prompt], lengths: list[int]) -> list[Completion]:
        """Return the answers to prompts with so many candidates; those of one length are asked for together."""
        config, engine = self.config, self.prompter.engine
        sampling = Sampling(max_tokens=config.max_tokens, temperature=config.temperature, seed=config.seed)
        if not config.constrained:
            return engine.generate(prompts, sampling)
        found: dict[int, Completion] = {}
        for length in sorted(set(lengths)):
            labels = map(self.prompter.template.render_cleaned_answer, single_tokens(self.prompter, length))
            only = replace(sampling, permutation=tuple(labels), max_tokens=length)
            numbers = [number for number, each in enumerate(lengths) if each == length]
            found.update(zip(numbers, engine.generate([prompts[number] for number in numbers], only), strict=True))
        return [found[number] for number in range(len(prompts))]

    def _read(self, completion: Completion, names: list[str]) -> tuple[int, ...]:
        if completion.finish == "error":
            self.counts["failed"] += 1
            return ()
        reading = PARSERS[self.prompter.template.answer](_whole_lines(completion), names)
        named = len(reading.order)
        self.counts["read" if named == len(names) else "partial" if named else "unread"] += 1
        self.counts["refused"] += reading.refused
        self.counts["cut_off"] += completion.finish == "length"
        self.counts["missing"] += len(names) - named
        self.counts["duplicate"] += reading.duplicates
        self.counts["invented"] += reading.invented
        return reading.order

    def _solve(self, example: Example) -> list[tuple[Variables, str]]:
        """Return the chosen item first, the others as they were shown."""
        titles = self.prompter.titles(example.candidates)
        names = self._names(titles)
        best = [names[example.target], *names[: example.target], *names[example.target + 1 :]]
        if self.labelled:
            answer = "".join(map(self.prompter.template.render_cleaned_answer, best))
        else:
            answer = "".join(f"\n{place}. {title}" for place, title in enumerate(best, 1))
        return [(self._variables(titles), answer)]


def _whole_lines(completion: Completion) -> str:
    """Return an answer without the line that the length limit tore, unless it is the only one."""
    lines, _, _ = completion.text.rpartition("\n")
    return lines if completion.finish == "length" and lines.strip() else completion.text
