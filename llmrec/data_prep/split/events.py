"""Cut a data set into training events and later targets: by each user's own time, or through everyone's time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Dataset, Interactions, Split
from llmrec.data_prep.split.parts import (
    Mask,
    Parts,
    Rule,
    ShortUsers,
    Ties,
    check_clock,
    check_fractions,
    check_history,
    check_short,
    check_targets,
    check_user_rule,
    cold_items,
    cold_users,
    first_meetings,
)
from llmrec.errors import DataError


def leave_last_out(
    data: Dataset, *, short_users: ShortUsers = "error", ties: Ties = "strict", history: int | None = None
) -> Split:
    """Leave each user's last event for the test, the one before it for validation, and train on the rest.

    Events are ordered by time, then as in the input. An item that its user has met before stays a target
    (``repeated_targets`` in the rule). Users without any event get no query.

    Args:
        data: what to cut.
        short_users: what to do with users who have too few events for a training event and two targets: refuse, or
            keep all of their events for training and leave them without targets.
        ties: ``strict`` trains on events before the second of the validation target, which itself lies before the
            second of the test target: events that share a second with a later target cannot be ordered, so they are
            left out of training and histories (``dropped_ties`` in the rule). ``order`` lets the input's order
            decide, as SASRec and RecBole do; a file sorted by item within a second then gives targets away.
        history: at most so many newest items in a query; None for all, which makes the dense arrays as wide as the
            longest history.

    Raises:
        DataError: a user is short and ``short_users`` is ``error``, or no user has targets.
        ConfigError: an argument is unknown or out of range.
    """
    check_user_rule(short_users, ties, history)
    events = data.interactions
    parts, short = _last_out(events, len(data.users), ties)
    check_short(data, short, short_users, ties)
    check_targets(data, parts)
    rule: Rule = {
        "name": "leave-last-out",
        "ties": ties,
        "when_short": short_users,
        "history": "all" if history is None else history,
        "users": int(parts.test.sum()),
        "short_users": int(short.sum()),
        "dropped_ties": int((~(parts.train | parts.valid | parts.test)).sum()),
        "repeated_targets": _repeated(events, parts.train, parts.valid) + _repeated(events, parts.seen, parts.test),
    }
    return parts.cut(data, history, rule)


def per_user_ratio(
    data: Dataset,
    *,
    train: float = 0.8,
    valid: float = 0.1,
    short_users: ShortUsers = "error",
    ties: Ties = "strict",
    history: int | None = None,
) -> Split:
    """Train on the first fraction of each user's events in time order, validate on the next, test on the rest.

    Of a user's n events the first ``n * train`` train and those up to ``n * (train + valid)`` validate, both rounded
    to the nearest whole, half up, and then moved so that each part has an event: a user with three events is cut as
    by ``leave_last_out``. A user with new items in a part is one query there: its distinct items that are new to the
    user are relevant, oldest first. Events with an item that the user had met are no targets (``repeated_events`` in
    the rule), but histories of the test hold them. Users without any event get no query.

    Args:
        data: what to cut.
        train: fraction of each user's events to train on, above 0.
        valid: fraction to validate on, above 0; the rest is for the test.
        short_users: what to do with users who have too few events for three parts: refuse, or keep all of their
            events for training and leave them without targets.
        ties: ``strict`` never cuts through a second: the events that share one with the first target of a part all
            belong to that part (to the one before it where an earlier part would be left empty), so no input order
            can change the targets. ``moved_ties`` in the rule counts events that this moves; none is dropped.
            ``order`` lets the input's order decide.
        history: at most so many newest items in a query; None for all, which makes the dense arrays as wide as the
            longest history.

    Raises:
        DataError: a user is short and ``short_users`` is ``error``, or a part has no target.
        ConfigError: an argument is unknown or out of range.
    """
    check_user_rule(short_users, ties, history)
    check_fractions({"train": train, "valid": valid}, example="train=0.8 valid=0.1")
    events = data.interactions
    stage, short, moved = _by_ratio(events, len(data.users), (train, train + valid), ties)
    check_short(data, short, short_users, ties)
    new = first_meetings(events, len(data.items))
    parts = Parts(train=stage == 0, valid=new & (stage == 1), seen=stage < 2, test=new & (stage == 2))
    check_targets(data, parts)
    rule: Rule = {
        "name": "per-user-ratio",
        "train": train,
        "valid": valid,
        "ties": ties,
        "when_short": short_users,
        "history": "all" if history is None else history,
        "users": len(np.unique(events.users[parts.test])),
        "short_users": int(short.sum()),
        "moved_ties": moved,
        "repeated_events": int(((stage > 0) & ~new).sum()),
    }
    return parts.cut(data, history, rule)


def global_time_cut(data: Dataset, *, train: float = 0.7, valid: float = 0.1, history: int | None = None) -> Split:
    """Train before one moment, validate from it to a second one, test after that: nothing learns from the future.

    The moments are the times of the events at the fractions ``train`` and ``train + valid`` of all events in time
    order; events of that very second come after the cut. A user with new items in a window is one query there: the
    history holds all of the user's events before the window, and the distinct items of the window that are new to
    the user are relevant, oldest first. Users and items that occur only after the first cut stay in (``cold_users``
    and ``cold_items`` in the rule); events after it with an item that the user had met are no targets
    (``repeated_events`` in the rule).

    Args:
        data: what to cut.
        train: fraction of events to train on, above 0.
        valid: fraction of events to validate on, above 0; the rest is for the test.
        history: at most so many newest items in a query; None for all, which makes the dense arrays as wide as the
            longest history.

    Raises:
        ConfigError: the fractions leave nothing for a part, or ``history`` is below 1.
        DataError: the times of different users do not compare, or a part has no event or no target, for example
            because too many events share a time.
    """
    check_fractions({"train": train, "valid": valid}, example="train=0.7 valid=0.1")
    check_history(history)
    check_clock(data)
    events = data.interactions
    n = len(events)
    places = [min(round(n * fraction), n - 1) for fraction in (train, train + valid)] if n else []
    cuts = events.times[places]
    ends = [*np.searchsorted(events.times, cuts).tolist(), n] if n else [0, 0, 0]
    new = first_meetings(events, len(data.items))
    _check_parts(data, new, ends)
    place = np.arange(n)
    early, seen = place < ends[0], place < ends[1]
    parts = Parts(train=early, valid=new & seen & ~early, seen=seen, test=new & ~seen)
    split = parts.cut(data, history, {})
    return replace(
        split,
        rule={
            "name": "global-time-cut",
            "train": train,
            "valid": valid,
            "history": "all" if history is None else history,
            "valid_from": int(cuts[0]),
            "test_from": int(cuts[1]),
            "cold_users": len(cold_users(split)),
            "cold_items": len(cold_items(split)),
            "repeated_events": int((~early & ~new).sum()),
        },
    )


def _last_out(events: Interactions, n_users: int, ties: Ties) -> tuple[Parts, Mask]:
    """Return the parts, and which users (n_users,) have events but too few."""
    order = np.argsort(events.users, kind="stable")  # each user's events together, in time order
    user, time = events.users[order], events.times[order]
    count = np.bincount(user, minlength=n_users)
    start = np.cumsum(count) - count
    if ties == "order":
        before_test, before_valid = count - 1, count - 2
    else:
        before_test = _count_earlier(user, time, start, count)
        before_valid = _count_earlier(user, time, start, before_test)
    short = (count > 0) & (before_valid < 1)
    place, has_targets = np.arange(len(user)) - start[user], ~short[user]
    masks = (
        ~has_targets | (place < before_valid[user]),
        has_targets & (place == before_test[user] - 1),
        has_targets & (place == count[user] - 1),
    )
    train, valid, test = (np.zeros(len(user), np.bool_) for _ in masks)
    train[order], valid[order], test[order] = masks
    return Parts(train=train, valid=valid, seen=train | valid, test=test), short


def _count_earlier(
    user: NDArray[np.int32], time: NDArray[np.int64], start: NDArray[np.int64], count: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return how many events of each user are earlier than the last of the user's first ``count`` events."""
    limit = np.full(len(start), np.iinfo(np.int64).min)
    some = count > 0
    limit[some] = time[(start + count - 1)[some]]
    return np.bincount(user[time < limit[user]], minlength=len(start))


def _by_ratio(
    events: Interactions, n_users: int, ends: tuple[float, float], ties: Ties
) -> tuple[NDArray[np.int8], Mask, int]:
    """Return each event's stage (0 train, 1 valid, 2 test), which users are short, and how many events ties moved."""
    order = np.argsort(events.users, kind="stable")
    user, time = events.users[order], events.times[order]
    every = np.ones(len(user), np.bool_)
    stages, short = _stages(user, every, n_users, ends)
    moved = 0
    if ties == "strict":
        starts_second = every.copy()
        starts_second[1:] = (user[1:] != user[:-1]) | (time[1:] != time[:-1])
        in_order = stages
        stages, short = _stages(user, starts_second, n_users, ends)
        moved = int(((stages != in_order) & ~short[user]).sum())
    scattered = np.zeros(len(user), np.int8)
    scattered[order] = stages
    return scattered, short, moved


def _stages(
    user: NDArray[np.int32], starts_step: Mask, n_users: int, ends: tuple[float, float]
) -> tuple[NDArray[np.int8], Mask]:
    """Cut each user's events, grouped and in time order, between steps: runs of events that stay together."""
    count, steps = (np.bincount(some, minlength=n_users) for some in (user, user[starts_step]))
    start = np.cumsum(count) - count
    running = np.cumsum(starts_step)
    step = running - running[start[user]]
    whole = np.flatnonzero(steps >= 3)
    cuts = np.full((2, n_users), len(user))
    lowest: int | NDArray[np.int64] = 1
    for cut, fraction, spare in zip(cuts, ends, (2, 1), strict=True):
        # The small number keeps 50 * 0.29 = 14.499999999999998 and its like at their half.
        place = np.floor(count[whole] * fraction + 0.5 + 1e-9).astype(np.int64)
        there = step[start[whole] + np.minimum(place, count[whole] - 1)]
        cut[whole] = np.clip(there, lowest, steps[whole] - spare)
        lowest = cut[whole] + 1
    stages = (step >= cuts[0][user]).astype(np.int8) + (step >= cuts[1][user])
    return stages, (steps > 0) & (steps < 3)


def _repeated(events: Interactions, seen: Mask, targets: Mask) -> int:
    """Return how many targets, at most one a user, have an item that their user has an earlier seen event with."""
    target = np.full(int(events.users.max(initial=-1)) + 1, -1, np.int32)
    target[events.users[targets]] = events.items[targets]
    return len(np.unique(events.users[seen & (events.items == target[events.users])]))


def _check_parts(data: Dataset, new: Mask, ends: list[int]) -> None:
    """Raise unless each part has an event with an item that is new to its user."""
    for part, begin, end in zip(("train", "valid", "test"), [0, *ends], ends, strict=False):
        if not new[begin:end].any():
            raise DataError(
                f"the {part} part of {data.name!r} has {end - begin} of {ends[-1]} events"
                + (", all with items that their users had met" if end > begin else ""),
                expected="new items in each part",
                cure="change the fractions; where most events share a time, use leave_last_out",
            )
