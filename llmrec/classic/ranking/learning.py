"""What rankers on declared features learn from: rows with labels, and the features of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmrec.classic.ranking.base.examples import ExamplesConfig, chosen_labels, event_rows, target_rows
from llmrec.classic.ranking.base.rows import Rows, candidate_rows
from llmrec.classic.ranking.base.search import Numbers
from llmrec.classic.ranking.encoding import learn_features
from llmrec.classic.ranking.features import FeatureConfig, FeatureSpace
from llmrec.classic.training import Batch
from llmrec.config import Config
from llmrec.data import Candidates, Dataset, Queries
from llmrec.eval.yes_no import auc
from llmrec.protocols import FloatArray, Watch

VALIDATION = 10_000  # queries that early stopping looks at, at most


class LearnedConfig(Config):
    """What every ranker on declared features can be told."""

    features: FeatureConfig = Field(default_factory=FeatureConfig)
    """What it reads."""
    examples: ExamplesConfig = Field(default_factory=ExamplesConfig)
    """What it learns to tell apart."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """Rows with their numeric features.

    Attributes:
        rows: n rows.
        numbers: float32 (n, m), scaled.
        extra: other arrays (n, …) that a model's batches hold by name.
    """

    rows: Rows
    numbers: FloatArray
    extra: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def batch(self, places: Numbers | slice, history: int) -> Batch:
        """Return some rows as arrays: ``user``, ``item``, ``numbers``, ``history`` and, where known, ``label``.

        ``history`` is int64 (b, h), left-padded with -1, as wide as the longest of the rows and at most as asked.
        """
        rows = self.rows.select(places)
        width = min(history, max(1, int((rows.last - rows.first).max(initial=1))))
        found: dict[str, NDArray[Any]] = {name: array[places] for name, array in self.extra.items()}
        found |= {"user": rows.users.astype(np.int64), "item": rows.items.astype(np.int64)}
        found |= {"numbers": self.numbers[places], "history": rows.history(width).astype(np.int64)}
        return found if rows.labels is None else {**found, "label": rows.labels}

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class Lesson:
    """All that a ranker learns from.

    Attributes:
        space: the features.
        train: rows with labels.
        valid: rows with labels that early stopping is judged on; None without a validation part.
    """

    space: FeatureSpace
    train: Encoded
    valid: Encoded | None

    def valid_auc(self, scores: FloatArray) -> float:
        """Return the AUC of scores for the validation rows."""
        assert self.valid is not None  # noqa: S101 - asked where there is one
        return auc(self.valid.rows.labels, scores)  # type: ignore[arg-type]


def prepare(data: Dataset, config: LearnedConfig, seed: int, watch: Watch) -> Lesson:
    """Return what a ranker learns from.

    Raises:
        ConfigError: a feature that is none.
        DataError: the data set lacks events, labels of both kinds, or what a feature needs.
    """
    examples, rng = config.examples, np.random.default_rng([seed, 1])
    rows = event_rows(data, examples, rng)
    space, numbers = learn_features(data, rows, config.features, examples, watch)
    valid = None
    if watch.valid is not None:
        counts = np.bincount(data.interactions.items, minlength=len(data.items))
        asked = watch.valid.sample(VALIDATION, seed=seed)
        judged = target_rows(asked, chosen_labels(data, examples), examples, counts, rng)
        valid = Encoded(judged, space.numbers(judged))
    return Lesson(space, Encoded(rows, numbers), valid)


def encode(space: FeatureSpace, queries: Queries, candidates: Candidates, config: LearnedConfig) -> Encoded:
    """Return the candidates of queries as rows, with users that the training data does not have as unseen ones."""
    known = Queries(space.known(queries.users), queries.history, queries.values, queries.times)
    rows = candidate_rows(known, candidates, config.examples.like_above)
    return Encoded(rows, space.numbers(rows))


def checked_space(config: LearnedConfig, arrays: Mapping[str, NDArray[Any]], n_items: int) -> FeatureSpace:
    """Return the features in a model's arrays; a ValueError where they are of another catalogue."""
    space = FeatureSpace(config.features, arrays)
    if space.n_items != n_items:
        raise ValueError(f"features of {space.n_items} items")
    return space


def spread(candidates: Candidates, scores: FloatArray) -> FloatArray:
    """Return the scores of rows (n,) at the places of their candidates (q, k), 0 in the padding."""
    places = np.zeros(candidates.items.shape, np.float32)
    places[candidates.items >= 0] = scores
    return places


class RowBatches:
    """Rows in random order, in batches.

    Args:
        examples: rows with labels.
        history: newest items of a history that are read.
        batch_size: rows of a batch.
    """

    def __init__(self, examples: Encoded, history: int, batch_size: int) -> None:
        self.examples, self.history, self.batch_size = examples, history, batch_size

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.examples) // self.batch_size)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield every row once."""
        order = rng.permutation(len(self.examples))
        for start in range(0, len(order), self.batch_size):
            yield self.examples.batch(order[start : start + self.batch_size], self.history)
