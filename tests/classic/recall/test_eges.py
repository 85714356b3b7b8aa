"""EGES: attention, vectors and loss by hand, cold items, and what is learned from blocks of items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from llmrec.classic.recall.base.side import Side, read_side
from llmrec.classic.recall.eges import EGES, EGESConfig, Weighed, item_vectors
from llmrec.classic.recall.item_vectors import skipgram
from llmrec.classic.recall.item_vectors.skipgram import Noise, SkipGram
from llmrec.data import Dataset, Interactions, Queries, Vocabulary
from llmrec.errors import DataError, ModelError
from llmrec.protocols import VectorModel, Watch
from llmrec.testing import RecommenderContract, expect_error, toy

SMALL = EGESConfig(embedding_dim=8, epochs=2, walks=4, batch_size=8)


class TestEGES(RecommenderContract):
    def make(self) -> EGES:
        return EGES(SMALL)


class TestEGESWithSideInformation(RecommenderContract):
    def make(self) -> EGES:
        return EGES(SMALL.model_copy(update={"columns": ("title",)}))


def two_items() -> Weighed:
    """Return two items, two columns. Item 0: values 0 and 1 in the first, 2 in the second; item 1: 1 in the first only.

    W of the items: (4, 0), (0, 4); of the values: (1, 1), (3, 1), (0, 6). a: (0, log 2, 0), (log 3, 0, 9).
    """
    side = Side(np.array([0, 1, 2, 1]), np.array([[0, 2], [3, 4]]), np.array([[2, 1], [1, 0]]), 3)
    model = Weighed(2, 2, side)
    with torch.no_grad():
        model.own.weight.copy_(torch.tensor([[4.0, 0.0], [0.0, 4.0]]))
        model.values.weight.copy_(torch.tensor([[1.0, 1.0], [3.0, 1.0], [0.0, 6.0]]))
        model.attention.weight.copy_(torch.tensor([[0, np.log(2), 0], [np.log(3), 0, 9]]))
    return model


# Item 0: weights 1/4, 1/2, 1/4 on (4, 0), the mean (2, 1), (0, 6). Item 1: 3/4, 1/4 on (0, 4), (3, 1); no third one.
H = np.array([[0.25 * 4 + 0.5 * 2, 0.5 * 1 + 0.25 * 6], [0.25 * 3, 0.75 * 4 + 0.25 * 1]])


def test_attention_and_vectors_by_hand():
    with torch.no_grad():
        np.testing.assert_allclose(two_items()(torch.tensor([[0], [1]]))[:, 0], H, rtol=1e-6)
        np.testing.assert_allclose(two_items().new(torch.tensor([1, 0])), [[3, 1], [(2 + 0) / 2, (1 + 6) / 2]])


def test_the_loss_by_hand(monkeypatch):
    """Items 0 1 on a walk, Z = (1, 0), (0, 1), one negative for each pair: item 0."""
    monkeypatch.setattr(skipgram, "DRAWS", 1)
    config = EGESConfig(embedding_dim=2, window=1, negatives=1)
    noise = Noise(np.array([1, 0]), 1.0)  # draws item 0 only
    model = SkipGram(two_items(), noise, 2, config)
    with torch.no_grad():
        model.contexts.weight.copy_(torch.eye(2))
    batch = {"items": torch.tensor([[-1, 0, 1, -1]]), "sessions": torch.zeros(1, 4, dtype=torch.int64)}
    loss, count = model(batch)
    logits = H.astype(float)
    expected = np.log1p(np.exp([-logits[0, 1], logits[0, 0], -logits[1, 0], logits[1, 0]])).sum()
    assert count == 2
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-6)


def test_items_that_start_no_walk_have_the_mean_of_their_side_vectors():
    vectors, there = item_vectors(two_items(), np.array([True, False]))
    np.testing.assert_allclose(vectors, [H[0], [3, 1]], rtol=1e-6)
    assert there.tolist() == [True, True]
    plain, learned = Weighed(7, 2, read_side(toy(), ())), np.arange(7) != 1
    vectors, there = item_vectors(plain, learned)
    np.testing.assert_array_equal(there, learned)
    np.testing.assert_array_equal(vectors[1], [0, 0])
    np.testing.assert_array_equal(vectors[0], plain.own.weight[0].detach())


def blocks(side: bool = True) -> Dataset:
    """Return 60 users with items 0 to 4 or 5 to 9 in some order; nobody had items 10, 11 and 12.

    Kinds tell the two apart; item 10 is of the first, 11 of both and 12 of none.
    """
    rng = np.random.default_rng(0)
    items = np.concatenate([rng.permutation(5) + 5 * (user % 2) for user in range(60)])
    kinds = [["even"]] * 5 + [["odd"]] * 5 + [["even"], ["even", "odd"], []]
    return Dataset(
        "blocks",
        Interactions.sort(np.repeat(np.arange(60), 5), items, np.tile(np.arange(5), 60)),
        Vocabulary(range(60)),
        Vocabulary(range(13)),
        pl.DataFrame({"categories": kinds} if side else {"title": ["x"] * 13}),
    )


CONFIG = EGESConfig(embedding_dim=8, epochs=10, walks=10, batch_size=16, learning_rate=0.02)


@pytest.fixture(scope="module")
def learned() -> EGES:
    return EGES(CONFIG).fit(blocks())


def test_items_of_one_kind_come_together_the_new_one_among_them(learned):
    found = learned.recommend(Queries.from_histories([(0, 1), (7, 8)]), 4)
    assert set(found.items[0].tolist()) == {2, 3, 4, 10}
    assert set(found.items[1].tolist()) == {5, 6, 9, 11}


def test_new_items_with_side_information_are_served_also_as_histories(learned):
    assert isinstance(learned, VectorModel)
    assert learned.servable.tolist() == [True] * 12 + [False]
    found = learned.recommend(Queries.from_histories([(10,), (12,)]), 5)
    assert set(found.items[0].tolist()) == {0, 1, 2, 3, 4}
    assert found.items[1].tolist() == [0, 1, 2, 3, 4]  # nothing is known of item 12: popularity
    assert learned.recommend(Queries.from_histories([(0,)]), 12).items[0, -1] == 12


def test_without_side_information_new_items_come_last():
    model = EGES(CONFIG.model_copy(update={"epochs": 1})).fit(blocks(side=False))
    assert model.servable.tolist() == [True] * 10 + [False] * 3
    assert set(model.recommend(Queries.from_histories([(0,)]), 12).items[0, -3:].tolist()) == {10, 11, 12}


def test_side_information_is_a_choice():
    bare = EGES(CONFIG.model_copy(update={"epochs": 1, "columns": ()})).fit(blocks())
    assert not bare.servable[10:].any()
    wrong = EGES(CONFIG.model_copy(update={"columns": ("genre",)}))
    expect_error(DataError, lambda: wrong.fit(blocks()), "'genre'", "categories")


def test_an_item_that_nothing_followed_starts_no_walk():
    """Fargo is always the last one of the toy data; without side information it is not learned."""
    model = EGES(SMALL).fit(toy())
    assert model.servable.tolist() == [True, True, True, True, True, False, False]


def test_vectors_have_length_1_and_score_by_cosine(learned):
    queries = Queries.from_histories([(0, 1), (7,)])
    found = learned.recommend(queries, 5)
    products = np.einsum("qd,qkd->qk", learned.query_vectors(queries)[:, 0], learned.item_vectors[found.items])
    np.testing.assert_allclose(found.scores, products, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(learned.item_vectors[:12], axis=1), 1, rtol=1e-5)


def test_a_killed_fit_goes_on(tmp_path, learned):
    class KillError(Exception):
        pass

    def kill(done: int, of: int, text: str) -> None:
        if done > 0.6 * of:
            raise KillError

    with pytest.raises(KillError):
        EGES(CONFIG).fit(blocks(), watch=Watch(checkpoint=tmp_path, report=kill))
    resumed = EGES(CONFIG).fit(blocks(), watch=Watch(checkpoint=tmp_path))
    np.testing.assert_allclose(resumed.item_vectors, learned.item_vectors, atol=1e-6)


def test_a_model_of_another_catalogue_is_refused(tmp_path):
    folder = EGES(SMALL).fit(toy()).save(tmp_path / "model")
    with np.load(folder / "weights.npz") as stored:
        arrays = dict(stored)
    np.savez(folder / "weights.npz", **{**arrays, "vectors": arrays["vectors"][:-1]})
    expect_error(ModelError, lambda: EGES.load(folder), "vectors of shapes (6, 8)", "fit and save")


def test_sessions_end_with_a_pause():
    """More than an hour between any two events of the toy data: nothing follows anything."""
    events = toy().interactions
    far = replace(toy(), interactions=Interactions(events.users, events.items, events.times * 3601, events.values))
    expect_error(DataError, lambda: EGES(SMALL).fit(far), "no session", "gap = 3600")
    EGES(SMALL).fit(replace(far, clock=False))
