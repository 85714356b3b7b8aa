"""Airbnb: what sessions lead to, the loss by hand, and markets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from llmrec.classic.recall.airbnb import Airbnb, AirbnbConfig, Listings, bookings, markets, next_booked
from llmrec.classic.recall.item_vectors import skipgram
from llmrec.classic.recall.item_vectors.sessions import Sessions, cut_sessions
from llmrec.data import Dataset, Interactions, Queries, Targets, Vocabulary
from llmrec.errors import DataError, ModelError
from llmrec.protocols import VectorModel, Watch
from llmrec.testing import RecommenderContract, expect_error, toy

SMALL = AirbnbConfig(embedding_dim=8, epochs=3, batch_size=1)


class TestAirbnb(RecommenderContract):
    def make(self) -> Airbnb:
        return Airbnb(SMALL)


def rated(*values: float) -> Dataset:
    """Return the toy data with the first events' values given and 1 for the others."""
    events = toy().interactions
    known = np.ones(len(events), np.float32)
    known[: len(values)] = values
    return toy().with_interactions(Interactions(events.users, events.items, events.times, known))


def test_each_event_leads_to_the_next_booking_of_its_session():
    sessions = Sessions(np.array([5, 6, 7, 8, 1, 2, 3], np.int32), np.ones(7, np.float32), np.array([0, 4, 7]))
    booked = np.array([False, True, False, False, False, False, True])
    assert next_booked(sessions, booked).tolist() == [6, 6, -1, -1, 3, 3, 3]
    assert next_booked(sessions, np.zeros(7, np.bool_)).tolist() == [-1] * 7


def test_bookings_are_events_of_high_value_or_the_last_of_each_session():
    data = rated(5, 4, 4.5)  # the first events of users 0, 1 and 2
    assert np.flatnonzero(bookings(data, cut_sessions(data, 1800), 4.0)).tolist() == [0, 7]
    assert np.flatnonzero(bookings(toy(), cut_sessions(toy(), 1800), 4.0)).tolist() == [3, 6, 9, 12, 15]


def test_values_without_any_booking_are_an_error():
    expect_error(DataError, lambda: Airbnb(SMALL).fit(rated(2, 3)), "booked_above = 4", "is 3", "lower booked_above")


def listings(monkeypatch, groups: list[int] | None, market_negatives: int = 2) -> Listings:
    """Return three items with v = (1, 0), (0, 1), (1, 1) and v' = (1, 0), (2, 1), (0, 3); every negative is item 0."""
    config = AirbnbConfig(embedding_dim=2, window=1, negatives=2, market_negatives=market_negatives)
    sessions = Sessions(np.array([0, 1, 2], np.int32), np.ones(3, np.float32), np.array([0, 3]))
    model = Listings(sessions, 3, config, None if groups is None else np.array(groups))
    monkeypatch.setattr(skipgram, "DRAWS", 1)
    monkeypatch.setattr(model.pairs.noise, "anywhere", lambda n: torch.zeros(n, dtype=torch.int64))
    with torch.no_grad():
        model.vectors.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
        model.pairs.contexts.weight.copy_(torch.tensor([[1.0, 0.0], [2.0, 1.0], [0.0, 3.0]]))
    return model


BATCH = {
    "items": torch.tensor([[-1, 0, 1, 2, -1]]),
    "sessions": torch.tensor([[-1, 0, 0, 0, -1]]),
    "booked": torch.tensor([[2, 2, 2]]),
}


def off(x: float) -> float:
    return float(np.log1p(np.exp(-x)))


def near_loss() -> float:
    """0 1 2, window 1, two negatives (item 0) a pair: v'1 v0 = 2; v'0 v1 = 0, v'2 v1 = 3; v'1 v2 = 3."""
    near = off(2) + off(0) + off(3) + off(3)
    return near + 2 * off(-1) + 4 * off(0) + 2 * off(-1)  # v'0 v0 = 1, v'0 v1 = 0, v'0 v2 = 1


def test_the_booked_item_is_near_all_that_led_to_it(monkeypatch):
    """It adds v'2 v0 = 0, though two places away, and v'2 v1 = 3 once more; it does not lead to itself."""
    loss, count = listings(monkeypatch, None)(BATCH)
    assert count == 4 + 2
    np.testing.assert_allclose(loss.item(), near_loss() + off(0) + off(3), rtol=1e-6)


def test_without_a_booking_near_items_are_all(monkeypatch):
    loss, count = listings(monkeypatch, None)({**BATCH, "booked": torch.full((1, 3), -1)})
    assert count == 4
    np.testing.assert_allclose(loss.item(), near_loss(), rtol=1e-6)


def test_market_negatives_are_of_the_centres_market_and_not_itself(monkeypatch):
    """Items 0 and 1 share market 1, item 2 has none. Negatives as drawn: 1 0 beside item 0, 0 0 beside item 1."""
    model = listings(monkeypatch, [1, 1, 0])
    monkeypatch.setattr(model.market, "beside", lambda items, n: torch.tensor([[[1, 0], [0, 0], [2, 2]]]))
    loss, _ = model(BATCH)
    beside = off(-2) + 2 * (off(0) + off(0))  # v'1 v0 = 2 for one near item; v'0 v1 = 0 twice for two
    np.testing.assert_allclose(loss.item(), near_loss() + off(0) + off(3) + beside, rtol=1e-6)


def test_markets_are_read_from_a_column_and_used(monkeypatch):
    data = replace(toy(), item_table=pl.DataFrame({"city": ["A", "A", "B", "B", None, "A", "B"]}))
    assert markets(data, "city").tolist() == [1, 1, 2, 2, 0, 1, 2]
    assert markets(data, None) is None
    plain, local = (Airbnb(SMALL.model_copy(update={"market": city})).fit(data) for city in (None, "city"))
    assert not np.allclose(plain.item_vectors, local.item_vectors)
    expect_error(DataError, lambda: Airbnb(AirbnbConfig(market="town")).fit(data), "'town'", "city")


def blocks() -> Dataset:
    """Return 60 users with items 0 to 4 or 5 to 9 in some order, and item 10, which all had alone, long after."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(60), 6)
    items = np.concatenate([[*(rng.permutation(5) + 5 * (user % 2)), 10] for user in range(60)])
    times = np.tile([0, 1, 2, 3, 4, 100_000], 60)
    return Dataset(
        "blocks",
        Interactions.sort(users, items, times),
        Vocabulary(range(60)),
        Vocabulary(range(11)),
        pl.DataFrame(height=11),
    )


@pytest.fixture(scope="module")
def learned() -> Airbnb:
    return Airbnb(AirbnbConfig(embedding_dim=8, epochs=20, batch_size=2, learning_rate=0.02)).fit(blocks())


def test_items_of_one_kind_of_session_come_together(learned):
    found = learned.recommend(Queries.from_histories([(0, 1), (7,)]), 3)
    assert set(found.items[0].tolist()) == {2, 3, 4}
    assert set(found.items[1].tolist()) < {5, 6, 8, 9}


def test_an_item_that_stood_alone_is_not_learned(learned):
    assert isinstance(learned, VectorModel)
    assert learned.servable.tolist() == [True] * 10 + [False]
    assert learned.recommend(Queries.from_histories([(0,)]), 10).items[0, -1] == 10
    popular = learned.recommend(Queries.from_histories([(10,)]), 1)  # says nothing: the others are equally popular
    assert popular.items.tolist() == [[0]]
    assert popular.scores.tolist() == [[30]]


def test_scores_are_the_vectors_inner_products(learned):
    queries = Queries.from_histories([(0, 1), (7,)])
    found = learned.recommend(queries, 5)
    vectors = learned.query_vectors(queries)
    assert vectors.shape == (2, 1, 8)
    products = np.einsum("qd,qkd->qk", vectors[:, 0], learned.item_vectors[found.items])
    np.testing.assert_allclose(found.scores, products, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(learned.item_vectors, axis=1), 1, rtol=1e-5)


def test_training_stops_early_when_validation_says_so():
    data, reports = blocks(), []
    valid = Targets(Queries.from_histories([(0, 1)]), np.array([[10]]))  # never among the best
    config = AirbnbConfig(embedding_dim=4, epochs=9, patience=2, batch_size=4)
    Airbnb(config).fit(data, watch=Watch(valid=valid, report=lambda done, of, text: reports.append(text)))
    assert reports[-1].startswith("epoch 3 of at most 9")


def test_a_model_of_another_catalogue_is_refused(tmp_path):
    folder = Airbnb(SMALL).fit(toy()).save(tmp_path / "model")
    with np.load(folder / "weights.npz") as stored:
        arrays = dict(stored)
    np.savez(folder / "weights.npz", **{**arrays, "servable": arrays["servable"][:-1]})
    expect_error(ModelError, lambda: Airbnb.load(folder), "servable of shape (6,)", "fit and save")
