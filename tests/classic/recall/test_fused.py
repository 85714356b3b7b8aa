"""The fused recommender: the contract with each method, channels by name, folders, and what does not fit."""

from __future__ import annotations

import numpy as np

from llmrec.classic.recall import fused as module
from llmrec.classic.recall.base.store import RecallModel
from llmrec.classic.recall.factorization import EASE
from llmrec.classic.recall.fuse import reciprocal_rank_fusion
from llmrec.classic.recall.fused import FusedConfig, FusedRecommender
from llmrec.classic.recall.fusion.channels import Channels
from llmrec.classic.recall.interleave import quota_fusion, snake_merge
from llmrec.classic.recall.neighbours import ItemKNN, ItemKNNConfig
from llmrec.classic.recall.popular import Popular
from llmrec.config import Part, load_config
from llmrec.data import Candidates, Queries
from llmrec.errors import ConfigError, DataError, ModelError, UnknownNameError
from llmrec.testing import RecommenderContract, assert_same, expect_error, toy


class TestFusedByRank(RecommenderContract):
    def make(self) -> FusedRecommender:
        return FusedRecommender(FusedConfig(members=(Part(name="item-knn"), Part(name="popular"))))


class TestFusedByScore(RecommenderContract):
    def make(self) -> FusedRecommender:
        config = FusedConfig(method="weighted", weights=(2.0, 1.0), normalise="zscore", depth=2)
        return FusedRecommender(config, [EASE(), ItemKNN()])


class TestFusedByQuota(RecommenderContract):
    def make(self) -> FusedRecommender:
        config = FusedConfig(method="quota", quotas=(0.5, 0.3), depth=1)
        return FusedRecommender(config, [ItemKNN(), Popular()])


class TestFusedByTurns(RecommenderContract):
    def make(self) -> FusedRecommender:
        return FusedRecommender(FusedConfig(method="snake"), [EASE(), ItemKNN(), Popular()])


def members() -> list[RecallModel]:
    return [EASE().fit(toy()), Popular().fit(toy()), ItemKNN().fit(toy())]


def test_quotas_are_shares_of_k():
    """0.29 of 100 are 29, though it is less in floating point: 0.29 * 100 = 28.999999999999996."""
    queries = toy().queries([0, 1, 2])
    model = FusedRecommender(FusedConfig(method="quota", quotas=(0.5, 0, 0.25)), members())
    channels = model.propose(queries, 4, exclude_seen=False)
    assert_same(model.fuse(channels, 4), quota_fusion(channels.lists, [2, 0, 1], 4))
    assert_same(model.recommend(queries, 4, exclude_seen=False), quota_fusion(channels.lists, [2, 0, 1], 4))
    equal = FusedRecommender(FusedConfig(method="quota"), members())
    assert_same(equal.fuse(channels, 7), quota_fusion(channels.lists, [2, 2, 2], 7))
    wide = np.arange(200).reshape(1, 200)
    lists = (Candidates(wide, -wide), Candidates(wide + 200, -wide))
    model = FusedRecommender(FusedConfig(method="quota", quotas=(0.29, 0.71), weights=(1, 9)), members()[:2])
    assert (model.fuse(Channels(model.channels, lists), 100).items < 200).sum() == 29


def test_a_part_of_the_channels_keeps_its_weights_and_quotas():
    queries = toy().queries([0, 1, 2])
    for method in ("rrf", "weighted", "quota"):
        config = FusedConfig(method=method, weights=(1, 2, 3), quotas=(0.5, 0.2, 0.3), channels=("a", "b", "c"))
        part = FusedRecommender(config, members()).propose(queries, 3).without("b")
        whole = FusedRecommender(config, members()).fuse(part, 3)
        config = config.model_copy(update={"weights": (1, 3), "quotas": (0.5, 0.3), "channels": ("a", "c")})
        assert_same(whole, FusedRecommender(config, members()[::2]).fuse(part, 3))


def test_turns_are_taken_in_the_order_of_the_members():
    queries = toy().queries([0, 1, 2])
    model = FusedRecommender(FusedConfig(method="snake"), members())
    assert_same(model.recommend(queries, 3), snake_merge(model.propose(queries, 3).lists, 3))


def test_channels_of_one_kind_are_told_apart():
    assert FusedRecommender(members=[EASE(), Popular(), EASE(), EASE()]).channels == (
        "ease",
        "popular",
        "ease-2",
        "ease-3",
    )
    named = FusedRecommender(FusedConfig(channels=("strong", "weak")), [EASE(), EASE()])
    assert named.channels == ("strong", "weak")


def test_provenance_says_where_a_candidate_stood(tmp_path):
    queries = toy().queries([1, 2])
    model = FusedRecommender(FusedConfig(channels=("x", "y", "z")), members())
    FusedRecommender.load(model.save(tmp_path / "fused"))
    for one in (model, FusedRecommender.load(tmp_path / "fused")):
        channels = one.propose(queries, 2)
        found = channels.provenance(one.fuse(channels, 2))
        assert found.channels == ("x", "y", "z")
        for row, place, number in np.ndindex(found.ranks.shape):
            rank = found.ranks[row, place, number]
            assert channels.lists[number].items[row, rank - 1] == found.candidates.items[row, place]


def test_many_queries_are_fused_in_blocks(monkeypatch):
    queries = toy().queries([0, 1, 2, 3, 4])
    whole = FusedRecommender(members=members()).recommend(queries, 3)
    monkeypatch.setattr(module, "BLOCK", 1)
    assert_same(FusedRecommender(members=members()).recommend(queries, 3), whole)


def test_a_strange_channel_is_refused():
    model = FusedRecommender(members=members())
    strange = Channels(("eaze",), (Candidates([[1]], [[1.0]]),))
    expect_error(DataError, lambda: model.fuse(strange, 1), "channel 'eaze'", "'ease'")


def test_members_are_made_from_the_recipe():
    config = load_config(
        FusedConfig,
        overrides=["members=[{name: item-knn, parameters: {neighbours: 7, weighting: tfidf}}, {name: popular}]"],
    )
    first, second = FusedRecommender(config).members
    assert first.config == ItemKNNConfig(neighbours=7, weighting="tfidf")
    assert isinstance(second, Popular)


def test_fitted_members_are_fused_as_their_lists_are():
    members = [EASE().fit(toy()), Popular().fit(toy())]
    queries = toy().queries([0, 1, 2])
    fused = FusedRecommender(FusedConfig(weights=(1, 2), depth=3), members).recommend(queries, 2)
    lists = [member.recommend(queries, 3) for member in members]
    assert_same(fused, reciprocal_rank_fusion(lists, 2, weights=[1, 2]))


def test_members_that_do_not_fit_are_refused(make_data):
    expect_error(ConfigError, lambda: FusedRecommender(members=[Popular()]), "1 members", "two or more")
    expect_error(ConfigError, lambda: FusedRecommender(FusedConfig(members=())), "0 members", "two or more")
    expect_error(ConfigError, lambda: FusedRecommender(FusedConfig(weights=(1,))), "weights = [1.0]", "2 of them")
    expect_error(ConfigError, lambda: FusedRecommender(FusedConfig(quotas=(1,))), "quotas = [1.0]", "2 of them")
    expect_error(ConfigError, lambda: FusedRecommender(FusedConfig(quotas=(0.9, 0.2))), "[0.9, 0.2]", "1 together")
    expect_error(ConfigError, lambda: load_config(FusedConfig, overrides=["quotas=[0.5, 1.5]"]), "quotas.1 = 1.5")
    expect_error(ConfigError, lambda: FusedRecommender(FusedConfig(channels=("a",))), "channels = ['a']", "2 of them")
    expect_error(ConfigError, lambda: FusedRecommender(FusedConfig(channels=("a", "a"))), "['a', 'a']", "no two")
    unknown = FusedConfig(members=(Part(name="eaze"), Part(name="popular")))
    expect_error(UnknownNameError, lambda: FusedRecommender(unknown), "'eaze'", "'ease'")
    wrong = FusedConfig(members=(Part(name="ease", parameters={"neighbours": 3}), Part(name="popular")))
    expect_error(ConfigError, lambda: FusedRecommender(wrong), "neighbours", "EASEConfig")
    strangers = FusedRecommender(members=[Popular().fit(toy()), Popular().fit(make_data([(0, 1)], 3))])
    queries = Queries.from_histories([(0,)])
    expect_error(ModelError, lambda: strangers.recommend(queries, 1), "7 items of 'toy'", "3 of 'made'", "one data set")


def test_a_stored_fusion_without_a_member_is_refused(tmp_path):
    folder = FusedRecommender(members=[Popular(), EASE()]).fit(toy()).save(tmp_path / "fused")
    back = FusedRecommender.load(folder)
    assert [type(member) for member in back.members] == [Popular, EASE]
    (folder / "member-1" / "config.json").unlink()
    expect_error(ModelError, lambda: FusedRecommender.load(folder), "member-1", "saved recommender")


def test_a_stored_fusion_with_a_strange_member_is_refused(tmp_path, make_data):
    folder = FusedRecommender(members=[Popular(), EASE()]).fit(toy()).save(tmp_path / "fused")
    for number in range(2):
        Popular().fit(make_data([(0, 1)], 3)).save(folder / f"member-{number}")
    expect_error(ModelError, lambda: FusedRecommender.load(folder), "3 items of 'made'", "7 items of 'toy'")
