"""Skip-gram: which places are near, the loss by hand, the noise, and that parts of a batch add up."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from llmrec.classic.recall.item_vectors import skipgram
from llmrec.classic.recall.item_vectors.sessions import Sessions
from llmrec.classic.recall.item_vectors.skipgram import (
    Noise,
    SkipGram,
    SkipGramConfig,
    Stretches,
    fit_vectors,
    near_pairs,
    uniform_embedding,
)
from llmrec.protocols import Watch
from llmrec.testing import toy


def sessions_of(lists: list[list[int]]) -> Sessions:
    items = np.array([item for row in lists for item in row], np.int32)
    return Sessions(items, np.ones(len(items), np.float32), np.cumsum([0, *map(len, lists)]))


def pairs_of(batches: list, window: int) -> Counter:
    """Return how often each centre had each item near it."""
    found: Counter = Counter()
    for batch in batches:
        items = torch.from_numpy(batch["items"])
        near = near_pairs(items, torch.from_numpy(batch["sessions"]), window)
        for row, centre, place in near.nonzero().tolist():
            found[int(items[row, centre + window]), int(items[row, place])] += 1
    return found


def by_loop(lists: list[list[int]], window: int) -> Counter:
    return Counter(
        (one, other)
        for row in lists
        for i, one in enumerate(row)
        for j, other in enumerate(row)
        if i != j and abs(i - j) <= window and one != other
    )


def test_pairs_by_hand():
    batches = list(Stretches(sessions_of([[1, 2, 3, 4], [5, 1]]), 2, 4).epoch(np.random.default_rng(0)))
    near = {1: [2, 3, 5], 2: [1, 3, 4], 3: [1, 2, 4], 4: [2, 3], 5: [1]}
    assert pairs_of(batches, 2) == Counter((centre, other) for centre, others in near.items() for other in others)


@given(
    st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=90), min_size=1, max_size=5),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_each_pair_of_near_events_occurs_once_however_sessions_are_stretched(lists, window, batch_size):
    """Sessions longer and shorter than a stretch, several in one, and ends that fall inside a window."""
    stretches = Stretches(sessions_of(lists), window, batch_size)
    batches = list(stretches.epoch(np.random.default_rng(3)))
    assert len(batches) == stretches.steps
    assert pairs_of(batches, window) == by_loop(lists, window)


def test_facts_of_events_stay_with_them_and_epochs_come_in_other_orders():
    items = list(range(100))
    stretches = Stretches(sessions_of([items]), 2, 2, {"twice": 2 * np.arange(100)})
    seen = []
    for batch in stretches.epoch(np.random.default_rng(0)):
        centre = batch["items"][:, 2:-2]
        np.testing.assert_array_equal(batch["twice"], np.where(centre >= 0, 2 * centre, -1))
        seen += centre[centre >= 0].tolist()
    assert sorted(seen) == items
    assert seen != items


def filled(monkeypatch, drawn: list[int]) -> SkipGram:
    """Return a model of two items with h = (1, 2) and (0, -1), z = (1, 0) and (2, 1), that draws given negatives."""
    monkeypatch.setattr(skipgram, "DRAWS", len(drawn))
    config = SkipGramConfig(embedding_dim=2, window=1, negatives=3)
    noise = Noise(np.array([1, 1]), 1.0)
    monkeypatch.setattr(noise, "anywhere", lambda n: torch.tensor(drawn)[:n])
    model = SkipGram(uniform_embedding(2, 2), noise, 2, config)
    with torch.no_grad():
        model.centres.weight.copy_(torch.tensor([[1.0, 2.0], [0.0, -1.0]]))
        model.contexts.weight.copy_(torch.tensor([[1.0, 0.0], [2.0, 1.0]]))
    return model


def minus_log_sigmoid(x: float) -> float:
    return float(np.log1p(np.exp(-x)))


def test_the_loss_by_hand(monkeypatch):
    """Items 0 1 in one session. h0 z1 = 4, h1 z0 = 0; negatives 0 0 1 1: h0 z0 = 1, h1 z1 = -1; three for each pair."""
    model = filled(monkeypatch, [0, 0, 1, 1])
    batch = {"items": torch.tensor([[-1, 0, 1, -1]]), "sessions": torch.tensor([[-1, 0, 0, -1]])}
    loss, count = model(batch)
    first = minus_log_sigmoid(4) + 3 * (minus_log_sigmoid(-1) + minus_log_sigmoid(-4)) / 2
    second = minus_log_sigmoid(0) + 3 * (minus_log_sigmoid(0) + minus_log_sigmoid(1)) / 2
    assert count == 2
    np.testing.assert_allclose(loss.item(), first + second, rtol=1e-6)


def test_negatives_count_for_each_near_item_and_not_for_events_alone(monkeypatch):
    """0 1 0: the middle one has two near items and so six negatives; a session of one event adds nothing."""
    model = filled(monkeypatch, [1])
    batch = {
        "items": torch.tensor([[-1, 0, 1, 0, 0, -1]]),
        "sessions": torch.tensor([[-1, 0, 0, 0, 1, -1]]),
    }
    loss, count = model(batch)
    ends = minus_log_sigmoid(4) + 3 * minus_log_sigmoid(-4)
    middle = 2 * minus_log_sigmoid(0) + 6 * minus_log_sigmoid(1)
    assert count == 4
    np.testing.assert_allclose(loss.item(), 2 * ends + middle, rtol=1e-6)


def test_noise_is_drawn_by_frequency_to_a_power():
    torch.manual_seed(0)
    drawn = Noise(np.array([16, 0, 1, 81]), 0.5).anywhere(7000).numpy()
    counts = np.bincount(drawn, minlength=4)
    assert counts[1] == 0
    assert chisquare(counts[[0, 2, 3]], [2000, 500, 4500]).pvalue > 1e-3  # 4 : 1 : 9


def test_noise_beside_an_item_is_of_its_group():
    torch.manual_seed(0)
    noise = Noise(np.array([1, 2, 3, 0, 4]), 1.0, np.array([2, 0, 2, 2, 0]))
    drawn = noise.beside(torch.tensor([[0, 4], [3, 1]]), 2000)
    assert drawn.shape == (2, 2, 2000)
    for row in (drawn[0, 0], drawn[1, 0]):
        assert chisquare(np.bincount(row, minlength=5)[[0, 2]], [500, 1500]).pvalue > 1e-3
    for row in (drawn[0, 1], drawn[1, 1]):
        assert chisquare(np.bincount(row, minlength=5)[[1, 4]], [2000 / 3, 4000 / 3]).pvalue > 1e-3


@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_gives_the_same_vectors(parts, monkeypatch):
    """With the same negatives, which torch draws for each part."""
    lists = np.random.default_rng(0).permuted(np.tile(np.arange(7), (64, 1)), axis=1).tolist()

    def trained(accumulation: int) -> np.ndarray:
        config = SkipGramConfig(embedding_dim=4, window=2, epochs=2, batch_size=4, accumulation=accumulation)
        torch.manual_seed(0)
        noise = Noise(np.ones(7, np.int64), 1.0)
        monkeypatch.setattr(noise, "anywhere", lambda n: torch.arange(n) % 7)
        model = SkipGram(uniform_embedding(7, 4), noise, 7, config)
        batches = Stretches(sessions_of(lists), 2, 4)
        fit_vectors(model, batches, config, dict, name="x", data=toy(), seed=0, watch=Watch())
        return model.centres.weight.detach().numpy()

    np.testing.assert_allclose(trained(parts), trained(1), atol=1e-5)
