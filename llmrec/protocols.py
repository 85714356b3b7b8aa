"""The verbs: what a recommender, a ranker or a language-model engine can do, and the words they exchange.

Protocols, not base classes: anything with the right methods fits. ``llmrec.testing`` has a contract test for each.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Candidates, Dataset, Queries, Targets

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is told; what many prompts share comes first, what varies comes last.

    It is text: what looks like a special token (``<end_of_turn>``) is read letter by letter by local engines, since it
    may come from an item; a model's turns come from its chat template.

    Attributes:
        user: the request; ends without a trailing space.
        system: instructions before it; an engine whose model has no chat template puts them in front.
    """

    user: str
    system: str = ""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How text is generated.

    Attributes:
        max_tokens: at most so many new tokens.
        temperature: 0 is greedy.
        top_p: nucleus probability mass, in (0, 1].
        stop: texts that end the answer; they are not part of it.
        seed: of the random draws.
        permutation: texts of one token each that the answer is made of, every one once, in the order that the model
            chooses; no other token is possible, and ``stop`` means nothing. Empty for free text. An engine that cannot
            keep to it raises an EngineError (``refuse_permutation``).
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    permutation: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """A generated answer.

    Attributes:
        text: the new text only.
        prompt_tokens: tokens read.
        output_tokens: tokens written.
        finish: why it ended: a stop, the length limit, or an error.
        error: what went wrong where ``finish`` is ``error``; such a row is recorded, never fatal.
    """

    text: str
    prompt_tokens: int = 0
    output_tokens: int = 0
    finish: Literal["stop", "length", "error"] = "stop"
    error: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a run spent; ``+`` adds two, ``-`` tells what came since.

    Attributes:
        prompts: prompts asked for, whether computed or cached.
        prompt_tokens: tokens read by the model (a shared prefix counts once where the engine computes it once).
        output_tokens: tokens written or scored.
        submitted_tokens: what it would have been had every prompt been computed anew for each of its answers.
        cache_hits: answers (generated or scored) that the cache held.
        cache_misses: answers that the model computed.
        seconds: wall time inside the engine.
    """

    prompts: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    submitted_tokens: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    seconds: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*map(operator.add, astuple(self), astuple(other)))

    def __sub__(self, other: Usage) -> Usage:
        return Usage(*map(operator.sub, astuple(self), astuple(other)))

    def money(self, input_price: float, output_price: float) -> float:
        """Return the cost at prices per million tokens read and written."""
        return (self.prompt_tokens * input_price + self.output_tokens * output_price) / 1e6


@dataclass(frozen=True, slots=True)
class Watch:
    """How a fit is watched; models that are not learned in epochs ignore it.

    Attributes:
        valid: what early stopping measures itself on; None trains for all epochs.
        checkpoint: a folder in which the state after each epoch is kept, so that a killed fit goes on from there; None
            keeps nothing.
        report: called with steps done, steps in all and a line of text.
    """

    valid: Targets | None = None
    checkpoint: Path | None = None
    report: Callable[[int, int, str], None] | None = None


UNWATCHED = Watch()


@runtime_checkable
class Recommender(Protocol):
    """Proposes items from histories, also for users nobody has seen."""

    def recommend(self, queries: Queries, k: int, *, exclude_seen: bool = True) -> Candidates:
        """Return the k best items for each query (padded with -1 where fewer are left), never one of its history."""
        ...


@runtime_checkable
class Trainable(Protocol):
    """Learns from a data set."""

    def fit(self, data: Dataset, *, seed: int = 0, watch: Watch = UNWATCHED) -> Self:
        """Learn and return itself; the same seed on the same machine gives the same numbers."""
        ...


@runtime_checkable
class Storable(Protocol):
    """Saves to a folder without pickle and comes back with the same scores."""

    def save(self, folder: Path) -> Path:
        """Write the model to a folder, whole or not at all."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder that ``save`` wrote."""
        ...


@runtime_checkable
class VectorModel(Protocol):
    """A recommender whose score is the largest inner product of a query's vectors with the item's vector."""

    @property
    def item_vectors(self) -> FloatArray:
        """Return (n_items, d); only rows of ``servable`` items mean anything."""
        ...

    @property
    def servable(self) -> NDArray[np.bool_]:
        """Return which items have a vector that was learned, (n_items,)."""
        ...

    def query_vectors(self, queries: Queries) -> FloatArray:
        """Return (q, m, d): m vectors for each query, NaN where it has fewer or its history says nothing."""
        ...


@runtime_checkable
class Ranker(Protocol):
    """Orders candidates: DeepFM, a language model and MMR share this signature."""

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return a permutation of each row of candidates, best first."""
        ...


@runtime_checkable
class Generator(Protocol):
    """Writes text."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """Return one completion for each prompt, in order."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """Reads off how probable given answers are."""

    def logprobs(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[FloatArray]:
        """Return, for each prompt, the natural log-probability of each of its answers, summed over their tokens."""
        ...


@runtime_checkable
class Engine(Generator, Scorer, Protocol):
    """A language model that can be asked."""

    @property
    def identity(self) -> str:
        """Name of model, weights, number format and adapter: equal identities give equal answers."""
        ...

    @property
    def usage(self) -> Usage:
        """What the engine has spent since it was made."""
        ...

    @property
    def context(self) -> int | None:
        """How many tokens a prompt may have with its answer; None where that is not known or not bounded."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors."""

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """Return (n, d), L2-normalised."""
        ...


@runtime_checkable
class Reward(Protocol):
    """Judges generated texts, in trl's calling convention."""

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Sequence[object]) -> list[float]:
        """Return one reward for each completion."""
        ...
