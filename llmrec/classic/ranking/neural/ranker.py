"""The base of torch rankers: a logit for each row, learned by the shared loop, stopped by the validation AUC."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from pydantic import Field
from torch import Tensor, nn

from llmrec.classic.ranking.base.ranker import FittedRanker
from llmrec.classic.ranking.features import FeatureSpace
from llmrec.classic.ranking.learning import (
    Encoded,
    LearnedConfig,
    Lesson,
    RowBatches,
    checked_space,
    encode,
    prepare,
    spread,
)
from llmrec.classic.ranking.neural.fields import Fields, FieldVectors, Inputs
from llmrec.classic.recall.base.store import Arrays, Catalogue
from llmrec.classic.recall.neural.recommender import WEIGHTS, restore
from llmrec.classic.training import Batch, Log, TrainingConfig, train
from llmrec.data import Candidates, Dataset, Queries
from llmrec.protocols import FloatArray, Watch

ROWS = 1 << 13  # rows that go through a module at once when it serves


class TorchConfig(TrainingConfig, LearnedConfig):
    """What torch rankers share."""

    epochs: int = Field(20, ge=1)
    """Passes over the rows, at most."""
    batch_size: int = Field(1024, ge=1)
    """Rows of a step, over all processes and parts together."""
    patience: int = Field(2, ge=1)
    """Epochs without a better validation AUC before training stops; the best epoch's weights are kept."""
    weight_decay: float = Field(1e-2, ge=0)
    """AdamW's pull towards zero."""
    embedding_dim: int = Field(16, ge=1)
    """Length of the vector of a field."""


class DeepConfig(TorchConfig):
    """What torch rankers with layers share."""

    hidden: tuple[int, ...] = (128, 64)
    """Widths of the layers."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of activations that training silences."""


class RowModule(nn.Module, ABC):
    """A module that gives each row a logit.

    Args:
        space: the features.
        pooled: whether the mean of the history's items is a field.
    """

    def __init__(self, space: FeatureSpace, *, pooled: bool = True) -> None:
        super().__init__()
        self.fields = Fields(space, pooled=pooled)

    @abstractmethod
    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of yes, (b,), for a batch as ``Encoded.batch`` makes it."""

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the summed cross-entropy of the rows and their number."""
        label = batch["label"]
        loss = F.binary_cross_entropy_with_logits(self.logits(batch).float(), label, reduction="sum")
        return loss, torch.tensor(len(label), device=label.device)


class FieldModule(RowModule):
    """A module on the vectors of fields, with a linear part: w0 + sum_f w_f x_f + what ``interact`` returns.

    Args:
        space: the features.
        embedding_dim: length of a field's vector.
    """

    def __init__(self, space: FeatureSpace, embedding_dim: int) -> None:
        super().__init__(space)
        self.bias = nn.Parameter(torch.zeros(1))
        self.linear = FieldVectors(self.fields, 1, scale=0)
        self.vectors = FieldVectors(self.fields, embedding_dim)

    @property
    def width(self) -> int:
        """Length of all fields' vectors behind one another."""
        return len(self.fields.names) * self.vectors.table.shape[1]

    @abstractmethod
    def interact(self, vectors: Tensor, inputs: Inputs) -> Tensor:
        """Return what the linear part cannot say, (b,), for vectors (b, fields, d)."""

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of yes, (b,)."""
        inputs = self.fields(batch)
        logits: Tensor = self.bias + self.linear(inputs).sum((1, 2)) + self.interact(self.vectors(inputs), inputs)
        return logits


T = TypeVar("T", bound=TorchConfig)
Fit = Callable[[RowModule, str], Log]
"""Trains a module in place; the name tells its checkpoint from those of others."""


class TorchRanker(FittedRanker[T]):
    """A ranker around a ``RowModule``: a model says how it is built.

    The score is the log-odds of the label. What was seen in training is kept with the weights, ``training_loss`` and
    ``validation_auc``, an entry an epoch.
    """

    @abstractmethod
    def _module(self, space: FeatureSpace, config: T) -> RowModule:
        """Return a new module."""

    def _start(self, space: FeatureSpace, config: T, fit: Fit) -> RowModule:  # noqa: ARG002 - most need no other first
        """Return the module that training begins with; ``fit`` trains another one before."""
        return self._module(space, config)

    def _lesson(self, data: Dataset, seed: int, watch: Watch) -> Lesson:
        """Return what the module learns from."""
        return prepare(data, self.config, seed, watch)

    def _judge(self, module: RowModule, lesson: Lesson) -> float:
        """Return what early stopping maximises."""
        return valid_auc(module, lesson, self.config.features.history)

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> tuple[T, Arrays]:
        lesson = self._lesson(data, seed, watch)
        config = self.config.model_copy(update={"features": lesson.space.config})

        def fit(module: RowModule, name: str) -> Log:
            where = None if watch.checkpoint is None else watch.checkpoint / name
            watched = replace(watch, checkpoint=where)
            return fit_rows(module, lesson, config, about(name, data), seed, watched, self._judge)

        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = self._start(lesson.space, config, fit)
        log = fit(module, self.name)
        return config, {**lesson.space.arrays, **module_arrays(module, log)}

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        space = checked_space(self.config, arrays, n_items)
        module = self._module(space, self.config)
        restore(module, arrays)
        self._space, self._net = space, module.eval()

    def _score(self, queries: Queries, candidates: Candidates) -> FloatArray:
        encoded = encode(self._space, queries, candidates, self.config)
        self.counts.update(self._space.count_unknown(encoded.rows))
        return spread(candidates, row_logits(self._net, encoded, self.config.features.history))


def about(name: str, data: Dataset) -> dict[str, object]:
    """Return what a checkpoint of a model on a data set belongs to."""
    return {"model": name, "items": Catalogue.of(data).items_digest, "events": len(data.interactions)}


def module_arrays(module: nn.Module, log: Log) -> Arrays:
    """Return a module's weights with what was seen in training."""
    weights = {WEIGHTS + key: tensor.cpu().numpy() for key, tensor in module.state_dict().items()}
    return {**weights, "training_loss": np.array(log.losses), "validation_auc": np.array(log.values)}


def fit_rows(
    module: RowModule,
    lesson: Lesson,
    config: TorchConfig,
    identity: Mapping[str, object],
    seed: int,
    watch: Watch,
    judge: Callable[[RowModule, Lesson], float] | None = None,
) -> Log:
    """Train a module in place through the shared loop, judged each epoch: by the validation rows' AUC if not said."""
    history, measure = config.features.history, None
    if lesson.valid is not None:

        def measure() -> float:
            return valid_auc(module, lesson, history) if judge is None else judge(module, lesson)

    batches = RowBatches(lesson.train, history, config.batch_size)
    return train(module, batches, config, seed=seed, watch=watch, measure=measure, identity=identity, metric="AUC")


def valid_auc(module: RowModule, lesson: Lesson, history: int) -> float:
    """Return the AUC of the validation rows."""
    assert lesson.valid is not None  # noqa: S101 - asked where there are some
    return lesson.valid_auc(row_logits(module, lesson.valid, history))


def row_logits(module: RowModule, encoded: Encoded, history: int) -> FloatArray:
    """Return the log-odds of rows, float32 (n,)."""
    return row_outputs(module, module.logits, encoded, history)


def row_outputs(
    module: nn.Module, call: Callable[[Mapping[str, Tensor]], Tensor], encoded: Encoded, history: int
) -> FloatArray:
    """Return what a method of a module that serves gives rows, float32 (n, …)."""
    device, found = next(module.parameters()).device, []
    module.eval()
    with torch.inference_mode():
        for start in range(0, max(len(encoded), 1), ROWS):
            batch = _tensors(encoded.batch(slice(start, start + ROWS), history), device)
            found.append(call(batch).float().cpu().numpy())
    return np.concatenate(found)


def _tensors(batch: Batch, device: torch.device) -> dict[str, Tensor]:
    return {name: torch.from_numpy(each).to(device) for name, each in batch.items()}
