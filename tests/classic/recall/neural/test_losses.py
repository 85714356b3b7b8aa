"""Losses against NumPy's plain formulas and their limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from llmrec.classic.recall.neural import losses
from llmrec.classic.recall.neural.losses import full_softmax, gbce, in_batch_softmax, item_softmax, sampled_softmax

RNG = np.random.default_rng(0)
VECTORS = torch.from_numpy(RNG.normal(size=(5, 3))).float()
ITEMS = torch.from_numpy(RNG.normal(size=(7, 3))).float()
TARGETS = torch.tensor([0, 6, 2, 2, 5])


def plain_softmax(logits: np.ndarray, targets: np.ndarray) -> float:
    return float(sum(np.log(np.exp(row).sum()) - row[target] for row, target in zip(logits, targets, strict=True)))


def test_full_softmax_is_the_plain_formula():
    expected = plain_softmax((VECTORS @ ITEMS.T).double().numpy(), TARGETS.numpy())
    assert full_softmax(VECTORS, ITEMS, TARGETS).item() == pytest.approx(expected, rel=1e-5)


def test_it_is_the_same_in_parts(monkeypatch):
    whole = item_softmax(VECTORS, ITEMS, TARGETS)
    monkeypatch.setattr(losses, "LOGITS", 14)  # two rows at once
    assert item_softmax(VECTORS, ITEMS, TARGETS).item() == pytest.approx(whole.item(), rel=1e-6)
    assert item_softmax(VECTORS[:0], ITEMS, TARGETS[:0]).item() == 0


def test_sampled_softmax_by_hand():
    """One row: target logit 1, negatives 2 (q 1/2) and 0 (q 1/4), two draws: logits 2 - ln(2/2), 0 - ln(2/4)."""
    items = torch.tensor([[1.0], [2.0], [0.0]])
    log_q = torch.tensor([0.25, 0.5, 0.25]).log()
    found = sampled_softmax(torch.ones(1, 1), items, torch.tensor([0]), torch.tensor([1, 2]), log_q)
    assert found.item() == pytest.approx(np.log(np.e + np.e**2 + 2) - 1, rel=1e-6)


def test_a_negative_that_is_the_target_counts_as_absent():
    items = torch.tensor([[1.0], [2.0], [0.0]])
    log_q = torch.tensor([0.25, 0.5, 0.25]).log()
    drawn = torch.tensor([1, 0, 0])
    found = sampled_softmax(torch.ones(1, 1), items, torch.tensor([0]), drawn, log_q)
    assert found.item() == pytest.approx(np.log(np.e + np.e**2 / 1.5) - 1, rel=1e-6)


def test_many_draws_come_near_the_full_softmax():
    """What logQ correction is for: whatever the draws' distribution, the expectation of the sum is the full one."""
    q = torch.tensor([0.4, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05])
    torch.manual_seed(0)
    drawn = torch.multinomial(q, 200_000, replacement=True)
    # The target is in by hand and its draws are out: together each item counts once.
    found = sampled_softmax(VECTORS, ITEMS, TARGETS, drawn, q.log())
    assert found.item() == pytest.approx(full_softmax(VECTORS, ITEMS, TARGETS).item(), rel=5e-3)
    uniform = item_softmax(VECTORS, ITEMS, TARGETS, negatives=200_000)
    assert uniform.item() == pytest.approx(full_softmax(VECTORS, ITEMS, TARGETS).item(), rel=5e-3)


def test_in_batch_softmax_is_the_plain_formula():
    log_q = torch.tensor([0.3, 0.1, 0.2, 0.1, 0.1, 0.1, 0.1]).log()
    logits = (VECTORS @ ITEMS[TARGETS].T).double().numpy() / 0.5 - log_q[TARGETS].double().numpy()
    logits[2, 3] = logits[3, 2] = -np.inf  # rows 2 and 3 have the same target
    found = in_batch_softmax(VECTORS, ITEMS[TARGETS], TARGETS, log_q, temperature=0.5)
    assert found.item() == pytest.approx(plain_softmax(logits, np.arange(5)), rel=1e-5)


def test_gbce_without_calibration_is_binary_cross_entropy():
    positive, negative = torch.randn(6), torch.randn(6, 4)
    expected = (bce(positive, torch.ones(6), reduction="sum") + bce(negative, torch.zeros(6, 4), reduction="sum")) / 5
    assert gbce(positive, negative, n_items=101, calibration=0).item() == pytest.approx(expected.item(), rel=1e-5)


def test_gbce_by_hand():
    """k = 2 of 21 items: a = 0.1; t = 1 gives beta = a, t = 1/2 beta = 0.1 (0.5 (1 - 10) + 10) = 0.55."""
    positive, negative = torch.zeros(1), torch.zeros(1, 2)
    half = np.log(2)
    full = gbce(positive, negative, n_items=21, calibration=1).item()
    assert full == pytest.approx((0.1 * half + 2 * half) / 3, rel=1e-6)
    middle = gbce(positive, negative, n_items=21, calibration=0.5).item()
    assert middle == pytest.approx((0.55 * half + 2 * half) / 3, rel=1e-6)
