"""DSSM: unit vectors, the loss by the formula, and what it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmrec.classic.recall.dssm import DSSM, DSSMConfig, Towers
from llmrec.classic.recall.neural.features import item_features
from llmrec.classic.recall.neural.towers import target_shares
from llmrec.config import load_config
from llmrec.data import Queries
from llmrec.errors import ConfigError, DataError
from llmrec.testing import RecommenderContract, expect_error, toy

TINY = DSSMConfig(embedding_dim=4, history=3, epochs=2, batch_size=4, hidden=(8,))


class TestDSSM(RecommenderContract):
    def make(self) -> DSSM:
        return DSSM(TINY)


def towers(config: DSSMConfig = TINY) -> Towers:
    torch.manual_seed(0)
    return Towers(config, 7, {**item_features(toy(), ()), "target_shares": target_shares(toy(), None)}).eval()


def test_all_vectors_have_length_one():
    model = DSSM(TINY).fit(toy())
    vectors = model.query_vectors(Queries.from_histories([(0, 1), (3,)]))
    assert vectors.shape == (2, 1, 4)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=2), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(model.item_vectors, axis=1), 1, rtol=1e-5)
    scores = model.recommend(Queries.from_histories([(0, 1), (3,)]), 6, exclude_seen=False).scores
    assert np.abs(scores).max() <= 1 + 1e-5


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_the_loss_is_the_corrected_softmax_among_the_targets_of_the_batch(temperature):
    """-ln of e^(cos / T - ln q) over its sum over the rows, those of the same target left out."""
    made = towers(TINY.model_copy(update={"temperature": temperature}))
    histories, targets = torch.tensor([[-1, 0], [0, 1], [2, 3]]), torch.tensor([2, 5, 2])
    loss, rows = made({"history": histories, "target": targets})
    shares = np.array([1, 2, 3, 2, 3, 1, 1]) / 13  # of toy targets, never counted as once
    queries, items = (each.detach().numpy().astype(np.float64) for each in (made.query(histories), made.items()))
    logits = queries @ items[targets].T / temperature - np.log(shares[targets])
    kept = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]], bool)
    expected = sum(np.log(np.exp(logits[row, kept[row]]).sum()) - logits[row, row] for row in range(3))
    assert rows.item() == 3
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_padding_changes_nothing():
    made = towers()
    one, two = torch.tensor([[0, 1]]), torch.tensor([[-1, 0, 1]])
    torch.testing.assert_close(made.query(one), made.query(two))


def test_it_learns_what_follows_what(make_data):
    histories = [[(start + step) % 8 for step in range(5)] for start in range(8)] * 4
    config = DSSMConfig(
        embedding_dim=16, history=4, epochs=80, batch_size=128, learning_rate=0.03, hidden=(32,), dropout=0.0
    )
    model = DSSM(config).fit(make_data(histories, 8))
    found = model.recommend(Queries.from_histories([(a, (a + 1) % 8) for a in range(8)]), 1)
    assert found.items[:, 0].tolist() == [(a + 2) % 8 for a in range(8)]


def test_popular_items_stay_popular(make_data):
    """Items follow item 0 in the ratio 6 to 3 to 1; without the correction all three would score alike."""
    histories = [(0, item) for item, times in ((1, 60), (2, 30), (3, 10)) for _ in range(times)]
    config = DSSMConfig(
        embedding_dim=4, epochs=60, batch_size=100, learning_rate=0.03, temperature=1.0, dropout=0.0, hidden=()
    )
    model = DSSM(config).fit(make_data(histories, 4))
    assert model.recommend(Queries.from_histories([(0,)]), 3).items.tolist() == [[1, 2, 3]]


def test_columns_that_are_not_there_and_settings_out_of_range_are_named():
    model = DSSM(TINY.model_copy(update={"columns": ("genre",)}))
    expect_error(DataError, lambda: model.fit(toy()), "'genre'", "title")
    expect_error(ConfigError, lambda: load_config(DSSMConfig, None, ["temperature=0"]), "temperature")
