"""Label-aware attention and the loss by hand; what histories are asked of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax

from llmrec.classic.recall.neural import losses
from llmrec.classic.recall.neural.interests import Extractor, InterestEncoder, label_aware
from llmrec.classic.recall.neural.losses import item_softmax
from llmrec.classic.recall.neural.pairs import PairsConfig, pairs

VECTORS = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [9.0, 9.0]]])
TARGET = torch.tensor([[2.0, 0.5]])  # products 2, 1 and 22.5: the third vector is not used
USED = torch.tensor([[True, True, False]])


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
def test_label_aware_attention_by_hand(power):
    weights = softmax([2**power, 1])
    found = label_aware(VECTORS, USED, TARGET, power)
    np.testing.assert_allclose(found, [[weights[0], 2 * weights[1]]], rtol=1e-6)


def test_the_higher_the_power_the_nearer_to_the_nearest_vector():
    near = label_aware(VECTORS, USED, TARGET, None)
    assert near.tolist() == [[1.0, 0.0]]
    distances = [float((label_aware(VECTORS, USED, TARGET, power) - near).norm()) for power in (1.0, 2.0, 4.0, 8.0)]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 1e-6


def test_a_vector_that_points_away_gets_the_least_weight_at_an_even_power_too():
    vectors = torch.tensor([[[1.0, 0.0], [-3.0, 0.0]]])
    found = label_aware(vectors, torch.ones(1, 2, dtype=torch.bool), torch.tensor([[1.0, 0.0]]), 2.0)
    weights = softmax([1, -9])
    np.testing.assert_allclose(found, [[weights[0] - 3 * weights[1], 0]], rtol=1e-5)


def test_attention_has_a_gradient_where_a_product_is_zero_or_a_vector_is_not_used():
    vectors = VECTORS.clone().requires_grad_()
    label_aware(vectors, USED, torch.tensor([[0.0, 1.0]]), 2.0).sum().backward()
    assert torch.isfinite(vectors.grad).all()
    assert (vectors.grad[0, 2] == 0).all()


class Ends(Extractor):
    """The oldest and the newest item's vectors; the first is not used in a history of one."""

    def forward(self, items, real):
        return items[:, [-1, 0]], torch.stack([real[:, -1], real[:, 0]], 1)


def encoder(**settings) -> InterestEncoder:
    torch.manual_seed(0)
    module = InterestEncoder(PairsConfig(embedding_dim=3, dropout=0.5, **settings), 5, Ends())
    with torch.no_grad():
        module.embedding.table.weight[1:] = torch.randn(5, 3)
    return module.eval()


def test_the_loss_is_the_cross_entropy_of_the_nearest_interest():
    module = encoder()
    items = module.items().detach().numpy().astype(np.float64)
    read = np.sqrt(3) * items
    batch = {"history": torch.tensor([[0, 1, 2], [-1, -1, 3]]), "target": torch.tensor([4, 0])}
    asked = [max(read[2], read[0], key=lambda vector: vector @ items[4]), read[3]]
    expected = sum(
        logsumexp(items @ vector) - items[target] @ vector for vector, target in zip(asked, (4, 0), strict=True)
    )
    loss, count = module(batch)
    np.testing.assert_allclose(loss.detach(), expected, rtol=1e-5)
    assert int(count) == 2


def test_an_interest_that_a_query_does_not_have_is_nan():
    module = encoder()
    found = module.encode(torch.tensor([[0, 1, 2], [-1, -1, 3]]), torch.zeros(2, 3)).detach().numpy()
    read = np.sqrt(3) * module.items().detach().numpy()
    np.testing.assert_allclose(found[0], read[[2, 0]], rtol=1e-6)
    np.testing.assert_allclose(found[1], [read[3], [np.nan] * 3], rtol=1e-6)


def test_sampled_negatives_estimate_the_loss_over_all_items():
    torch.manual_seed(0)
    vectors, items, targets = torch.randn(6, 4), torch.randn(20, 4), torch.arange(6)
    full = float(item_softmax(vectors, items, targets))
    np.testing.assert_allclose(float(item_softmax(vectors, items, targets, negatives=200_000)), full, rtol=0.01)
    batch = {"history": torch.tensor([[0, 1], [2, 3]]), "target": torch.tensor([4, 0])}
    whole, sampled = (
        float(encoder(loss=loss, negatives=100_000)(batch)[0].detach()) for loss in ("softmax", "sampled")
    )
    assert whole != sampled
    np.testing.assert_allclose(sampled, whole, rtol=0.02)


def test_the_softmax_over_all_items_is_the_same_in_parts(monkeypatch):
    torch.manual_seed(0)
    vectors, items, targets = torch.randn(7, 4), torch.randn(20, 4), torch.arange(7)
    products = (vectors @ items.T).double().numpy()
    expected = (logsumexp(products, axis=1) - products[np.arange(7), np.arange(7)]).sum()
    np.testing.assert_allclose(float(item_softmax(vectors, items, targets)), expected, rtol=1e-5)
    monkeypatch.setattr(losses, "LOGITS", 45)
    np.testing.assert_allclose(float(item_softmax(vectors, items, targets)), expected, rtol=1e-5)
    assert float(item_softmax(vectors[:0], items, targets[:0])) == 0


def test_an_epoch_holds_at_most_per_user_events_of_each_user(make_data):
    data = make_data([tuple(range(9)), (3, 4)], 9)
    rows = {
        per_user: sum(
            len(batch["target"])
            for batch in pairs(data, PairsConfig(per_user=per_user, batch_size=2)).epoch(np.random.default_rng(0))
        )
        for per_user in (1, 3, None)
    }
    assert rows == {1: 2, 3: 4, None: 9}
