"""YouTubeDNN: the age of an example, what it is for, and what the model learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec.classic.recall.neural.features import item_features
from llmrec.classic.recall.neural.towers import target_shares
from llmrec.classic.recall.youtube_dnn import Network, YouTubeDNN, YouTubeDNNConfig
from llmrec.data import Dataset, Interactions, Queries
from llmrec.errors import DataError, ModelError
from llmrec.testing import RecommenderContract, expect_error, toy

TINY = YouTubeDNNConfig(embedding_dim=4, history=3, epochs=2, batch_size=4, hidden=(8,), negatives=8)
DAY = 86_400


class TestYouTubeDNN(RecommenderContract):
    def make(self) -> YouTubeDNN:
        return YouTubeDNN(TINY)


def network(end: int, span: int) -> Network:
    torch.manual_seed(0)
    features = {**item_features(toy(), ()), "target_shares": target_shares(toy(), None)}
    return Network(TINY, 7, {**features, "clock": np.array([end, span])}).eval()


def test_the_age_is_0_at_the_end_1_at_the_beginning_and_logarithmic_between():
    """Training lasted three days: ln(1 + days) is ln 4 at the start and ln 2 a day before the end."""
    made = network(end=10 * DAY, span=3 * DAY)
    ages = made.age(torch.tensor([10, 9, 7, 11]) * DAY)
    np.testing.assert_allclose(ages, [0, 0.5, 1, 0], rtol=1e-6)


def test_seconds_count_in_ages_of_today():
    """Unix seconds of our century are beyond float32's whole numbers."""
    end = 1_700_000_000
    ages = network(end, DAY).age(torch.tensor([end, end - 1, end - DAY]))
    np.testing.assert_allclose(ages, [0, np.log1p(1 / DAY) / np.log(2), 1], rtol=1e-5)


def test_without_a_clock_there_are_no_ages():
    assert network(0, 0).age(torch.tensor([0, 5])).tolist() == [0, 0]
    model = YouTubeDNN(TINY).fit(replace(toy(), clock=False))
    assert model._arrays["clock"].tolist() == [0, 0]
    assert YouTubeDNN(TINY).fit(toy())._arrays["clock"].tolist() == [40, 30]


def test_a_query_is_an_example_of_age_0():
    made = network(end=40, span=30)
    history = torch.tensor([[-1, 0, 1], [2, 3, 4]])
    now = made.query(history, made.age(torch.tensor([40, 40])))
    torch.testing.assert_close(made.encode(history, torch.zeros_like(history))[:, 0], now)
    assert not torch.allclose(now, made.query(history, made.age(torch.tensor([10, 10]))))


def fashion(make_data, *, clock: bool) -> Dataset:
    """Item 1 followed item 0 a hundred days ago, thirty times; item 2 follows it now, ten times."""
    made = make_data([(0, 1)] * 30 + [(0, 2)] * 10, 3)
    events = made.interactions
    times = np.where(events.users < 30, 0, 100 * DAY) + np.arange(len(events))
    return replace(made, interactions=Interactions(events.users, events.items, times, events.values), clock=clock)


@pytest.mark.parametrize(("clock", "first"), [(True, 2), (False, 1)])
def test_the_age_lets_the_popularity_of_the_end_be_served(make_data, clock, first):
    config = YouTubeDNNConfig(
        embedding_dim=8, epochs=60, batch_size=40, learning_rate=0.02, hidden=(16,), dropout=0.0, negatives=8
    )
    model = YouTubeDNN(config).fit(fashion(make_data, clock=clock))
    assert model.recommend(Queries.from_histories([(0,)]), 1).items.tolist() == [[first]]


def test_it_learns_what_follows_what(make_data):
    histories = [[(start + step) % 8 for step in range(5)] for start in range(8)] * 4
    config = YouTubeDNNConfig(
        embedding_dim=16,
        history=4,
        epochs=80,
        batch_size=128,
        learning_rate=0.03,
        hidden=(32,),
        dropout=0,
        negatives=16,
    )
    model = YouTubeDNN(config).fit(replace(make_data(histories, 8), clock=False))
    found = model.recommend(Queries.from_histories([(a, (a + 1) % 8) for a in range(8)]), 1)
    assert found.items[:, 0].tolist() == [(a + 2) % 8 for a in range(8)]


def test_weights_without_a_clock_and_missing_columns_are_refused(tmp_path):
    path = YouTubeDNN(TINY).fit(toy()).save(tmp_path / "model") / "weights.npz"
    with np.load(path) as stored:
        np.savez(path, **{name: stored[name] for name in stored.files if name != "clock"})
    expect_error(ModelError, lambda: YouTubeDNN.load(path.parent), "clock", "does not fit", "fit and save")
    model = YouTubeDNN(TINY.model_copy(update={"columns": ("genre",)}))
    expect_error(DataError, lambda: model.fit(toy()), "'genre'", "title")
