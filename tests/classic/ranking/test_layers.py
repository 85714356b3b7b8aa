"""Layers by hand, and against the sums that define them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from llmrec.classic.ranking.neural.layers import (
    CrossMatrix,
    CrossVector,
    FieldAttention,
    Residual,
    inner_products,
    pooled_outer_product,
    pooled_products,
)

THREE = torch.tensor([[[1.0, 2.0], [3.0, -1.0], [0.5, 4.0]]])


def set_weights(layer: nn.Linear, weight, bias=None) -> None:
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias))


@given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 1000))
def test_the_second_order_in_linear_time_is_the_double_sum(fields, width, seed):
    """Rendle's lemma: O(k n) and O(k n²) are one number."""
    vectors = np.random.default_rng(seed).normal(size=(3, fields, width))
    double = sum((vectors[:, one] * vectors[:, two]).sum(1) for one in range(fields) for two in range(one + 1, fields))
    found = pooled_products(torch.from_numpy(vectors)).sum(1).numpy()
    np.testing.assert_allclose(found, np.broadcast_to(double, 3), atol=1e-9)


def test_bi_interaction_pooling_by_hand():
    """(1, 2)∘(3, -1) + (1, 2)∘(½, 4) + (3, -1)∘(½, 4) = (3 + ½ + 1½, -2 + 8 - 4)."""
    assert pooled_products(THREE).tolist() == [[5.0, 2.0]]


def test_products_of_pnn_by_hand():
    # 3 - 2, ½ + 8, 1½ - 4, pairs in the order of the triangle.
    assert inner_products(THREE).tolist() == [[1.0, 8.5, -2.5]]
    # The sum of the fields is (4½, 5).
    assert pooled_outer_product(THREE).tolist() == [[20.25, 22.5, 22.5, 25.0]]


def test_a_cross_layer_of_rank_one_by_hand():
    """x_0 (x · w) + b + x with x_0 = (1, 2), x = (3, -1), w = (2, 1): (1, 2) 5 + (½, 0) + (3, -1)."""
    layer = CrossVector(2)
    set_weights(layer.weight, [[2.0, 1.0]])
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([0.5, 0.0]))
    assert layer(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]])).tolist() == [[8.5, 9.0]]


def test_a_cross_layer_with_a_matrix_by_hand():
    """x_0 ∘ (W x + b) + x with W = ((1, 2), (0, 1)): (1, 2) ∘ (1 + ½, -1) + (3, -1)."""
    layer = CrossMatrix(2)
    set_weights(layer.weight[1], [[1.0, 2.0], [0.0, 1.0]], [0.5, 0.0])
    assert layer(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]])).tolist() == [[4.5, -3.0]]


def test_a_cross_layer_of_low_rank_is_one_with_the_product_of_its_matrices():
    torch.manual_seed(0)
    low, full = CrossMatrix(4, rank=2), CrossMatrix(4)
    set_weights(full.weight[1], (low.weight[1].weight @ low.weight[0].weight).tolist(), low.weight[1].bias.tolist())
    first, values = torch.randn(2, 5, 4)
    torch.testing.assert_close(low(first, values), full(first, values))


def test_a_residual_unit_by_hand():
    """relu(x + W_2 relu(W_1 x + b_1) + b_2): x = (1, -2), hidden relu(1 + 4 - 3) = 2, out relu(1 + 2 + 1, -2 + 0)."""
    unit = Residual(2, 1, 0.0)
    set_weights(unit.layers[0], [[1.0, -2.0]], [-3.0])
    set_weights(unit.layers[3], [[1.0], [0.0]], [1.0, 0.0])
    assert unit(torch.tensor([[1.0, -2.0]])).tolist() == [[4.0, 0.0]]


def test_attention_between_fields_by_hand():
    """One head of width 1, fields 1 and 2: weights softmax(q_f k), then relu(… + way around)."""
    layer = FieldAttention(1, 1, 1)
    for each, weight in ((layer.queries, 1.0), (layer.keys, np.log(2)), (layer.values, 3.0), (layer.around, -1.0)):
        set_weights(each, [[weight]])
    found = layer(torch.tensor([[[1.0], [2.0]]]))[0, :, 0]
    # Field 1 weighs the fields 2^1 to 2^2, field 2 weighs them 2^2 to 2^4; values are 3 and 6; around -1 and -2.
    assert found.tolist() == pytest.approx([3 * 2 / 6 + 6 * 4 / 6 - 1, 3 * 4 / 20 + 6 * 16 / 20 - 2])
    with torch.no_grad():
        layer.around.weight.fill_(-100)
    assert (layer(torch.tensor([[[1.0], [2.0]]])) == 0).all()


def test_attention_is_not_scaled_by_its_width():
    """softmax(q k') v by the formula, in a head of width 4, where a scaled product would be halved."""
    torch.manual_seed(0)
    layer, vectors = FieldAttention(3, 4, 1), torch.randn(2, 5, 3)
    query, key, value = (vectors @ each.weight.T for each in (layer.queries, layer.keys, layer.values))
    odds = torch.exp(query @ key.transpose(1, 2))
    wanted = torch.relu(odds / odds.sum(2, keepdim=True) @ value + vectors @ layer.around.weight.T)
    torch.testing.assert_close(layer(vectors), wanted)


def test_heads_are_layers_beside_one_another():
    torch.manual_seed(0)
    two, vectors = FieldAttention(3, 2, 2), torch.randn(4, 5, 3)
    parts = []
    for head in range(2):
        one, mine = FieldAttention(3, 2, 1), slice(2 * head, 2 * head + 2)
        for name in ("queries", "keys", "values", "around"):
            set_weights(getattr(one, name), getattr(two, name).weight[mine].tolist())
        parts.append(one(vectors))
    torch.testing.assert_close(two(vectors), torch.cat(parts, 2))
