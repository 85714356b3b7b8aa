"""SDM: the contract, sessions by hand, and the whole model against NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from llmrec.classic.recall.sdm import SDM, CategoryEmbedding, LongShort, SDMConfig, attend, current_session, to_front
from llmrec.config import make_config
from llmrec.data import Queries
from llmrec.errors import ConfigError, DataError, ModelError
from llmrec.testing import RecommenderContract, assert_same, expect_error, toy

TINY = SDMConfig(embedding_dim=4, heads=2, epochs=2, batch_size=4, history=6, short_history=2, gap=15)
GENRES = [["horror", "sci-fi"], ["sci-fi"], ["romance"], ["sci-fi"], ["crime"], ["crime"], []]


def described():
    return replace(toy(), item_table=toy().item_table.with_columns(categories=pl.Series(GENRES)))


class TestSDM(RecommenderContract):
    def make(self) -> SDM:
        return SDM(TINY)


@pytest.mark.parametrize(
    ("times", "most", "expected"),
    [
        ((0, 0, 10, 20, 30), 9, "01111"),  # no pause is longer than 15
        ((0, 0, 10, 26, 30), 9, "00011"),  # one of 16
        ((0, 0, 10, 25, 30), 9, "01111"),  # one of 15 is not
        ((0, 0, 50, 60, 90), 9, "00001"),  # two: the later one counts
        ((0, 0, 10, 20, 30), 2, "00011"),  # at most two items
        ((0, 0, 0, 0, 0), 3, "00111"),  # without times
        ((0, 1_700_000_000, 1_700_000_001, 1_700_000_002, 1_700_000_003), 9, "01111"),  # padding is no pause
    ],
)
def test_the_session_ends_with_the_newest_event(times, most, expected):
    history = torch.tensor([[-1, 5, 6, 7, 8]])
    now = current_session(history, torch.tensor([times]), gap=15, most=most)
    assert "".join(str(int(each)) for each in now[0]) == expected


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(0, 3), st.integers(1, 9))
def test_sessions_are_those_of_a_walk_back_from_the_newest_event(pauses, padding, most):
    times = np.concatenate([np.zeros(padding, np.int64), 1000 + np.cumsum(pauses)])
    history = np.where(times > 0, 3, -1)
    place = len(times) - 1
    while place > padding and times[place] - times[place - 1] <= 15:
        place -= 1
    first = max(place, len(times) - most)
    now = current_session(torch.from_numpy(history[None]), torch.from_numpy(times[None]), gap=15, most=most)
    assert np.flatnonzero(now[0].numpy()).tolist() == list(range(first, len(times)))


def test_what_is_chosen_moves_to_the_front():
    items = torch.tensor([[-1, 4, 5, 6], [7, 8, 9, 3]])
    chosen = torch.tensor([[False, False, True, True], [True, False, True, False]])
    assert to_front(items, chosen).tolist() == [[5, 6, -1, -1], [7, 9, -1, -1]]


def test_attention_by_hand():
    """Products ln 2 and 0: weights 2/3 and 1/3; the third key does not count; nothing gives zeros."""
    keys = torch.tensor([[[np.log(2.0), 3.0], [0.0, 6.0], [9.0, 9.0]]], dtype=torch.float32).repeat(2, 1, 1)
    found = attend(torch.tensor([[1.0, 0.0]] * 2), keys, torch.tensor([[True, True, False], [False] * 3]))
    np.testing.assert_allclose(found, [[np.log(2) * 2 / 3, 4], [0, 0]], atol=1e-6)


def test_an_item_gets_the_mean_of_its_categories():
    embedding = CategoryEmbedding(np.array([[1, 2], [0, 2], [0, 0]]), 3)
    one, two = embedding.table.weight[1:]
    found = embedding(torch.tensor([[0, 1, 2, -1]]))[0]
    torch.testing.assert_close(found, torch.stack([(one + two) / 2, two, 0 * one, 0 * one]))


def linear(module, x):
    return x @ module.weight.detach().numpy().T + module.bias.detach().numpy()


def encode_plain(module, items, categories, session):
    """The model's equations on one history (h,) whose newest ``session`` items are the session, in NumPy."""
    vectors = np.stack([module.embedding.all().detach().numpy()[items], categories[items]], 1) * 2  # the root of d
    short = module.short
    w_in, w_h, b_in, b_h = (each.detach().numpy() for each in short.lstm.parameters())
    hidden, cell, outputs = np.zeros(4), np.zeros(4), []
    for x in vectors[-session:].reshape(session, -1):
        i, f, g, o = np.split(w_in @ x + b_in + w_h @ hidden + b_h, 4)
        cell = expit(f) * cell + expit(i) * np.tanh(g)
        hidden = expit(o) * np.tanh(cell)
        outputs.append(hidden)
    states = np.array(outputs)
    query, key, value = (part.reshape(session, 2, 2) for part in np.split(linear(short.qkv, states), 3, axis=1))
    heads = [softmax(query[:, h] @ key[:, h].T / np.sqrt(2), axis=1) @ value[:, h] for h in range(2)]
    states = states + linear(short.out, np.hstack(heads))
    states = (states - states.mean(1, keepdims=True)) / np.sqrt(states.var(1, keepdims=True) + 1e-5)
    user = linear(module.profile, states[-1])
    now = softmax(states @ user) @ states
    older = vectors[:-session]
    pooled = [softmax(older[:, f] @ user) @ older[:, f] if len(older) else np.zeros(4) for f in range(2)]
    before = np.tanh(linear(module.long, np.concatenate(pooled)))
    gate = expit(linear(module.gate, np.concatenate([user, now, before])))
    return (1 - gate) * before + gate * now


def test_the_model_is_that_of_its_equations():
    torch.manual_seed(0)
    numbers = np.array([[1], [2], [1], [3], [0]])
    module = LongShort(TINY.model_copy(update={"short_history": 3}), 5, [numbers]).double().eval()
    with torch.no_grad():
        for each in (module.embedding.table, module.categories[0].table):
            each.weight[1:].normal_()
    categories = module.categories[0].table.weight.detach().numpy()[numbers[:, 0]]
    history = torch.tensor([[-1, 3, 0, 1, 2, 4], [-1, -1, -1, -1, 2, 1], [0, 4, 1, 2, 3, 0]])
    times = torch.tensor([[0, 5, 10, 15, 20, 25], [0, 0, 0, 0, 5, 6], [1, 2, 3, 4, 30, 40]])
    found = module.encode(history, times).detach().numpy()
    assert found.shape == (3, 1, 4)
    for row, (items, session) in enumerate((([3, 0, 1, 2, 4], 3), ([2, 1], 2), ([0, 4, 1, 2, 3, 0], 2))):
        np.testing.assert_allclose(found[row, 0], encode_plain(module, items, categories, session), atol=1e-6)


@pytest.mark.parametrize("columns", [(), ("categories",), ("categories", "title")])
def test_each_column_is_a_feature_of_its_own(columns, tmp_path):
    model = SDM(TINY.model_copy(update={"columns": columns})).fit(described())
    queries = Queries.from_histories([(0, 1, 2, 3), (6,), ()])
    assert model._vectors.module.long.in_features == 4 * (1 + len(columns))
    assert_same(SDM.load(model.save(tmp_path / "model")).recommend(queries, 3), model.recommend(queries, 3))


def test_categories_are_numbered_from_1_in_each_column():
    features = SDM(TINY.model_copy(update={"columns": ("title", "categories")}))._features(described())
    assert features["column_0"].tolist() == [[1], [2], [3], [4], [7], [5], [6]]
    assert np.sort(features["column_1"], axis=1).tolist() == [[2, 4], [0, 4], [0, 3], [0, 4], [0, 1], [0, 1], [0, 0]]


@pytest.mark.parametrize(
    "settings",
    [{"loss": "sampled", "negatives": 3}, {"per_user": None}, {"short_history": 9}, {"precision": "bfloat16"}],
)
def test_each_option_trains(settings):
    model = SDM(TINY.model_copy(update=settings)).fit(toy())
    assert np.isfinite(model.recommend(Queries.from_histories([(0, 1)]), 3).scores).all()


def test_times_that_are_not_known_make_the_newest_items_the_session():
    model = SDM(TINY).fit(toy())
    history, unknown = np.array([[0, 1, 2]]), np.array([-1])
    bare = model.query_vectors(Queries(unknown, history))
    apart, together = (
        model.query_vectors(Queries(unknown, history, times=np.array([times]))) for times in ((1, 2, 90), (1, 2, 3))
    )
    np.testing.assert_allclose(together, bare, rtol=1e-6)
    assert not np.allclose(apart, bare, rtol=1e-3)


def test_it_learns_what_follows_the_newest_item(make_data):
    """A circle of ten films, each user begins elsewhere."""
    data = make_data([[(start + step) % 10 for step in range(6)] for start in range(10)] * 3, 10)
    config = SDMConfig(
        embedding_dim=16, heads=2, epochs=25, batch_size=32, learning_rate=0.02, history=4, short_history=2
    )
    queries = Queries.from_histories([[(start + step) % 10 for step in range(4)] for start in range(10)])
    found = SDM(config).fit(data).recommend(queries, 1)
    assert found.items[:, 0].tolist() == [(start + 4) % 10 for start in range(10)]


def test_it_remembers_what_is_older_than_the_session(make_data):
    """The first item says what comes last; all users share the session between them."""
    data = make_data([(kind, 8, 9, 4 + kind) for kind in range(4)] * 10, 10)
    config = SDMConfig(
        embedding_dim=16, heads=2, epochs=30, batch_size=32, learning_rate=0.02, history=3, short_history=2
    )
    found = SDM(config).fit(data).recommend(Queries.from_histories([(kind, 8, 9) for kind in range(4)]), 1)
    assert found.items[:, 0].tolist() == [4, 5, 6, 7]


def test_a_missing_column_is_named():
    model = SDM(TINY.model_copy(update={"columns": ("genre",)}))
    expect_error(DataError, lambda: model.fit(described()), "genre", "categories")


def test_heads_divide_the_width():
    for values in ({"heads": 3}, {"embedding_dim": 6}):
        expect_error(ConfigError, lambda values=values: make_config(SDMConfig, values), "heads = ", "a divisor of")


def test_columns_of_another_catalogue_are_no_weights(tmp_path):
    model = SDM(TINY.model_copy(update={"columns": ("categories",)})).fit(described())
    folder = model.save(tmp_path / "model")
    with np.load(folder / "weights.npz") as stored:
        arrays = dict(stored)
    np.savez(folder / "weights.npz", **{**arrays, "column_0": arrays["column_0"][:-1]})
    expect_error(ModelError, lambda: SDM.load(folder), "columns of [6] items", "fit and save")
