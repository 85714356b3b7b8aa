"""Distillation into a ranker on declared features: it learns another one's scores instead of what users did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmrec.classic.ranking.base.rows import candidate_rows
from llmrec.classic.ranking.encoding import learn_features
from llmrec.classic.ranking.learning import Encoded
from llmrec.classic.ranking.losses import LOSSES, LossConfig, scored_lists
from llmrec.classic.ranking.neural.ranker import RowModule, TorchConfig, TorchRanker, about, module_arrays
from llmrec.classic.recall.base.history import history_entries
from llmrec.classic.recall.base.store import Catalogue
from llmrec.classic.training import Batch, Log, train
from llmrec.data import Candidates, Dataset, Queries
from llmrec.errors import ConfigError, DataError
from llmrec.protocols import UNWATCHED, Watch

T = TypeVar("T", bound=TorchConfig)
FILL: Mapping[str, int] = {"user": -1, "item": -1, "history": -1}
"""What stands in the padding of a batch; 0 in all other arrays."""


def teach(
    student: TorchRanker[T],
    data: Dataset,
    queries: Queries,
    teacher: Candidates,
    lesson: LossConfig | None = None,
    *,
    seed: int = 0,
    watch: Watch = UNWATCHED,
) -> TorchRanker[T]:
    """Teach a ranker the scores that another one gave candidates, and return it: fitted, as if by its own ``fit``.

    No labels are needed: whatever ranked the candidates of some queries, a language model say, is the teacher. What it
    gave no score does not count. The features are those of the student's config, statistics as training ended, which is
    how it serves. It trains for all epochs; ``watch.valid`` and ``examples`` are not read.

    Args:
        student: logistic regression, a factorisation machine or a deep ranker, fitted or not.
        data: the training data that features are learned from.
        queries: q queries that the teacher ranked for; unseen users among them are as good.
        teacher: its candidates (q, k) with scores, higher is better, NaN where there is none.
        lesson: loss and temperature; None for list-wise.
        seed: of everything random.
        watch: checkpoint and progress.

    Raises:
        ConfigError: the ranker learns otherwise than by one number for each candidate.
        DataError: no list has two scored candidates, an item is outside the catalogue, or a feature lacks its column.
        ModelError: the loss is not finite.
    """
    require_teachable(student)
    queries, teacher, known = scored_lists(queries, teacher)
    history_entries(queries, len(data.items))
    if teacher.items.max(initial=-1) >= len(data.items):
        raise DataError(
            f"a teacher's candidate number {teacher.items.max()}",
            expected=f"items from 0 to {len(data.items) - 1}",
            cure="use the data set that the teacher ranked",
        )
    users = np.where(queries.users < len(data.users), queries.users, -1)
    known_to_data = Queries(users, queries.history, queries.values, queries.times)
    rows = candidate_rows(known_to_data, teacher, student.config.examples.like_above)
    space, numbers = learn_features(data, rows, student.config.features, student.config.examples, watch)
    config = student.config.model_copy(update={"features": space.config})
    lists = Lessons(Encoded(rows, numbers), teacher, known, config)
    identity = {**about(student.name, data), "lists": len(teacher)}

    def fit(module: RowModule, name: str) -> Log:
        where = None if watch.checkpoint is None else watch.checkpoint / name
        taught = _Taught(module, lesson or LossConfig())
        alone = Watch(None, where, watch.report)
        return train(taught, lists, config, seed=seed, watch=alone, identity={**identity, "model": name})

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = student._start(space, config, fit)  # noqa: SLF001 - teaching is another way to fit
    arrays = {**space.arrays, **module_arrays(module, fit(module, student.name))}
    student.config = config
    student._take(Catalogue.of(data), arrays)  # noqa: SLF001 - the same
    return student


def require_teachable(student: object) -> None:
    """Raise a ConfigError unless a ranker, or its class, learns one number for each candidate by gradients."""
    kind: Any = student if isinstance(student, type) else type(student)
    if not issubclass(kind, TorchRanker) or any(
        getattr(kind, name) is not getattr(TorchRanker, name) for name in ("_learn", "_score")
    ):
        raise ConfigError(
            f"a student of class {kind.__name__}",
            expected="a ranker that learns one number for each candidate by gradients",
            cure="take lr, fm, deepfm or dcn-v2",
        )


@dataclass(frozen=True, eq=False)
class Lessons:
    """Lists of a teacher as batches, every one once an epoch in random order.

    Attributes:
        rows: all candidates, list after list.
        teacher: the same (q, k), with scores.
        known: bool (q, k), which of them count.
        config: how wide a batch and a history are.
    """

    rows: Encoded
    teacher: Candidates
    known: NDArray[np.bool_]
    config: TorchConfig

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.teacher) // self.config.batch_size)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield every list once."""
        order = rng.permutation(len(self.teacher))
        for start in range(0, len(order), self.config.batch_size):
            yield self.batch(order[start : start + self.config.batch_size])

    def batch(self, chosen: NDArray[np.int64]) -> Batch:
        """Return some lists: what modules read of a candidate as (b, k, …), ``teacher`` and ``known`` (b, k)."""
        there = self.teacher.items >= 0
        sizes = there.sum(axis=1)
        firsts = np.cumsum(sizes) - sizes
        places = np.concatenate([np.arange(firsts[one], firsts[one] + sizes[one]) for one in chosen])
        made: dict[str, NDArray[Any]] = {
            "teacher": np.where(self.known, self.teacher.scores, np.float32(0))[chosen],
            "known": self.known[chosen],
        }
        for name, values in self.rows.batch(places, self.config.features.history).items():
            spread = np.full((*there[chosen].shape, *values.shape[1:]), FILL.get(name, 0), values.dtype)
            spread[there[chosen]] = values
            made[name] = spread
        return made


class _Taught(nn.Module):
    """A ranker's module with a loss on lists instead of labels."""

    def __init__(self, module: RowModule, lesson: LossConfig) -> None:
        super().__init__()
        self.module, self.lesson = module, lesson

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the summed loss of lists and the number of its terms."""
        teacher, known = batch["teacher"], batch["known"]
        rows = {name: each.flatten(0, 1) for name, each in batch.items() if name not in {"teacher", "known"}}
        scores = self.module.logits(rows).float().reshape(teacher.shape)
        return LOSSES[self.lesson.loss](scores, teacher, known, self.lesson.temperature)
