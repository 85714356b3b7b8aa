"""Text recall: cosines of word counts by hand, cold items, blank texts, and films through the embedded model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from llmrec.classic.recall.text import TextConfig, TextRecommender, item_texts
from llmrec.config import Part, make_config
from llmrec.data import Dataset, Queries
from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.split import leave_last_out
from llmrec.errors import ConfigError, DataError, MissingPackageError, ModelError, UnknownNameError
from llmrec.eval.metrics import compute
from llmrec.protocols import VectorModel, Watch
from llmrec.testing import RecommenderContract, expect_error, toy

FAKE = Part(name="fake")
NO_EVENTS = 6  # Gattaca, which nobody has seen
TITLES = ["space horror", "space comedy", "space horror comedy", "western", "western comedy", "war", "space western"]


def text(**settings) -> TextRecommender:
    return TextRecommender(TextConfig(embedder=FAKE, **settings))


def described(**columns) -> Dataset:
    return replace(toy(), item_table=pl.DataFrame(columns))


class TestMean(RecommenderContract):
    def make(self) -> TextRecommender:
        return text()

    def fitted(self) -> TextRecommender:
        return self.make().fit(described(title=TITLES), seed=0)


class TestMax(TestMean):
    def make(self) -> TextRecommender:
        return text(query="max", history=2)


def test_cosines_by_hand():
    """Space horror shares one word of two with space comedy, two of two and three with space horror comedy."""
    found = text().fit(described(title=TITLES)).recommend(Queries.from_histories([(0,)]), 3)
    assert found.items.tolist() == [[2, 1, NO_EVENTS]]
    np.testing.assert_allclose(found.scores, [[2 / 6**0.5, 1 / 2, 1 / 2]], rtol=1e-6)


def test_the_mean_weighs_newer_items_more():
    """War, then western: 0.5 * war + western has length sqrt(1.25)."""
    model = text(decay=0.5).fit(described(title=TITLES))
    found = model.recommend(Queries.from_histories([(5, 3)]), 2, exclude_seen=False)
    assert found.items.tolist() == [[3, 4]]
    np.testing.assert_allclose(found.scores, [[1 / 1.25**0.5, 1 / 1.25**0.5 / 2**0.5]], rtol=1e-6)
    found = model.recommend(Queries.from_histories([(5, 3)]), 7, exclude_seen=False)
    np.testing.assert_allclose(found.scores[found.items == 5], 0.5 / 1.25**0.5, rtol=1e-6)


def test_with_max_each_item_asks_for_itself():
    """Space western has sqrt(1/2) with western, the newest, and half of 1/2 with space horror."""
    model = text(query="max", decay=0.5).fit(described(title=TITLES))
    found = model.recommend(Queries.from_histories([(0, 3)]), 7, exclude_seen=False)
    scores = dict(zip(found.items[0].tolist(), found.scores[0].tolist(), strict=True))
    by_hand = {0: 0.5, 1: 0.25, 2: 1 / 6**0.5, 3: 1, 4: 0.5**0.5, 5: 0, 6: 0.5**0.5}
    assert scores == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize("query", ["mean", "max"])
def test_only_the_newest_items_with_text_are_read(query):
    data = described(title=[*TITLES[:5], " ", TITLES[6]])
    model = text(history=1, query=query).fit(data)
    both = model.recommend(Queries.from_histories([(0, 3, 5), (3,)]), 4, exclude_seen=False)
    np.testing.assert_array_equal(both.items[0], both.items[1])
    np.testing.assert_array_equal(both.scores[0], both.scores[1])


@pytest.mark.parametrize("query", ["mean", "max"])
def test_its_scores_are_inner_products_of_its_vectors(query):
    model = text(query=query, history=3).fit(described(title=TITLES))
    assert isinstance(model, VectorModel)
    queries = Queries.from_histories([(0, 1, 2, 3), (5,), ()])
    vectors = model.query_vectors(queries)
    assert vectors.shape == (3, 1 if query == "mean" else 3, 256)
    largest = np.nanmax(vectors[:2] @ model.item_vectors.T, axis=1)
    found = model.recommend(queries.select(slice(0, 2)), 7, exclude_seen=False)
    np.testing.assert_allclose(np.take_along_axis(largest, found.items, 1), found.scores, atol=1e-6)
    assert np.isnan(vectors[2]).all()
    assert np.isnan(model.query_vectors(Queries.from_histories([()]))).all()


@pytest.mark.parametrize("query", ["mean", "max"])
def test_items_without_text_come_last_and_a_history_of_them_gets_popularity(query):
    data = described(title=["space", None, " ", "space war", "war", "", "space"])
    model = text(query=query).fit(data)
    assert model.servable.tolist() == [True, False, False, True, True, False, True]
    found = model.recommend(Queries.from_histories([(0,), (2, 1)]), 7, exclude_seen=False)
    assert found.items[0].tolist() == [0, 6, 3, 4, 1, 2, 5]
    assert found.items[1].tolist() == [2, 0, 1, 4, 3, 5, 6]  # what most users had
    assert found.scores[1].tolist() == [4, 3, 3, 3, 2, 1, 0]


def test_columns_are_joined_in_their_order_lists_too_and_blanks_left_out():
    table = {
        "title": [" Alien ", None, "Dune"],
        "categories": [["Horror", " ", None, "Space"], [], ["Space"]],
        "description": ["A ship.", "", None],
        "year": [1979, None, 2021],
    }
    data = replace(
        toy(), item_table=pl.DataFrame({name: [*values, *[None] * 4] for name, values in table.items()}, strict=False)
    )
    assert item_texts(data)[:3] == ["Alien. Horror, Space. A ship.", "", "Dune. Space"]
    assert item_texts(data, ["year", "title"])[:3] == ["1979. Alien", "", "2021. Dune"]
    assert item_texts(toy())[5] == "Fargo"


class Counting:
    """An embedder that notes what it is asked."""

    def __init__(self):
        self.asked = []

    def embed(self, texts):
        self.asked.append(len(texts))
        return np.eye(2, dtype=np.float32)[[len(text) % 2 for text in texts]]


def test_equal_texts_are_embedded_once_in_chunks_with_reports(make_data, monkeypatch):
    embedder, reports = Counting(), []
    monkeypatch.setattr("llmrec.classic.recall.text.make_embedder", lambda part: embedder)
    monkeypatch.setattr("llmrec.classic.recall.text.CHUNK", 4)
    data = make_data([(0, 1)], 20)
    titles = [f"film {item % 10}{'x' * (item % 2)}" for item in range(20)]
    data = replace(data, item_table=pl.DataFrame({"title": titles}))
    model = text().fit(data, watch=Watch(report=lambda done, total, line: reports.append((done, total, line))))
    assert embedder.asked == [4, 4, 2]
    assert reports == [(4, 10, "texts embedded"), (8, 10, "texts embedded"), (10, 10, "texts embedded")]
    np.testing.assert_array_equal(model.item_vectors, np.eye(2)[[(6 + item) % 2 for item in range(20)]])


def test_a_saved_model_embeds_nothing(tmp_path, monkeypatch):
    folder = text().fit(toy()).save(tmp_path / "model")

    def fail(part):
        raise AssertionError(part)

    monkeypatch.setattr("llmrec.classic.recall.text.make_embedder", fail)
    model = TextRecommender.load(folder)
    assert model.config.embedder == FAKE
    assert model.recommend(Queries.from_histories([(0,)]), 6).items.shape == (1, 6)


def test_what_is_missing_is_named():
    expect_error(DataError, lambda: text(columns=("plot",)).fit(toy()), "'toy' has no column 'plot'", "it has title")
    bare = described(name=TITLES)
    expect_error(DataError, lambda: text().fit(bare), "has the columns name", "one of title, categories", "columns=")
    expect_error(ConfigError, lambda: make_config(TextConfig, {"columns": []}), "columns", "at least 1")
    blank = described(title=[" ", None, *[""] * 5])
    expect_error(DataError, lambda: text().fit(blank), "no item of 'toy' has a text in title", "name other columns")
    odd = described(title=[[["a"]]] * 7)
    expect_error(DataError, lambda: text().fit(odd), "'title'", "List(List(String))", "turn it into texts")
    wrong = TextRecommender(TextConfig(embedder=Part(name="sentense")))
    expect_error(UnknownNameError, lambda: wrong.fit(toy()), "unknown embedder 'sentense'", "'sentence'?")


def test_vectors_of_another_catalogue_are_refused(tmp_path):
    folder = text().fit(toy()).save(tmp_path / "model")
    with np.load(folder / "weights.npz") as stored:
        arrays = dict(stored)
    np.savez(folder / "weights.npz", **{**arrays, "vectors": arrays["vectors"][:5]})
    expect_error(ModelError, lambda: TextRecommender.load(folder), "vectors of shape (5, 256)", "7 items")


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(1200)
def test_films_through_the_embedded_model_beat_chance(data_folder):
    """The last film of each user on MovieLens latest-small, among the first hundred of all films."""
    split = leave_last_out(load_movielens(data_folder / "movielens-latest-small"), ties="order")
    try:
        model = TextRecommender(TextConfig()).fit(split.train)
    except MissingPackageError as error:
        pytest.skip(str(error))
    titles = split.train.titles()
    found = model.recommend(Queries.from_histories([(titles.index("Toy Story (1995)"),)]), 2)
    assert "Toy Story 2 (1999)" in [titles[item] for item in found.items[0]]
    for part in (split.valid, split.test):
        rate = compute(model.recommend(part.queries, 100), part, ("hr@100", "hr@10", "ndcg@10"))
        print({name: round(float(values.mean()), 4) for name, values in rate.items()})
        assert rate["hr@100"].mean() > 5 * 100 / len(titles)
    assert model.servable.all()
