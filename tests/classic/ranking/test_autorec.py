"""AutoRec: the contract, the formula, and what it learns from either side."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmrec.classic.ranking.autorec import Autoencoder, AutoRec, AutoRecConfig, Ragged
from llmrec.data import Candidates, Queries
from llmrec.errors import DataError
from llmrec.eval.yes_no import auc
from llmrec.protocols import Watch
from llmrec.testing import LearnedRankerContract, expect_error

TINY = AutoRecConfig(epochs=2, batch_size=4, factors=3)


class TestUserAutoRec(LearnedRankerContract):
    def new(self) -> AutoRec:
        return AutoRec(TINY)


class TestItemAutoRec(LearnedRankerContract):
    def new(self) -> AutoRec:
        return AutoRec(TINY.model_copy(update={"view": "item"}))


@pytest.mark.parametrize("unobserved", [0.0, 0.5])
def test_the_loss_by_the_formula(unobserved):
    torch.manual_seed(0)
    module = Autoencoder(4, AutoRecConfig(factors=2, dropout=0.0), unobserved)
    loss, count = module({"place": torch.tensor([[-1, 2], [0, 3]]), "value": torch.tensor([[0.0, 1.5], [-1.0, 2.0]])})
    encoder, decoder, middle, bias = (
        each.detach().numpy().astype(float) for each in (module.encoder, module.decoder, module.middle, module.bias)
    )
    dense, known = np.array([[0, 0, 1.5, 0], [-1, 0, 0, 2]]), np.array([[0, 0, 1, 0], [1, 0, 0, 1]])
    found = 1 / (1 + np.exp(-(dense @ encoder + middle))) @ decoder.T + bias
    weights = np.where(known, 1, unobserved)
    assert loss.item() == pytest.approx((weights * (found - dense) ** 2).sum(), rel=1e-5)
    assert count.item() == 3


def test_rows_of_values_are_whole():
    batches = Ragged(np.array([0, 0, 2]), np.array([3, 1, 0]), np.array([1.0, 2.0, 3.0], np.float32), 4, 2)
    assert batches.steps == 1
    batch = batches.batch(np.array([2, 0]))
    assert batch["place"].tolist() == [[-1, 0], [3, 1]]
    assert batch["value"].tolist() == [[0, 3], [1, 2]]


@pytest.mark.parametrize("view", ["user", "item"])
def test_it_learns_who_rates_what(planted, view):
    config = AutoRecConfig(
        view=view, factors=16, epochs=40, patience=20, batch_size=20, learning_rate=2e-2, weight_decay=0.0, dropout=0.2
    )
    ranker = AutoRec(config).fit(planted.train, seed=0, watch=Watch(planted.valid))
    assert ranker.validation_auc.max() > 0.9
    ranked = ranker.rank(planted.valid.queries, Candidates(planted.valid.relevant, 0 * planted.valid.values))
    real = ranked.items >= 0
    liked = (ranked.items % 4 == planted.valid.queries.users[:, None] % 4)[real]
    assert auc(liked, ranked.scores[real]) == pytest.approx(ranker.validation_auc.max(), abs=1e-6)


def test_a_score_is_what_the_formula_predicts_from_ratings_without_their_mean(planted):
    ranker = AutoRec(TINY).fit(planted.train)
    arrays, mean = ranker._arrays, planted.train.interactions.values.mean()
    queries = Queries(np.array([-1]), np.array([[2, 7]]), np.array([[5.0, 1.0]]))
    ranked = ranker.rank(queries, Candidates(np.array([[3, 4]]), np.zeros((1, 2))))
    encoder = arrays["module.encoder"]
    inside = (5 - mean) * encoder[2] + (1 - mean) * encoder[7] + arrays["module.middle"]
    wanted = arrays["module.decoder"] @ (1 / (1 + np.exp(-inside))) + arrays["module.bias"]
    found = dict(zip(ranked.items[0].tolist(), ranked.scores[0].tolist(), strict=True))
    assert found == pytest.approx({3: wanted[3], 4: wanted[4]}, rel=1e-4, abs=1e-5)


def test_unseen_users_are_served_from_a_history_and_counted_where_it_is_not_read(planted):
    known = planted.train.queries([3, 7])
    unseen = Queries(np.array([-1, -1]), known.history, known.values)
    candidates = Candidates(np.tile(np.arange(10), (2, 1)), np.zeros((2, 10)))
    by_user = AutoRec(TINY).fit(planted.train)
    np.testing.assert_array_equal(by_user.rank(unseen, candidates).scores, by_user.rank(known, candidates).scores)
    assert not by_user.counts
    by_item = AutoRec(TINY.model_copy(update={"view": "item"})).fit(planted.train)
    ranked = by_item.rank(unseen, candidates)
    np.testing.assert_array_equal(ranked.items[0], ranked.items[1])
    assert by_item.counts == {"unknown user": 2}


def test_ratings_that_are_not_known_are_named(planted):
    ranker = AutoRec(TINY).fit(planted.train)
    queries = Queries.from_histories([(1, 2)])
    expect_error(
        DataError,
        lambda: ranker.rank(queries, Candidates(np.array([[3]]), np.zeros((1, 1)))),
        "without ratings",
        "values",
    )
