"""Items as bags of features: numbers and weights by hand, and sums of vectors against NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from llmrec.classic.recall.neural.features import FeatureEmbedding, item_features
from llmrec.errors import DataError
from llmrec.testing import expect_error

FILMS = pl.DataFrame(
    {
        "categories": [["War", "Comedy"], ["Comedy"], [], ["Drama", "War", "Comedy"]],
        "brand": ["A", None, "B", "A"],
    }
)


@pytest.fixture
def films(make_data):
    """Four films with categories and brands."""
    return replace(make_data([(0, 1, 2, 3)], 4), item_table=FILMS)


def bags(features) -> list[dict[int, float]]:
    """Return each item's features and weights as a dictionary."""
    pairs = zip(features["feature_numbers"].tolist(), features["feature_weights"].tolist(), strict=True)
    return [{n: w for n, w in zip(*row, strict=True) if n > 0} for row in pairs]


def test_an_item_is_itself_and_the_mean_of_its_categories_in_each_column(films):
    """Numbers 1 to 4 are the films, 5 to 7 Comedy, Drama and War, 8 and 9 the brands A and B."""
    found = bags(item_features(films, ("categories", "brand")))
    assert found == [
        {1: 1.0, 7: 0.5, 5: 0.5, 8: 1.0},
        {2: 1.0, 5: 1.0},
        {3: 1.0, 9: 1.0},
        {4: 1.0, 6: pytest.approx(1 / 3), 7: pytest.approx(1 / 3), 5: pytest.approx(1 / 3), 8: 1.0},
    ]


def test_without_columns_an_item_is_itself_only(films):
    found = item_features(films, ())
    assert found["feature_numbers"].tolist() == [[1], [2], [3], [4]]
    assert found["feature_weights"].tolist() == [[1], [1], [1], [1]]


def test_padding_has_no_weight(films):
    found = item_features(films, ("categories",))
    np.testing.assert_array_equal(found["feature_numbers"] == 0, found["feature_weights"] == 0)


def test_a_missing_column_is_named_beside_those_there_are(films):
    expect_error(DataError, lambda: item_features(films, ("genre",)), "'genre'", "categories", "brand")


def test_vectors_are_weighted_sums_and_squares_are_of_weighted_vectors(films):
    torch.manual_seed(0)
    features = item_features(films, ("categories", "brand"))
    embedding = FeatureEmbedding(features, 4, 3, scale=1.0)
    table = embedding.table.weight.detach().numpy()
    sums = [sum(w * table[n] for n, w in bag.items()) for bag in bags(features)]
    squares = [sum(np.square(w * table[n]).sum() for n, w in bag.items()) for bag in bags(features)]
    np.testing.assert_allclose(embedding.all().detach().numpy(), sums, rtol=1e-5)
    items = torch.tensor([3, 0, 3])
    np.testing.assert_allclose(embedding(items).detach().numpy(), np.array(sums)[items], rtol=1e-5)
    np.testing.assert_allclose(embedding.squares(items).detach().numpy(), np.array(squares)[items], rtol=1e-5)


def test_features_of_another_catalogue_are_refused(films):
    with pytest.raises(ValueError, match=r"shape \(4, 4\)"):
        FeatureEmbedding(item_features(films, ("categories",)), 5, 3)
