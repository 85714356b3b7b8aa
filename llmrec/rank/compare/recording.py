"""An engine that remembers what it was asked, so that reports show the very prompts and the raw answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from llmrec.protocols import Completion, Engine, FloatArray, Prompt, Sampling, Usage


@dataclass(frozen=True, slots=True)
class Exchange:
    """One prompt and what came back.

    Attributes:
        prompt: as it was asked.
        answers: the texts that were scored; empty where one was written.
        scores: their log-probabilities, NaN where no model ran.
        written: the text that was generated.
        error: why there is no answer, or empty.
        tokens: of the prompt, without what a chat template adds.
    """

    prompt: Prompt
    answers: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    written: str = ""
    error: str = ""
    tokens: int = 0

    @property
    def scored(self) -> list[tuple[str, float]]:
        """Each answer with its log-probability."""
        return list(zip(self.answers, self.scores, strict=True))


class RecordingEngine:
    """Passes everything on and counts what is asked for, whether computed or cached.

    Args:
        engine: what answers.
        keep: whether to keep the exchanges too; for a few queries at a time.

    Attributes:
        exchanges: what was asked so far, in order, where they are kept.
        asked: prompts, prompt tokens, output tokens and answers (as ``cache_misses``) asked for: what a run without
            cache and without shared prefixes would send. The seconds are those that counting took.
    """

    def __init__(self, engine: Engine, *, keep: bool = False) -> None:
        self.engine, self.keep = engine, keep
        self.exchanges: list[Exchange] = []
        self.asked = Usage()

    @property
    def identity(self) -> str:
        """The wrapped engine's identity."""
        return self.engine.identity

    @property
    def usage(self) -> Usage:
        """What the wrapped engine has spent."""
        return self.engine.usage

    @property
    def context(self) -> int | None:
        """The wrapped engine's context."""
        return self.engine.context

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has."""
        return self.engine.count_tokens(texts)

    def logprobs(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[FloatArray]:
        """Return the wrapped engine's log-probabilities."""
        found = self.engine.logprobs(prompts, answers)
        begin = time.perf_counter()
        read = self._lengths(prompts)
        distinct = list(dict.fromkeys(text for row in answers for text in row))
        lengths = dict(zip(distinct, self.count_tokens(distinct), strict=True))
        written = sum(lengths[text] for row in answers for text in row)
        self._count(read, written, sum(map(len, answers)), begin)
        if self.keep:
            self.exchanges += [
                Exchange(prompt, tuple(row), tuple(map(float, scores)), tokens=tokens)
                for prompt, row, scores, tokens in zip(prompts, answers, found, read, strict=True)
            ]
        return found

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """Return the wrapped engine's completions."""
        found = self.engine.generate(prompts, sampling)
        begin = time.perf_counter()
        read = self._lengths(prompts)
        self._count(read, sum(one.output_tokens for one in found), len(found), begin)
        if self.keep:
            self.exchanges += [
                Exchange(prompt, written=one.text, error=one.error, tokens=tokens)
                for prompt, one, tokens in zip(prompts, found, read, strict=True)
            ]
        return found

    def _lengths(self, prompts: Sequence[Prompt]) -> list[int]:
        counts = self.count_tokens([text for prompt in prompts for text in (prompt.system, prompt.user)])
        return [system + user for system, user in zip(counts[::2], counts[1::2], strict=True)]

    def _count(self, read: list[int], written: int, answers: int, begin: float) -> None:
        submitted = sum(read) + written
        seconds = time.perf_counter() - begin
        self.asked += Usage(len(read), sum(read), written, submitted, 0, answers, seconds)
