"""Cold items placed among the vectors of factorisations by who would take them."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.classic.recall.base.store import load_recommender, make_recommender
from llmrec.coldstart.augment import place_items
from llmrec.config import Part
from llmrec.data import Dataset, Interactions, Queries, Vocabulary
from llmrec.errors import DataError, ModelError
from llmrec.testing import TOY_HISTORIES, assert_same, expect_error, toy

PARTS = {
    "bpr": Part(name="bpr", parameters={"factors": 4, "epochs": 60}),
    "als": Part(name="als", parameters={"factors": 3, "regularization": 0.2, "alpha": 5.0}),
}
both = pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)


def data_with_a_quiet_user() -> Dataset:
    """Toy data with an eighth item that nobody has touched and a sixth user who has touched nothing."""
    data = toy()
    users, items = Vocabulary([f"u{user}" for user in range(6)]), Vocabulary(range(100, 108))
    return Dataset("toy", data.interactions, users, items, data.item_table.vstack(data.item_table[:1]))


def simulated(users, items, values) -> Interactions:
    return Interactions.sort(users, items, np.zeros(len(users)), values)


TAKEN = simulated([0, 2, 4], [6, 6, 6], [1, 0.25, 0.5])


def vectors_of_users(model) -> np.ndarray:
    return model.query_vectors(Queries.from_histories(TOY_HISTORIES))[:, 0].astype(np.float64)


@both
def test_it_serves_the_placed_item_and_all_else_as_before(part, tmp_path):
    data = data_with_a_quiet_user()
    model = make_recommender(part).fit(data)
    placed = place_items(model, data, TAKEN)
    queries = Queries.from_histories([*TOY_HISTORIES, (6,), ()])
    before, after = (each.recommend(queries, 8, exclude_seen=False) for each in (model, placed))
    assert placed.servable.tolist() == [True] * 7 + [False]
    assert not model.servable[6]
    assert (after.items[:5, -1] == 7).all()
    assert (after.items[:5, -2] != 6).any()
    for row in range(5):
        keep, kept = before.items[row] < 6, after.items[row] < 6
        np.testing.assert_array_equal(after.items[row][kept], before.items[row][keep])
        np.testing.assert_allclose(after.scores[row][kept], before.scores[row][keep], rtol=1e-5)
    assert_same(after.select(slice(5, 7)), before.select(slice(5, 7)))  # a placed item says nothing in a history
    both_items = Queries.from_histories([(0, 1), (0, 6, 1)])
    np.testing.assert_allclose(*placed.query_vectors(both_items), rtol=1e-6)
    assert_same(load_recommender(placed.save(tmp_path / "placed")).recommend(queries, 8), placed.recommend(queries, 8))


def test_als_places_by_the_half_step_of_the_expected_loss():
    """Weighted least squares: of each user p * alpha rows that say 1 and 1 - p that say 0, and the penalty's rows."""
    data = data_with_a_quiet_user()
    model = make_recommender(PARTS["als"]).fit(data)
    users, chances = vectors_of_users(model), np.array([1, 0, 0.25, 0, 0.5])
    rows = np.vstack(
        [users * np.sqrt(5 * chances)[:, None], users * np.sqrt(1 - chances)[:, None], np.sqrt(0.2) * np.eye(3)]
    )
    wanted = np.concatenate([np.sqrt(5 * chances), np.zeros(8)])
    expected = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    np.testing.assert_allclose(place_items(model, data, TAKEN).item_vectors[6], expected, rtol=1e-4)


def test_als_places_an_item_where_its_twin_is():
    """Those who had Casablanca take Gattaca for sure: one more half step of training gives both one vector."""
    data = data_with_a_quiet_user()
    part = Part(name="als", parameters={"factors": 3, "regularization": 0.2, "iterations": 200})
    model = make_recommender(part).fit(data)
    takers = [user for user, items in enumerate(TOY_HISTORIES) if 2 in items]
    placed = place_items(model, data, simulated(takers, [6] * len(takers), np.ones(len(takers))))
    np.testing.assert_allclose(placed.item_vectors[6], placed.item_vectors[2], rtol=0.02, atol=0.01)


def test_bpr_places_towards_the_takers_at_the_usual_length_and_level():
    data = data_with_a_quiet_user()
    model = make_recommender(PARTS["bpr"]).fit(data)
    users = vectors_of_users(model)[:, :-1]
    found = place_items(model, data, TAKEN).item_vectors[6].astype(np.float64)
    towards = (1 * users[0] + 0.25 * users[2] + 0.5 * users[4]) / 1.75 - sum(users) / 5
    learned = model.item_vectors[:6].astype(np.float64)
    length = sorted(np.sqrt((learned[:, :-1] ** 2).sum(axis=1)))
    np.testing.assert_allclose(np.linalg.norm(found[:-1]), (length[2] + length[3]) / 2, rtol=1e-5)
    np.testing.assert_allclose(found[:-1] / np.linalg.norm(found[:-1]), towards / np.linalg.norm(towards), atol=1e-5)
    levels = sorted(sum(users) / 5 @ learned[:, :-1].T + learned[:, -1])
    np.testing.assert_allclose(sum(users) / 5 @ found[:-1] + found[-1], (levels[2] + levels[3]) / 2, rtol=1e-4)


def test_an_item_that_all_would_take_alike_has_no_direction_and_is_finite():
    data = data_with_a_quiet_user()
    model = make_recommender(PARTS["bpr"]).fit(data)
    found = place_items(model, data, simulated(range(5), [6] * 5, [0.5] * 5)).item_vectors[6]
    assert np.isfinite(found).all()


@both
def test_more_items_can_be_placed_later(part):
    data = data_with_a_quiet_user()
    model = make_recommender(part).fit(data)
    more = simulated([1, 3], [7, 7], [1, 1])
    twice = place_items(place_items(model, data, TAKEN), data, more)
    joined = simulated([0, 2, 4, 1, 3], [6, 6, 6, 7, 7], [1, 0.25, 0.5, 1, 1])
    np.testing.assert_allclose(twice.item_vectors, place_items(model, data, joined).item_vectors, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("users", "items", "values", "words"),
    [
        ([], [], [], ("no simulated interaction for 'toy'", "one at least")),
        ([6], [6], [1], ("user number 6", "0 to 5")),
        ([0], [8], [1], ("item number 8", "0 to 7")),
        ([0, 5], [6, 6], [1, 1], ("interaction 1", "'u5'", "without a training event (1 have)", "before the cut")),
        ([0], [5], [1], ("item 105", "an item with training events", "nobody has touched")),
        ([0, 1], [6, 6], [1, 0], ("interaction 1", "value 0", "no probability")),
        ([0], [6], [1.5], ("value 1.5", "no probability", "at most 1")),
        ([0], [6], [np.nan], ("value nan", "no probability")),
        ([0, 1, 0], [6, 6, 6], [1, 1, 0.5], ("interaction 2", "'u0'", "106", "once")),
    ],
)
def test_bad_input_is_named(users, items, values, words):
    data = data_with_a_quiet_user()
    model = make_recommender(PARTS["als"]).fit(data)
    expect_error(DataError, lambda: place_items(model, data, simulated(users, items, values)), *words)


def test_a_model_without_place_for_items_or_of_other_items_is_refused():
    data = data_with_a_quiet_user()
    knn = make_recommender(Part(name="item-knn")).fit(data)
    expect_error(ModelError, lambda: place_items(knn, data, TAKEN), "'item-knn'", "bpr or als")
    other = make_recommender(PARTS["als"]).fit(toy())
    expect_error(ModelError, lambda: place_items(other, data, TAKEN), "7 items", "the 8 items")
