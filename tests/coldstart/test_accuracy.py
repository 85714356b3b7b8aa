"""Accuracy where the truth is known: by hand, and against one pair at a time."""

import numpy as np
import pytest
from cold import cut, numbers, pair_rows, world
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.coldstart.accuracy import pair_accuracy, pairs_with_truth
from llmrec.coldstart.items import ColdStart
from llmrec.data import Queries, Targets
from llmrec.data.preferences import Preferences
from llmrec.errors import DataError
from llmrec.testing import expect_error


def preferences(*rows):
    users, chosen, rejected = (numbers(*column) for column in zip(*rows, strict=True))
    return Preferences(users, chosen, rejected, np.ones(len(rows), np.float32))


def targets(rows):
    """Targets of user -> (history, relevant)."""
    histories, relevant = ([row[place] for row in rows.values()] for place in (0, 1))
    return Targets(Queries.from_histories(histories, list(rows)), Queries.from_histories(relevant).history)


TRUTH = targets({0: ([1], [6, 9]), 2: ([5], [7]), 3: ([], [4])})


def test_accuracy_by_hand():
    found = pair_accuracy(
        preferences(
            (0, 6, 4),  # right
            (0, 7, 9),  # wrong
            (0, 6, 9),  # took both
            (0, 4, 5),  # took neither
            (1, 6, 4),  # nothing is known of user 1
            (2, 7, 6),  # right
            (2, 5, 6),  # right: taken before the target
            (2, 7, 5),  # took both
            (3, 6, 4),  # wrong
        ),
        TRUTH,
    )
    assert (found.pairs, found.users) == (5, 3)
    assert found.by_user.tolist() == [0.5, 1.0, 0.0]
    assert found.accuracy == 0.5
    assert found.low == 0.0
    assert found.high == 1.0


def test_no_truth():
    expect_error(DataError, lambda: pair_accuracy(preferences((1, 6, 4)), TRUTH), "no truth is known of 1 pairs")


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(6, 9)), min_size=1, max_size=30))
def test_accuracy_one_pair_at_a_time(rows):
    took = {0: {1, 6, 9}, 2: {5, 7}, 3: {4}}
    verdicts = {}
    for user, chosen, rejected in rows:
        yes, no = (item in took.get(user, ()) for item in (chosen, rejected))
        if yes != no:
            verdicts.setdefault(user, []).append(yes)
    if not verdicts:
        expect_error(DataError, lambda: pair_accuracy(preferences(*rows), TRUTH), "no truth")
        return
    found = pair_accuracy(preferences(*rows), TRUTH)
    assert found.pairs == sum(map(len, verdicts.values()))
    assert found.accuracy == pytest.approx(np.mean([np.mean(each) for each in verdicts.values()]))


WORLD = world()
MANY = targets({0: ([0, 7], [6, 9]), 1: ([], [4, 8, 3]), 2: ([3], [5, 9]), 3: ([], [6])})


@pytest.mark.parametrize("per_user", [1, 5])
def test_pairs_whose_truth_is_known(per_user):
    took = {0: {6, 9, 7}, 1: {4}, 2: {5, 9}}  # cold and titled: 8 is not, 3 is warm; user 3 has no history
    counts = []
    for seed in range(30):
        pairs = pair_rows(pairs_with_truth(WORLD, MANY, per_user=per_user, seed=seed))
        for user, first, second in pairs:
            assert ({first, second} & took[user] != set()) != ({first, second} <= took[user])
            assert {first, second} <= set(WORLD.items.tolist())
        counts.append([sum(user == each for user, *_ in pairs) for each in took])
        accuracy = pair_accuracy(preferences(*pairs), MANY)
        assert accuracy.pairs == len(pairs)
    assert counts[0] == [min(per_user, n) for n in (2, 1, 2)]
    orders = {row for seed in range(30) for row in pair_rows(pairs_with_truth(WORLD, MANY, seed=seed)) if row[0] == 1}
    assert {first for _, first, _ in orders} >= {4, 6}, "the item that was taken stands in either place"
    assert (1, 4, 4) not in orders


def test_real_targets_of_a_split():
    split = cut()
    pairs = pairs_with_truth(ColdStart.of(split), split.test)
    assert set(pairs.users.tolist()) <= {0, 1, 2}


def test_nobody_took_a_cold_item():
    expect_error(DataError, lambda: pairs_with_truth(WORLD, targets({0: ([], [3])})), "no user", "cold items")
    expect_error(DataError, lambda: pairs_with_truth(WORLD, targets({0: ([], [4])})), "left another")
