"""A split by people: by hand, and by what must hold for any data."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import asked, dataset

from llmrec.data_prep.split import by_user
from llmrec.errors import ConfigError, DataError
from llmrec.testing import expect_error

EVENTS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 5), st.integers(0, 3)), min_size=3, unique_by=lambda event: event[:2]
).filter(lambda events: len({user for user, *_ in events}) >= 3)


@given(EVENTS, st.floats(0.05, 0.6), st.floats(0.05, 0.3), st.integers(0, 3))
def test_each_user_is_in_one_part_with_all_events_and_targets_have_no_history(events, train, valid, seed):
    split = by_user(dataset(events, n_users=10, n_items=6), train=train, valid=valid, seed=seed)
    parts = [set(split.train.interactions.users.tolist())]
    parts += [set(part.queries.users.tolist()) for part in (split.valid, split.test)]
    assert all(parts)
    assert sorted(user for part in parts for user in part) == sorted({user for user, *_ in events})
    for part in (split.valid, split.test):
        for user, (history, items) in asked(part).items():
            assert history == []
            assert sorted(items) == sorted(item for who, item, _ in events if who == user)
        assert not (part.queries.history >= 0).any()


def test_shares_are_of_users_with_events():
    split = by_user(dataset([(user, user % 4, 0) for user in range(20)], n_users=30, n_items=4), train=0.5, valid=0.25)
    assert split.rule == {
        "name": "by-user",
        "train": 0.5,
        "valid": 0.25,
        "seed": 0,
        "train_users": 10,
        "valid_users": 5,
        "users": 5,
    }
    other = by_user(dataset([(user, user % 4, 0) for user in range(20)], n_users=30, n_items=4), seed=1)
    assert not np.array_equal(split.test.queries.users, other.test.queries.users)


@pytest.mark.parametrize(("train", "valid", "sizes"), [(0.01, 0.01, (1, 1, 1)), (0.9, 0.09, (1, 1, 1))])
def test_each_part_has_somebody(train, valid, sizes):
    split = by_user(dataset([(user, 0, 0) for user in range(3)], n_users=3, n_items=1), train=train, valid=valid)
    assert (len(split.train.interactions), len(split.valid), len(split.test)) == sizes


def test_bad_input():
    three = dataset([(user, 0, 0) for user in range(3)], n_users=3, n_items=1)
    expect_error(ConfigError, lambda: by_user(three, train=0.9, valid=0.1), "train = 0.9, valid = 0.1", "sum below 1")
    two = dataset([(0, 0, 0), (1, 0, 0)], n_users=5, n_items=1)
    expect_error(DataError, lambda: by_user(two), "2 users", "three or more", "larger")
