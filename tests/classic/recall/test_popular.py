"""Popularity on the toy data: three users had Alien, three Brazil, four Casablanca, two Dune, three Heat, one Fargo."""

from __future__ import annotations

import numpy as np

from llmrec.classic.recall.popular import Popular
from llmrec.data import Interactions, Queries
from llmrec.testing import RecommenderContract, toy


class TestPopular(RecommenderContract):
    def make(self) -> Popular:
        return Popular()


def test_counts_by_hand():
    found = Popular().fit(toy()).recommend(Queries.from_histories([()]), 7)
    assert found.items.tolist() == [[2, 0, 1, 4, 3, 5, 6]]
    assert found.scores.tolist() == [[4, 3, 3, 3, 2, 1, 0]]


def test_the_history_moves_nothing_but_itself():
    found = Popular().fit(toy()).recommend(Queries.from_histories([(2, 0)]), 3)
    assert found.items.tolist() == [[1, 4, 3]]
    assert found.scores.tolist() == [[3, 3, 2]]


def test_a_repeat_by_one_user_counts_once_and_values_do_not_count():
    events = Interactions.sort([0, 0, 0, 1, 2], [5, 5, 5, 6, 6], [1, 2, 3, 4, 5], [5, 5, 5, 0.5, 0.5])
    found = Popular().fit(toy().with_interactions(events)).recommend(Queries.from_histories([()]), 2)
    assert found.items.tolist() == [[6, 5]]
    np.testing.assert_array_equal(found.scores, [[2, 1]])
