"""Fusion fitted on validation: against scikit-learn, by hand, and never by what it is tested on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from llmrec.data import Candidates, Queries, Targets
from llmrec.errors import DataError
from llmrec.rank.fusion import FEATURES, Fusion, FusionConfig, features, fit_fusion
from llmrec.testing import expect_error

POPULARITY = np.array([9.0, 1, 4, 0, 2, 7])


def lists(seed, q=60, n=6, k=4):
    """Return recall's candidates, the same in a model's order, and targets that the model knows better."""
    rng = np.random.default_rng(seed)
    items = np.stack([rng.permutation(n)[:k] for _ in range(q)])
    recalled = Candidates(items, -np.sort(-rng.normal(size=(q, k)), axis=1))
    worth = rng.normal(size=(q, k))
    ranked = Candidates(items, np.zeros(items.shape)).with_scores(worth.astype(np.float32))
    chosen = np.argmax(2 * worth + rng.gumbel(size=(q, k)), axis=1)
    relevant = items[np.arange(q), chosen][:, None]
    return recalled, ranked, Targets(Queries.from_histories([()] * q), relevant.astype(np.int32))


def test_the_weight_is_that_of_the_best_metric_and_the_smallest_of_equal_ones():
    recalled = Candidates(np.array([[0, 1], [2, 3]]), np.array([[2.0, 1], [2, 1]]))
    ranked = Candidates(np.array([[1, 0], [3, 2]]), np.array([[2.0, 1], [2, 1]]))
    for relevant, weight in (([[1], [3]], 0.55), ([[0], [2]], 0.0), ([[5], [5]], 0.0)):
        targets = Targets(Queries.from_histories([(), ()]), np.array(relevant, np.int32))
        fusion = fit_fusion(recalled, ranked, targets, POPULARITY)
        assert fusion.coefficients == (weight,)
        assert fusion.queries == (0 if relevant[0] == [5] else 2)


def test_with_two_candidates_the_logistic_model_is_that_of_scikit_learn():
    """Of two candidates the first is chosen with the logistic of the difference of their features."""
    recalled, ranked, targets = lists(0, q=200, n=6, k=2)
    fusion = fit_fusion(recalled, ranked, targets, POPULARITY, FusionConfig(method="logistic", regularization=0.5))
    values = features(recalled, ranked, POPULARITY)
    first = recalled.items[:, 0] == targets.relevant[:, 0]
    oracle = LogisticRegression(C=1 / 0.5, fit_intercept=False, tol=1e-8).fit(values[:, 0] - values[:, 1], first)
    np.testing.assert_allclose(fusion.coefficients, oracle.coef_[0], atol=1e-3)


def test_what_decides_is_found():
    recalled, ranked, targets = lists(1, q=400)
    fusion = fit_fusion(recalled, ranked, targets, POPULARITY, FusionConfig(method="logistic"))
    by_name = dict(zip(FEATURES, fusion.coefficients, strict=True))
    assert max(by_name, key=lambda name: abs(by_name[name])) == "model score"
    assert by_name["model score"] > 0


@pytest.mark.parametrize("method", ["weight", "logistic"])
@settings(max_examples=15)
@given(seed=st.integers(0, 99))
def test_the_result_is_a_permutation_in_order_and_does_not_depend_on_the_company(method, seed):
    recalled, ranked, targets = lists(seed)
    fusion = fit_fusion(recalled, ranked, targets, POPULARITY, FusionConfig(method=method))
    fused = fusion.fuse(recalled, ranked, POPULARITY)
    np.testing.assert_array_equal(np.sort(fused.items, axis=1), np.sort(recalled.items, axis=1))
    assert (np.diff(fused.scores, axis=1) <= 0).all()
    some = slice(3, 9)
    alone = fusion.fuse(recalled.select(some), ranked.select(some), POPULARITY)
    np.testing.assert_array_equal(alone.items, fused.items[some])


def test_features_by_hand():
    recalled = Candidates(np.array([[2, 0, -1]]), np.array([[3.0, 1.0, np.nan]]))
    ranked = Candidates(np.array([[0, 2, -1]]), np.array([[5.0, np.nan, np.nan]]))
    found = features(recalled, ranked, POPULARITY)
    # Two values are standardised to 1 and -1. A missing score is no lower than the only one where nothing spreads.
    np.testing.assert_allclose(found[0, :2, 0], [1, -1])
    np.testing.assert_allclose(found[0, :2, 1], [0, 0])
    np.testing.assert_allclose(found[0, :2, 2], [1, -1])
    np.testing.assert_allclose(found[0, :2, 3], [-1, 1])
    np.testing.assert_allclose(found[0, :2, 4], [-1, 1])
    assert not found[0, 2].any()


def test_an_item_without_a_score_is_behind_the_last_that_has_one():
    recalled = Candidates(np.array([[0, 1, 2]]), np.array([[3.0, 2, 1]]))
    ranked = Candidates(np.array([[2, 1, 0]]), np.array([[5.0, 3, np.nan]]))
    found = features(recalled, ranked, POPULARITY)[0, :, 1]
    assert found[0] < found[1] < found[2]
    # 5 and 3 have the mean 4 and spread 1, so the third counts as 3 - 1: of 2, 3 and 5 the mean is 10/3.
    np.testing.assert_allclose(found, np.array([-4, -1, 5]) / 3 / (42 / 27) ** 0.5)


def test_it_is_saved_and_read_again(tmp_path):
    fusion = Fusion(method="logistic", coefficients=(0.5, 1, -2, 0, 3), queries=7)
    path = fusion.save(tmp_path / "fusion.json")
    assert Fusion.model_validate_json(path.read_text()) == fusion


@pytest.mark.parametrize(
    ("items", "words"), [([[0, 1, 2]], ("(1, 3)", "(1, 2)")), ([[0, 5]], ("row 0", "rank what recall proposed"))]
)
def test_other_candidates_are_refused(items, words):
    recalled = Candidates(np.array(items), np.zeros((1, len(items[0]))))
    ranked = Candidates(np.array([[1, 0]]), np.zeros((1, 2)))
    fusion = Fusion(method="weight", coefficients=(0.5,), queries=1)
    expect_error(DataError, lambda: fusion.fuse(recalled, ranked, POPULARITY), *words)
    targets = Targets(Queries.from_histories([()]), np.array([[0]], np.int32))
    expect_error(DataError, lambda: fit_fusion(recalled, ranked, targets, POPULARITY), *words)
