"""Both splits on random events with many ties: against a plain-Python oracle, and by what must hold for any data."""

from collections import defaultdict

from hypothesis import assume, given
from hypothesis import strategies as st
from made import Event, asked, dataset, train_events

from llmrec.data_prep.split import cold_items, global_time_cut, leave_last_out
from llmrec.errors import DataError
from llmrec.testing import expect_error

many_ties = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7), st.integers(0, 9)), min_size=10, max_size=60)


def oracle_last_out(rows: list[Event], ties: str):
    """Return training event numbers, validation and test targets, and drops: one user, one event at a time."""
    by_user = defaultdict(list)
    for number, (user, item, time) in sorted(enumerate(rows), key=lambda pair: pair[1][2]):
        by_user[user].append((time, item, number))
    train, valid, test, dropped = [], {}, {}, 0
    for user, events in by_user.items():
        last = events[-1]
        earlier = [event for event in events[:-1] if ties == "order" or event[0] < last[0]]
        before = earlier[-1] if earlier else None
        usable = [event for event in earlier[:-1] if ties == "order" or event[0] < before[0]]
        if not usable:
            train += [number for _, _, number in events]
            continue
        train += [number for _, _, number in usable]
        dropped += len(events) - len(usable) - 2
        history = [item for _, item, _ in usable]
        valid[user] = (history, [before[1]])
        test[user] = ([*history, before[1]], [last[1]])
    return sorted(train), valid, test, dropped


@given(many_ties, st.sampled_from(["strict", "order"]))
def test_leave_last_out_agrees_with_one_user_at_a_time(rows, ties):
    train, valid, test, dropped = oracle_last_out(rows, ties)
    assume(test)
    split = leave_last_out(dataset(rows), short_users="train", ties=ties)
    assert train_events(split) == train
    assert asked(split.valid) == valid
    assert asked(split.test) == test
    assert split.rule["dropped_ties"] == dropped
    assert len(train) + len(valid) + len(test) + dropped == len(rows)
    repeats = sum(relevant[0] in history for part in (valid, test) for history, relevant in part.values())
    assert split.rule["repeated_targets"] == repeats


@given(many_ties)
def test_strict_training_events_are_earlier_than_their_users_targets(rows):
    data = dataset([(user, number, time) for number, (user, _, time) in enumerate(rows)], n_items=60)
    assume(any(oracle_last_out(rows, "strict")[2].values()))
    time_of = {number: time for number, (_, _, time) in enumerate(rows)}  # item = event number
    split = leave_last_out(data, short_users="train")
    trained = defaultdict(list)
    for user, item in zip(
        split.train.interactions.users.tolist(), split.train.interactions.items.tolist(), strict=True
    ):
        trained[user].append(time_of[item])
    for part in (split.valid, split.test):
        for user, (history, relevant) in asked(part).items():
            assert max(time_of[item] for item in history) < time_of[relevant[0]]
            assert max(trained[user]) < time_of[relevant[0]]


@given(many_ties, st.randoms(use_true_random=False), st.sampled_from(["strict", "order", "global"]))
def test_neither_split_depends_on_the_order_of_users_in_the_file(rows, random, rule):
    """Users shuffled, each user's own events in their order: the same targets and as many training events."""

    def cut(some):
        data = dataset(some)
        return global_time_cut(data) if rule == "global" else leave_last_out(data, short_users="train", ties=rule)

    users = sorted(range(6), key=lambda _: random.random())
    shuffled = [row for user in users for row in rows if row[0] == user]
    try:
        one = cut(rows)
    except DataError as error:
        expect_error(DataError, lambda: cut(shuffled), str(error))
        return
    two = cut(shuffled)
    assert one.rule == two.rule
    assert asked(one.valid) == asked(two.valid)
    assert asked(one.test) == asked(two.test)
    assert len(one.train.interactions) == len(two.train.interactions)


def oracle_time_cut(rows: list[Event], train: float, valid: float):
    """Return both cut times, training event numbers, and the targets of validation and test."""
    in_order = sorted(rows, key=lambda row: row[2])
    first, second = (in_order[min(round(len(rows) * part), len(rows) - 1)][2] for part in (train, train + valid))
    parts = []
    for begin, end in ((first, second), (second, 99)):
        expected = {}
        for user in range(6):
            past = [item for one, item, time in in_order if one == user and time < begin]
            window = [item for one, item, time in in_order if one == user and begin <= time < end]
            if new := [item for item in dict.fromkeys(window) if item not in past]:
                expected[user] = (past, new)
        parts.append(expected)
    return first, second, [number for number, row in enumerate(rows) if row[2] < first], *parts


@given(many_ties, st.floats(0.1, 0.8), st.floats(0.05, 0.19))
def test_global_time_cut_agrees_with_one_event_at_a_time(rows, train, valid):
    first, second, trained, valid_targets, test_targets = oracle_time_cut(rows, train, valid)
    if not (trained and valid_targets and test_targets):
        expect_error(
            DataError, lambda: global_time_cut(dataset(rows), train=train, valid=valid), "change the fractions"
        )
        return
    split = global_time_cut(dataset(rows), train=train, valid=valid)
    assert (split.rule["valid_from"], split.rule["test_from"]) == (first, second)
    assert train_events(split) == trained
    assert asked(split.valid) == valid_targets
    assert asked(split.test) == test_targets
    assert split.train.interactions.times.max() < first < second
    n_targets = sum(len(new) for part in (valid_targets, test_targets) for _, new in part.values())
    assert len(trained) + n_targets + split.rule["repeated_events"] == len(rows)
    cold = {item for _, item, _ in rows} - {rows[number][1] for number in trained}
    assert cold_items(split).tolist() == sorted(cold)
    assert split.rule["cold_items"] == len(cold)
    assert split.rule["cold_users"] == len({user for user, _, _ in rows} - {rows[number][0] for number in trained})
