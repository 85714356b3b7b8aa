"""Parts of two-tower models: shares against what is drawn, pooling by hand, the sampled loss against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmrec.classic.recall.neural.batches import Pairs
from llmrec.classic.recall.neural.towers import HistoryPooling, Negatives, draw_chances, layers, target_shares
from llmrec.testing import toy


def test_shares_of_all_targets_by_hand():
    """Of 11 targets, Brazil is 2, Casablanca 3, Dune 2, Heat 3 and Fargo 1; Alien is only ever first."""
    np.testing.assert_allclose(target_shares(toy(), None) * 11, [0, 2, 3, 2, 3, 1, 0])


def test_shares_of_one_target_a_user_by_hand():
    """The first user's three targets count a third each, the others' two a half."""
    np.testing.assert_allclose(target_shares(toy(), 1) * 5, [0, 5 / 6, 4 / 3, 5 / 6, 3 / 2, 1 / 2, 0])


@pytest.mark.parametrize("per_user", [None, 3, 1])
def test_shares_are_those_of_the_rows_that_pairs_draws(random_data, per_user):
    rows = Pairs(random_data, 5, 64, per_user)
    drawn = [batch["target"] for seed in range(80) for batch in rows.epoch(np.random.default_rng(seed))]
    counts = np.bincount(np.concatenate(drawn), minlength=40)
    shares = target_shares(random_data, per_user)
    assert shares.sum() == pytest.approx(1)
    expected = shares * counts.sum()
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected)).all()


def test_chances_are_a_power_of_shares_and_never_is_like_rarely():
    features = {"target_shares": np.array([0.64, 0.32, 0.04, 0.0])}
    np.testing.assert_allclose(draw_chances(features, 4, 0.5), np.array([8, 32**0.5, 2, 2]) / (12 + 32**0.5))
    np.testing.assert_allclose(draw_chances(features, 4, 0.0), [0.25] * 4)
    with pytest.raises(ValueError, match=r"target_shares of shape \(4,\)"):
        draw_chances(features, 5)


def test_pooling_starts_as_the_mean_and_learns_weights_of_places_from_the_newest():
    pooling = HistoryPooling(3, 2, history=4)
    with torch.no_grad():
        pooling.table.weight[1:] = torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    history = torch.tensor([[-1, 0, 1], [-1, -1, 2]])
    np.testing.assert_allclose(pooling(history).detach(), [[0.5, 0.5], [5, 5]])
    with torch.no_grad():
        pooling.places[:] = torch.tensor([9.0, 9.0, 2.0, 5.0]).log()
    np.testing.assert_allclose(pooling(history).detach(), [[2 / 7, 5 / 7], [5, 5]], rtol=1e-6)
    wider = torch.tensor([[-1, -1, 0, 1]])
    np.testing.assert_allclose(pooling(wider).detach(), [[2 / 7, 5 / 7]], rtol=1e-6)


def test_layers_have_relu_between_them_and_none_at_the_end():
    made = layers(3, (5, 4), 2, dropout=0.5)
    kinds = [type(each).__name__ for each in made]
    assert kinds == ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    assert [(each.in_features, each.out_features) for each in made if isinstance(each, torch.nn.Linear)] == [
        (3, 5),
        (5, 4),
        (4, 2),
    ]


def test_negatives_are_drawn_as_their_logarithms_say():
    chances = np.array([0.5, 0.0625, 0.0625, 0.125, 0.25])
    torch.manual_seed(1)
    negatives = Negatives(chances, 200_000)
    drawn = torch.bincount(negatives.draw(), minlength=5) / 200_000
    np.testing.assert_allclose(drawn, chances, atol=0.004)
    np.testing.assert_allclose(negatives.log_q.exp(), chances, rtol=1e-6)


def test_the_loss_is_the_softmax_of_each_target_among_the_draws(monkeypatch):
    """-ln(e^s_t / (e^s_t + sum_j e^s_j / (q_j n))) over the draws j that are not the target; item 3 takes no part."""
    rng = np.random.default_rng(0)
    vectors, items = rng.normal(size=(3, 2)), rng.normal(size=(5, 2))
    chances = np.array([0.4, 0.3, 0.1, 0.15, 0.05])
    negatives, drawn, targets = Negatives(chances, 4), [4, 0, 0, 1], [0, 2, 2]
    monkeypatch.setattr(negatives, "draw", lambda: torch.tensor(drawn))
    asked = []

    def look(numbers):
        asked.append(numbers.tolist())
        return torch.tensor(items)[numbers]

    found = negatives.loss(torch.tensor(vectors), look, torch.tensor(targets))
    scores = np.exp(vectors @ items.T)
    expected = 0.0
    for row, target in enumerate(targets):
        others = sum(scores[row, item] / (4 * chances[item]) for item in drawn if item != target)
        expected -= np.log(scores[row, target] / (scores[row, target] + others))
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert asked == [[0, 1, 2, 4]]
