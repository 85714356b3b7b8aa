"""A recall model's vectors as a ranker: the same scores as recall gives, for the candidates alone."""

import numpy as np

from llmrec.classic.recall.comirec import ComiRec, ComiRecConfig
from llmrec.classic.recall.factorization import ALS, ALSConfig
from llmrec.data import Candidates, Queries
from llmrec.errors import DataError
from llmrec.pipeline.vectors import VectorRanker
from llmrec.testing import RankerContract, assert_same, expect_error, toy


def als():
    return ALS(ALSConfig(factors=4, iterations=2)).fit(toy(), seed=0)


class TestContract(RankerContract):
    def make(self):
        return VectorRanker(als())


def test_all_items_come_back_as_recall_has_them():
    queries = Queries.from_histories([(0, 1), (2, 4), (5,)])
    for model in (als(), ComiRec(ComiRecConfig(embedding_dim=8, epochs=2)).fit(toy(), seed=0)):
        expected = model.recommend(queries, 6, exclude_seen=False)  # six of the seven have training events
        shuffled = Candidates(np.sort(expected.items, axis=1), np.zeros((3, 6)))
        assert_same(VectorRanker(model).rank(queries, shuffled), expected)


def test_what_the_model_cannot_judge_keeps_its_order():
    ranker = VectorRanker(als())
    items = np.array([[6, 3, 0], [2, 6, 1]])
    ranked = ranker.rank(Queries.from_histories([(1, 2), ()]), Candidates(items, np.zeros((2, 3))))
    assert ranked.items[0, -1] == 6  # nobody has seen it: no vector
    assert ranked.items[1].tolist() == [2, 6, 1]  # an empty history says nothing
    assert np.isnan(ranked.scores[1]).all()


def test_an_item_of_another_catalogue_is_an_error():
    candidates = Candidates(np.array([[7]]), np.zeros((1, 1)))
    expect_error(
        DataError, lambda: VectorRanker(als()).rank(Queries.from_histories([(0,)]), candidates), "number 7", "0 to 6"
    )
