"""Item2Vec: word2vec on timelines, items for words."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
from gensim.models import Word2Vec
from gensim.models.callbacks import CallbackAny2Vec
from pydantic import Field

from llmrec.classic.recall.base.history import HistoryRecommender
from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.base.vectors import AnswersByVectors
from llmrec.classic.recall.item_vectors.centroid import Centroids, unit
from llmrec.classic.recall.item_vectors.sessions import Sessions, cut_sessions
from llmrec.config import Config
from llmrec.data import Dataset
from llmrec.errors import DataError
from llmrec.protocols import Watch

LONGEST = 10_000  # gensim drops what is behind this many words of a sentence
SENTENCES = 10_000  # turned into words at once


class Item2VecConfig(Config):
    """Hyper-parameters of Item2Vec; those of training are gensim's."""

    embedding_dim: int = Field(64, ge=1)
    """Length of the item vectors."""
    epochs: int = Field(20, ge=1)
    """Passes over the sessions."""
    learning_rate: float = Field(0.025, gt=0)
    """Step size at the start; it falls evenly to 0.0001."""
    window: int = Field(5, ge=1)
    """Items to either side that count as near; each time a random number up to it is taken."""
    order: Literal["time", "shuffled"] = "time"
    """What is near: in time, or anything of the session, which is shuffled in each epoch (the paper's sets)."""
    gap: float | None = Field(None, gt=0)
    """Seconds without an event that end a session; null takes a user's whole timeline as one."""
    negatives: int = Field(5, ge=1)
    """Items drawn at random for each pair of near items."""
    exponent: float = Field(0.75, ge=-1, le=1)
    """Negatives are drawn by frequency to this power; 0 draws all items alike."""
    subsample: float = Field(0.001, ge=0)
    """Share of all events above which an item's events are left out at random (the paper's rho); 0 keeps all."""
    min_count: int = Field(1, ge=1)
    """Items with fewer events get no vector."""
    match: Literal["context", "cosine"] = "context"
    """What a history is compared with: items that come near its own, or items that are like them (the paper's)."""
    history: int = Field(10, ge=1)
    """Newest items with a vector that are read."""
    decay: float = Field(0.5, gt=0, le=1)
    """What an item of the history weighs against the next newer one."""


class Item2Vec(AnswersByVectors, HistoryRecommender[Item2VecConfig]):
    """Items near in vector space are near in sessions; skip-gram with negative sampling by ``gensim``.

    With ``match=cosine`` an item is scored by the cosine of its vector with the mean of the newest items' (unit)
    vectors, with ``match=context`` by the inner product of its context vector (what word2vec learns for the other side
    of a pair) with that mean: what follows rather than what is alike. The second is better at the next item (Nalisnick
    et al., WWW 2016, have the same choice for words). Items without a vector (that never share a session with another
    one, or occur fewer than ``min_count`` times) come last, and histories skip them.

    gensim works in one thread here, since several give other numbers in each run. Sessions of more than 10,000 events
    are cut, as gensim ignores what is behind.

    Paper: Barkan, Koenigstein, Item2Vec: Neural Item Embedding for Collaborative Filtering, MLSP 2016. Its windows are
    as wide as the longest set, or sets are shuffled, which it found to be no worse: ``order=shuffled`` is the latter.
    """

    name: ClassVar[str] = "item2vec"
    config_class: ClassVar[type[Config]] = Item2VecConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:
        sessions, n_items = cut_sessions(data, self.config.gap), len(data.items)
        servable = sessions.frequency(n_items) >= self.config.min_count
        if not servable.any():
            raise DataError(
                f"no item of {data.name!r} has min_count = {self.config.min_count} events",
                expected="items to learn",
                cure="lower min_count",
            )
        sentences = Sentences(sessions, n_items, seed if self.config.order == "shuffled" else None)
        model = self._train(sentences, seed, watch)
        arrays = {"vectors": np.zeros((n_items, self.config.embedding_dim), np.float32)}
        arrays["contexts"] = np.zeros_like(arrays["vectors"])
        items = np.array(model.wv.index_to_key, np.int64)
        arrays["vectors"][items] = unit(model.wv.vectors)
        arrays["contexts"][items] = model.syn1neg
        return {**arrays, "servable": servable}

    def _train(self, sentences: Sentences, seed: int, watch: Watch) -> Word2Vec:
        config = self.config
        return Word2Vec(
            sentences,
            sg=1,
            vector_size=config.embedding_dim,
            epochs=config.epochs,
            alpha=config.learning_rate,
            window=config.window,
            negative=config.negatives,
            ns_exponent=config.exponent,
            sample=config.subsample,
            min_count=config.min_count,
            seed=seed,
            workers=1,
            callbacks=[_Progress(config.epochs, watch)],
        )

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        items = arrays["contexts" if self.config.match == "context" else "vectors"]
        servable = arrays["servable"]
        if len(servable) != n_items:
            raise ValueError(f"servable of shape {servable.shape}")
        self._vectors = Centroids(arrays["vectors"], items, servable, self.config.history, self.config.decay)


class Sentences:
    """Sessions as lists of item numbers in decimal digits, since gensim's words are texts.

    Args:
        sessions: the sessions.
        n_items: size of the catalogue.
        seed: each time they are read, the items of each session come in another order; None keeps that of time.
    """

    def __init__(self, sessions: Sessions, n_items: int, seed: int | None = None) -> None:
        self.words = np.array([str(item) for item in range(n_items)], object)
        self.items, self.numbers = sessions.items, sessions.numbers
        lengths = np.diff(sessions.starts)
        pieces = -(-lengths // LONGEST)
        within = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        self.starts = np.append(np.repeat(sessions.starts[:-1], pieces) + LONGEST * within, len(sessions.items))
        self.rng = None if seed is None else np.random.default_rng(seed)

    def __iter__(self) -> Iterator[list[str]]:
        items = self.items
        if self.rng is not None:
            items = items[np.lexsort((self.rng.random(len(items)), self.numbers))]
        for first in range(0, len(self.starts) - 1, SENTENCES):
            bounds = self.starts[first : first + SENTENCES + 1]
            words = self.words[items[bounds[0] : bounds[-1]]].tolist()
            yield from (words[start:end] for start, end in pairwise((bounds - bounds[0]).tolist()))


class _Progress(CallbackAny2Vec):  # type: ignore[misc]  # gensim has no types
    """Tells the watch after each epoch."""

    def __init__(self, epochs: int, watch: Watch) -> None:
        self.done, self.epochs, self.report = 0, epochs, watch.report

    def on_epoch_end(self, model: Word2Vec) -> None:  # noqa: ARG002 - gensim's signature
        """Count an epoch."""
        self.done += 1
        if self.report is not None:
            self.report(self.done, self.epochs, f"epoch {self.done} of {self.epochs}")
