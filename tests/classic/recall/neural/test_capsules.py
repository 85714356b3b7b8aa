"""Squashing and routing against numbers by hand and an oracle of plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from llmrec.classic.recall.neural.capsules import route, routing_weights, squash, used_interests

WIDTHS = (7, 4, 1, 2)  # items of each row of ``made``


def made(seed: int, groups: int, *, k: int = 3, d: int = 4):
    """Return votes (4, groups, 7, d), logits (k, 7), which places are real, and which interests are used."""
    rng = np.random.default_rng(seed)
    real = np.arange(7) >= 7 - np.array(WIDTHS)[:, None]
    used = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 0, 0]], np.bool_)[:, :k]
    return rng.normal(size=(4, groups, 7, d)), rng.normal(size=(k, 7)), real, used


def squash_plain(vector):
    square = float(vector @ vector)
    return vector * np.sqrt(square) / (1 + square)


def route_plain(votes, logits, real, used, iterations):
    """Algorithm 1 of the MIND paper with a loop for every index; return the capsules and the last weights."""
    b, groups, h, d = votes.shape
    k = len(logits)
    capsules, weights = np.zeros((b, k, d)), np.zeros((b, k, h))
    for row in range(b):
        interests = [j for j in range(k) if used[row, j]]
        places = [i for i in range(h) if real[row, i]]
        says = {(i, j): votes[row, j if groups > 1 else 0, i] for i in places for j in interests}
        b_ij = {(i, j): logits[j, i] for i in places for j in interests}
        for _ in range(iterations):
            for i in places:
                total = sum(np.exp(b_ij[i, j]) for j in interests)
                for j in interests:
                    weights[row, j, i] = np.exp(b_ij[i, j]) / total
            for j in interests:
                capsules[row, j] = squash_plain(sum(weights[row, j, i] * says[i, j] for i in places))
            for i, j in b_ij:
                b_ij[i, j] += capsules[row, j] @ says[i, j]
    return capsules, weights


def tensors(*given):
    return tuple(torch.from_numpy(each) for each in given)


def test_squash_by_hand():
    """A length of 5 becomes 25 / 26; nothing stays nothing, with a gradient."""
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    short = squash(vectors)
    np.testing.assert_allclose(short.detach(), [[15 / 26, 20 / 26], [0, 0]], rtol=1e-6)
    short.sum().backward()
    assert torch.isfinite(vectors.grad).all()


@given(arrays(np.float64, array_shapes(min_dims=1, max_dims=3, max_side=5), elements=st.floats(-1e3, 1e3)))
def test_squash_keeps_directions_and_makes_lengths_less_than_1_in_their_order(vectors):
    short = squash(torch.from_numpy(vectors)).numpy()
    before, after = np.linalg.norm(vectors, axis=-1), np.linalg.norm(short, axis=-1)
    assert (after < 1).all()
    np.testing.assert_allclose(short * before[..., None], vectors * after[..., None], atol=1e-9)
    long = before > 1e-3
    np.testing.assert_allclose(after[long], (before**2 / (1 + before**2))[long], rtol=1e-3)


@pytest.mark.parametrize(
    ("items", "most", "expected"),
    [
        (1, 4, 1),
        (2, 4, 1),
        (3, 4, 1),
        (4, 4, 2),
        (7, 4, 2),
        (8, 4, 3),
        (15, 4, 3),
        (16, 4, 4),
        (500, 4, 4),
        (500, 1, 1),
    ],
)
def test_a_history_of_n_items_has_log2_n_interests(items, most, expected):
    real = torch.arange(510)[None] >= 510 - items
    assert used_interests(real, most).tolist() == [[place < expected for place in range(most)]]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1, 3]), st.integers(1, 4))
def test_routing_is_that_of_plain_loops(seed, groups, iterations):
    votes, logits, real, used = made(seed, groups)
    expected, weights = route_plain(votes, logits, real, used, iterations)
    np.testing.assert_allclose(route(*tensors(votes, logits, real, used), iterations), expected, atol=1e-7)
    assert weights[real[:, None].repeat(3, 1)].any()


@given(st.integers(0, 1000))
def test_an_item_is_shared_out_whole_among_the_interests_that_are_used(seed):
    _, logits, real, used = made(seed, 1)
    weights = routing_weights(*tensors(logits, real, used)).numpy()
    np.testing.assert_allclose(weights.sum(1), real, atol=1e-12)
    assert (weights[~used] == 0).all()
    assert (weights >= 0).all()


@pytest.mark.parametrize("groups", [1, 3])
def test_only_the_last_sum_passes_gradients_on(groups):
    """The gradient is that of a squashed sum whose weights are numbers."""
    votes, logits, real, used = made(1, groups)
    _, weights = route_plain(votes, logits, real, used, 3)
    inputs = [torch.from_numpy(votes).requires_grad_() for _ in range(2)]
    direction = torch.from_numpy(np.random.default_rng(2).normal(size=(4, 3, 4)))
    (route(inputs[0], *tensors(logits, real, used), 3) * direction).sum().backward()
    each = inputs[1].expand(-1, 3, -1, -1)
    (squash((torch.from_numpy(weights).unsqueeze(-1) * each).sum(2)) * direction).sum().backward()
    np.testing.assert_allclose(inputs[0].grad, inputs[1].grad, atol=1e-7)


def test_items_that_point_elsewhere_end_in_another_capsule():
    """Two kinds of items, and logits that tell them apart only a little: agreement does the rest."""
    votes = torch.tensor([[4.0, 0.0]] * 3 + [[0.0, 4.0]] * 3)[None, None]
    logits = torch.tensor([[0.1] * 3 + [0.0] * 3, [0.0] * 3 + [0.1] * 3])
    real, used = torch.ones(1, 6, dtype=torch.bool), torch.ones(1, 2, dtype=torch.bool)
    first = route(votes, logits, real, used, 1)[0]
    last = route(votes, logits, real, used, 4)[0]
    assert first[0, 0] < 1.2 * first[0, 1]
    assert last[0, 0] > 20 * last[0, 1] > 0
    assert last[1, 1] > 20 * last[1, 0] > 0


@pytest.mark.parametrize("groups", [1, 3])
def test_padding_changes_nothing(groups):
    votes, logits, real, used = tensors(*made(3, groups))
    whole = route(votes, logits, real, used, 3)
    alone = route(votes[1:2, :, 3:], logits[:, 3:], real[1:2, 3:], used[1:2], 3)
    np.testing.assert_allclose(whole[1:2], alone, atol=1e-9)
    loud = torch.where(real[:, None, :, None], votes, 100.0)
    np.testing.assert_allclose(route(loud, logits, real, used, 3), whole, atol=1e-9)
