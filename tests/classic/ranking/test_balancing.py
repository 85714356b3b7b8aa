"""Losses of several tasks in one step, by hand and against the papers' algorithms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from llmrec.classic.ranking.balancing import Equal, GradNorm, PCGrad, UncertaintyWeights, make_balancer, surgery


def parameter(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values))


def gradients(balancer, losses, parameters, last=None):
    """Return the gradients of what a balancer makes of losses, and its value."""
    total = balancer(torch.stack(losses), parameters, last or parameters)
    for each in parameters:
        each.grad = None
    total.backward()
    return [each.grad.tolist() for each in parameters], total.item()


def test_uncertainty_weights_by_hand():
    """With variances 1 and 4: 2 + 8 / 4 + (0 + ln 4) / 2; the slope of s is ½ - exp(-s) L."""
    balancer = UncertaintyWeights(2)
    with torch.no_grad():
        balancer.log_variance.copy_(torch.tensor([0.0, np.log(4.0)]))
    one = parameter(2.0, 8.0)
    found, value = gradients(balancer, [one[0], one[1]], [one])
    assert value == pytest.approx(4 + np.log(4) / 2)
    assert found == [[pytest.approx(1.0), pytest.approx(0.25)]]
    assert balancer.log_variance.grad.tolist() == pytest.approx([-1.5, -1.5])


def test_gradients_that_do_not_conflict_are_left_alone():
    shared = parameter(0.5, 2.0)
    slopes = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    found, value = gradients(PCGrad(2), list(slopes @ shared), [shared])
    assert found == [[2.0, 1.0]]
    assert value == pytest.approx(0.5 + 2.5)


def test_gradients_that_conflict_are_made_orthogonal():
    """(1, 0) and (-1, 1): (1, 0) + ½ (-1, 1) = (½, ½) is orthogonal to the second; (0, 1) is to the first."""
    shared, own = parameter(1.0, 1.0), parameter(3.0)
    slopes = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    one, two = slopes @ shared
    found, value = gradients(PCGrad(2), [one + 5 * own[0], two], [shared, own])
    assert found[0] == pytest.approx([0.5, 1.5])
    assert found[1] == [5.0]  # what is one task's own is not touched
    assert value == pytest.approx(1 + 15 + 0)


@given(st.integers(2, 5), st.integers(1, 4), st.integers(0, 10_000))
def test_surgery_on_inner_products_is_the_algorithm_on_gradients(tasks, width, seed):
    rng = np.random.default_rng(seed)
    gradient = rng.normal(size=(tasks, width))
    orders = [rng.permutation(tasks).tolist() for _ in range(tasks)]
    wanted = np.zeros(width)
    for task, order in enumerate(orders):
        mine = gradient[task].copy()
        for other in order:
            if other != task and mine @ gradient[other] < 0:
                mine -= (mine @ gradient[other]) / (gradient[other] @ gradient[other]) * gradient[other]
        wanted += mine
    found = surgery(torch.from_numpy(gradient @ gradient.T), orders).numpy() @ gradient
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


def test_parameters_of_any_shape_that_nobody_reads_are_no_obstacle():
    torch.manual_seed(0)
    table, unread = nn.Parameter(torch.randn(3, 4)), parameter(1.0)
    losses = [table.sum(), (2 * table).sum()]
    total = PCGrad(2)(torch.stack(losses), [table, unread], [])
    total.backward()
    torch.testing.assert_close(table.grad, torch.full((3, 4), 3.0))
    assert unread.grad.tolist() == [0.0]


def test_gradnorm_by_hand():
    """Losses fell from 2 and 2 to 2 and 1: rates 4/3 and 2/3. Norms are 1 and 1, so the first is to weigh more.

    The slopes of the gap in the weights are -1 and 1, and of the weights in the logits ½ and -½.
    """
    balancer, shared = GradNorm(2, asymmetry=1.0), parameter(2.0)
    first, value = gradients(balancer, [shared[0], 1.0 * shared[0]], [shared])
    assert first == [[2.0]]
    assert value == pytest.approx(4.0)
    assert balancer.first.tolist() == [2.0, 2.0]
    balancer.logits.grad = None
    found, value = gradients(balancer, [shared[0], shared[0] - 1], [shared])
    assert value == pytest.approx(3.0)  # the gap moves the weights, and is not part of the loss
    assert balancer.logits.grad.tolist() == pytest.approx([-1.0, 1.0])
    assert found == [[2.0]]  # weights are not moved by the losses
    with torch.no_grad():
        balancer.logits -= 0.1 * balancer.logits.grad
    weights = torch.softmax(balancer.logits, 0) * 2
    assert weights[0] > 1 > weights[1]
    again, _ = gradients(balancer, [shared[0], 3 * shared[0] - 5], [shared])
    assert again == [[pytest.approx((weights[0] + 3 * weights[1]).item())]]


def test_gradnorm_without_asymmetry_evens_the_norms():
    balancer, shared = GradNorm(2, asymmetry=0.0), parameter(1.0)
    balancer.first.copy_(torch.tensor([1.0, 30.0]))  # how far losses have fallen is not looked at
    optimizer = torch.optim.SGD(balancer.parameters(), 0.01)
    for _ in range(400):
        optimizer.zero_grad()
        balancer(torch.stack([shared[0], 3 * shared[0]]), [shared], [shared]).backward()
        optimizer.step()
    weights = torch.softmax(balancer.logits, 0) * 2
    assert weights.tolist() == pytest.approx([1.5, 0.5], abs=0.05)


def test_names():
    kinds = {"equal": Equal, "uncertainty": UncertaintyWeights, "gradnorm": GradNorm, "pcgrad": PCGrad}
    for name, kind in kinds.items():
        assert type(make_balancer(name, 2, 0.5)) is kind
    assert make_balancer("gradnorm", 2, 0.5).asymmetry == 0.5
