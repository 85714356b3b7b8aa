"""Examples for language models: what tuning, reward models and preference optimisation learn from.

A recipe names a kind and its options; a script may as well call the kind's function. Kinds, and the paper of each:

==================  ===============================================================================
yes-no-ratings      will the user like the target, from liked and disliked titles (TALLRec)
yes-no-impressions  will the user click the target, clicked against shown (MIND)
next-item           history -> next title (Sileo et al.)
listwise            history and candidates -> their order, or those that were chosen (LLMRank)
describe-item       history -> description of the next item (GIRL)
cv-posting          CV -> posting that suits it (GIRL)
preference-pairs    a chosen answer with rejected ones (reward models, DPO)
==================  ===============================================================================
"""

from __future__ import annotations

from inspect import signature
from typing import Any, Literal

from pydantic import Field

from llmrec.config import Config
from llmrec.data import Dataset, Split
from llmrec.data_prep.examples.answers import cv_to_posting, describe_item, next_item, preference_pairs
from llmrec.data_prep.examples.negatives import Rule
from llmrec.data_prep.examples.questions import Answer, listwise, yes_no_from_impressions, yes_no_from_ratings
from llmrec.data_prep.examples.rows import Ties
from llmrec.data_prep.examples.table import Examples
from llmrec.data_prep.examples.unwritten import Kind, Unwritten
from llmrec.data_prep.examples.wording import Budget, TokenCounter
from llmrec.errors import ConfigError

KINDS: dict[str, Kind[...]] = {
    "yes-no-ratings": yes_no_from_ratings,
    "yes-no-impressions": yes_no_from_impressions,
    "next-item": next_item,
    "listwise": listwise,
    "describe-item": describe_item,
    "cv-posting": cv_to_posting,
    "preference-pairs": preference_pairs,
}


class ExamplesRecipe(Config):
    """Which examples to make; an option that is not given keeps the default of the kind's function."""

    kind: Literal[
        "yes-no-ratings",
        "yes-no-impressions",
        "next-item",
        "listwise",
        "describe-item",
        "cv-posting",
        "preference-pairs",
    ]
    """What is asked and answered."""
    part: Literal["train", "valid", "test"] = "train"
    """Of a split: ``train`` takes the training events, the others their targets."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens of prompt and answer together; the history is cut at its old end, the answer never."""
    template: str | None = None
    """A prompt template: built-in name or path of a YAML file."""
    window: int | None = None
    """yes-no-ratings: events before the target, and how many it needs."""
    titles: int | None = None
    """next-item: how many next titles an answer holds, a line each."""
    history: int | None = None
    """How many of the newest items are read."""
    like_above: float | None = None
    """Events with a value above it are likes, or matches."""
    ties: Ties | None = None
    """``strict``: a history holds events of earlier seconds; ``order``: those that stand earlier in the input too."""
    last: int | None = None
    """Only the last so many rows."""
    negatives: Rule | None = None
    """The rule that draws negatives."""
    per_click: int | None = None
    """yes-no-impressions: negatives for each click."""
    candidates: int | None = None
    """listwise: how many."""
    answer: Answer | None = None
    """listwise: ``ranking`` or ``choice``."""
    task: Literal["next-item", "describe-item", "cv-posting"] | None = None
    """preference-pairs: what the answers are."""
    rejected: int | None = None
    """preference-pairs: how many rejected answers."""
    mismatches: bool | None = None
    """cv-posting: also take postings that do not suit, with a label."""
    cv_column: str | None = None
    """The column of the user table with the CV."""
    text_limit: int | None = None
    """Longest description or CV in characters."""
    seed: int | None = None
    """Of negatives and orders."""


def make_examples(data: Dataset | Split, recipe: ExamplesRecipe, count_tokens: TokenCounter | None = None) -> Examples:
    """Return the examples of a recipe; arguments and errors are those of ``draft_examples``."""
    return draft_examples(data, recipe, count_tokens).write()


def draft_examples(
    data: Dataset | Split, recipe: ExamplesRecipe, count_tokens: TokenCounter | None = None
) -> Unwritten:
    """Return the examples of a recipe before they are put into words.

    Args:
        data: a data set, whose events are all taken, or a split, of which one part is.
        recipe: kind and options.
        count_tokens: how many tokens each text has; needed with ``max_tokens``.

    Raises:
        ConfigError: the kind has no such option, a data set has no parts, or ``max_tokens`` has nothing to count with.
        LlmrecError: what the kind's function raises.
    """
    make = KINDS[recipe.kind].draft
    given = recipe.model_dump(exclude_none=True, exclude={"kind", "part", "max_tokens"})
    options: dict[str, Any] = {**given, "budget": _budget(recipe, count_tokens)}
    train = data.train if isinstance(data, Split) else data
    if recipe.part != "train":
        if not isinstance(data, Split):
            raise ConfigError(
                f"part = {recipe.part!r} of data set {data.name!r}", expected="a split", cure="split the data set first"
            )
        options["targets"] = data.part(recipe.part)
    known = set(signature(make).parameters)
    if foreign := sorted(set(options) - known):
        name = foreign[0]
        raise ConfigError(
            f"{name} = {getattr(recipe, name)!r} with kind {recipe.kind!r}",
            expected=f"options of that kind: {', '.join(sorted(known - {'data', 'targets', 'budget', 'only'}))}",
            cure=f"drop {name}, or choose another kind",
        )
    return make(train, **options)


def _budget(recipe: ExamplesRecipe, count_tokens: TokenCounter | None) -> Budget | None:
    if recipe.max_tokens is None:
        return None
    if count_tokens is None:
        raise ConfigError(
            f"max_tokens = {recipe.max_tokens} without a tokenizer",
            expected="something that counts tokens",
            cure="name the model that will be trained, or drop max_tokens",
        )
    return Budget(recipe.max_tokens, count_tokens)
