"""DIN by hand: Dice, the activation unit, and what one event, none, or padding give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmrec.classic.ranking.din import DIN, DINConfig, Interests
from llmrec.classic.ranking.features import FeatureConfig
from llmrec.classic.ranking.learning import prepare
from llmrec.classic.ranking.neural.layers import Dice
from llmrec.classic.ranking.neural.sequences import ActivationUnit, weighted
from llmrec.errors import ConfigError
from llmrec.protocols import UNWATCHED
from llmrec.testing import expect_error, toy

IDS = FeatureConfig(categories=("user", "item"), statistics=(), history=3, min_count=1)


def sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


def test_dice_by_hand():
    """Values 1 and 3 have mean 2 and deviation 1: shares sigmoid(-1) and sigmoid(1); the rest counts half."""
    dice = Dice(1)
    with torch.no_grad():
        dice.alpha.fill_(0.5)
    low, high = sigmoid(-1), sigmoid(1)
    found = dice(torch.tensor([[1.0], [3.0]]))[:, 0].tolist()
    assert found == pytest.approx([low + (1 - low) / 2, 3 * (high + (1 - high) / 2)], abs=1e-4)
    # A tenth of the way from 0 to the mean 2, and from 1 to the unbiased variance 2.
    assert dice.mean.tolist() == pytest.approx([0.2])
    assert dice.variance.tolist() == pytest.approx([1.1])
    share = sigmoid((3 - 0.2) / 1.1**0.5)
    assert dice.eval()(torch.tensor([[3.0]])).item() == pytest.approx(3 * (share + (1 - share) / 2), abs=1e-4)
    assert dice.train()(torch.tensor([[3.0]])).item() == pytest.approx(3 * (share + (1 - share) / 2), abs=1e-4)


def test_the_activation_unit_by_hand():
    """Target (1, 2), event (3, -1): one layer reads event, product (3, -2) and target; then Dice, then one number."""
    unit = ActivationUnit(2, (1,)).eval()
    with torch.no_grad():
        unit.of_event.weight.copy_(torch.tensor([[1.0, 2.0, 0.5, -1.0]]))
        unit.of_target.weight.copy_(torch.tensor([[-1.0, 1.0]]))
        unit.of_target.bias.fill_(0.25)
        unit.rest[1].weight.fill_(2.0)
        unit.rest[1].bias.fill_(0.5)
    # 3 - 2 + 1½ + 2 - 1 + 2 + ¼, at a running mean of 0 and deviation of 1
    inside = 5.75
    wanted = 2 * inside * sigmoid(inside) + 0.5
    target, event = torch.tensor([[1.0, 2.0]]), torch.tensor([[[3.0, -1.0]]])
    found = unit(target, event, torch.tensor([[True]]))
    assert found.tolist() == [[pytest.approx(wanted, rel=1e-4)]]
    # One event: what DIN sees is its vector as much as it counts, not as much as it counts among one.
    assert weighted(found, event)[0].tolist() == pytest.approx([3 * wanted, -wanted], rel=1e-4)


def test_what_is_no_event_neither_counts_nor_moves_what_dice_knows():
    torch.manual_seed(0)
    short, long = ActivationUnit(2, (4, 3)), ActivationUnit(2, (4, 3))
    long.load_state_dict(short.state_dict())
    target, events = torch.randn(5, 2), torch.randn(5, 3, 2)
    real = torch.tensor([[0, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 1], [0, 1, 1]]) > 0
    garbage = torch.cat([torch.full((5, 2, 2), 1e3), torch.where(real[:, :, None], events, 1e3)], 1)
    found = long(target, garbage, torch.cat([torch.zeros(5, 2) > 0, real], 1))
    torch.testing.assert_close(found[:, 2:], short(target, events, real))
    assert not found[:, :2].any()
    assert not found[2].any()
    torch.testing.assert_close(long.rest[0].mean, short.rest[0].mean)
    assert (short.rest[0].mean != 0).any()


def test_the_module_reads_one_event_as_the_unit_says():
    space = prepare(toy(), DINConfig(features=IDS), 0, UNWATCHED).space
    torch.manual_seed(1)
    module = Interests(space, DINConfig(features=IDS, embedding_dim=2, attention=(3,), hidden=(4,))).eval()
    numbers = torch.zeros(3, 0)
    batch = {
        "user": torch.tensor([0, 1, -1]),
        "item": torch.tensor([4, 5, 6]),
        "history": torch.tensor([[-1, 2], [-1, -1], [-1, 2]]),
        "numbers": numbers,
    }
    read = module.read(batch)
    start = module.fields.offsets["item"]
    vector = module.vectors.table[start + 2 + 2]  # of item 2: every item but the last has a code of its own
    torch.testing.assert_close(read.events[0, 1], vector)
    torch.testing.assert_close(read.target[0], module.vectors.table[start + 2 + 4])
    interest = module.interest(*read[1:])
    torch.testing.assert_close(
        interest[0], module.unit(read.target[:1], vector.view(1, 1, 2), torch.ones(1, 1) > 0)[0, 0] * vector
    )
    assert not interest[1].any()
    torch.testing.assert_close(module.logits(batch), module.deep(torch.cat([read.fields, interest], 1)))


def test_a_model_that_looks_at_histories_needs_one():
    for change in ({"history": 0}, {"categories": ("user",)}):
        config = DINConfig(features=IDS.model_copy(update=change))
        expect_error(ConfigError, lambda config=config: DIN(config).fit(toy()), "features.history", "categories")
