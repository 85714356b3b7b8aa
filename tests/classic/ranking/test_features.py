"""Categories, numbers and texts as arrays; what is unknown, missing, constant or not there."""

from __future__ import annotations

from zlib import crc32

import numpy as np
import polars as pl
import pytest
import torch

from llmrec.classic.ranking.base.examples import ExamplesConfig, event_rows
from llmrec.classic.ranking.base.rows import candidate_rows
from llmrec.classic.ranking.encoding import learn_features
from llmrec.classic.ranking.features import FeatureConfig
from llmrec.classic.ranking.learning import Encoded, RowBatches
from llmrec.classic.ranking.linear import FM, FMConfig
from llmrec.classic.ranking.neural.fields import Fields, FieldVectors
from llmrec.config import Part, load_config
from llmrec.data import Candidates, Dataset, Queries
from llmrec.errors import ConfigError, DataError
from llmrec.protocols import UNWATCHED
from llmrec.testing import expect_error, toy

GENRES = [["a", "b"], ["b"], ["b", "b", "c"], [], None, ["a"], ["z"]]
NAMES = ("user", "item", "user.gender", "item.categories")
PLAIN = FeatureConfig(categories=NAMES, statistics=(), min_count=1, history=3)


def described() -> Dataset:
    data = toy()
    items = pl.DataFrame(
        {
            "title": data.titles(),
            "categories": GENRES,
            "year": [1979, 1985, 1942, None, 1995, 1996, 1997],
            "one": [3] * 6 + [9],
        }
    )
    users = pl.DataFrame({"gender": ["F", "M", "F", None, "M"], "age": [20.0, 30.0, float("nan"), 40.0, 50.0]})
    return Dataset("described", data.interactions, data.users, data.items, items, users)


def learned(config: FeatureConfig):
    rows = event_rows(described(), ExamplesConfig(), np.random.default_rng(0))
    return rows, *learn_features(described(), rows, config, ExamplesConfig(), UNWATCHED)


def test_codes_are_those_of_values_with_training_events():
    _, space, _ = learned(PLAIN)
    assert tuple(each.name for each in space.categories) == NAMES
    # Nobody had item 6: it and its category z are unknown (1), as is an unseen user; 0 is padding.
    assert space.codes("item")[:, 0].tolist() == [0, 2, 3, 4, 5, 6, 7, 1]
    assert space.codes("user")[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert space.codes("user.gender")[:, 0].tolist() == [1, 2, 3, 2, 1, 3]
    assert [sorted(set(row) - {0}) for row in space.codes("item.categories").tolist()] == [
        [], [2, 3], [3], [3, 4], [1], [1], [2], [1]
    ]  # fmt: skip
    assert [each.size for each in space.categories] == [7, 8, 4, 5]


def test_what_nulls_stand_for_is_said_by_the_data():
    _, space, _ = learned(FeatureConfig())
    assert space.config.categories == ("user", "item", "user.gender", "user.age", "item.categories")
    assert space.config.statistics == ("item-popularity", "user-activity", "user-category-share")
    assert space.config.category == "categories"


def test_rare_values_share_the_code_of_unknown_ones():
    _, space, _ = learned(PLAIN.model_copy(update={"min_count": 3}))
    # Events of items 0 to 6: 3, 3, 4, 2, 3, 1, 0.
    assert space.codes("item")[:, 0].tolist() == [0, 2, 3, 4, 1, 5, 1, 1]


def test_hashed_values_have_the_same_code_everywhere():
    _, space, _ = learned(PLAIN.model_copy(update={"buckets": {"item.categories": 5, "user": 3}}))
    wanted = {2 + crc32(text.encode()) % 5 for text in ("b", "c")}
    assert set(space.codes("item.categories")[3].tolist()) - {0} == wanted
    assert space.codes("item.categories")[7].max() == 2 + crc32(b"z") % 5  # never seen, and not unknown
    assert space.codes("user")[:, 0].tolist() == [1, *(2 + crc32(str(user).encode()) % 3 for user in range(5))]
    assert [each.size for each in space.categories] == [5, 8, 4, 7]


def test_numbers_have_mean_0_and_deviation_1_and_missing_ones_are_0():
    rows, space, numbers = learned(PLAIN.model_copy(update={"numbers": ("item.year", "user.age", "item.one")}))
    assert space.number_names == ("user.age", "item.year", "item.one")
    ages = np.array([20, 30, np.nan, 40, 50])[rows.users]
    wanted = (ages - np.nanmean(ages)) / np.nanstd(ages)
    np.testing.assert_allclose(numbers[:, 0], np.nan_to_num(wanted), rtol=1e-4, atol=1e-6)
    assert (numbers[rows.items == 3, 1] == 0).all()
    assert (numbers[:, 2] == 0).all()  # the same in all training rows; elsewhere it was not learned to mean anything
    unseen = candidate_rows(Queries.from_histories([()]), Candidates(np.array([[3, 6]]), np.zeros((1, 2))))
    assert rows.items.max() < 6
    np.testing.assert_allclose(space.numbers(unseen)[:, [0, 2]], 0, atol=1e-6)
    np.testing.assert_allclose(space.numbers(unseen)[0, 1], 0, atol=1e-6)


def test_texts_are_embedded_once_and_stay_with_the_space():
    config = PLAIN.model_copy(update={"texts": ("title",), "embedder": Part(name="fake")})
    _, space, _ = learned(config)
    assert space.texts.shape[0] == 8
    assert not space.texts[0].any()
    np.testing.assert_allclose(np.linalg.norm(space.texts[1:], axis=1), 1, rtol=1e-5)
    assert Fields(space).names[-1] == "text"


def test_fields_as_vectors_are_values_times_vectors():
    """Every field by hand: single codes, the mean of a bag, the mean of the history, x times v, the text's product."""
    config = PLAIN.model_copy(update={"numbers": ("user.age",), "texts": ("title",), "embedder": Part(name="fake")})
    rows, space, numbers = learned(config)
    fields = Fields(space)
    torch.manual_seed(0)
    vectors = FieldVectors(fields, 3)
    assert fields.names == ("user", "user.gender", "item", "item.categories", "history", "user.age", "text")
    assert [int(vectors.table[start : start + 2].abs().sum()) for start in fields.offsets.values()] == [0] * 5
    places = np.flatnonzero((rows.items == 2) & (rows.last - rows.first == 2))[:1]
    batch = Encoded(rows, numbers).batch(places, 3)
    found = vectors(fields({name: torch.from_numpy(each) for name, each in batch.items()}))[0]
    user, table, start = int(rows.users[places[0]]), vectors.table, fields.offsets
    wanted = [
        table[start["user"] + 2 + user],
        table[start["user.gender"] + space.codes("user.gender")[user + 1, 0]],
        table[start["item"] + 4],
        (table[start["item.categories"] + 3] + table[start["item.categories"] + 4]) / 2,
        sum(table[start["history"] + 2 + item] for item in rows.select(places).history(2)[0]) / 2,
        numbers[places[0], 0] * vectors.numbers[0],
        torch.from_numpy(space.texts[3]) @ vectors.text,
    ]
    torch.testing.assert_close(found, torch.stack(wanted))


def test_an_epoch_has_every_row_once_with_what_belongs_to_it():
    rows, _, numbers = learned(PLAIN.model_copy(update={"numbers": ("item.year",)}))
    batches = RowBatches(Encoded(rows, numbers, {"place": np.arange(len(rows))}), 3, 7)
    seen = list(batches.epoch(np.random.default_rng(0)))
    assert len(seen) == batches.steps == -(-len(rows) // 7)
    places = np.concatenate([batch["place"] for batch in seen])
    assert sorted(places.tolist()) == list(range(len(rows))) != places.tolist()
    for name, array in (("user", rows.users), ("item", rows.items), ("label", rows.labels), ("numbers", numbers)):
        np.testing.assert_array_equal(np.concatenate([batch[name] for batch in seen]), array[places], err_msg=name)


def test_item_vectors_of_a_history_are_those_of_its_items():
    _, space, _ = learned(PLAIN)
    fields = Fields(space)
    vectors = FieldVectors(fields, 3)
    found = vectors.items(torch.tensor([[-1, 2], [0, 6]]))
    assert found.shape == (2, 2, 2, 3)
    assert not found[0, 0].any()
    torch.testing.assert_close(found[0, 1, 0], vectors.table[fields.offsets["item"] + 4])
    torch.testing.assert_close(found, torch.stack([vectors.items(each) for each in torch.tensor([[-1, 2], [0, 6]])]))


def test_what_was_not_learned_is_counted():
    ranker = FM(FMConfig(epochs=1, features=PLAIN)).fit(described())
    queries = Queries.from_histories([(0,), (1,)], [0, -1])
    ranker.rank(queries, Candidates(np.array([[1, 6], [2, 3]]), np.zeros((2, 2))))
    # Rows of the unseen user: 2; of item 6: 1, whose category nobody had; item 3 has no category.
    assert ranker.counts == {
        "unknown user": 2,
        "unknown user.gender": 2,
        "unknown item": 1,
        "unknown item.categories": 2,
    }
    ranker.rank(queries.select(slice(0, 1)), Candidates(np.array([[6]]), np.zeros((1, 1))))
    assert ranker.counts["unknown item"] == 2


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"categories": ("genre",)}, ConfigError, ("'genre'", "item.COLUMN")),
        ({"categories": ("item.genre",)}, DataError, ("'genre'", "item table", "categories")),
        ({"numbers": ("year",)}, ConfigError, ("'year'", "item.year")),
        ({"numbers": ("item",)}, ConfigError, ("'item'", "item.year")),
        ({"numbers": ("item.title",)}, DataError, ("'title'", "String", "category")),
        ({"numbers": ("user.size",)}, DataError, ("'size'", "user table")),
        ({"buckets": {"item.year": 4}}, ConfigError, ("buckets of 'item.year'",)),
        ({"category": "genre", "statistics": ("user-category-share",)}, DataError, ("'genre'",)),
    ],
)
def test_features_that_are_none_are_named(change, kind, words):
    expect_error(kind, lambda: learned(PLAIN.model_copy(update=change)), *words)


def test_a_column_that_says_nothing_and_a_user_table_that_is_not_there_are_named():
    data = toy()
    rows = event_rows(data, ExamplesConfig(), np.random.default_rng(0))
    for config, word in (
        (PLAIN.model_copy(update={"categories": ("user.gender",)}), "user table"),
        (PLAIN.model_copy(update={"categories": ("item",), "numbers": ("user.age",)}), "user table"),
    ):
        expect_error(
            DataError, lambda config=config: learn_features(data, rows, config, ExamplesConfig(), UNWATCHED), word
        )
    empty = Dataset("e", data.interactions, data.users, data.items, pl.DataFrame({"brand": [""] * 7}))
    brand = PLAIN.model_copy(update={"categories": ("item.brand",)})
    expect_error(DataError, lambda: learn_features(empty, rows, brand, ExamplesConfig(), UNWATCHED), "says nothing")


def test_settings_out_of_range_are_named():
    expect_error(ConfigError, lambda: load_config(FMConfig, None, ["features.buckets={user: 0}"]), "bucket", "user")
    expect_error(ConfigError, lambda: load_config(FMConfig, None, ["examples.negatives=0"]), "negatives")
    expect_error(ConfigError, lambda: load_config(FMConfig, None, ["features.statistics=[item-size]"]), "item-size")
