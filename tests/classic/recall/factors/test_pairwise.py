"""Steps on given pairs: the gradient by hand and by automatic differentiation, each pair once, in place."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from llmrec.classic.recall.factors.pairwise import pair_epochs
from llmrec.data.preferences import Preferences


def test_a_step_by_hand():
    """The difference of scores is ln 3 with the bias: sigmoid(-ln 3) = 1/4, times 0.1 * 2 * 0.5 = 0.1, is 0.025."""
    users = np.array([[math.log(3) / 2, 5, 1]], np.float32)
    items = np.array([[9, 9, 9], [2, 0, 0.5], [0, 0, 0.5]], np.float32)
    pairs = Preferences([0], [1], [2], [0.5])
    pair_epochs(pairs, 2.0, learning_rate=0.1, regularization=0, seed=0)(users, items)
    half = 0.5493061
    np.testing.assert_allclose(users, [[half + 0.05, 5, 1]], rtol=1e-6)
    np.testing.assert_allclose(items[0], [9, 9, 9])
    np.testing.assert_allclose(items[1], [2 + 0.025 * half, 0.125, 0.525], rtol=1e-6)
    np.testing.assert_allclose(items[2], [-0.025 * half, -0.125, 0.475], rtol=1e-6)


def test_a_step_goes_down_the_gradient_that_torch_finds():
    """Pairs of distinct users and items: one batch, whatever the order."""
    rng = np.random.default_rng(1)
    users, items = rng.normal(size=(3, 5)).astype(np.float32), rng.normal(size=(6, 5)).astype(np.float32)
    users[:, -1] = 1
    pairs = Preferences([2, 0, 1], [0, 1, 2], [5, 4, 3], [0.5, 1, 3])
    x, v = torch.from_numpy(users.copy()).requires_grad_(), torch.from_numpy(items.copy()).requires_grad_()
    chosen, rejected, asked = v[[0, 1, 2]], v[[5, 4, 3]], x[[2, 0, 1]]
    norms = asked[:, :-1].square().sum(1) + chosen.square().sum(1) + rejected.square().sum(1)
    losses = -torch.log(torch.sigmoid((asked * (chosen - rejected)).sum(1))) + 0.2 / 2 * norms
    (0.7 * torch.tensor([0.5, 1, 3]) * losses).sum().backward()
    expected_users, expected_items = users - 0.1 * x.grad.numpy(), items - 0.1 * v.grad.numpy()
    expected_users[:, -1] = 1
    pair_epochs(pairs, 0.7, learning_rate=0.1, regularization=0.2, seed=3)(users, items)
    np.testing.assert_allclose(users, expected_users, rtol=1e-5)
    np.testing.assert_allclose(items, expected_items, rtol=1e-5)


def test_pairs_that_meet_add_up_and_many_of_a_user_do_not_run_away():
    """Two hundred pairs of one user in one item's favour: each counts, and the margin grows like a logarithm."""
    users, items = np.array([[1, 1]], np.float32), np.zeros((2, 2), np.float32)
    pairs = Preferences(np.zeros(200), np.zeros(200), np.ones(200), np.ones(200))
    epoch = pair_epochs(pairs, 1.0, learning_rate=0.05, regularization=0, seed=0)
    epoch(users, items)
    margin = float(users[0] @ (items[0] - items[1]))
    assert 3 < margin < 6  # 200 steps of at most 0.05 * 0.5 * 4 = 0.1 at first, of 0.05 * 4 * e^-margin later
    epoch(users, items)
    assert margin < float(users[0] @ (items[0] - items[1])) < 8


def test_the_order_is_the_seeds():
    rng = np.random.default_rng(0)
    pairs = Preferences(rng.integers(5, size=40), rng.integers(4, size=40), 4 + rng.integers(4, size=40), np.ones(40))
    ends = []
    for seed in (1, 1, 2):
        users, items = np.full((5, 3), 0.3, np.float32), np.linspace(0, 1, 24, dtype=np.float32).reshape(8, 3)
        pair_epochs(pairs, 1.0, learning_rate=0.5, regularization=0.01, seed=seed)(users, items)
        ends.append(items)
    np.testing.assert_array_equal(ends[0], ends[1])
    assert not np.array_equal(ends[0], ends[2])


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_weight_of_nothing_moves_nothing(weight):
    users, items = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)
    pairs = Preferences([0, 1], [0, 1], [2, 3], [1 - weight, 1 - weight])
    pair_epochs(pairs, weight, learning_rate=0.5, regularization=0.1, seed=0)(users, items)
    assert (users == 1).all()
    assert (items == 1).all()
