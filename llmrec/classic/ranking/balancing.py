"""What the losses of several tasks count in one step: uncertainty weights, GradNorm, and PCGrad."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Balance = Literal["equal", "uncertainty", "gradnorm", "pcgrad"]


class Balancer(nn.Module, ABC):
    """Makes one loss of those of several tasks.

    Args:
        tasks: how many.
    """

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.tasks = tasks

    @abstractmethod
    def forward(self, losses: Tensor, parameters: Sequence[Tensor], last: Sequence[Tensor]) -> Tensor:
        """Return the number whose gradient is the step.

        Args:
            losses: (tasks,), the mean loss of each.
            parameters: all that learns; those that several losses reach are shared.
            last: those of the shared layer that is nearest to the tasks.
        """


class Equal(Balancer):
    """The sum of the losses."""

    def forward(
        self,
        losses: Tensor,
        parameters: Sequence[Tensor],  # noqa: ARG002 - losses say all
        last: Sequence[Tensor],  # noqa: ARG002
    ) -> Tensor:
        """Return the sum."""
        return losses.sum()


class UncertaintyWeights(Balancer):
    """sum_t exp(-s_t) L_t + s_t / 2, with learned s_t: what is noisy counts less, and saying so costs.

    s_t is the logarithm of the task's variance.

    Paper: Kendall, Gal, Cipolla, Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
    Semantics, CVPR 2018; the form for cross-entropies.
    """

    def __init__(self, tasks: int) -> None:
        super().__init__(tasks)
        self.log_variance = nn.Parameter(torch.zeros(tasks))

    def forward(
        self,
        losses: Tensor,
        parameters: Sequence[Tensor],  # noqa: ARG002 - losses say all
        last: Sequence[Tensor],  # noqa: ARG002
    ) -> Tensor:
        """Return the weighed sum."""
        total: Tensor = (torch.exp(-self.log_variance) * losses + self.log_variance / 2).sum()
        return total


class GradNorm(Balancer):
    """Learned weights under which a task that lags behind the others pulls the shared layer harder.

    A task's rate is its loss over its first one, over the mean of all tasks' such shares. The weights w_t learn from
    sum_t |G_t - mean(G) rate_t^a| with G_t the norm of the gradient of w_t L_t in the shared layer.

    Args:
        tasks: how many.
        asymmetry: a; 0 wants equal norms, whatever the losses do.

    Paper: Chen et al., GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks, ICML
    2018. Differs: weights are a softmax times the number of tasks, and so sum to it without being renormalised.
    """

    first: Tensor

    def __init__(self, tasks: int, asymmetry: float = 1.5) -> None:
        super().__init__(tasks)
        self.asymmetry, self.logits = asymmetry, nn.Parameter(torch.zeros(tasks))
        self.register_buffer("first", torch.zeros(tasks))  # 0 until it is known

    def forward(
        self,
        losses: Tensor,
        parameters: Sequence[Tensor],  # noqa: ARG002 - only the last shared layer is looked at
        last: Sequence[Tensor],
    ) -> Tensor:
        """Return the weighed sum; its gradient teaches the weights too."""
        if not self.first.any():
            self.first.copy_(losses.detach())
        weights = torch.softmax(self.logits, 0) * self.tasks
        norms = torch.stack([_norm(loss, last) for loss in losses])
        shares = losses.detach() / self.first.clamp(min=1e-12)
        rates = (shares / shares.mean().clamp(min=1e-12)) ** self.asymmetry
        gap = (weights * norms - ((weights * norms).mean() * rates).detach()).abs().sum()
        return (weights.detach() * losses).sum() + gap - gap.detach()


class PCGrad(Balancer):
    """The sum of the losses, whose gradients are cleared of what contradicts another task's.

    In what several tasks share, a task's gradient that has a negative inner product with another's is projected onto
    the plane that is orthogonal to it, task after task in random order. What belongs to one task learns as it would.

    Paper: Yu et al., Gradient Surgery for Multi-Task Learning, NeurIPS 2020.
    """

    def forward(
        self,
        losses: Tensor,
        parameters: Sequence[Tensor],
        last: Sequence[Tensor],  # noqa: ARG002 - all that is shared counts
    ) -> Tensor:
        """Return a number with the value of the sum, and with the projected gradients."""
        each = [torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True) for loss in losses]
        stacked = [torch.stack(row) for row in zip(*each, strict=True)]  # (tasks, …) of each parameter
        shared = [int(row.flatten(1).any(1).sum()) > 1 for row in stacked]
        inner = torch.zeros(self.tasks, self.tasks, device=losses.device)
        for row in (row.flatten(1) for row, common in zip(stacked, shared, strict=True) if common):
            inner += row @ row.T
        weights = surgery(inner, [torch.randperm(self.tasks).tolist() for _ in range(self.tasks)])
        total = losses.sum().detach()
        for parameter, row, common in zip(parameters, stacked, shared, strict=True):
            gradient = torch.tensordot(weights, row, 1) if common else row.sum(0)
            product = (parameter * gradient).sum()
            total = total + product - product.detach()  # adds nothing but the gradient
        return total


def surgery(inner: Tensor, orders: Sequence[Sequence[int]]) -> Tensor:
    """Return what each gradient counts in the sum of the projected ones, (tasks,): 1 where none contradicts another.

    A projected gradient is a sum of the gradients, so that the inner products of all pairs are all that is needed.

    Args:
        inner: (tasks, tasks), inner products of the gradients.
        orders: for each task, all tasks in the order in which it meets them.
    """
    parts = torch.eye(len(inner), dtype=inner.dtype, device=inner.device)  # row t: what task t's projection is made of
    for task, order in enumerate(orders):
        for other in order:
            against = parts[task] @ inner[:, other]
            if other != task and against < 0:
                parts[task, other] -= against / inner[other, other]
    return parts.sum(0)


def make_balancer(balance: Balance, tasks: int, asymmetry: float) -> Balancer:
    """Return a new balancer."""
    if balance == "gradnorm":
        return GradNorm(tasks, asymmetry)
    kinds: Mapping[str, Callable[[int], Balancer]] = {
        "equal": Equal,
        "uncertainty": UncertaintyWeights,
        "pcgrad": PCGrad,
    }
    return kinds[balance](tasks)


def _norm(loss: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return the norm of a loss's gradient in parameters."""
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    norm: Tensor = torch.stack([each.norm() for each in gradients if each is not None]).norm()
    return norm
