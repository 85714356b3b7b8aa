"""Choosing by the one token to come: among labelled titles, or between yes and no."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmrec.errors import ConfigError
from llmrec.prompts.examples import Example
from llmrec.prompts.labels import first_tokens
from llmrec.prompts.prompting import Past, Prompter, Variables
from llmrec.prompts.votes import Votes
from llmrec.protocols import FloatArray


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

    def vote(self, asked: Sequence[tuple[list[str], list[str]]]) -> Votes:
        """Return what is said of (history, two titles) pairs, each asked in both orders, one behind the other."""
        both = [each for history, titles in asked for each in ((history, titles), (history, titles[::-1]))]
        found = np.array(self.choose(both), np.float64).reshape(-1, 2, 2)
        odds = found[:, :, 0] - found[:, :, 1]
        return Votes(odds[:, 0], -odds[:, 1])

    def _variables(self, titles: list[str]) -> Variables:
        return {"candidates": titles, "labels": self.labels[: len(titles)]}

    def _solve(self, example: Example) -> list[tuple[Variables, str]]:
        others = [item for place, item in enumerate(example.candidates) if place != example.target][: self.most - 1]
        place = min(example.target, len(others))
        titles = self.prompter.titles([*others[:place], example.candidates[example.target], *others[place:]])
        return [(self._variables(titles), self.answers[place])]


class YesNo:
    """Asks whether a title comes next, by the odds of yes against no as the one token to come.

    Prompts of one history differ at their end only, so an engine that shares prefixes reads the history once.

    Args:
        prompter: renders a template of two labels (no and yes), which sees ``target``.

    Raises:
        ConfigError: the template has fewer labels, or one token each does not tell them apart.
    """

    def __init__(self, prompter: Prompter) -> None:
        self.prompter = prompter
        self.completions = [prompter.template.render_cleaned_answer(label) for label in first_labels(prompter, 2)]
        sample = prompter.sample({"target": "Title"}).user
        self.answers = first_tokens(prompter.engine, self.completions, sample)
        prompter.show(self._solve)

    def odds(self, asked: Sequence[tuple[Past, str]]) -> list[float]:
        """Return log p(yes) - log p(no) for (history, title) pairs, NaN where the engine failed."""
        questions = [(past, {"target": title}) for past, title in asked]
        return [yes - no for no, yes in self.prompter.logprobs(questions, [self.answers] * len(questions))]

    def _solve(self, example: Example) -> list[tuple[Variables, str]]:
        """Return the chosen item with a yes, another one with a no; where likes are told, what it was rated."""
        no, yes = self.completions
        chosen = example.candidates[example.target]
        if self.prompter.like_above is not None:
            return [({"target": self.prompter.titles([chosen])[0]}, yes if example.yes else no)]
        other = [item for item in example.candidates if item != chosen][:1]
        asked = zip(self.prompter.titles([chosen, *other]), (yes, no), strict=False)
        return [({"target": title}, answer) for title, answer in asked]


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
