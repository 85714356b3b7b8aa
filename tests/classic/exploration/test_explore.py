"""Re-rankers that explore: by hand, their contract, and propensities that are as frequent as they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtr

from llmrec.classic.exploration.explore import Explore, PolicyRanker
from llmrec.classic.exploration.linear import LinUCB, LinUCBConfig
from llmrec.classic.reranking.base import load_reranker, make_reranker
from llmrec.config import Part
from llmrec.data import Candidates, Impressions, Queries
from llmrec.errors import ConfigError, DataError, ModelError
from llmrec.testing import RankerContract, assert_same, expect_error, toy


def explorer(rule: str, slots: int = 10, strength: float = 10, **rest: float) -> Explore:
    """Return an unfitted re-ranker."""
    parameters = {"how": {"rule": rule, **rest}, "slots": slots, "strength": strength}
    made = make_reranker(Part(name="explore", parameters=parameters))
    assert isinstance(made, Explore)
    return made


class TestEpsilon(RankerContract):
    def make(self) -> Explore:
        return explorer("epsilon", epsilon=0.5).fit(toy(), seed=1)


class TestUCB(RankerContract):
    def make(self) -> Explore:
        return explorer("ucb").fit(toy())


class TestThompson(RankerContract):
    def make(self) -> Explore:
        return explorer("thompson", slots=2).fit(toy(), seed=3)


def taste(queries: Queries) -> np.ndarray:
    """Return contexts: a constant, and how many items the history has."""
    return np.column_stack([np.ones(len(queries)), (queries.history >= 0).sum(axis=1)])


def policy() -> LinUCB:
    """Return a policy of the toy's items that likes item 3 after long histories and item 6 after short ones."""
    learned = LinUCB(LinUCBConfig(arms=7, dimension=2, alpha=0.1))
    learned.update([[1, 4], [1, 0], [1, 4]] * 50, [3, 6, 6] * 50, [5, 5, 0] * 50)
    return learned


class TestPolicyRanker(RankerContract):
    def make(self) -> PolicyRanker:
        return PolicyRanker(policy(), taste)


SHOWN = Candidates(np.array([[4, 5, 6, 0]]), np.array([[4.0, 3.0, 2.0, 0.0]]))


def many(n: int) -> tuple[Queries, Candidates]:
    """Return n users with the same candidates."""
    return (
        Queries(np.arange(n), np.zeros((n, 0))),
        Candidates(np.tile(SHOWN.items, (n, 1)), np.tile(SHOWN.scores, (n, 1))),
    )


def test_without_exploring_the_order_stays():
    for rule, rest in (("epsilon", {"epsilon": 0}), ("ucb", {"width": 0}), ("thompson", {"width": 0})):
        queries, candidates = many(5)
        ranked = explorer(rule, **rest).fit(toy()).rank(queries, candidates)
        np.testing.assert_array_equal(ranked.items, candidates.items)
        assert ranked.scores.tolist() == [[4, 3, 2, 1]] * 5


def test_what_was_hardly_shown_rises_by_hand():
    """Users of items 4, 5, 6, 0 are 3, 1, 0, 3; relevance 1, .75, .5, 0; at strength 1 doubts are .5, .707, 1, .5."""
    # 0.8: 1.4, 1.316, 1.3; 1.1: 1.55, 1.528, 1.6; 1.3: 1.65, 1.669, 1.8.
    for width, expected in ((0.8, [4, 5, 6, 0]), (1.1, [6, 4, 5, 0]), (1.3, [6, 5, 4, 0])):
        ranked = explorer("ucb", strength=1, width=width).fit(toy()).rank(*many(1))
        assert ranked.items.tolist() == [expected]


def test_shows_are_impressions_where_there_are_any():
    """Item 6 was shown 8 times without a click, its doubt is 1/3; the others were never shown, theirs is 1."""
    shown = Impressions(np.zeros(8), np.arange(8), np.arange(9), np.full(8, 6), np.zeros(8, bool))
    data = replace(toy(), impressions=shown)
    for width, expected in ((0.7, [4, 5, 6, 0]), (1.3, [4, 5, 0, 6])):
        # 0.7: 1.7, 1.45, 0.733, 0.7; 1.3: 2.3, 2.05, 0.933, 1.3.
        ranked = explorer("ucb", strength=1, width=width).fit(data).rank(*many(1))
        assert ranked.items.tolist() == [expected]


def test_only_the_first_places_are_explored():
    queries, candidates = many(300)
    ranked = explorer("epsilon", slots=2, epsilon=1).fit(toy()).rank(queries, candidates)
    rest = ranked.items[:, 2:]
    place = {4: 0, 5: 1, 6: 2, 0: 3}
    assert all(place[one] < place[two] for one, two in rest.tolist())
    assert {tuple(row) for row in ranked.items[:, :2].tolist()} == {(a, b) for a in place for b in place if a != b}


def test_propensities_by_hand():
    ranker = explorer("epsilon", slots=3, epsilon=0.4).fit(toy())
    other = Candidates(np.array([[5, 4, 0, 6]]), SHOWN.scores)
    # Not the best of four: 0.4 / 4. The best of three: 0.6 + 0.4 / 3. Not the best of two: 0.4 / 2.
    np.testing.assert_allclose(ranker.propensities(SHOWN, other), [[0.1, 0.6 + 0.4 / 3, 0.2]])
    short = Candidates(np.array([[4, 5, -1, -1]]), np.array([[2.0, 1.0, np.nan, np.nan]]))
    np.testing.assert_allclose(ranker.propensities(short, short), [[0.8, 1, np.nan]])
    normal = explorer("thompson", slots=1, width=0.5, strength=1).fit(toy())
    two = Candidates(np.array([[4, 6]]), np.array([[1.0, 0.0]]))
    np.testing.assert_allclose(normal.propensities(two, two), [[ndtr(1 / np.hypot(0.25, 0.5))]], atol=2e-4)


@pytest.mark.parametrize(("rule", "rest"), [("epsilon", {"epsilon": 0.6}), ("thompson", {"width": 0.6})])
def test_lists_come_as_often_as_their_propensities_say(rule, rest):
    queries, candidates = many(3000)
    ranker = explorer(rule, slots=2, **rest).fit(toy(), seed=7)
    ranked = ranker.rank(queries, candidates)
    pairs, rows, counts = np.unique(ranked.items[:, :2], axis=0, return_index=True, return_counts=True)
    assert len(pairs) > 6
    chances = ranker.propensities(candidates, ranked).prod(axis=1)[rows]
    assert (np.abs(counts / 3000 - chances) <= 4.5 * np.sqrt(chances * (1 - chances) / 3000)).all()


def test_a_page_that_is_loaded_again_is_the_same_and_one_after_a_click_is_not():
    ranker = explorer("epsilon", epsilon=1).fit(toy(), seed=2)
    queries, candidates = many(40)
    again = ranker.rank(Queries(queries.users, np.full((40, 3), -1)), candidates)  # padding says nothing
    assert_same(ranker.rank(queries, candidates), again)
    clicked = ranker.rank(Queries(queries.users, np.full((40, 1), 2)), candidates)
    assert (clicked.items != again.items).any(axis=1).mean() > 0.8
    reseeded = explorer("epsilon", epsilon=1).fit(toy(), seed=3).rank(queries, candidates)
    assert (reseeded.items != again.items).any(axis=1).mean() > 0.8


def test_a_saved_one_comes_back_with_the_same_lists(tmp_path):
    for rule in ("epsilon", "ucb", "thompson"):
        ranker = explorer(rule, slots=3).fit(toy(), seed=4)
        back = load_reranker(ranker.save(tmp_path / rule))
        assert isinstance(back, Explore)
        assert back.config == ranker.config
        assert_same(back.rank(*many(50)), ranker.rank(*many(50)))


def test_a_policy_ranks_by_context():
    """Equal bounds keep no order of their own but chance; the liked ones come first."""
    candidates = Candidates(np.array([[0, 3, 6]] * 2), np.array([[3.0, 2.0, 1.0]] * 2))
    queries = Queries.from_histories([(0, 1, 2, 4), ()])
    ranker = PolicyRanker(policy(), taste, slots=1)
    ranked = ranker.rank(queries, candidates)
    assert ranked.items.tolist() == [[3, 0, 6], [6, 0, 3]]
    assert ranker.propensities(queries, candidates, ranked).tolist() == [[1], [1]]
    turned = candidates.with_scores(np.array([[1, 2, 3]] * 2))
    assert ranker.propensities(queries, candidates, turned).tolist() == [[0], [1]]


def test_what_it_refuses():
    ranker = explorer("epsilon").fit(toy())
    expect_error(ModelError, lambda: explorer("epsilon").propensities(SHOWN, SHOWN), "fit")
    beyond = Candidates(np.array([[7]]), np.array([[1.0]]))
    expect_error(DataError, lambda: ranker.propensities(beyond, beyond), "item number 7", "0 to 6")
    other = Candidates(np.array([[4, 3, 6, 0]]), SHOWN.scores)
    expect_error(DataError, lambda: ranker.propensities(SHOWN, other), "item number 3 in row 0", "candidates")
    expect_error(ConfigError, lambda: explorer("epsilon", epsilon=1.5), "how.epsilon")
    expect_error(ConfigError, lambda: explorer("greedy"), "how")
    strange = PolicyRanker(LinUCB(LinUCBConfig(arms=3, dimension=2)), taste)
    expect_error(DataError, lambda: strange.rank(Queries.from_histories([()]), SHOWN), "arm number 6", "0 to 2")
