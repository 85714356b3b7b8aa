"""MIND: the contract, interests that adapt, and two tastes that both get answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmrec.classic.recall.mind import B2I, MIND, MINDConfig
from llmrec.config import make_config
from llmrec.data import Queries
from llmrec.errors import ConfigError
from llmrec.testing import RecommenderContract, expect_error, toy

TINY = MINDConfig(embedding_dim=4, interests=3, epochs=2, batch_size=4, history=5)


class TestMIND(RecommenderContract):
    def make(self) -> MIND:
        return MIND(TINY)


@pytest.mark.parametrize(
    "settings",
    [{"power": 2.0}, {"loss": "sampled", "negatives": 3}, {"interests": 1}, {"precision": "bfloat16"}],
)
def test_each_option_trains(settings):
    model = MIND(TINY.model_copy(update=settings)).fit(toy())
    assert np.isfinite(model.recommend(Queries.from_histories([(0, 1)]), 3).scores).all()


def test_longer_histories_have_more_interests():
    histories = [(0,), (0, 1, 2), (0, 1, 2, 3), (6,), ()]
    vectors = MIND(TINY).fit(toy()).query_vectors(Queries.from_histories(histories))
    assert vectors.shape == (5, 3, 4)
    assert (~np.isnan(vectors).any(axis=2)).sum(axis=1).tolist() == [1, 1, 2, 0, 0]


def test_a_score_is_the_largest_product_with_an_interest():
    model = MIND(TINY).fit(toy())
    queries = Queries.from_histories([(0, 1, 2, 3)])
    expected = np.nanmax(model.query_vectors(queries)[0] @ model.item_vectors.T, axis=0)
    found = model.recommend(queries, 6, exclude_seen=False)
    np.testing.assert_allclose(found.scores[0], expected[found.items[0]], rtol=1e-5)


def test_routing_begins_at_numbers_that_are_drawn_once_and_not_learned(random_data, tmp_path):
    config = TINY.model_copy(update={"batch_size": 64, "per_user": 5})  # of histories with several interests
    models = [MIND(config.model_copy(update={"epochs": epochs})).fit(random_data, seed=3) for epochs in (1, 3)]
    begin = [model._arrays["module.extractor.logits"] for model in models]
    np.testing.assert_array_equal(*begin)
    assert begin[0].shape == (3, 5)
    assert begin[0].std() > 0.3
    other = MIND(TINY).fit(toy(), seed=4)._arrays["module.extractor.logits"]
    assert not np.array_equal(begin[0], other)
    loaded = MIND.load(models[0].save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded._arrays["module.extractor.logits"], begin[0])


def test_places_are_counted_from_the_newest():
    """Padding on the left changes nothing; with four items there are two interests to choose between."""
    torch.manual_seed(0)
    extractor = B2I(TINY)
    items = 10 * torch.randn(1, 4, 4)
    alone, used = extractor(items, torch.ones(1, 4, dtype=torch.bool))
    assert used.tolist() == [[True, True, False]]
    real = torch.tensor([[False, True, True, True, True]])
    padded, _ = extractor(torch.cat([torch.zeros(1, 1, 4), items], 1), real)
    torch.testing.assert_close(padded, alone)


def test_both_tastes_of_a_user_are_served(make_data):
    """Four groups of six items; each user has four items of two groups: who has three of a group wants the others."""
    rng = np.random.default_rng(0)
    histories = []
    for _ in range(200):
        groups = rng.choice(4, 2, replace=False)
        histories.append(rng.permutation([6 * group + rng.permutation(6)[:4] for group in groups], axis=1).T.ravel())
    config = MINDConfig(embedding_dim=16, interests=3, epochs=15, batch_size=64, learning_rate=0.02, history=8)
    model = MIND(config).fit(make_data([row.tolist() for row in histories], 24))
    found = model.recommend(Queries.from_histories([(0, 12, 1, 13, 2, 14), (6, 18, 7, 19, 8, 20)]), 6)
    assert np.sort(found.items // 6, axis=1).tolist() == [[0, 0, 0, 2, 2, 2], [1, 1, 1, 3, 3, 3]]


@pytest.mark.parametrize(("key", "value"), [("interests", 0), ("iterations", 0), ("power", 0.5), ("power", np.inf)])
def test_numbers_out_of_range_are_refused(key, value):
    expect_error(ConfigError, lambda: make_config(MINDConfig, {key: value}), f"{key} = {value}")
