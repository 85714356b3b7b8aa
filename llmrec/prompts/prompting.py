"""What all strategies share that prompt a language model: titles, solved examples, prompts that fit the context."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmrec.config import Config
from llmrec.data import Dataset, Queries
from llmrec.errors import ConfigError, DataError, EngineError
from llmrec.prompts.examples import Example, draw_examples
from llmrec.prompts.template import Template, clean_text, load_template
from llmrec.protocols import Engine, FloatArray, Prompt

Variables = Mapping[str, str | Sequence[str]]
Solve = Callable[[Example], list[tuple[Variables, str]]]
"""Turns an example into the variables of its prompts and the answers to these."""
_OVERHEAD = 64
"""Tokens that a chat template and special tokens may add."""
_LIKES = {"liked", "disliked"}


@dataclass(frozen=True, slots=True)
class Tastes:
    """A history told as two lists, what was liked and what was not; cut at its old end, it loses from either.

    Attributes:
        titles: oldest first.
        liked: whether each was.
    """

    titles: list[str]
    liked: list[bool]

    def __len__(self) -> int:
        return len(self.titles)

    def __getitem__(self, kept: slice) -> Tastes:
        return Tastes(self.titles[kept], self.liked[kept])

    def variables(self) -> Variables:
        """Return what a template sees of it."""
        told = list(zip(self.titles, self.liked, strict=True))
        return {
            "history": self.titles,
            "liked": [title for title, liked in told if liked],
            "disliked": [title for title, liked in told if not liked],
        }


Past = list[str] | Tastes
"""A history as a template is told it: titles, oldest first, or which of them were liked too."""


class PromptConfig(Config):
    """What every strategy that prompts a model can be told."""

    template: str
    """A built-in name or the path of a YAML file."""
    history: int = Field(20, ge=0)
    """How many of the newest items the model reads."""
    examples: int = Field(0, ge=0)
    """Solved examples in front of each prompt, from training users."""
    example_candidates: int = Field(20, ge=2)
    """Candidates of a solved example, where the strategy shows a list."""
    seed: int = 0
    """Of everything random: examples, orders, sampled text."""


class Prompter:
    """Renders the prompts of one strategy.

    Args:
        engine: whose context prompts must fit.
        titles: the title of each item, in number order.
        config: template, history, examples.
        answers: how the template's answer may be read.
        strategy: a name for messages.
        train: whose users give examples; only needed with ``examples``.
        like_above: values above it are likes; None where the strategy tells a template of no likes.

    Attributes:
        like_above: as given where the template asks for likes, else None.
        counts: prompts ``shortened``, whose history was cut from the old end to fit; ``failed``, which got no score.

    Raises:
        ConfigError: the template's answer is read otherwise, it asks for likes that the strategy does not know, or
            examples are wanted of no data set.
        DataError: it asks for likes, and the training data's values are all likes, or none is.
    """

    def __init__(
        self,
        engine: Engine,
        titles: Sequence[str],
        config: PromptConfig,
        *,
        answers: Collection[str],
        strategy: str,
        train: Dataset | None = None,
        like_above: float | None = None,
    ) -> None:
        self.engine, self.config, self.train = engine, config, train
        self.template = load_template(config.template)
        self.counts: Counter[str] = Counter()
        self._titles = titles
        self._cleaned: dict[int, str] = {}
        self._shown = ""
        require_answer(self.template, answers, strategy=strategy)
        self.like_above = _likes(self.template, like_above, train, strategy=strategy)
        if config.examples and train is None:
            raise ConfigError(
                f"examples = {config.examples} for strategy {strategy!r} without training data",
                expected="a data set whose users give examples",
                cure="pass train=…, or use examples = 0",
            )

    def titles(self, items: Sequence[int]) -> list[str]:
        """Return the cleaned titles of item numbers, padding left out."""
        for item in items:
            if item >= 0 and item not in self._cleaned:
                self._cleaned[item] = clean_text(self._titles[item])
        return [self._cleaned[item] for item in items if item >= 0]

    def rows(self, items: NDArray[np.int32]) -> list[list[str]]:
        """Return the cleaned titles of each row of item numbers (q, n), padding left out."""
        return [self.titles(row) for row in items.tolist()]

    def histories(self, queries: Queries) -> list[list[str]]:
        """Return the titles of the newest items of each query."""
        return self.rows(queries.last(self.config.history).history)

    def pasts(self, queries: Queries) -> Sequence[Past]:
        """Return what the template is told of each query: the newest titles, and where it asks which were liked.

        Raises:
            DataError: it asks for likes, and the history's ratings are not known.
        """
        if self.like_above is None:
            return self.histories(queries)
        newest = queries.last(self.config.history)
        real = newest.history >= 0
        if newest.values is None and real.any():
            raise DataError(
                f"queries without ratings for template {self.template.name!r}",
                expected=f"values of the history's items: above {self.like_above:g} is liked",
                cure="take a data set with ratings, or a template that asks for no likes, such as pointwise-yes-no",
            )
        liked = real if newest.values is None else newest.values > self.like_above
        return [
            Tastes(titles, yes[there].tolist())
            for titles, yes, there in zip(self.rows(newest.history), liked, real, strict=True)
        ]

    def sample(self, variables: Variables) -> Prompt:
        """Return a prompt behind a history of one title, which says what prompts end with before any is asked."""
        return self._render(self._past(["Title"], [True]), variables)

    def show(self, solve: Solve) -> None:
        """Put solved examples in front of all prompts from now on."""
        if not self.config.examples or self.train is None:
            return
        parts = []
        config = self.config
        for example in draw_examples(
            self.train,
            config.examples,
            history=config.history,
            candidates=config.example_candidates,
            seed=config.seed,
            like_above=self.like_above,
        ):
            past = self._past(self.titles(example.history), list(example.liked))
            for variables, answer in solve(example):
                prompt = self._render(past, variables)
                parts.append(f"{prompt.user}{answer}".rstrip("\n"))
        self._shown = "".join(f"{part}\n\n" for part in parts)

    def prompts(
        self,
        asked: Sequence[tuple[Past, Variables]],
        answers: Sequence[Sequence[str]] | None = None,
        *,
        max_tokens: int = 0,
    ) -> list[Prompt]:
        """Return the prompts of (history, other variables), each with room for its answers or for ``max_tokens``.

        Raises:
            ConfigError: the template uses a variable that the strategy does not give.
            EngineError: a prompt is too long even without a history.
        """
        return [
            self._fitting(history, variables, [] if answers is None else answers[row], max_tokens)
            for row, (history, variables) in enumerate(asked)
        ]

    def logprobs(self, asked: Sequence[tuple[Past, Variables]], answers: Sequence[Sequence[str]]) -> list[FloatArray]:
        """Return the log-probability of each answer behind its prompt, NaN where the engine failed; that is counted."""
        found = self.engine.logprobs(self.prompts(asked, answers), answers)
        if failed := sum(bool(np.isnan(row).any()) for row in found):
            self.counts["failed"] += failed
        return found

    def _past(self, titles: list[str], liked: list[bool]) -> Past:
        return titles if self.like_above is None else Tastes(titles, liked)

    def _render(self, history: Past, variables: Variables) -> Prompt:
        told = history.variables() if isinstance(history, Tastes) else {"history": history}
        return self.template.render_cleaned({**told, **variables})

    def _whole(self, history: Past, variables: Variables) -> Prompt:
        prompt = self._render(history, variables)
        return Prompt(self._shown + prompt.user, prompt.system) if self._shown else prompt

    def _fitting(self, history: Past, variables: Variables, answers: Sequence[str], max_tokens: int) -> Prompt:
        prompt = self._whole(history, variables)
        room = self.engine.context
        if room is None or self._fits(prompt, answers, max_tokens, room):
            return prompt
        fits, too_long = -1, len(history)
        while too_long - fits > 1:
            kept = (fits + too_long) // 2
            if self._fits(self._whole(history[len(history) - kept :], variables), answers, max_tokens, room):
                fits = kept
            else:
                too_long = kept
        if fits < 0:
            raise EngineError(
                f"a prompt of {self._length(prompt, answers, max_tokens):,} tokens with its answer",
                expected=f"at most {room:,}, the context of {self.engine.identity}, if only without a history",
                cure="rank fewer candidates at once (top, or strategy window), or show fewer examples",
            )
        self.counts["shortened"] += 1
        return self._whole(history[len(history) - fits :], variables)

    def _fits(self, prompt: Prompt, answers: Sequence[str], max_tokens: int, room: int) -> bool:
        # A token is at least a byte: most prompts are known to fit without being tokenised.
        texts = (prompt.system, prompt.user, max(answers, key=len, default=""))
        if sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) + max_tokens + _OVERHEAD <= room:
            return True
        return self._length(prompt, answers, max_tokens) <= room

    def _length(self, prompt: Prompt, answers: Sequence[str], max_tokens: int) -> int:
        longest = max(self.engine.count_tokens(answers), default=0)
        return sum(self.engine.count_tokens([prompt.system, prompt.user])) + longest + max_tokens + _OVERHEAD


def require_answer(template: Template, answers: Collection[str], *, strategy: str) -> None:
    """Raise a ConfigError unless the template's answer is read in a way that a strategy needs."""
    if template.answer not in answers:
        raise ConfigError(
            f"template {template.name!r} has the answer {template.answer!r}",
            expected=f"answer {' or '.join(map(repr, answers))} for strategy {strategy!r}",
            cure="choose another template: llmrec prompts list names them",
        )


def _likes(template: Template, like_above: float | None, train: Dataset | None, *, strategy: str) -> float | None:
    """Return ``like_above`` where a template asks for likes, else None, and see that they can be told."""
    if not _LIKES & template.variables:
        return None
    if like_above is None:
        raise ConfigError(
            f"template {template.name!r}, which asks what was liked, for strategy {strategy!r}",
            expected="strategy 'pointwise', which tells likes from ratings",
            cure="choose that strategy, or another template: llmrec prompts list names them",
        )
    if train is not None and len(np.unique((values := train.interactions.values) > like_above)) == 1:
        raise DataError(
            f"{train.name!r} has values from {values.min():g} to {values.max():g} with like_above = {like_above:g}",
            expected=f"ratings on both sides of it: template {template.name!r} asks what was liked",
            cure="change like_above, or take a template that asks for no likes, such as pointwise-yes-no",
        )
    return like_above
