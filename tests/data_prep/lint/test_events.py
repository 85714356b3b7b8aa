"""The lint of events and ties: each rule on a split that has the leak, and on one that has not; and our own splits."""

from dataclasses import replace

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from made import by_hand, dataset, found, shown

from llmrec.data import Queries, Vocabulary
from llmrec.data_prep.lint import Finding, lint_split
from llmrec.data_prep.split import global_time_cut, impression_time_cut, leave_last_out, per_user_ratio
from llmrec.errors import DataError
from llmrec.testing import expect_error, toy

# Two users; events 0 to 7 in time order.
ROWS = [(0, 0, 1), (0, 1, 2), (1, 0, 3), (1, 2, 4), (0, 3, 5), (0, 4, 6), (1, 5, 7), (1, 6, 8)]
VALID = {0: ([0, 1], [3]), 1: ([0, 2], [5])}
TEST = {0: ([0, 1, 3], [4]), 1: ([0, 2, 5], [6])}
TRAIN = [0, 1, 2, 3]


def test_a_clean_split_has_no_findings():
    rows = [(user, item, time) for user, item, time in ROWS if user == 0]
    data = replace(dataset(rows, n_users=1), item_table=pl.DataFrame({"title": [f"film {i}" for i in range(8)]}))
    assert lint_split(data, by_hand(data, [0, 1], {0: VALID[0]}, {0: TEST[0]})) == []
    assert lint_split(toy(), global_time_cut(toy())) == []


def test_future_in_training():
    data = dataset(ROWS)
    assert found(data, by_hand(data, TRAIN, VALID, TEST), "future-in-training") == []
    # Events 4 (a target itself) and 7 (after the validation target of user 1) train too.
    leaky = lint_split(data, by_hand(data, [*TRAIN, 4, 7], VALID, TEST))
    assert leaky[0] == Finding(
        "future-in-training",
        "leak",
        2,
        "2 training events lie at or after a target of their user",
        ("user 'u0', item 3 at 5, target at 5", "user 'u1', item 6 at 8, target at 7"),
    )


def test_a_training_event_in_the_second_of_a_target_is_from_the_future():
    data = dataset([(0, 0, 1), (0, 1, 2), (0, 2, 2), (0, 3, 3)])
    split = leave_last_out(data, ties="order")
    assert found(data, split, "future-in-training") == [("leak", 1)]
    assert found(data, split, "future-in-history") == [("leak", 1)]  # validation of item 2 knows item 1
    assert found(data, split, "unstable-ties") == [("caution", 1)]
    split = leave_last_out(data)
    assert found(data, split, "future-in-training") == found(data, split, "future-in-history") == []
    assert found(data, split, "unstable-ties") == [("caution", 1)]  # item 1, left out, competed for the place of item 2


def test_future_in_a_history():
    data = dataset(ROWS)
    assert found(data, by_hand(data, TRAIN, VALID, TEST), "future-in-history") == []
    valid = {0: ([0, 1, 4], [3]), 1: ([0, 2], [5])}  # item 4 comes after item 3
    test = {0: ([0, 1, 1, 3], [4]), 1: ([7, 0, 2, 5], [6])}  # item 1 was met once, item 7 never
    findings = [one for one in lint_split(data, by_hand(data, TRAIN, valid, test)) if one.rule == "future-in-history"]
    assert [(one.severity, one.count, one.examples) for one in findings] == [
        ("leak", 1, ("user 'u0', item 4",)),
        ("leak", 2, ("user 'u0', item 1", "user 'u1', item 7")),
    ]


def test_a_repeated_item_is_timed_by_its_own_event():
    rows = [(0, 7, 1), (0, 6, 2), (0, 7, 3), (0, 7, 4)]
    data = dataset(rows)
    assert [one for one in lint_split(data, leave_last_out(data)) if one.severity == "leak"] == []
    twice = by_hand(data, [0, 1], {0: ([7, 6, 7], [7])}, {0: ([7, 6, 7], [7])})
    assert found(data, twice, "future-in-history") == [("leak", 1)]  # validation knows the target itself


@pytest.mark.parametrize(("rule", "severity"), [("global-time-cut", "leak"), ("leave-last-out", "caution")])
def test_others_future(rule, severity):
    rows = [(0, 0, 1), (0, 1, 2), (0, 2, 3), (1, 3, 3), (1, 4, 4), (1, 5, 5), (2, 6, 2)]
    data = dataset(rows)  # in time order: 0 1 6 2 3 4 5
    targets = {0: ([0], [1])}, {0: ([0, 1], [2])}
    split = by_hand(data, [0, 2, 4, 5], *targets, rule)
    late = 2 if severity == "caution" else 3  # a time cut may not keep the event at 2, of the first validation target
    assert found(data, split, "others-future") == [(severity, late)]
    assert found(data, by_hand(data, [0], *targets, rule), "others-future") == []
    assert found(replace(data, clock=False), split, "others-future") == []


def test_ties_of_whole_seconds_are_stable():
    rows = [(0, 0, 1), (0, 1, 2), (0, 2, 2), (0, 3, 3), (0, 4, 3), (0, 0, 3)]
    data = dataset(rows)
    assert found(data, per_user_ratio(data, train=0.2, valid=0.3), "unstable-ties") == []
    split = per_user_ratio(data, train=0.34, valid=0.33, ties="order")  # cuts at places 2 and 4
    assert found(data, split, "unstable-ties") == [("caution", 3)]  # items 2, 3 and 4


def test_a_split_of_other_data_is_an_error():
    data = dataset(ROWS)
    split = by_hand(data, TRAIN, VALID, TEST)
    other = replace(data, users=Vocabulary([f"v{user}" for user in range(6)]))
    expect_error(DataError, lambda: lint_split(other, split), "other users or items", "the whole data set")
    expect_error(
        DataError, lambda: lint_split(dataset(ROWS[:-1]), split), "test has the target 6 of user 'u1'", "not there"
    )
    lists = shown([(0, 10, [1], [1]), (0, 20, [2], [2]), (1, 30, [3], [3])])
    split = impression_time_cut(lists, valid_from=20, test_from=30)
    expect_error(
        DataError, lambda: lint_split(replace(lists, impressions=None), split), "'impression-time' needs", "impressions"
    )
    drawn = replace(split, valid=split.valid.select(slice(0, 0)))
    expect_error(DataError, lambda: lint_split(lists, drawn), "the 0 valid queries are not the 1 impressions there")


LISTS = [(0, 10, [1, 2], [1]), (1, 12, [2], [2]), (0, 20, [2, 3], [2]), (0, 21, [2, 4], [2, 4]), (1, 30, [5], [5])]


def test_impressions_are_timed_by_their_lists():
    data = shown(LISTS)
    split = impression_time_cut(data, valid_from=20, test_from=30)
    assert [one for one in lint_split(data, split) if one.severity == "leak"] == []  # item 2 clicked again is no leak
    later = replace(split.valid, queries=Queries.from_histories([[1, 4], [1, 2]], [0, 0]))
    assert found(data, replace(split, valid=later), "future-in-history") == [("leak", 1)]
    train = replace(split.train, impressions=data.impressions)
    assert found(data, replace(split, train=train), "others-future") == [("leak", 3)]


def test_a_test_without_labels_is_linted_by_its_lists():
    data = shown([*LISTS, (0, 40, [6, 7], None), (1, 41, [6], None)])
    split = impression_time_cut(data, valid=0.3)
    assert [one for one in lint_split(data, split) if one.severity == "leak"] == []
    later = replace(split.test, queries=Queries.from_histories([[1, 2, 2, 4], [6]], [0, 1]))
    assert found(data, replace(split, test=later), "future-in-history") == [("leak", 1)]


many_ties = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7), st.integers(0, 9)), min_size=10, max_size=60)
RULES = {
    "leave-last-out": lambda data: leave_last_out(data, short_users="train"),
    "per-user-ratio": lambda data: per_user_ratio(data, train=0.5, valid=0.2, short_users="train"),
    "global-time-cut": global_time_cut,
    "newest": lambda data: leave_last_out(data, short_users="train", history=2),
}


@given(many_ties, st.sampled_from(sorted(RULES)))
def test_our_own_splits_have_no_leak(rows, rule):
    data = dataset(rows)
    try:
        split = RULES[rule](data)
    except DataError:
        assume(False)
    findings = lint_split(data, split)
    assert [one for one in findings if one.severity == "leak"] == []
    if rule in {"per-user-ratio", "global-time-cut"}:
        assert not [one for one in findings if one.rule == "unstable-ties"]


@given(many_ties)
def test_order_leaks_where_training_or_a_history_shares_the_second_of_a_target(rows):
    rows = [(user, number, time) for number, (user, _, time) in enumerate(rows)]  # item = event number
    data = dataset(rows, n_items=60)
    users = {user for user, _, _ in rows if sum(one == user for one, _, _ in rows) > 2}
    assume(users)
    split = leave_last_out(data, short_users="train", ties="order")
    times = {user: sorted(time for one, _, time in rows if one == user) for user in users}
    in_training = sum(sum(time == some[-2] for time in some[:-2]) for some in times.values())
    assert found(data, split, "future-in-training") == ([("leak", in_training)] if in_training else [])
    in_history = [sum(some[place] == some[place - 1] for some in times.values()) for place in (-2, -1)]
    assert found(data, split, "future-in-history") == [("leak", count) for count in in_history if count]


some_lists = st.lists(
    st.tuples(
        st.integers(0, 5), st.integers(1, 29), st.lists(st.integers(0, 7), min_size=1, max_size=4), st.integers(0, 4)
    ),
    max_size=40,
)


@given(some_lists, many_ties)
def test_our_own_split_of_impressions_has_no_leak(drawn, events):
    lists = [(u, t, items, items[:clicks]) for u, t, items, clicks in drawn]
    data = shown([*lists, (0, 0, [1], [1]), (1, 10, [2], [2]), (2, 20, [3], [3])], events)
    split = impression_time_cut(data, valid_from=10, test_from=20, history=3)
    assert [one for one in lint_split(data, split) if one.severity == "leak"] == []
