"""Yes/no rows of a split's validation and test: by hand, and without a leak whatever the ratings and the rule."""

from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from asked import news
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data import Dataset, Interactions, Queries, Split, Targets, Vocabulary
from llmrec.data_prep.amazon import load_amazon
from llmrec.data_prep.examples import ExamplesRecipe, make_examples, yes_no_from_impressions, yes_no_from_ratings
from llmrec.data_prep.mind import load_mind
from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.split import global_time_cut, impression_time_cut, leave_last_out, per_user_ratio
from llmrec.errors import ConfigError, DataError
from llmrec.testing import expect_error, toy

SHORT = {"kind": "yes-no-ratings", "window": 2}


def ratings(rows, n_items=12):
    """A data set of (user, item, time, rating) rows, whose titles are numbers in words' clothes."""
    users, items, times, values = zip(*rows, strict=True)
    return Dataset(
        name="made",
        interactions=Interactions.sort(users, items, times, values),
        users=Vocabulary([f"u{user}" for user in range(4)]),
        items=Vocabulary(range(n_items)),
        item_table=pl.DataFrame({"title": [f"film {item}" for item in range(n_items)]}),
    )


def read(prompt):
    """Return the films that a prompt of TALLRec calls liked, disliked and the target."""
    lines = prompt.split("\n")[-3:]
    return [[int(part.split(" ")[1]) for part in line.split('"')[1::2]] for line in lines]


def test_validation_and_test_ask_about_their_own_ratings_behind_what_came_before():
    rows = [
        (0, 0, 1, 5),
        (0, 1, 2, 1),
        (0, 2, 3, 4),
        (0, 3, 4, 2),
        (0, 4, 5, 5),
        (1, 0, 6, 5),
        (1, 1, 7, 5),
        (1, 2, 8, 1),
    ]
    split = leave_last_out(ratings(rows))
    found = {part: make_examples(split, ExamplesRecipe(part=part, **SHORT)) for part in ("train", "valid", "test")}
    asked = {part: [(*read(row["prompt"]), row["completion"], row["user"]) for row in made.frame.to_dicts()]
             for part, made in found.items()}  # fmt: skip
    assert asked["train"] == [([0], [1], [2], " Yes.", "u0")]
    assert asked["valid"] == [([2], [1], [3], " No.", "u0")]  # u1 has one rating before its own
    assert asked["test"] == [([2], [3], [4], " Yes.", "u0"), ([0, 1], [], [2], " No.", "u1")]
    assert [made.counts["short_history"] for made in found.values()] == [3, 1, 0]
    last = make_examples(split, ExamplesRecipe(part="test", last=1, **SHORT))
    assert last.frame["user"].to_list() == ["u1"]
    assert last.balance == {"yes": 0, "no": 1}


def test_a_query_with_several_ratings_asks_about_each_and_a_folder_keeps_them(tmp_path):
    rows = [(0, item, item, 5 - item % 2 * 3) for item in range(10)]
    split = per_user_ratio(ratings(rows), train=0.5, valid=0.2)
    assert split.test.values.tolist() == [[2, 5, 2]]
    again = Split.load(split.save(tmp_path / "split"))
    np.testing.assert_array_equal(again.test.values, split.test.values)
    np.testing.assert_array_equal(again.valid.select([0]).values, [[2, 5]])
    made = make_examples(again, ExamplesRecipe(part="test", **SHORT)).frame
    assert [read(prompt) for prompt in made["prompt"]] == [[[6], [5], [item]] for item in (7, 8, 9)]
    assert made["label"].to_list() == [False, True, False]


rated = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 11), st.integers(0, 30), st.integers(1, 5)),
    min_size=24,
    max_size=60,
    unique_by=lambda row: row[:2],
)


@given(rows=rated, rule=st.sampled_from(["last", "ratio", "time"]), ties=st.sampled_from(["strict", "order"]))
@settings(max_examples=60, deadline=None)
def test_no_part_knows_what_comes_later(rows, rule, ties):
    data = ratings(rows)
    cut = {
        "last": lambda: leave_last_out(data, short_users="train", ties=ties),
        "ratio": lambda: per_user_ratio(data, train=0.5, valid=0.2, short_users="train", ties=ties),
        "time": lambda: global_time_cut(data, train=0.6, valid=0.2),
    }[rule]
    try:
        split = cut()
    except DataError:
        return
    when = {(user, item): (time, rating) for user, item, time, rating in rows}
    learnt = set()
    for part in ("train", "valid", "test"):
        try:
            made = make_examples(split, ExamplesRecipe(part=part, ties="order" if part == "train" else None, **SHORT))
        except DataError:  # nobody has two earlier ratings, or all are alike
            continue
        for row in made.frame.to_dicts():
            user, item = int(row["user"][1:]), row["item"]
            liked, disliked, target = read(row["prompt"])
            assert target == [item]
            assert row["label"] == (when[user, item][1] > 3)
            assert all(when[user, film][1] > 3 for film in liked)
            assert all(when[user, film][1] <= 3 for film in disliked)
            assert all(when[user, film][0] <= when[user, item][0] for film in liked + disliked)
            assert len(liked + disliked) == 2
            if part == "train":
                learnt.update((user, film) for film in [item, *liked, *disliked])
            else:
                assert (user, item) not in learnt


def test_impressions_of_a_part_are_asked_about_behind_what_was_clicked_before():
    data = news()
    split = Split(
        train=data,
        valid=Targets(Queries.from_histories([[0, 1]], [0]), [[2]], [[4, 2, 5, 6]]),
        test=Targets(Queries.from_histories([[0], [1]], [1, 2]), [[6, 3], [-1, 5]], [[6, 3, 4, -1], [5, 0, 2, -1]]),
    )
    titles = data.titles()
    recipe = ExamplesRecipe(kind="yes-no-impressions", part="test", per_click=9)
    made = make_examples(split, recipe).frame
    assert Counter(zip(made["user"], made["item"], made["label"], strict=True)) == Counter(
        [("u1", data.items.ids[6], True), ("u1", data.items.ids[3], True), ("u1", data.items.ids[4], False),
         ("u2", data.items.ids[5], True), ("u2", data.items.ids[0], False), ("u2", data.items.ids[2], False)]
    )  # fmt: skip
    asked = made.filter(pl.col("user") == "u1")["prompt"].to_list()
    assert all(f"- {titles[0]}\n" in prompt and f"- {titles[1]}\n" not in prompt for prompt in asked)
    valid = make_examples(split, recipe.model_copy(update={"part": "valid", "per_click": 1})).frame
    assert valid["label"].to_list() == [True, False]
    assert valid["item"][1] in [data.items.ids[item] for item in (4, 5, 6)]


def test_parts_that_cannot_be_asked_about_are_one_line():
    rows = [(user, item, item, 1 + item % 5) for user in range(2) for item in range(8)]
    split = leave_last_out(ratings(rows))
    bare = replace(split.test, values=None)
    expect_error(DataError, lambda: yes_no_from_ratings(split.train, targets=bare), "targets without ratings", "again")
    expect_error(ConfigError, lambda: yes_no_from_ratings(split.train, targets=split.test, last=0), "last = 0")
    expect_error(
        DataError, lambda: yes_no_from_ratings(split.train, targets=split.test, window=9), "no example is left"
    )
    expect_error(DataError, lambda: replace(split.test, values=[[1.0]]), "values of shape (1, 1)", "shape (2, 1)")
    expect_error(ConfigError, lambda: yes_no_from_impressions(toy(), targets=split.test), "without shown items")
    unlabelled = Targets(Queries.from_histories([[0]]), np.empty((1, 0)), [[1, 2]])
    expect_error(
        DataError, lambda: yes_no_from_impressions(toy(), targets=unlabelled), "targets without relevant items"
    )


def parts(split, **options):
    """Return the rows of all parts by name."""
    return {
        part: make_examples(split, ExamplesRecipe(part=part, **options)).frame for part in ("train", "valid", "test")
    }


def no_target_is_learnt(found):
    learnt = set(found["train"].select("user", "item").rows())
    return learnt.isdisjoint(found["valid"].select("user", "item").rows() + found["test"].select("user", "item").rows())


@pytest.mark.data
def test_movielens_asks_about_each_users_newest_ratings(data_folder):
    data = load_movielens(data_folder / "movielens-latest-small")
    given = {pair: value for *pair, value in zip(
        data.users.decode(data.interactions.users), data.items.decode(data.interactions.items),
        data.interactions.values, strict=True) for pair in [tuple(pair)]}  # fmt: skip
    found = parts(leave_last_out(data), kind="yes-no-ratings", window=10, template="tallrec-movie")
    assert no_target_is_learnt(found)
    assert len(found["test"]) == 609  # of 610 users one has fewer than ten ratings before
    for rows in found.values():
        assert rows["label"].to_list() == [given[pair] > 3 for pair in rows.select("user", "item").iter_rows()]


@pytest.mark.data
def test_gift_cards_ask_behind_two_reviews(data_folder):
    folder = data_folder / "amazon-2018"
    data = load_amazon(folder / "Gift_Cards_5.json", folder / "meta_Gift_Cards.json")
    found = parts(
        leave_last_out(data, ties="order", short_users="train"), kind="yes-no-ratings", window=2, like_above=4.0
    )
    assert no_target_is_learnt(found)
    assert len(found["test"]) == 458
    assert 0 < found["test"]["label"].not_().sum() < 60


@pytest.mark.data
def test_mind_asks_about_later_impressions(data_folder):
    data = load_mind(data_folder / "mind-sample", unknown_items="keep")
    named = data.item_table.with_columns(pl.col("title").fill_null("-"))  # the sample lacks most news
    split = impression_time_cut(replace(data, item_table=named))
    found = parts(split, kind="yes-no-impressions", template="pointwise-yes-no", per_click=1)
    assert found["train"]["time"].max() < split.rule["valid_from"]
    assert found["test"]["label"].sum() == (split.test.relevant >= 0).sum()
    shown = {(user, item) for user, row in zip(split.test.queries.users, split.test.shown, strict=True) for item in row}
    numbers = zip(data.users.numbers(found["test"]["user"]), data.items.numbers(found["test"]["item"]), strict=True)
    assert shown.issuperset(numbers)
