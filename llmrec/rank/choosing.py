"""Choosing among labelled titles by the one token to come."""

from __future__ import annotations

from collections.abc import Sequence

from llmrec.errors import ConfigError
from llmrec.protocols import FloatArray
from llmrec.rank.examples import Example
from llmrec.rank.prompting import Prompter, Variables


class Chooser:
    """Asks which of some labelled titles comes next, by the log-probability of each label as the one token to come.

    Args:
        prompter: renders a template of ``labels``, which sees ``candidates`` and their ``labels``.
        most: titles of a prompt, at most; a solved example shows so many.

    Raises:
        ConfigError: the template has fewer labels, or one that is not a single token of the engine.
    """

    def __init__(self, prompter: Prompter, most: int) -> None:
        self.prompter, self.most = prompter, most
        self.labels = single_tokens(prompter, most)
        self.answers = [prompter.template.render_cleaned_answer(label) for label in self.labels]
        prompter.show(self._solve)

    def choose(self, asked: Sequence[tuple[list[str], list[str]]]) -> list[FloatArray]:
        """Return the log-probabilities (n,) of each of n titles, for (history, titles) pairs."""
        answers = [self.answers[: len(titles)] for _, titles in asked]
        variables = [(history, self._variables(titles)) for history, titles in asked]
        return self.prompter.logprobs(variables, answers)

    def _variables(self, titles: list[str]) -> Variables:
        return {"candidates": titles, "labels": self.labels[: len(titles)]}

    def _solve(self, example: Example) -> list[tuple[Variables, str]]:
        others = [item for place, item in enumerate(example.candidates) if place != example.target][: self.most - 1]
        place = min(example.target, len(others))
        titles = self.prompter.titles([*others[:place], example.candidates[example.target], *others[place:]])
        return [(self._variables(titles), self.answers[place])]


def first_labels(prompter: Prompter, n: int) -> list[str]:
    """Return the first n labels of a template.

    Raises:
        ConfigError: there are fewer.
    """
    template, labels = prompter.template, list(prompter.template.labels or ())[:n]
    if len(labels) < n:
        raise ConfigError(
            f"template {template.name!r} has {len(labels)} labels",
            expected=f"at least {n}, one for each candidate",
            cure="rank fewer candidates at once (strategy window), or choose another template",
        )
    return labels


def single_tokens(prompter: Prompter, n: int) -> list[str]:
    """Return the first n labels of a template.

    Raises:
        ConfigError: there are fewer, or one is not a single token behind the prompt.
    """
    template, labels = prompter.template, first_labels(prompter, n)
    lengths = prompter.engine.count_tokens([template.render_cleaned_answer(label) for label in labels])
    for label, length in zip(labels, lengths, strict=True):
        if length != 1:
            raise ConfigError(
                f"label {label!r} of template {template.name!r} is {length} tokens for {prompter.engine.identity}",
                expected="labels of one token each",
                cure="choose other labels, with or without the space before them (continuation)",
            )
    return labels
