"""The fake engine: deterministic answers without a model, for tests, dry runs and measuring our own overhead."""

from __future__ import annotations

import hashlib
import operator
import re
import time
from collections.abc import Sequence

import numpy as np

from llmrec.config import Config
from llmrec.errors import EngineError
from llmrec.protocols import Completion, FloatArray, Prompt, Sampling, Usage

_TOKEN = re.compile(r"\s*\S+|\s+")


class FakeConfig(Config):
    """How the fake engine behaves."""

    model: str = "fake"
    """A name; another name gives other answers."""
    context: int | None = None
    """Words that a prompt may have with its answer; null for any number."""
    delay: float = 0.0
    """Seconds that each prompt takes."""


class FakeEngine:
    """An engine whose log-probabilities and texts are digests of what it is asked.

    Tokens are words. The log-probability of a token depends on all text before it, so that the chain rule holds.
    Generated text is the prompt's own lines in a shuffled order: whoever asks for a ranking gets one.

    Args:
        config: name and delay.

    Raises:
        EngineError: an answer is empty.
    """

    config_class = FakeConfig

    def __init__(self, config: FakeConfig | None = None) -> None:
        self.config = config or FakeConfig()
        self.usage = Usage()

    @property
    def identity(self) -> str:
        """``fake/`` and the name."""
        return f"fake/{self.config.model}"

    @property
    def context(self) -> int | None:
        """As configured."""
        return self.config.context

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many words each text has."""
        # As many as ``_TOKEN`` finds, in a third of the time.
        return [len(text.split()) + text[-1:].isspace() for text in texts]

    def logprobs(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[FloatArray]:
        """Return made-up log-probabilities between -8 and -1 a word."""
        start = time.perf_counter()
        scores = [
            np.array([self._score(f"{prompt.system}\n{prompt.user}", answer) for answer in row], np.float32)
            for prompt, row in zip(prompts, answers, strict=True)
        ]
        written = [sum(self.count_tokens(row)) for row in answers]
        self._spend(prompts, written, list(map(len, scores)), start)
        return scores

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """Return the lines of each prompt in an order drawn from its digest."""
        start = time.perf_counter()
        completions = []
        for prompt in prompts:
            salt = f"{self.config.model}{sampling.seed if sampling.temperature else ''}{prompt.system}"
            lines = sorted(prompt.user.splitlines(), key=lambda line, salt=salt: _digest(salt + line))  # type: ignore[misc]
            if sampling.permutation:
                order = sorted(sampling.permutation, key=lambda text, salt=salt: _digest(salt + prompt.user + text))  # type: ignore[misc]
                completions.append(Completion("".join(order), self._read(prompt), len(order)))
                continue
            words = _TOKEN.findall("\n".join(lines))
            text = "".join(words[: sampling.max_tokens])
            length = min(len(words), sampling.max_tokens)
            completions.append(
                Completion(text, self._read(prompt), length, "length" if len(words) > length else "stop")
            )
        self._spend(prompts, [one.output_tokens for one in completions], [1] * len(prompts), start)
        return completions

    def _score(self, context: str, answer: str) -> float:
        words = _TOKEN.findall(answer)
        if not words:
            raise EngineError("an empty answer", expected="text to score", cure="drop candidates without a title")
        total = 0.0
        for word in words:
            context += word
            total -= 1 + 7 * _digest(self.config.model + context) / 2**64
        return total

    def _read(self, prompt: Prompt) -> int:
        return max(1, sum(self.count_tokens([prompt.system, prompt.user])))

    def _spend(self, prompts: Sequence[Prompt], written: list[int], answers: list[int], start: float) -> None:
        if self.config.delay:
            time.sleep(self.config.delay * len(prompts))
        read = [self._read(prompt) for prompt in prompts]
        submitted = sum(map(operator.mul, read, answers)) + sum(written)
        seconds = time.perf_counter() - start
        self.usage += Usage(len(prompts), sum(read), sum(written), submitted, 0, sum(answers), seconds)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
