"""FM: the split into two vectors against the machine written plainly, and what it learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.classic.recall.fm import FM, FMConfig, Machine
from llmrec.classic.recall.neural.features import item_features
from llmrec.classic.recall.neural.towers import target_shares
from llmrec.data import Dataset, Queries
from llmrec.errors import DataError, ModelError
from llmrec.testing import TOY_HISTORIES, RecommenderContract, expect_error, toy

TINY = FMConfig(embedding_dim=4, history=3, epochs=2, batch_size=4, negatives=8)


class TestFM(RecommenderContract):
    def make(self) -> FM:
        return FM(TINY)


def toy_with(categories: list[list[str]]) -> Dataset:
    """Return the toy data with a category column."""
    return replace(toy(), item_table=pl.DataFrame({"categories": pl.Series(categories, dtype=pl.List(pl.String))}))


def machine(data: Dataset, columns: tuple[str, ...], seed: int) -> Machine:
    """Return a machine with random parameters of ordinary size."""
    torch.manual_seed(seed)
    features = {**item_features(data, columns), "target_shares": target_shares(data, None)}
    made = Machine(TINY, len(data.items), features)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
        for table in (made.bag.table, made.last.table, made.linear.table, made.vector.table):
            table.weight[0] = 0
    return made.eval()


def full_score(made: Machine, data: Dataset, history: list[int], item: int, query_weights: np.ndarray) -> float:
    """Return Rendle's equation 1, all pairs of features one by one; features are bag, last item, item side."""
    n_items, bag = len(data.items), np.zeros(len(data.items))
    places = made.bag.places.detach().numpy().astype(np.float64)[-len(history) :]
    shares = np.exp(places) / np.exp(places).sum()
    for place, one in enumerate(history):
        bag[one] += shares[place]
    last, side = np.eye(n_items)[history[-1]], np.zeros(len(made.vector.table.weight))
    np.add.at(side, made.vector.numbers[item].numpy(), made.vector.weights[item].numpy())
    tables = (made.bag.table.weight[1:], made.last.table.weight[1:], made.vector.table.weight)
    vectors = np.concatenate([table.detach().numpy().astype(np.float64) for table in tables])
    linear = np.concatenate([query_weights, made.linear.table.weight.detach().numpy()[:, 0]])
    values = np.concatenate([bag, last, side])
    there = np.flatnonzero(values)
    score = 0.7 + float(linear @ values)
    for place, one in enumerate(there):
        for two in there[place + 1 :]:
            score += float(vectors[one] @ vectors[two]) * values[one] * values[two]
    return score


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    history=st.lists(st.integers(0, 6), min_size=1, max_size=3),
    categories=st.none() | st.lists(st.lists(st.sampled_from("abcd"), max_size=3), min_size=7, max_size=7).filter(any),
)
def test_the_two_vectors_order_items_as_the_whole_machine_does(seed, history, categories):
    """All scores differ from the machine's by one number, the part that does not depend on the item."""
    data = toy() if categories is None else toy_with(categories)
    made = machine(data, () if categories is None else ("categories",), seed)
    weights = np.random.default_rng(seed).normal(size=14)
    whole = np.array([full_score(made, data, history, item, weights) for item in range(7)])
    with torch.no_grad():
        numbers = torch.tensor([history])
        split = (made.encode(numbers, torch.zeros_like(numbers))[0] @ made.items().T)[0].numpy().astype(np.float64)
    np.testing.assert_allclose(split - split[0], whole - whole[0], atol=1e-4)
    gaps = np.abs(whole[:, None] - whole[None, :]) > 1e-3
    np.testing.assert_array_equal((split[:, None] > split[None, :])[gaps], (whole[:, None] > whole[None, :])[gaps])


def test_an_item_without_categories_owns_its_linear_weight_only():
    """Nothing within the item interacts, so the first entry of its vector is w."""
    made = machine(toy(), (), seed=3)
    np.testing.assert_allclose(made.items()[:, 0].detach(), made.linear.table.weight[1:, 0].detach(), atol=1e-5)


def test_query_vectors_begin_with_one_and_items_score_by_inner_products():
    model = FM(TINY).fit(toy())
    queries = Queries.from_histories([(0, 1), (6,), ()])
    vectors = model.query_vectors(queries)
    assert vectors.shape == (3, 1, 5)
    assert vectors[0, 0, 0] == 1
    assert np.isnan(vectors[1:]).all()
    assert model.servable.tolist() == [True] * 6 + [False]
    found = model.recommend(queries, 6, exclude_seen=False)
    np.testing.assert_allclose(found.scores[0], np.sort(model.item_vectors[:6] @ vectors[0, 0])[::-1], rtol=1e-5)
    assert found.items[1:, :3].tolist() == [[2, 0, 1]] * 2  # popularity


def test_it_learns_what_follows_what(make_data):
    histories = [[(start + step) % 8 for step in range(5)] for start in range(8)] * 4
    model = FM(FMConfig(embedding_dim=16, history=4, epochs=60, batch_size=128, learning_rate=0.03, negatives=16))
    model.fit(make_data(histories, 8))
    found = model.recommend(Queries.from_histories([(a, (a + 1) % 8) for a in range(8)]), 1)
    assert found.items[:, 0].tolist() == [(a + 2) % 8 for a in range(8)]


def test_columns_are_kept_with_the_weights(tmp_path):
    data = toy_with([["a"], ["a", "b"], ["b"], [], ["c"], ["c"], ["a"]])
    model = FM(TINY.model_copy(update={"columns": ("categories",)})).fit(data)
    again = FM.load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.item_vectors, model.item_vectors)
    assert again.config.columns == ("categories",)
    assert again._arrays["feature_numbers"][1].tolist() == [2, 8, 9]


def test_a_column_that_is_not_there_is_named():
    model = FM(TINY.model_copy(update={"columns": ("genre",)}))
    expect_error(DataError, lambda: model.fit(toy()), "'genre'", "title")


def test_users_with_one_event_teach_nothing(make_data):
    expect_error(DataError, lambda: FM(TINY).fit(make_data([(0,), (1,)], 2)), "two training events")


@pytest.mark.parametrize("lost", ["feature_numbers", "target_shares"])
def test_weights_without_features_are_refused(tmp_path, lost):
    path = FM(TINY).fit(toy()).save(tmp_path / "model") / "weights.npz"
    with np.load(path) as stored:
        np.savez(path, **{name: stored[name] for name in stored.files if name != lost})
    expect_error(ModelError, lambda: FM.load(path.parent), lost, "does not fit", "fit and save")


def test_a_catalogue_of_one_item_is_served(make_data):
    model = FM(TINY).fit(make_data([(0, 0), (0, 0, 0)], 1))
    assert model.recommend(Queries.from_histories([(0,)]), 1, exclude_seen=False).items.tolist() == [[0]]


def test_each_user_gives_so_many_rows_to_an_epoch():
    config = TINY.model_copy(update={"batch_size": 1, "per_user": 1})
    assert FM(config)._batches(toy(), {}).steps == len(TOY_HISTORIES)
