"""The auxiliary loss of torch models: its value by hand, its users and pairs in batches, and draws of its own."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from llmrec.classic.recall.dssm import DSSM, DSSMConfig, Towers
from llmrec.classic.recall.neural.batches import Pairs, Windows
from llmrec.classic.recall.neural.encoder import Encoder
from llmrec.classic.recall.neural.preferences import (
    PREFIX,
    BatchesWithPreferences,
    LossWithPreferences,
    preference_loss,
)
from llmrec.classic.recall.neural.towers import tower_features
from llmrec.classic.training import TrainingConfig, train
from llmrec.data.preferences import Preferences
from llmrec.protocols import UNWATCHED
from llmrec.testing import toy

LN3 = math.log(3)
PAIRS = Preferences([0, 0, 4, 2], [6, 5, 6, 0], [5, 4, 0, 6], [1, 0.5, 2, 0.25])


class Fixed(Encoder):
    """A query vector for each newest item and vectors of items, both given; its own loss is 5 over 4 terms."""

    def __init__(self, queries: object, items: object) -> None:
        super().__init__()
        self.queries, self.table = nn.Parameter(torch.tensor(queries)), nn.Parameter(torch.tensor(items))

    def forward(self, batch):
        return self.table.sum() * 0 + 5, torch.tensor(4)

    def encode(self, history: Tensor, times: Tensor) -> Tensor:
        return self.queries[history[:, -1]]

    def items(self) -> Tensor:
        return self.table


def pairs_of(**arrays: list) -> dict[str, Tensor]:
    tensors = {name: torch.tensor(array) for name, array in arrays.items()}
    return {"times": torch.zeros_like(tensors["history"]), **tensors}


@pytest.mark.parametrize(("temperature", "per_unit"), [(1.0, math.log(4 / 3)), (0.5, math.log(10 / 9))])
def test_the_loss_by_hand(temperature, per_unit):
    """Margins ln 3 (weight 2), 0 (weight 0.5) and -ln 3 (weight 1); divided by 0.5 they are ln 9, 0 and -ln 9."""
    encoder = Fixed([[[LN3, 7.0]], [[0.0, 2 * LN3]]], [[1.0, 0.0], [0.0, 0.0], [0.0, 0.5]])
    encoder.temperature = temperature
    pairs = pairs_of(
        history=[[0], [1]], chosen=[[0, 2], [-1, 1]], rejected=[[1, 2], [-1, 2]], weights=[[2, 0.5], [0, 1.0]]
    )
    expected = 2 * per_unit + 0.5 * math.log(2) + (per_unit + LN3 / temperature)
    assert preference_loss(encoder, pairs).item() == pytest.approx(expected, rel=1e-5)


def test_of_several_vectors_the_nearest_counts_and_one_that_is_not_there_does_not():
    """Vectors 1, 3 and none: the chosen item, 2, gets 6; the rejected one, -1, gets -1. So 7 apart."""
    encoder = Fixed([[[1.0], [3.0], [math.nan]]], [[2.0], [-1.0]])
    loss = preference_loss(encoder, pairs_of(history=[[0]], chosen=[[0]], rejected=[[1]], weights=[[1.0]]))
    assert loss.item() == pytest.approx(math.log1p(math.exp(-7)), rel=1e-3)
    loss.backward()
    assert encoder.table.grad.isfinite().all()
    slope = -1 / (1 + math.exp(7))
    assert encoder.table.grad.flatten().tolist() == pytest.approx([3 * slope, -slope], rel=1e-3)


def test_the_whole_is_the_encoders_own_plus_weight_times_it_over_the_encoders_own_terms():
    encoder = Fixed([[[LN3]]], [[1.0], [0.0]])
    pairs = pairs_of(history=[[0]], chosen=[[0]], rejected=[[1]], weights=[[2.0]], seed=[3])
    batch = {PREFIX + name: each for name, each in pairs.items()}
    loss, terms = LossWithPreferences(encoder, 0.7)(batch)
    assert terms.item() == 4
    assert loss.item() == pytest.approx(5 + 0.7 * 2 * math.log(4 / 3), rel=1e-6)
    nobody = {name: each[:0] for name, each in batch.items()}
    assert LossWithPreferences(encoder, 0.7)(nobody)[0].item() == 5


def joined(batch_size: int = 2) -> BatchesWithPreferences:
    return BatchesWithPreferences(Pairs(toy(), 3, batch_size), toy(), PAIRS, history=3)


def test_an_epoch_has_each_user_once_with_history_and_all_pairs():
    """Eleven rows in six steps; users 0, 2 and 4 in three of them."""
    batches = joined()
    assert batches.steps == 6
    seen, histories = Counter(), {}
    for batch in batches.epoch(np.random.default_rng(5)):
        parts = [batch[PREFIX + name] for name in ("history", "times", "chosen", "rejected", "weights", "seed")]
        assert len({len(part) for part in parts}) == 1
        for history, times, chosen, rejected, weights, _ in zip(*parts, strict=True):
            histories[tuple(history.tolist())] = times.tolist()
            seen.update(
                (history[-1].item(), *pair)
                for pair in zip(chosen.tolist(), rejected.tolist(), weights.tolist(), strict=True)
                if pair[0] >= 0
            )
    assert seen == Counter([(3, 6, 5, 1), (3, 5, 4, 0.5), (5, 6, 0, 2), (4, 0, 6, 0.25)])
    assert histories == {(1, 2, 3): [20, 30, 40], (1, 2, 4): [12, 22, 32], (2, 4, 5): [14, 24, 34]}


def test_the_other_batches_are_what_they_are_alone_and_orders_differ_between_epochs():
    alone, batches = Pairs(toy(), 3, 2), joined()
    for one, two in zip(alone.epoch(np.random.default_rng(5)), batches.epoch(np.random.default_rng(5)), strict=True):
        for name, array in one.items():
            np.testing.assert_array_equal(two[name], array)
    orders = {
        tuple(batch[PREFIX + "weights"].sum().item() for batch in batches.epoch(np.random.default_rng([0, epoch])))
        for epoch in range(8)
    }
    assert len(orders) > 1


def test_more_users_than_steps_share_a_batch_as_wide_as_their_longest_history():
    pairs = Preferences(range(5), [6] * 5, [0] * 5, [1] * 5)
    batches = BatchesWithPreferences(Windows(toy(), 50, 5), toy(), pairs, history=50)
    (batch,) = batches.epoch(np.random.default_rng(0))
    assert batch[PREFIX + "history"].shape == (5, 4)
    assert len(set(batch[PREFIX + "seed"].tolist())) == 5


def test_the_loss_draws_from_its_own_seed():
    """Dropout: the same seed gives the same loss, and the draws after it are those without it."""
    torch.manual_seed(0)
    data = toy()
    module = LossWithPreferences(
        Towers(DSSMConfig(embedding_dim=4, dropout=0.5), 7, tower_features(data, DSSMConfig())), 1.0
    )
    batches = [
        {name: torch.from_numpy(each) for name, each in batch.items()}
        for batch in joined(11).epoch(np.random.default_rng(5))
    ]
    losses, after = [], []
    for seed in (7, 7, 8, None):
        batch = {**batches[0], PREFIX + "seed": torch.full((3,), seed or 0)}
        if seed is None:
            batch = {name: each[:0] if name.startswith(PREFIX) else each for name, each in batch.items()}
        torch.manual_seed(2)
        losses.append(module(batch)[0].item())
        after.append(torch.rand(1).item())
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3
    assert len(set(after)) == 1


@pytest.mark.parametrize("parts", [2, 5])
def test_a_batch_gives_the_same_step_whole_and_in_parts(parts):
    """The pairs, too, are dealt out to the parts; some parts have none."""
    ends = []
    for accumulation in (1, parts):
        torch.manual_seed(0)
        encoder = Summed()
        config = TrainingConfig(epochs=1, learning_rate=0.1, accumulation=accumulation)
        train(LossWithPreferences(encoder, 2.0), joined(11), config, seed=0, watch=UNWATCHED)
        ends.append(encoder.table.detach().numpy().copy())
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-5)


class Summed(Encoder):
    """The sum of a history's vectors, and a loss that is a plain sum over rows: nothing is shared within a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(8, 3))

    def forward(self, batch):
        errors = self.encode(batch["history"], batch["times"])[:, 0] - self.table[batch["target"] + 1]
        return errors.square().sum(), torch.tensor(len(errors))

    def encode(self, history: Tensor, times: Tensor) -> Tensor:
        return (self.table[history + 1] * (history >= 0).unsqueeze(2)).sum(1, keepdim=True)

    def items(self) -> Tensor:
        return self.table[1:]


@pytest.mark.parametrize("items", [[3, 0, 3], [6]])
def test_vectors_of_some_items_are_rows_of_all(items):
    model = DSSM(DSSMConfig(embedding_dim=4, epochs=1, dropout=0)).fit(toy())
    with torch.inference_mode():
        found = model._vectors.module.some_items(torch.tensor(items))
    np.testing.assert_allclose(found, model.item_vectors[items], rtol=1e-5)
