"""Likelihood: how probable titles are as what continues a history."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmrec.prompts.examples import Example
from llmrec.prompts.prompting import Past, Prompter, Variables
from llmrec.protocols import FloatArray


class Continuations:
    """Titles as answers behind a history; nothing is generated.

    Args:
        prompter: renders a template whose answer is a continuation.
    """

    def __init__(self, prompter: Prompter) -> None:
        self.prompter = prompter
        prompter.show(self._solve)

    def answers(self, titles: Sequence[str]) -> list[str]:
        """Return cleaned titles as answers."""
        return [self.prompter.template.render_cleaned_answer(title) for title in titles]

    def logprobs(self, pasts: Sequence[Past], answers: Sequence[Sequence[str]]) -> list[FloatArray]:
        """Return the log-probability of each answer behind its history."""
        return self.prompter.logprobs([(past, {}) for past in pasts], answers)

    def alone(self, answers: Sequence[str]) -> FloatArray:
        """Return the log-probability of each answer without any history, (n,): what it is worth by itself."""
        if not answers:
            return np.zeros(0, np.float32)
        return self.logprobs([[]], [answers])[0]

    def _solve(self, example: Example) -> list[tuple[Variables, str]]:
        return [({}, self.answers(self.prompter.titles([example.candidates[example.target]]))[0])]
