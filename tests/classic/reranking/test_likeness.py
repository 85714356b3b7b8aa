from dataclasses import replace

import numpy as np
import polars as pl
from kinds import kinds, order, ranked

from llmrec.classic.recall.factorization import ALS, ALSConfig
from llmrec.classic.recall.popular import Popular
from llmrec.classic.reranking.base import make_reranker
from llmrec.classic.reranking.likeness import Likeness, vectors_of
from llmrec.config import Part, make_config
from llmrec.errors import ConfigError, DataError, ModelError, UnknownNameError
from llmrec.testing import expect_error, toy


def likeness(data=None, **given):
    """Return how alike all pairs of items are, and the vectors."""
    data = kinds() if data is None else data
    vectors = vectors_of(make_config(Likeness, given).read(data), len(data.items))
    found = vectors.gather(np.arange(len(data.items))[None])[0]
    return found @ found.T


def test_categories_in_common():
    found = likeness()
    # Alien: sci-fi, horror; Brazil: sci-fi, comedy; Casablanca: drama; Dune: sci-fi; Heat: crime, drama; Gattaca: none
    np.testing.assert_allclose(found[0, :5], [1, 0.5, 0, np.sqrt(0.5), 0], atol=1e-12)
    np.testing.assert_allclose(found[4], [0, 0, np.sqrt(0.5), 0, 1, np.sqrt(0.5), 0], atol=1e-12)
    assert not found[6].any()


def test_another_column_with_one_value_each():
    table = pl.DataFrame({"label": ["x", "y", "x", "", None, "y", "z"]})
    found = likeness(replace(toy(), item_table=table), column="label")
    assert found.tolist() == [
        [float(one == two and bool(one)) for two in table["label"].to_list()] for one in table["label"].to_list()
    ]


def test_texts():
    table = pl.DataFrame({"title": ["Heat", "Heat Two", "x", "y", "z", "v", "Two"]})
    found = likeness(replace(toy(), item_table=table), embedder="fake")
    np.testing.assert_allclose(found[1, [0, 2, 6]], [np.sqrt(0.5), 0, np.sqrt(0.5)], atol=1e-6)


def test_vectors_of_a_recommender(tmp_path):
    model = ALS(ALSConfig(factors=3)).fit(toy())
    model.save(tmp_path / "als")
    found = likeness(recommender=tmp_path / "als")
    one, two = model.item_vectors[0].astype(float), model.item_vectors[3].astype(float)
    assert abs(found[0, 3] - one @ two / np.linalg.norm(one) / np.linalg.norm(two)) < 1e-6
    assert not found[6].any()  # nobody had it
    named = Part(name="mmr", parameters={"likeness": {"recommender": str(tmp_path / "als")}, "relevance": 0.5})
    assert len(order(make_reranker(named).fit(kinds()), ranked([0, 1, 2, 6]))[0]) == 4


def test_what_cannot_be(tmp_path):
    expect_error(ConfigError, lambda: make_config(Likeness, {"column": "a", "embedder": "fake"}), "column and embedder")
    expect_error(DataError, lambda: likeness(toy()), "'categories'", "title")
    Popular().fit(toy()).save(tmp_path / "popular")
    expect_error(ModelError, lambda: likeness(recommender=tmp_path / "popular"), "'popular'", "item vectors")
    expect_error(ModelError, lambda: likeness(recommender=tmp_path / "nowhere"), "nowhere")
    expect_error(UnknownNameError, lambda: make_reranker(Part(name="mrm")), "'mrm'", "re-ranker")
