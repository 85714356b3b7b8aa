"""Parts of the rankers with several tasks: labels, experts beside one another, and the base of their modules."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from llmrec.classic.ranking.balancing import Balance, make_balancer
from llmrec.classic.ranking.features import FeatureSpace
from llmrec.classic.ranking.learning import Encoded
from llmrec.classic.ranking.neural.fields import FieldVectors
from llmrec.classic.ranking.neural.layers import Deep
from llmrec.classic.ranking.neural.ranker import DeepConfig, RowModule
from llmrec.errors import DataError

TASKS = "tasks"
Widths = tuple[Annotated[int, Field(ge=1)], ...]


def with_tasks(encoded: Encoded, above: Sequence[float], where: str) -> Encoded:
    """Return rows with the label of each task, float32 (n, tasks), as ``tasks``.

    Args:
        encoded: rows with labels.
        above: values; the first task is the row's own label, each further one a yes with a value above one of these.
        where: what the rows are called in an error.

    Raises:
        DataError: values are not known, or a task has one label only.
    """
    rows = encoded.rows
    if rows.values is None and above:
        raise DataError(
            f"{where} without values for {len(above)} more tasks",
            expected="events with ratings, and labels of negatives or ratings",
            cure="set above to [] for a single task",
        )
    labels: list[NDArray[np.bool_]] = [np.asarray(rows.labels) > 0]
    labels += [labels[0] & (rows.values > value) for value in above if rows.values is not None]
    for label, value in zip(labels[1:], above, strict=True):
        if label.all() or not label.any():
            raise DataError(
                f"{where} has {'only' if label.any() else 'no'} values above {value:g}",
                expected="rows of both labels for each task",
                cure="change above",
            )
    return replace(encoded, extra={**encoded.extra, TASKS: np.stack(labels, 1).astype(np.float32)})


class TasksConfig(DeepConfig):
    """What rankers with several tasks share."""

    above: tuple[float, ...] | None = None
    """The first task is the label of ``examples``, each further one a yes with a value above one of these, from low to
    high; null: ``like_above`` where events are rated and told from negatives, else none."""
    powers: tuple[float, ...] | None = None
    """Of the tasks' probabilities in the score; null ranks by the last task."""
    balance: Balance = "equal"
    """What the tasks' losses count: the same, uncertainty weights, GradNorm's, or gradients without conflicts."""
    asymmetry: float = Field(1.5, ge=0)
    """How hard GradNorm pulls for tasks that lag behind."""
    hidden: Widths = Field((128, 64), min_length=1)
    """Widths of the layers that tasks share, or of an expert."""
    tower: Widths = (32,)
    """Widths of a task's own layers."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.above is not None:
            if list(self.above) != sorted(set(self.above)):
                raise ValueError(f"values from low to high for above, not {list(self.above)}")
            if self.powers is not None and len(self.powers) != self.tasks:
                raise ValueError(f"{self.tasks} powers, one a task, not {len(self.powers)}")
        return self

    @property
    def tasks(self) -> int:
        """How many tasks there are."""
        return 1 + len(self.above or ())


class TaskModule(RowModule):
    """A module that gives each row a logit for each task.

    Args:
        space: the features.
        config: widths, tasks, and how their losses are balanced.

    Attributes:
        width: length of all fields' vectors behind one another.
    """

    def __init__(self, space: FeatureSpace, config: TasksConfig) -> None:
        super().__init__(space)
        self.powers = (*[0.0] * (config.tasks - 1), 1.0) if config.powers is None else config.powers
        self.vectors = FieldVectors(self.fields, config.embedding_dim)
        self.width = len(self.fields.names) * config.embedding_dim
        self.balancer = make_balancer(config.balance, config.tasks, config.asymmetry)

    def read(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return all fields' vectors behind one another, (b, width)."""
        values: Tensor = self.vectors(self.fields(batch)).flatten(1)
        return values

    @property
    @abstractmethod
    def last(self) -> list[Tensor]:
        """Weights of the shared layer that is nearest to the tasks."""

    @abstractmethod
    def task_logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of each task, (b, tasks)."""

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the score, (b,): the logarithms of the tasks' probabilities, each times its power."""
        known = F.logsigmoid(self.task_logits(batch).float())
        return known @ known.new_tensor(self.powers)

    def probabilities(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the probability of each task, (b, tasks)."""
        return torch.sigmoid(self.task_logits(batch).float())

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the balanced loss times the number of rows, and that number."""
        labels = batch[TASKS]
        losses = F.binary_cross_entropy_with_logits(self.task_logits(batch).float(), labels, reduction="none").mean(0)
        learned = [each for name, each in self.named_parameters() if not name.startswith("balancer.")]
        return self.balancer(losses, learned, self.last) * len(labels), torch.tensor(len(labels), device=labels.device)


class Experts(nn.Module):
    """Networks of one shape beside one another, computed at once.

    Args:
        number: how many.
        inputs: width of what comes in.
        hidden: widths of the layers, each with ReLU and dropout behind it.
        dropout: share of activations that training silences.
    """

    def __init__(self, number: int, inputs: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for one, two in pairwise([inputs, *hidden]):  # as nn.Linear begins
            self.weights.append(torch.empty(number, one, two).uniform_(-(one**-0.5), one**-0.5))
            self.biases.append(torch.empty(number, 1, two).uniform_(-(one**-0.5), one**-0.5))

    def forward(self, values: Tensor) -> Tensor:
        """Return (b, number, width) for values (b, inputs)."""
        found = values.expand(len(self.weights[0]), *values.shape)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            found = self.dropout(F.relu(torch.baddbmm(bias, found, weight)))
        return found.transpose(0, 1)


class Towers(nn.Module):
    """Layers of each task's own.

    Args:
        tasks: how many.
        inputs: width of what comes in.
        hidden: widths of the layers.
        dropout: share of activations that training silences.
    """

    def __init__(self, tasks: int, inputs: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.each = nn.ModuleList(Deep(inputs, hidden, dropout) for _ in range(tasks))

    def forward(self, values: Tensor) -> Tensor:
        """Return (b, tasks) for what each task reads, (b, tasks, inputs)."""
        return torch.stack([tower(part) for tower, part in zip(self.each, values.unbind(1), strict=True)], 1)


def log_odds_of_product(logits: Tensor) -> Tensor:
    """Return the log-odds of p_1, p_1 p_2, …, (b, tasks), where p_t = sigmoid of logits (b, tasks)."""
    known = F.logsigmoid(logits.float()).cumsum(1).clamp(max=-1e-30)
    return torch.cat([logits[:, :1].float(), (known - torch.log(-torch.expm1(known)))[:, 1:]], 1)
