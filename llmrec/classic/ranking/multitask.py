"""Rankers that learn several tasks at once: shared bottom, ESMM, MMoE and PLE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, TypeVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from llmrec.classic.fitted import require_rows
from llmrec.classic.ranking.base.examples import chosen_labels
from llmrec.classic.ranking.features import FeatureSpace
from llmrec.classic.ranking.learning import Lesson, encode, prepare
from llmrec.classic.ranking.neural.layers import mlp
from llmrec.classic.ranking.neural.ranker import RowModule, TorchRanker, row_outputs
from llmrec.classic.ranking.neural.tasks import (
    TASKS,
    Experts,
    TaskModule,
    TasksConfig,
    Towers,
    log_odds_of_product,
    with_tasks,
)
from llmrec.classic.recall.base.store import Arrays
from llmrec.config import Config, make_config
from llmrec.data import Candidates, Dataset, Queries
from llmrec.eval.yes_no import auc
from llmrec.protocols import FloatArray, Watch

T = TypeVar("T", bound=TasksConfig)


class TasksRanker(TorchRanker[T]):
    """A ranker around a ``TaskModule``; early stopping looks at the mean of the tasks' AUCs.

    Every task is asked of every row. With labels of negatives the first is whether the row is an event at all, as a
    click is, and the second whether it is one that was liked, as a conversion is.
    """

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> tuple[T, Arrays]:
        if self.config.above is None:
            examples = self.config.examples
            two = data.interactions.rated and chosen_labels(data, examples) == "negatives"
            above = [examples.like_above] if two else []
            self.config = make_config(type(self.config), {**self.config.model_dump(mode="json"), "above": above})
        return super()._learn(data, seed, watch)

    def _lesson(self, data: Dataset, seed: int, watch: Watch) -> Lesson:
        lesson, above = prepare(data, self.config, seed, watch), self.config.above or ()
        train = with_tasks(lesson.train, above, f"data set {data.name!r}")
        return replace(
            lesson, train=train, valid=lesson.valid and with_tasks(lesson.valid, above, "the validation part")
        )

    def _judge(self, module: RowModule, lesson: Lesson) -> float:
        assert isinstance(module, TaskModule)  # noqa: S101 - it made it
        assert lesson.valid is not None  # noqa: S101 - asked where there is one
        found = row_outputs(module, module.task_logits, lesson.valid, self.config.features.history)
        labels = lesson.valid.extra[TASKS]
        return float(np.mean([auc(label, score) for label, score in zip(labels.T, found.T, strict=True)]))

    def probabilities(self, queries: Queries, candidates: Candidates) -> FloatArray:
        """Return the probability of each task for candidates (q, k), (q, k, tasks), NaN in the padding.

        Raises:
            DataError: a row has no candidate, there is not one for each query, or an item is outside the catalogue.
            ModelError: the ranker is not fitted.
        """
        require_rows(queries, candidates, self.catalogue.n_items)
        module, encoded = self._net, encode(self._space, queries, candidates, self.config)
        assert isinstance(module, TaskModule)  # noqa: S101 - it made it
        found = np.full((*candidates.items.shape, self.config.tasks), np.nan, np.float32)
        found[candidates.items >= 0] = row_outputs(module, module.probabilities, encoded, self.config.features.history)
        return found


class SharedBottomConfig(TasksConfig):
    """Hyper-parameters of a shared bottom."""


class SharedBottom(TasksRanker[SharedBottomConfig]):
    """Layers that all tasks share, and layers of each task's own on top.

    Paper: Caruana, Multitask Learning, Machine Learning 1997.
    """

    name: ClassVar[str] = "shared-bottom"
    config_class: ClassVar[type[Config]] = SharedBottomConfig

    def _module(self, space: FeatureSpace, config: SharedBottomConfig) -> RowModule:
        return Bottom(space, config)


class Bottom(TaskModule):
    """The module of a shared bottom."""

    def __init__(self, space: FeatureSpace, config: TasksConfig) -> None:
        super().__init__(space, config)
        self.bottom = mlp(self.width, config.hidden, config.dropout)
        self.towers = Towers(config.tasks, config.hidden[-1], config.tower, config.dropout)

    @property
    def last(self) -> list[Tensor]:
        """The weights of the bottom's last layer."""
        return [[each for each in self.bottom if isinstance(each, nn.Linear)][-1].weight]

    def task_logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of each task, (b, tasks)."""
        shared = self.bottom(self.read(batch))
        logits: Tensor = self.towers(shared.unsqueeze(1).expand(-1, len(self.powers), -1))
        return logits


class ESMMConfig(TasksConfig):
    """Hyper-parameters of ESMM; ``tower`` is not read."""


class ESMM(TasksRanker[ESMMConfig]):
    """A tower for each step of a funnel on shared vectors: what is asked of a step is the product of all up to it.

    With two tasks, p(click) and p(click and conversion) = p(click) p(conversion | click) are learned on all rows, so
    that the second tower is never asked about what was clicked alone, which is not what it serves.

    Paper: Ma et al., Entire Space Multi-Task Model: An Effective Approach for Estimating Post-Click Conversion Rate,
    SIGIR 2018. Differs: any number of steps.
    """

    name: ClassVar[str] = "esmm"
    config_class: ClassVar[type[Config]] = ESMMConfig

    def _module(self, space: FeatureSpace, config: ESMMConfig) -> RowModule:
        return Funnel(space, config)


class Funnel(TaskModule):
    """The module of ESMM."""

    def __init__(self, space: FeatureSpace, config: ESMMConfig) -> None:
        super().__init__(space, config)
        self.towers = Towers(config.tasks, self.width, config.hidden, config.dropout)

    @property
    def last(self) -> list[Tensor]:
        """The vectors of the fields: nothing else is shared."""
        return [self.vectors.table]

    def step_logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of each step once the one before is taken, (b, tasks)."""
        logits: Tensor = self.towers(self.read(batch).unsqueeze(1).expand(-1, len(self.powers), -1))
        return logits

    def task_logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of the way up to each step, (b, tasks)."""
        return log_odds_of_product(self.step_logits(batch))


class MMoEConfig(TasksConfig):
    """Hyper-parameters of MMoE."""

    experts: int = Field(4, ge=1)
    """Networks that each task mixes in its own way."""


class MMoE(TasksRanker[MMoEConfig]):
    """Experts that all tasks share, mixed for each row and task by a gate of the task's; with one, a shared bottom.

    Paper: Ma et al., Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts, KDD 2018.
    """

    name: ClassVar[str] = "mmoe"
    config_class: ClassVar[type[Config]] = MMoEConfig

    def _module(self, space: FeatureSpace, config: MMoEConfig) -> RowModule:
        return Mixture(space, config)


class Mixture(TaskModule):
    """The module of MMoE."""

    def __init__(self, space: FeatureSpace, config: MMoEConfig) -> None:
        super().__init__(space, config)
        self.experts = Experts(config.experts, self.width, config.hidden, config.dropout)
        self.gates = nn.ModuleList(nn.Linear(self.width, config.experts, bias=False) for _ in range(config.tasks))
        self.towers = Towers(config.tasks, config.hidden[-1], config.tower, config.dropout)

    @property
    def last(self) -> list[Tensor]:
        """The weights of the experts' last layers."""
        return [self.experts.weights[-1]]

    def task_logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of each task, (b, tasks)."""
        values = self.read(batch)
        shares = torch.stack([gate(values) for gate in self.gates], 1).softmax(2)
        logits: Tensor = self.towers(shares @ self.experts(values))
        return logits


class PLEConfig(TasksConfig):
    """Hyper-parameters of PLE."""

    experts: int = Field(2, ge=1)
    """Networks that all tasks mix, in each level."""
    task_experts: int = Field(2, ge=0)
    """Networks of each task's own, in each level."""
    levels: int = Field(2, ge=1)
    """Levels of experts and gates."""


class PLE(TasksRanker[PLEConfig]):
    """Levels of experts: each task mixes its own with shared ones, and the shared ones read what all tasks have.

    With one level it is CGC, and without experts of a task's own MMoE.

    Paper: Tang, Liu, Zhao, Gong, Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model for
    Personalized Recommendations, RecSys 2020.
    """

    name: ClassVar[str] = "ple"
    config_class: ClassVar[type[Config]] = PLEConfig

    def _module(self, space: FeatureSpace, config: PLEConfig) -> RowModule:
        return Extraction(space, config)


class Extraction(TaskModule):
    """The module of PLE."""

    def __init__(self, space: FeatureSpace, config: PLEConfig) -> None:
        super().__init__(space, config)
        inputs = [self.width, *[config.hidden[-1]] * (config.levels - 1)]
        self.levels = nn.ModuleList(
            Level(each, config, more=number < config.levels) for number, each in enumerate(inputs, 1)
        )
        self.towers = Towers(config.tasks, config.hidden[-1], config.tower, config.dropout)

    @property
    def last(self) -> list[Tensor]:
        """The weights of the last layers of the last level's shared experts."""
        level = self.levels[-1]
        assert isinstance(level, Level)  # noqa: S101 - for the type checker
        return [level.shared.weights[-1]]

    def task_logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of each task, (b, tasks)."""
        common = self.read(batch)
        each = common.unsqueeze(1).expand(-1, len(self.powers), -1)
        for level in self.levels:
            each, common = level(each, common)
        logits: Tensor = self.towers(each)
        return logits


class Level(nn.Module):
    """A level of PLE.

    Args:
        inputs: width of what comes in.
        config: numbers and widths of experts.
        more: whether a level follows, for which the shared experts' gate looks at all experts.
    """

    def __init__(self, inputs: int, config: PLEConfig, *, more: bool) -> None:
        super().__init__()
        tasks, own = config.tasks, config.task_experts
        self.shared = Experts(config.experts, inputs, config.hidden, config.dropout)
        self.own = nn.ModuleList(
            Experts(own, inputs, config.hidden, config.dropout) for _ in range(tasks if own else 0)
        )
        self.gates = nn.ModuleList(nn.Linear(inputs, own + config.experts, bias=False) for _ in range(tasks))
        self.gate = nn.Linear(inputs, tasks * own + config.experts, bias=False) if more else None

    def forward(self, each: Tensor, common: Tensor) -> tuple[Tensor, Tensor]:
        """Return what each task has, (b, tasks, width), and what is common, (b, width), from the level below."""
        shared = self.shared(common)
        own = [experts(part) for experts, part in zip(self.own, each.unbind(1), strict=False)]
        mixed = []
        for number, (gate, part) in enumerate(zip(self.gates, each.unbind(1), strict=True)):
            known = torch.cat([own[number], shared], 1) if own else shared
            mixed.append(_mixed(gate(part), known))
        if self.gate is not None:
            common = _mixed(self.gate(common), torch.cat([*own, shared], 1))
        return torch.stack(mixed, 1), common


def _mixed(logits: Tensor, experts: Tensor) -> Tensor:
    """Return experts (b, e, width) in the shares of a softmax over logits (b, e), (b, width)."""
    return (logits.softmax(1).unsqueeze(1) @ experts).squeeze(1)
