"""Ways to ask a language model what a user would do with cold items, or which of two it would be."""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol, runtime_checkable

import numpy as np
from pydantic import Field

from llmrec.coldstart.items import ColdStart, Numbers
from llmrec.coldstart.pairs import Pairs
from llmrec.config import Part, make_config
from llmrec.prompts.choosing import Chooser, YesNo
from llmrec.prompts.continuing import Continuations
from llmrec.prompts.prompting import PromptConfig, Prompter
from llmrec.prompts.votes import Floats, Votes
from llmrec.protocols import Engine
from llmrec.registry import TASTES


@runtime_checkable
class Taste(Protocol):
    """Says which of two items users would take: a language model, or a control."""

    @property
    def counts(self) -> Counter[str]:
        """How prompts had to be changed so far, by name."""
        ...

    def compare(self, pairs: Pairs) -> Votes:
        """Return what is said of each pair, as log-odds of its first item; NaN where nothing could be."""
        ...


@runtime_checkable
class ItemTaste(Taste, Protocol):
    """Says of single items how much users would take them."""

    def odds(self, users: Numbers, items: Numbers) -> Floats:
        """Return the log-odds that each user (n,) takes the item (n,), NaN where nothing could be said."""
        ...


class ChoiceConfig(PromptConfig):
    """How a choice between two items is asked for."""

    template: str = "simulate-choice"
    """A template of labels that sees ``candidates`` and ``labels``."""
    columns: tuple[str, ...] = Field(("title", "description"), min_length=1)
    """Columns that tell a cold item, where they are there and filled in."""


class Choice:
    """Asks which of two items a user would choose, in both orders, by the odds of their labels as the next token.

    Paper: Wang et al., Large Language Models as Data Augmenters for Cold-Start Item Recommendation, WWW Companion
    2024 (arXiv 2402.11724). There the model writes its answer; here its labels are compared, which also says how sure
    it is.

    Args:
        engine: scores the labels.
        world: histories and texts.
        config: template, history, columns.

    Attributes:
        counts: prompts ``shortened`` to fit the context.

    Raises:
        ConfigError: a template without two labels of one token.
    """

    config_class = ChoiceConfig

    def __init__(self, engine: Engine, world: ColdStart, config: ChoiceConfig | None = None) -> None:
        self.config, self.world = config or ChoiceConfig(), world
        self.prompter = _prompter(engine, world, self.config, self.config.columns, "choice")
        self.counts = self.prompter.counts
        self.chooser = Chooser(self.prompter, 2)

    def compare(self, pairs: Pairs) -> Votes:
        """Return the log-odds of the first item, read off each order."""
        histories = self.prompter.histories(self.world.queries(pairs.users, self.config.history))
        titles = self.prompter.rows(np.stack([pairs.first, pairs.second], axis=1))
        return self.chooser.vote(list(zip(histories, titles, strict=True)))


class YesNoConfig(PromptConfig):
    """How a yes or no is asked for."""

    template: str = "simulate-yes-no"
    """A template of two labels that sees ``target``."""
    columns: tuple[str, ...] = Field(("title", "description"), min_length=1)
    """Columns that tell a cold item, where they are there and filled in."""
    like_above: float = 3.0
    """Ratings above it are likes, for a template that sees ``liked`` and ``disliked``, as TALLRec's do."""


class YesNoTaste:
    """Asks whether a user would choose an item, by the odds of yes against no as the next token.

    Of two items the one with the larger log-odds is taken: the question TALLRec adapters are tuned on.

    Paper: Huang et al., Large Language Model Simulator for Cold-Start Recommendation (ColdLLM), WSDM 2025 (arXiv
    2402.09176). There the model is tuned to write yes or no; here any is asked, and how sure it is counts.

    Args:
        engine: scores the labels.
        world: histories and texts.
        config: template, history, columns.

    Attributes:
        counts: prompts ``shortened`` to fit the context.

    Raises:
        ConfigError: a template without two labels, or with labels that one token each does not tell.
        DataError: it asks for likes, and there are no ratings to tell them by.
    """

    config_class = YesNoConfig

    def __init__(self, engine: Engine, world: ColdStart, config: YesNoConfig | None = None) -> None:
        self.config, self.world = config or YesNoConfig(), world
        self.prompter = _prompter(
            engine, world, self.config, self.config.columns, "yes-no", like_above=self.config.like_above
        )
        self.counts = self.prompter.counts
        self.yes_no = YesNo(self.prompter)

    def odds(self, users: Numbers, items: Numbers) -> Floats:
        """Return log p(yes) - log p(no) for each user and item."""
        pasts = self.prompter.pasts(self.world.queries(users, self.config.history))
        titles = [title for (title,) in self.prompter.rows(items[:, None])]
        return np.array(self.yes_no.odds(list(zip(pasts, titles, strict=True))), np.float64)

    def compare(self, pairs: Pairs) -> Votes:
        """Return by how much the log-odds of the first item are larger."""
        return differences(self, pairs)


class CalibratedConfig(PromptConfig):
    """How likelihoods are compared."""

    template: str = "likelihood-list"
    """A template whose answer is a continuation."""


class Calibrated:
    """Asks how much a history adds to the log-probability of an item's title: what a base model does well.

    log p(title | history) - log p(title), the latter behind a prompt without history (Holtzman et al., Surface Form
    Competition, EMNLP 2021): a title is not taken for being common.

    Args:
        engine: scores titles.
        world: histories and titles.
        config: template, history.

    Attributes:
        counts: prompts ``shortened`` to fit the context.

    Raises:
        ConfigError: a template whose answer is written, not scored.
    """

    config_class = CalibratedConfig

    def __init__(self, engine: Engine, world: ColdStart, config: CalibratedConfig | None = None) -> None:
        self.config, self.world = config or CalibratedConfig(), world
        self.prompter = _prompter(engine, world, self.config, ("title",), "likelihood")
        self.counts = self.prompter.counts
        self.continuations = Continuations(self.prompter)
        self._alone: dict[str, float] = {}

    def odds(self, users: Numbers, items: Numbers) -> Floats:
        """Return how much each user's history adds to the log-probability of the item's title."""
        answers = self.continuations.answers([title for (title,) in self.prompter.rows(items[:, None])])
        new = [answer for answer in dict.fromkeys(answers) if answer not in self._alone]
        self._alone.update(zip(new, self.continuations.alone(new).tolist(), strict=True))
        histories = self.prompter.histories(self.world.queries(users, self.config.history))
        found = self.continuations.logprobs(histories, [[answer] for answer in answers])
        return np.array([value - self._alone[text] for (value,), text in zip(found, answers, strict=True)], np.float64)

    def compare(self, pairs: Pairs) -> Votes:
        """Return by how much more the history adds to the first item's title."""
        return differences(self, pairs)


def differences(taste: ItemTaste, pairs: Pairs) -> Votes:
    """Return pairs compared by their items' log-odds: two questions each, one behind the other; no order has a say."""
    items = np.stack([pairs.first, pairs.second], axis=1).ravel()
    odds = taste.odds(np.repeat(pairs.users, 2), items).reshape(-1, 2)
    margins = odds[:, 0] - odds[:, 1]
    return Votes(margins, margins)


def make_taste(part: Part, engine: Engine, world: ColdStart) -> Taste:
    """Return the way of asking that a part names, on an engine.

    Raises:
        UnknownNameError: no such way.
        ConfigError: a parameter that it does not have, or a value that does not fit.
    """
    kind: Any = TASTES.get(part.name)
    taste: Taste = kind(engine, world, make_config(kind.config_class, part.parameters))
    return taste


def _prompter(
    engine: Engine,
    world: ColdStart,
    config: PromptConfig,
    columns: tuple[str, ...],
    name: str,
    *,
    like_above: float | None = None,
) -> Prompter:
    return Prompter(
        engine,
        world.texts(columns),
        config,
        answers=("continuation",),
        strategy=name,
        train=world.train,
        like_above=like_above,
    )
