"""The lint of tables: each rule on statistics, vocabularies and texts from after the cut, and on ones that are not."""

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest
from made import by_hand, dataset, found

from llmrec.data import Dataset, Split
from llmrec.data_prep.lint import Finding, lint_split
from llmrec.errors import DataError
from llmrec.testing import expect_error

# Two users; events 0 to 7 in time order.
ROWS = [(0, 0, 1), (0, 1, 2), (1, 0, 3), (1, 2, 4), (0, 3, 5), (0, 4, 6), (1, 5, 7), (1, 6, 8)]
VALID = {0: ([0, 1], [3]), 1: ([0, 2], [5])}
TEST = {0: ([0, 1, 3], [4]), 1: ([0, 2, 5], [6])}
TRAIN = [0, 1, 2, 3]


# Items 0 to 3 have 4, 3, 2 and 1 events with mean values 6, 5, 1.5 and 3 (events are valued by their numbers). The
# first seven events train, where the counts are 1, 3, 2 and 1 and the mean values 0, 5, 1.5 and 3.
UNEVEN = [
    *[(0, 0, 0), (2, 2, 1), (3, 2, 2), (4, 3, 3), (3, 1, 4), (4, 1, 5), (5, 1, 6)],
    *[(1, 0, 7), (2, 0, 8), (3, 0, 9)],
]
UNEVEN_TEST = {1: ([], [0]), 2: ([2], [0]), 3: ([2, 1], [0])}


def uneven(items: dict[str, list] | None = None, users: dict[str, list] | None = None) -> tuple[Dataset, Split]:
    data = dataset(UNEVEN, n_items=4)
    data = replace(
        data,
        item_table=data.item_table.with_columns(pl.Series(name, column) for name, column in (items or {}).items()),
        user_table=pl.DataFrame(users) if users else None,
    )
    return data, by_hand(data, list(range(7)), {}, UNEVEN_TEST)


def popularity_leaks(data: Dataset, split: Split) -> list[Finding]:
    return [one for one in lint_split(data, split) if (one.rule, one.severity) == ("popularity-after-cut", "leak")]


@pytest.mark.parametrize(
    ("column", "what"),
    [
        ([4, 3, 2, 1], "counts"),
        ([0.4, 0.3, 0.2, 0.1], "counts"),
        ([1, 2, 3, 4], "counts"),  # ranks
        ([6.0, 5.0, 1.5, 3.0], "mean values"),
        ([6.01, 4.99, 1.5, 3.0], "mean values"),  # rounded
    ],
)
def test_a_column_of_later_popularity(column, what):
    (leak,) = popularity_leaks(*uneven({"popularity": column}))
    assert leak.count == 4
    assert leak.message == (
        f"column 'popularity' of the item table follows {what} over all events, not over training events"
    )
    assert leak.examples == ("item 0",)


@pytest.mark.parametrize(
    "column",
    [
        [1, 3, 2, 1],  # counts in training
        [0.0, 5.0, 1.5, 3.0],  # mean values in training
        [None, 3, 2, 1],  # known where training has as many events
        [6.1, 5.0, 1.5, 3.0],  # no mean value, even rounded
        [1995, 2001, 1995, 1980],
        [1, 1, 1, 1],
        ["4", "3", "2", "1"],
    ],
)
def test_other_columns_are_no_popularity(column):
    assert popularity_leaks(*uneven({"popularity": column})) == []


@pytest.mark.parametrize("column", [[4, 3, 2, 1], [6.0, 5.0, 1.5, 3.0]])
def test_a_column_that_training_gives_too_is_no_leak(column):
    data, _ = uneven({"popularity": column})
    assert popularity_leaks(data, by_hand(data, list(range(10)), {}, UNEVEN_TEST)) == []


def test_a_column_of_the_users_later_activity():
    (leak,) = popularity_leaks(*uneven(users={"age": [30, 31, 30, 32, 40, 25], "activity": [1, 1, 2, 3, 2, 1]}))
    assert "column 'activity' of the user table follows counts" in leak.message
    assert leak.examples == ("user 'u1'", "user 'u2'", "user 'u3'")


def test_items_numbered_by_later_popularity():
    data, split = uneven()
    (caution,) = [one for one in lint_split(data, split) if one.rule == "popularity-after-cut"]
    assert (caution.severity, caution.count) == ("caution", 4)
    assert "items are numbered by their popularity over all events" in caution.message
    swapped = dataset([(user, 3 - item, time) for user, item, time in UNEVEN], n_items=4)  # the rarest first
    turned = by_hand(swapped, list(range(7)), {}, {user: ([], [3]) for user in UNEVEN_TEST})
    assert found(swapped, turned, "popularity-after-cut") == []
    assert found(data, by_hand(data, list(range(10)), {}, UNEVEN_TEST), "popularity-after-cut") == []  # counts alike


def test_a_vocabulary_from_after_the_cut():
    data = dataset(ROWS)
    split = by_hand(data, TRAIN, VALID, TEST)  # items 3 to 6 occur in targets only; item 7 nowhere
    assert found(data, split, "vocabulary-after-cut") == []  # they have titles
    untitled = replace(data, item_table=pl.DataFrame({"title": ["a", None, "b", "c", " ", None, "", None]}))
    split = by_hand(untitled, TRAIN, VALID, TEST)
    (caution,) = [one for one in lint_split(untitled, split) if one.rule == "vocabulary-after-cut"]
    assert (caution.severity, caution.count) == ("caution", 3)
    assert caution.examples == ("item 4", "item 5", "item 6")
    without_user = by_hand(data, [0, 1], VALID, TEST)  # item 2 has a title, user u1 has nothing
    (caution,) = [one for one in lint_split(data, without_user) if one.rule == "vocabulary-after-cut"]
    assert (caution.count, caution.examples) == (1, ("user 'u1'",))


def test_duplicate_texts_of_items():
    data = dataset(ROWS)
    table = pl.DataFrame(
        {
            "title": ["The Eternal", "Ran", "Heat!", "the  eternal", "HEAT", "Ran", "Heat", "Heat"],
            "description": ["", "", None, None, "A film.", "", "", ""],
        }
    )
    data = replace(data, item_table=table)
    # Targets 3 and 6 have the text of items 0 and 2; 4 another description; 5 the text of 1; item 7 is in no part.
    (caution,) = [one for one in lint_split(data, by_hand(data, TRAIN, VALID, TEST)) if one.rule == "duplicate-text"]
    assert (caution.severity, caution.count) == ("caution", 3)
    assert caution.examples == ("item 3 as 0", "item 5 as 1", "item 6 as 2")
    distinct = replace(data, item_table=table.with_columns(title=pl.Series([f"{i}" for i in range(8)])))
    assert found(distinct, by_hand(distinct, TRAIN, VALID, TEST), "duplicate-text") == []


def test_duplicate_texts_of_users():
    data = dataset(ROWS)
    long = " ".join(f"word{place}" for place in range(20))
    table = pl.DataFrame({"job": ["clerk"] * 6, "cv": [long.upper(), f"{long}.", *[None] * 4]})
    data = replace(data, user_table=table)
    split = by_hand(data, [0, 1], VALID, TEST)  # u1 is asked about without training
    (leak,) = [one for one in lint_split(data, split) if one.rule == "duplicate-text"]
    assert (leak.severity, leak.count, leak.examples) == ("leak", 1, ("user 'u1' as 'u0'",))
    assert found(data, by_hand(data, TRAIN, VALID, TEST), "duplicate-text") == []  # both train
    short = replace(data, user_table=table.with_columns(cv=pl.lit(long.removesuffix(" word19"))))
    assert found(short, split, "duplicate-text") == []


DAY = 86_400


def dated(column: pl.Series) -> tuple[Dataset, Split]:
    """Return events a day apart; items 0, 1 and 2 train, and the test begins on 7 January 1970, the sixth day."""
    data = dataset([(user, item, time * DAY) for user, item, time in ROWS])
    data = replace(data, item_table=data.item_table.with_columns(column))
    return data, by_hand(data, TRAIN, VALID, TEST)


@pytest.mark.parametrize(
    "column",
    [
        pl.Series("date", [date(1970, 1, day) for day in (6, 8, 9, 9, 9, 9, 9, 9)]),
        pl.Series("published", [datetime(1970, 1, day, tzinfo=UTC) for day in (6, 8, 9, 9, 9, 9, 9, 9)]),
        pl.Series("text_date", [day * DAY for day in (6, 7, 8, 9, 9, 9, 9, 9)]),
    ],
)
def test_texts_newer_than_the_cut(column):
    data, split = dated(column)
    (leak,) = [one for one in lint_split(data, split) if one.rule == "text-newer-than-cut"]
    assert (leak.severity, leak.count, leak.examples) == ("leak", 2, ("item 1", "item 2"))
    assert f"{column.name!r} after the cut at {6 * DAY}" in leak.message
    old = data.item_table.with_columns(pl.lit(column[0]).alias(column.name))
    assert found(replace(data, item_table=old), split, "text-newer-than-cut") == []


def test_the_cut_of_the_rule_dates_texts():
    data, split = dated(pl.Series("when", [3 * DAY, None, 5 * DAY, *[0] * 5]))
    assert found(data, split, "text-newer-than-cut") == []  # no column of a usual name
    assert found(data, split, "text-newer-than-cut", text_date="when") == []
    moved = replace(split, rule={"name": "by hand", "valid_from": 4 * DAY, "test_from": 6 * DAY})
    assert found(data, moved, "text-newer-than-cut", text_date="when") == [("leak", 1)]
    moved = replace(split, rule={"name": "by hand", "test_from": 2 * DAY})
    assert found(data, moved, "text-newer-than-cut", text_date="when") == [("leak", 2)]


def test_a_wrong_column_of_dates_is_an_error():
    data, split = dated(pl.Series("when", ["2001"] * 8))
    expect_error(DataError, lambda: lint_split(data, split, text_date="day"), "no column 'day'", "title, when")
    expect_error(DataError, lambda: lint_split(data, split, text_date="when"), "column 'when'", "String", "str.to_date")


def test_findings_come_in_one_order():
    data, split = uneven({"b": [4, 3, 2, 1], "a": [1, 2, 3, 4]}, {"n": [1, 1, 2, 3, 2, 1]})
    split = replace(split, train=data.with_interactions(data.interactions.select(np.array([1, 2, 3, 4, 5, 6, 9]))))
    assert [(one.rule, one.severity) for one in lint_split(data, split)] == [
        ("future-in-training", "leak"),
        ("others-future", "caution"),
        *[("popularity-after-cut", "leak")] * 2,
        ("popularity-after-cut", "caution"),
        ("popularity-after-cut", "leak"),
        ("vocabulary-after-cut", "caution"),
    ]
    assert lint_split(data, split) == lint_split(data, split)
