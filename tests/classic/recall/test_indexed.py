"""The indexed recommender: its member's answers through an index, and members and folders that do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.classic.recall.factorization import ALS, EASE, ALSConfig
from llmrec.classic.recall.faiss_index import IndexConfig
from llmrec.classic.recall.fused import FusedRecommender
from llmrec.classic.recall.indexed import IndexedConfig, IndexedRecommender
from llmrec.config import Part, load_config
from llmrec.data import Queries
from llmrec.errors import ConfigError, DataError, ModelError
from llmrec.testing import RecommenderContract, assert_same, expect_error, toy

KINDS = ("flat", "ivf", "hnsw")
SMALL = ALSConfig(factors=8, iterations=3)


def indexed(kind: str = "flat", member: ALS | None = None) -> IndexedRecommender:
    return IndexedRecommender(IndexedConfig(index=IndexConfig(kind=kind)), member or ALS(SMALL))


class TestFlat(RecommenderContract):
    def make(self) -> IndexedRecommender:
        return indexed("flat")


class TestIVF(RecommenderContract):
    def make(self) -> IndexedRecommender:
        return IndexedRecommender(IndexedConfig(member=Part(name="als", parameters={"factors": 4})))


class TestHNSW(RecommenderContract):
    def make(self) -> IndexedRecommender:
        return indexed("hnsw")


@pytest.fixture
def cold_data(make_data):
    """Return 80 users with 5 to 15 distinct items of the first 50; nobody has the last ten."""
    rng = np.random.default_rng(6)
    return make_data([rng.permutation(50)[: rng.integers(5, 16)].tolist() for _ in range(80)], 60)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exclude_seen", [True, False])
def test_it_answers_as_its_member_does(cold_data, kind, exclude_seen):
    """Small k come from the index, large ones, blank histories and those of cold items only from the member."""
    member = ALS(SMALL).fit(cold_data)
    model = indexed(kind, member).build(cold_data)
    queries = Queries.from_histories([*cold_data.queries(range(20)).lists(), (), (55,), (), (55, 3)])
    for k in (1, 10, 40, 60):
        own = member.recommend(queries, k, exclude_seen=exclude_seen)
        assert_same(model.recommend(queries, k, exclude_seen=exclude_seen), own)


def test_the_member_is_asked_only_where_the_index_has_no_answer(cold_data, monkeypatch):
    member = ALS(SMALL).fit(cold_data)
    model = indexed("ivf", member).build(cold_data)
    asked = []
    own = member.recommend
    monkeypatch.setattr(
        member, "recommend", lambda queries, *a, **b: asked.append(queries.lists()) or own(queries, *a, **b)
    )
    model.recommend(Queries.from_histories([(1, 2), (), (55,), (), (3,)]), 10)
    assert asked == [[[]], [[55]]]


def test_cold_items_are_not_in_the_index(cold_data):
    model = indexed().fit(cold_data)
    assert model.index.items.tolist() == list(range(50))


def test_fitting_is_fitting_the_member_and_building(cold_data):
    whole = indexed("ivf").fit(cold_data, seed=3)
    apart = indexed("ivf", ALS(SMALL).fit(cold_data, seed=3)).build(cold_data, seed=3)
    queries = cold_data.queries(range(30))
    assert_same(whole.recommend(queries, 10), apart.recommend(queries, 10))


def test_the_index_is_tuned_on_its_users(cold_data):
    config = IndexedConfig(index=IndexConfig(nlist=10, recall=1.0))
    model = IndexedRecommender(config, ALS(SMALL)).fit(cold_data)
    assert 4 < model.index.effort <= 10
    easy = config.model_copy(update={"index": IndexConfig(nlist=10, recall=0.01)})
    assert IndexedRecommender(easy, ALS(SMALL)).fit(cold_data).index.effort == 4


def test_it_can_be_fused(cold_data):
    model = FusedRecommender(members=[indexed("ivf"), EASE()]).fit(cold_data)
    assert model.channels == ("indexed", "ease")


def test_the_recipe_names_member_and_index():
    config = load_config(IndexedConfig, overrides=["member.factors=3", "index.kind=hnsw", "index.ef_search=9"])
    model = IndexedRecommender(config)
    assert model.member.config == ALSConfig(factors=3)
    assert model.config.index == IndexConfig(kind="hnsw", ef_search=9)


def test_a_member_without_vectors_is_refused():
    ease = IndexedConfig(member=Part(name="ease"))
    expect_error(ConfigError, lambda: IndexedRecommender(ease), "'ease' has no item_vectors", "by vectors", "als")
    expect_error(ConfigError, lambda: IndexedRecommender(member=EASE()), "'ease' has no item_vectors")
    expect_error(ConfigError, lambda: IndexedRecommender(IndexedConfig(member=None)), "no member", "member=als")


def test_an_unfitted_one_and_a_k_too_large_are_refused(cold_data):
    queries = cold_data.queries([0])
    expect_error(ModelError, lambda: indexed().recommend(queries, 1), "an index without items", "call fit")
    expect_error(ModelError, lambda: indexed().build(cold_data), "als without weights", "call fit")
    expect_error(ModelError, lambda: indexed(member=ALS(SMALL).fit(cold_data)).recommend(queries, 1), "build")
    fitted = indexed(member=ALS(SMALL).fit(cold_data))
    expect_error(ModelError, lambda: fitted.build(toy()), "als fitted on 60 items of 'made'", "7 items of 'toy'")
    model = indexed().fit(cold_data)
    expect_error(DataError, lambda: model.recommend(queries, 61), "k = 61", "1 to 60")
    strange = Queries.from_histories([(60,)])
    expect_error(DataError, lambda: model.recommend(strange, 1), "item number 60", "0 to 59")


def test_a_folder_with_another_member_or_index_is_refused(cold_data, make_data, tmp_path):
    folder = indexed().fit(cold_data).save(tmp_path / "model")
    other = indexed().fit(cold_data, seed=8)
    other.index.save(folder / "index")
    expect_error(ModelError, lambda: IndexedRecommender.load(folder), "not of the als beside it", "60 items of 'made'")
    other.save(folder)
    IndexedRecommender.load(folder)
    ALS(SMALL).fit(make_data([(0, 1)], 3)).save(folder / "member")
    expect_error(ModelError, lambda: IndexedRecommender.load(folder), "not of the als beside it", "60 items of 'made'")
    EASE().fit(cold_data).save(folder / "member")
    expect_error(ModelError, lambda: IndexedRecommender.load(folder), "'ease' has no item_vectors", "save the model")
    other.save(folder)
    (folder / "index" / "index.faiss").write_bytes(b"")
    expect_error(ModelError, lambda: IndexedRecommender.load(folder), "digest", "save the model again")


def test_a_catalogue_of_one_item(make_data):
    model = IndexedRecommender(member=ALS(SMALL)).fit(make_data([(0,), (0,)], 1))
    queries = Queries.from_histories([(0,), ()])
    assert model.recommend(queries, 1, exclude_seen=False).items.tolist() == [[0], [0]]
    assert model.recommend(queries, 1).items.tolist() == [[-1], [0]]


def test_toy_scores_are_the_members():
    member = ALS(SMALL).fit(toy())
    queries = toy().queries(range(5))
    assert_same(indexed(member=member).build(toy()).recommend(queries, 4), member.recommend(queries, 4))
