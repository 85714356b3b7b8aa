"""Trees: the contract, what they learn, their leaves, and lists that are ordered."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.classic.ranking import trees
from llmrec.classic.ranking.base.examples import ExamplesConfig
from llmrec.classic.ranking.features import FeatureConfig
from llmrec.classic.ranking.learning import encode, prepare
from llmrec.classic.ranking.trees import (
    GBDT,
    GBDTLR,
    GBDTConfig,
    GBDTLRConfig,
    LambdaMART,
    LambdaMARTConfig,
    tree_columns,
    tree_scores,
    with_leaves,
)
from llmrec.data import Candidates
from llmrec.errors import ConfigError
from llmrec.protocols import UNWATCHED, Watch
from llmrec.testing import LearnedRankerContract, expect_error

RATED = ExamplesConfig(labels="ratings")
KINDS = FeatureConfig(categories=("user.kind", "item.kind"), statistics=(), history=0)
TINY = {"trees": 3, "min_rows": 1}


class TestGBDT(LearnedRankerContract):
    def new(self) -> GBDT:
        return GBDT(GBDTConfig(**TINY))


class TestLambdaMART(LearnedRankerContract):
    def new(self) -> LambdaMART:
        return LambdaMART(LambdaMARTConfig(**TINY))


class TestGBDTLR(LearnedRankerContract):
    def new(self) -> GBDTLR:
        return GBDTLR(GBDTLRConfig(**TINY, epochs=2, batch_size=8))


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (GBDT, GBDTConfig(examples=RATED, features=KINDS)),
        (LambdaMART, LambdaMARTConfig(examples=RATED, features=KINDS)),
        (GBDTLR, GBDTLRConfig(examples=RATED, features=KINDS, epochs=5, batch_size=64)),
    ],
)
def test_it_learns_which_kind_likes_which(planted, kind, config):
    ranker = kind(config).fit(planted.train, seed=0, watch=Watch(planted.valid))
    assert ranker.validation_auc.max() > 0.99
    ranked = ranker.rank(planted.valid.queries, Candidates(planted.valid.relevant, 0 * planted.valid.values))
    for row in range(20):
        real = ranked.items[row] >= 0
        liked = ranked.items[row, real] % 4 == row % 4
        assert (np.diff(liked.astype(int)) <= 0).all()  # all likes first


def test_trees_stop_at_the_best_validation_value(planted):
    config = GBDTConfig(examples=RATED, features=KINDS, trees=200)
    kept = []
    for patience in (5, 30):
        stopped = GBDT(config.model_copy(update={"tree_patience": patience})).fit(
            planted.train, watch=Watch(planted.valid)
        )
        kept.append(stopped._booster.num_trees())
    assert kept[0] == kept[1] < 170
    assert GBDT(config.model_copy(update={"trees": 7})).fit(planted.train)._booster.num_trees() == 7


def test_the_score_of_a_row_is_the_sum_of_its_leaves(planted):
    config = GBDTConfig(examples=RATED, features=KINDS, trees=4)
    ranker = GBDT(config).fit(planted.train)
    queries = planted.train.queries([0, 1, 2])
    encoded = encode(ranker._space, queries, Candidates(np.tile(np.arange(5), (3, 1)), np.zeros((3, 5))), config)
    leaves = with_leaves(ranker._booster, ranker._space, encoded).extra["leaves"]
    assert leaves.shape == (15, 4)
    sums = [sum(ranker._booster.get_leaf_output(tree, int(leaf)) for tree, leaf in enumerate(row)) for row in leaves]
    np.testing.assert_allclose(tree_scores(ranker._booster, ranker._space, encoded), sums, rtol=1e-5)


def test_lists_are_told_apart_and_cut_where_they_are_too_long(planted, monkeypatch):
    config = LambdaMARTConfig(examples=RATED, features=KINDS)
    lesson = prepare(planted.train, config, 0, UNWATCHED)
    sizes = np.bincount(lesson.train.rows.lists)
    np.testing.assert_array_equal(trees._dataset(lesson.space, lesson.train, {}).construct().get_group(), sizes)
    monkeypatch.setattr(trees, "LONGEST", 1000)
    cut = trees._dataset(lesson.space, lesson.train, {}).construct().get_group()
    ends = np.union1d(np.cumsum(sizes), np.arange(1000, len(lesson.train), 1000))
    np.testing.assert_array_equal(np.cumsum(cut), ends)


def test_what_trees_read(planted):
    config = GBDTConfig(examples=RATED, features=FeatureConfig(categories=("user", "item", "user.kind", "item.kind")))
    lesson = prepare(planted.train, config, 0, UNWATCHED)
    matrix, codes = tree_columns(lesson.space, lesson.train)
    numbers = len(lesson.space.number_names)
    assert matrix.shape == (len(lesson.train), numbers + 2)  # no ids
    assert codes == [numbers, numbers + 1]
    np.testing.assert_array_equal(matrix[:, numbers], 2 + lesson.train.rows.users % 4)
    nothing = GBDTConfig(examples=RATED, features=FeatureConfig(categories=("user", "item"), statistics=()))
    expect_error(ConfigError, lambda: GBDT(nothing).fit(planted.train), "no ids", "statistics")


def test_progress_is_told(planted):
    seen = []
    watch = Watch(report=lambda done, total, text: seen.append((done, total)))
    GBDT(GBDTConfig(examples=RATED, features=KINDS, trees=3)).fit(planted.train, watch=watch)
    assert seen == [(1, 3), (2, 3), (3, 3)]
