"""A budget: an engine that stops asking before more is spent than was allowed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmrec.config import Config
from llmrec.errors import ConfigError
from llmrec.protocols import Completion, Engine, FloatArray, Prompt, Sampling, Usage


class Budget(Config):
    """What a simulation may spend; what is null is not bounded."""

    calls: int | None = Field(None, ge=0)
    """Prompts, at most."""
    money: float | None = Field(None, ge=0)
    """Money, at most, at the prices of the recipe."""


class BudgetedEngine:
    """An engine whose prompts are admitted in order until the next one is more than the budget has left.

    Each prompt counts as a dry run counts it: one call, its tokens read, those of its answers written, also if the
    answer comes from a cache. So the same recipe asks the same prompts, however often it is killed and called again,
    and never pays for more; an engine that computes a shared prefix once pays for less. What is refused gets NaN, or a
    completion with an error, and nothing after it is admitted.

    Args:
        engine: what is asked.
        budget: the bounds.
        input_price: money per million tokens read.
        output_price: money per million tokens written or scored.
        together: prompts of one call that are worth nothing apart: a call is cut behind a multiple of it.

    Attributes:
        spent: prompts and tokens admitted so far.
        refused: prompts refused so far.

    Raises:
        ConfigError: money is bounded, and nothing costs any.
    """

    def __init__(
        self, engine: Engine, budget: Budget, *, input_price: float = 0, output_price: float = 0, together: int = 1
    ) -> None:
        if budget.money is not None and not (input_price or output_price):
            raise ConfigError(
                f"money = {budget.money:g} without a price",
                expected="input_price or output_price, per million tokens",
                cure="set them, or bound the calls instead",
            )
        self.engine, self.budget, self.together = engine, budget, together
        self.prices = (input_price, output_price)
        self.spent = Usage()
        self.refused = 0

    @property
    def exhausted(self) -> bool:
        """Whether a prompt was refused."""
        return self.refused > 0

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
        """Return the log-probability of each answer, NaN where the prompt was refused."""
        n = self._admit(prompts, self._lengths(answers))
        refused = [np.full(len(row), np.nan, np.float32) for row in answers[n:]]
        return [*self.engine.logprobs(prompts[:n], answers[:n]), *refused]

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """Return one completion for each prompt, one with an error where it was refused."""
        n = self._admit(prompts, [sampling.max_tokens] * len(prompts))
        refused = [Completion("", finish="error", error="the budget is exhausted")] * (len(prompts) - n)
        return [*self.engine.generate(prompts[:n], sampling), *refused]

    def _lengths(self, rows: Sequence[Sequence[str]]) -> NDArray[np.int64]:
        """Return how many tokens the texts of each row have together."""
        counts = self.count_tokens([text for row in rows for text in row])
        places = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        return np.bincount(places, counts, len(rows)).astype(np.int64)

    def _admit(self, prompts: Sequence[Prompt], written: Sequence[int] | NDArray[np.int64]) -> int:
        """Return how many of the prompts, from the first on, the budget has left, and count them."""
        n = 0 if self.exhausted else len(prompts)
        if self.budget.calls is not None:
            n = min(n, self.budget.calls - self.spent.prompts)
        read = self._lengths([(prompt.system, prompt.user) for prompt in prompts[:n]]).cumsum()
        out = np.asarray(written[:n], np.int64).cumsum()
        if self.budget.money is not None:
            input_price, output_price = self.prices
            money = (self.spent.prompt_tokens + read) * input_price + (self.spent.output_tokens + out) * output_price
            n = min(n, int(np.searchsorted(money / 1e6, self.budget.money, side="right")))
        if n < len(prompts):
            n -= n % self.together
        if n:
            self.spent += Usage(prompts=n, prompt_tokens=int(read[n - 1]), output_tokens=int(out[n - 1]))
        self.refused += len(prompts) - n
        return n
