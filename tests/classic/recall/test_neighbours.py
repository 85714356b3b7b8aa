"""Item-kNN: cosines by hand on the toy data, and ``implicit`` called directly on random data."""

from __future__ import annotations

import numpy as np
import pytest
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender
from scipy.sparse import csr_matrix

from llmrec.classic.recall.neighbours import ItemKNN, ItemKNNConfig
from llmrec.data import Interactions, Queries
from llmrec.testing import RecommenderContract, assert_same, toy


class TestItemKNN(RecommenderContract):
    def make(self) -> ItemKNN:
        return ItemKNN()


class TestItemKNNWithFewNeighboursAndBM25(RecommenderContract):
    def make(self) -> ItemKNN:
        return ItemKNN(ItemKNNConfig(neighbours=2, weighting="bm25"))


def cosine() -> ItemKNN:
    return ItemKNN(ItemKNNConfig(weighting="cosine", neighbours=7))


def test_cosines_by_hand():
    """Alien: u0 u1 u3; Brazil: u0 u1 u2; Casablanca: u0 u1 u2 u4; Dune: u0 u3; Heat: u2 u3 u4; Fargo: u4."""
    found = cosine().fit(toy()).recommend(Queries.from_histories([(0,)]), 4)
    assert found.items.tolist() == [[3, 1, 2, 4]]
    by_hand = [2 / np.sqrt(3 * 2), 2 / 3, 2 / np.sqrt(3 * 4), 1 / 3]
    np.testing.assert_allclose(found.scores, [by_hand], rtol=1e-6)


def test_similarities_add_up_over_the_history_and_a_repeat_counts_once():
    model = cosine().fit(toy())
    found = model.recommend(Queries.from_histories([(3, 5)]), 1)
    assert found.items.tolist() == [[4]]  # Heat: with Dune 1 / sqrt(6), with Fargo 1 / sqrt(3)
    np.testing.assert_allclose(found.scores, [[1 / np.sqrt(6) + 1 / np.sqrt(3)]], rtol=1e-6)
    assert_same(model.recommend(Queries.from_histories([(3, 5, 3, 3)]), 1), found)


def test_items_outside_the_neighbourhood_follow_by_popularity():
    """Fargo's users had Casablanca and Heat only; the rest: Alien and Brazil 3, Dune 2, Gattaca 0; 4 is the most."""
    found = cosine().fit(toy()).recommend(Queries.from_histories([(5,)]), 6)
    assert found.items.tolist() == [[4, 2, 0, 1, 3, 6]]
    np.testing.assert_allclose(found.scores[0, 2:], [3 / 5 - 1, 3 / 5 - 1, 2 / 5 - 1, -1], rtol=1e-6)


def test_a_history_without_training_events_gets_popularity():
    found = cosine().fit(toy()).recommend(Queries.from_histories([(6,)]), 2)
    assert found.items.tolist() == [[2, 0]]
    assert found.scores.tolist() == [[4, 3]]


def test_a_user_who_had_nearly_everything_weighs_nothing_in_tfidf():
    """Six of seven items leave an idf of log 7 - log 7 = 0: items of that user alone have no length to divide by."""
    events = Interactions.sort([0] * 6 + [1, 1], [*range(6), 0, 1], range(8))
    model = ItemKNN(ItemKNNConfig(weighting="tfidf")).fit(toy().with_interactions(events))
    found = model.recommend(Queries.from_histories([(0,)]), 1)
    assert found.items.tolist() == [[1]]
    np.testing.assert_allclose(found.scores, [[1]], rtol=1e-6)


@pytest.mark.parametrize(
    ("weighting", "peer"),
    [
        ("cosine", CosineRecommender(K=12)),
        ("tfidf", TFIDFRecommender(K=12)),
        ("bm25", BM25Recommender(K=12, K1=1.5, B=0.4)),
    ],
)
@pytest.mark.filterwarnings("ignore:Method expects CSR input")  # what implicit's classes pass to themselves
def test_it_equals_implicit(weighting, peer, random_data):
    config = ItemKNNConfig(neighbours=12, weighting=weighting, bm25_k1=1.5, bm25_b=0.4)
    model = ItemKNN(config).fit(random_data)
    events = random_data.interactions
    seen = csr_matrix((np.ones(len(events)), (events.users, events.items)), shape=(60, 40))
    peer.fit(seen, show_progress=False)
    np.testing.assert_allclose(model.similarity.toarray(), peer.similarity.toarray(), rtol=1e-6)

    users = np.arange(60)
    ours = model.recommend(random_data.queries(users, history=None), 8)
    theirs, scores = peer.recommend(users, seen, N=8)
    assert (ours.scores > 0).all()  # else implicit pads where we go on with popular items
    np.testing.assert_allclose(ours.scores, scores, rtol=1e-5)
    near = np.isclose(scores[:, 1:], scores[:, :-1], rtol=1e-5)
    clear = ~np.pad(near, ((0, 0), (1, 0))) & ~np.pad(near, ((0, 0), (0, 1)))
    clear[:, -1] = False  # its tie may lie just outside the list
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(ours.items[clear], theirs[clear])


def test_seen_items_keep_their_score_where_they_are_not_excluded(make_data):
    data = make_data([(0, 1), (0, 1)], 3)
    found = cosine().fit(data).recommend(Queries.from_histories([(0,)]), 2, exclude_seen=False)
    assert found.items.tolist() == [[0, 1]]
    np.testing.assert_allclose(found.scores, [[1, 1]], rtol=1e-6)
