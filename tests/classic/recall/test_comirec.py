"""ComiRec: the contract for both extractors, each against NumPy, and what it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax

from llmrec.classic.recall.comirec import ComiRec, ComiRecConfig, OwnMaps, SelfAttentive
from llmrec.config import make_config
from llmrec.data import Queries
from llmrec.errors import ConfigError
from llmrec.testing import RecommenderContract, expect_error, toy

TINY = ComiRecConfig(embedding_dim=4, interests=3, epochs=2, batch_size=4, history=5)
ROUTED = TINY.model_copy(update={"extractor": "routing"})


class TestAttention(RecommenderContract):
    def make(self) -> ComiRec:
        return ComiRec(TINY)


class TestRouting(RecommenderContract):
    def make(self) -> ComiRec:
        return ComiRec(ROUTED)


def inputs():
    """Return items (2, 4, 4) of which the second row has two, and which places are real."""
    torch.manual_seed(1)
    real = torch.tensor([[True] * 4, [False, False, True, True]])
    return torch.randn(2, 4, 4) * real.unsqueeze(-1), real


def test_attention_is_that_of_the_paper():
    torch.manual_seed(0)
    extractor = SelfAttentive(TINY).double()
    items, real = inputs()
    found, used = extractor(items.double(), real)
    assert used.shape == (2, 3)
    assert used.all()
    w1, w2 = (extractor.weigh[layer].weight.detach().numpy() for layer in (0, 2))
    assert w1.shape == (16, 4)
    places = extractor.places.detach().numpy()
    for row, width in ((0, 4), (1, 2)):
        h = items[row, 4 - width :].double().numpy()
        attention = softmax(w2 @ np.tanh(w1 @ (h + places[5 - width :]).T), axis=1)
        np.testing.assert_allclose(found[row].detach(), attention @ h, atol=1e-12)


def test_routing_gives_each_place_and_interest_a_map_of_its_own():
    """One iteration from logits of 0: a third of the mapped vectors' sum, squashed, times the root of 4."""
    torch.manual_seed(0)
    extractor = OwnMaps(ROUTED.model_copy(update={"iterations": 1})).double()
    items, real = inputs()
    found, used = extractor(items.double(), real)
    assert used.shape == (2, 3)
    assert used.all()
    maps = extractor.maps.detach().numpy()
    for row, width in ((0, 4), (1, 2)):
        for interest in range(3):
            total = sum(
                items[row, 4 - back].double().numpy() @ maps[interest, 5 - back] / 3 for back in range(1, width + 1)
            )
            square = total @ total
            expected = 2 * total * np.sqrt(square) / (1 + square)
            np.testing.assert_allclose(found[row, interest].detach(), expected, atol=1e-7)


def test_iterations_count():
    torch.manual_seed(0)
    one, two = (OwnMaps(ROUTED.model_copy(update={"iterations": iterations})) for iterations in (1, 3))
    two.load_state_dict(one.state_dict())
    assert not torch.allclose(one(*inputs())[0], two(*inputs())[0])


@pytest.mark.parametrize("extractor", ["attention", "routing"])
@pytest.mark.parametrize("settings", [{"loss": "sampled", "negatives": 3}, {"precision": "bfloat16"}])
def test_each_option_trains(extractor, settings):
    model = ComiRec(TINY.model_copy(update={"extractor": extractor, **settings})).fit(toy())
    assert np.isfinite(model.recommend(Queries.from_histories([(0, 1)]), 3).scores).all()


@pytest.mark.parametrize("config", [TINY, ROUTED], ids=["attention", "routing"])
def test_every_known_history_has_all_interests(config):
    vectors = ComiRec(config).fit(toy()).query_vectors(Queries.from_histories([(0,), (0, 1, 2, 3), (), (6,)]))
    assert np.isnan(vectors).all(axis=(1, 2)).tolist() == [False, False, True, True]
    assert not np.isnan(vectors[:2]).any()


@pytest.mark.parametrize("extractor", ["attention", "routing"])
def test_it_learns_what_follows_the_newest_item(make_data, extractor):
    """A circle of ten films, each user begins elsewhere: what comes next depends on the newest item's place."""
    data = make_data([[(start + step) % 10 for step in range(6)] for start in range(10)] * 3, 10)
    config = ComiRecConfig(
        extractor=extractor, embedding_dim=16, interests=2, epochs=40, batch_size=32, learning_rate=0.02, history=4
    )
    queries = Queries.from_histories([[(start + step) % 10 for step in range(4)] for start in range(10)])
    found = ComiRec(config).fit(data).recommend(queries, 1)
    assert found.items[:, 0].tolist() == [(start + 4) % 10 for start in range(10)]


def test_an_unknown_extractor_is_refused():
    expect_error(ConfigError, lambda: make_config(ComiRecConfig, {"extractor": "mean"}), "extractor", "'attention'")
