"""Cut a data set into training events and later targets: the last event left out, or a cut through everyone's time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data import Dataset, Interactions, Queries, Split, Targets
from llmrec.data.queries import pad_ragged
from llmrec.errors import ConfigError, DataError, did_you_mean

Mask = NDArray[np.bool_]
ShortUsers = Literal["error", "train"]
Ties = Literal["strict", "order"]


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
    _check_choice("short_users", short_users, get_args(ShortUsers))
    _check_choice("ties", ties, get_args(Ties))
    _check_history(history)
    events = data.interactions
    parts, short = _last_out(events, len(data.users), ties)
    if short_users == "error" and short.any():
        raise _short_user(data, short, ties)
    if not parts.test.any():
        raise DataError(
            f"no user of {data.name!r} has targets ({len(events)} events)",
            expected="a user with three events at different times",
            cure="take a larger data set",
        )
    rule: dict[str, str | int | float] = {
        "name": "leave-last-out",
        "ties": ties,
        "when_short": short_users,
        "history": "all" if history is None else history,
        "users": int(parts.test.sum()),
        "short_users": int(short.sum()),
        "dropped_ties": int((~(parts.train | parts.valid | parts.test)).sum()),
        "repeated_targets": _repeated(events, parts.train, parts.valid) + _repeated(events, parts.seen, parts.test),
    }
    return _split(data, parts, history, rule)


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
        DataError: a part has no event or no target, for example because too many events share a time.
    """
    _check_fractions(train, valid)
    _check_history(history)
    events = data.interactions
    n = len(events)
    places = [min(round(n * fraction), n - 1) for fraction in (train, train + valid)] if n else []
    cuts = events.times[places]
    ends = [*np.searchsorted(events.times, cuts).tolist(), n] if n else [0, 0, 0]
    new = _first_meetings(events, len(data.items))
    _check_parts(data, new, ends)
    place = np.arange(n)
    early, seen = place < ends[0], place < ends[1]
    parts = _Parts(train=early, valid=new & seen & ~early, seen=seen, test=new & ~seen)
    split = _split(data, parts, history, {})
    users = [np.bincount(events.users[mask], minlength=len(data.users)) > 0 for mask in (early, ~early)]
    return replace(
        split,
        rule={
            "name": "global-time-cut",
            "train": train,
            "valid": valid,
            "history": "all" if history is None else history,
            "valid_from": int(cuts[0]),
            "test_from": int(cuts[1]),
            "cold_users": int((users[1] & ~users[0]).sum()),
            "cold_items": len(cold_items(split)),
            "repeated_events": int((~early & ~new).sum()),
        },
    )


def cold_items(split: Split) -> NDArray[np.int32]:
    """Return the item numbers, ascending, that are relevant in validation or test and have no training event."""
    cold = np.zeros(len(split.train.items) + 1, np.bool_)  # one place more, where the padding -1 lands
    for part in (split.valid, split.test):
        cold[part.relevant] = True
    cold[split.train.interactions.items] = False
    return np.flatnonzero(cold[:-1]).astype(np.int32)


@dataclass(frozen=True)
class _Parts:
    """Masks (n,) over the events in time order; ``seen`` are the events that histories of the test may hold."""

    train: Mask
    valid: Mask
    seen: Mask
    test: Mask


def _last_out(events: Interactions, n_users: int, ties: Ties) -> tuple[_Parts, Mask]:
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
    return _Parts(train=train, valid=valid, seen=train | valid, test=test), short


def _count_earlier(
    user: NDArray[np.int32], time: NDArray[np.int64], start: NDArray[np.int64], count: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return how many events of each user are earlier than the last of the user's first ``count`` events."""
    limit = np.full(len(start), np.iinfo(np.int64).min)
    some = count > 0
    limit[some] = time[(start + count - 1)[some]]
    return np.bincount(user[time < limit[user]], minlength=len(start))


def _first_meetings(events: Interactions, n_items: int) -> Mask:
    """Return which events (n,) are the first of their user with their item."""
    pairs = events.users.astype(np.int64) * n_items + events.items
    return pl.Series(pairs).is_first_distinct().to_numpy()


def _repeated(events: Interactions, seen: Mask, targets: Mask) -> int:
    """Return how many targets, at most one a user, have an item that their user has an earlier seen event with."""
    target = np.full(int(events.users.max(initial=-1)) + 1, -1, np.int32)
    target[events.users[targets]] = events.items[targets]
    return len(np.unique(events.users[seen & (events.items == target[events.users])]))


def _split(data: Dataset, parts: _Parts, history: int | None, rule: dict[str, str | int | float]) -> Split:
    events, n_users = data.interactions, len(data.users)
    return Split(
        train=data.with_interactions(events.select(parts.train)),
        valid=_ask(events, n_users, parts.train, parts.valid, history),
        test=_ask(events, n_users, parts.seen, parts.test, history),
        rule=rule,
    )


def _ask(events: Interactions, n_users: int, seen: Mask, targets: Mask, history: int | None) -> Targets:
    """Return one query for each user with a target, in the order of user numbers."""
    users = np.flatnonzero(np.bincount(events.users[targets], minlength=n_users))
    row = np.full(n_users, -1)
    row[users] = np.arange(len(users))
    past = seen & (row[events.users] >= 0)
    padded = pad_ragged(row[events.users[past]], events.items[past], len(users), last=history)
    relevant = pad_ragged(row[events.users[targets]], events.items[targets], len(users))
    return Targets(Queries(users.astype(np.int32), padded), relevant)


def _short_user(data: Dataset, short: Mask, ties: Ties) -> DataError:
    user = int(np.argmax(short))
    times = data.interactions.times[data.interactions.users == user]
    strict = ties == "strict"
    return DataError(
        f"user {data.users.ids[user]!r} has {len(times)} events"
        + (f" at {len(np.unique(times))} different times" if strict else "")
        + f" ({int(short.sum())} of {len(short)} users have too few)",
        expected=f"at least three{' different times' if strict else ''}: one to train on, two targets",
        cure="pass short_users='train' to keep such users for training only" + (", or ties='order'" if strict else ""),
    )


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(
            f"{name} = {value!r}", expected=" or ".join(map(repr, known)), cure=did_you_mean(value, known)
        )


def _check_history(history: int | None) -> None:
    if history is not None and history < 1:
        raise ConfigError(f"history = {history}", expected="at least 1, or None for all", cure="change it")


def _check_fractions(train: float, valid: float) -> None:
    if not (train > 0 and valid > 0 and train + valid < 1):
        raise ConfigError(
            f"train = {train}, valid = {valid}",
            expected="two fractions above 0 with a sum below 1",
            cure="use for example train=0.7 valid=0.1",
        )


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
