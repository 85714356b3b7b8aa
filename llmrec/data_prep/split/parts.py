"""What every split shares: masks over the events that become training data and queries, cold numbers, checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data import Dataset, Interactions, Split, Targets
from llmrec.data.dataset import ask
from llmrec.data.queries import pad_ragged
from llmrec.errors import ConfigError, DataError, did_you_mean

Mask = NDArray[np.bool_]
Numbers = NDArray[np.int32]
Rule = dict[str, str | int | float]
ShortUsers = Literal["error", "train"]
Ties = Literal["strict", "order"]


@dataclass(frozen=True)
class Parts:
    """Masks (n,) over the events in time order; ``seen`` are the events that histories of the test may hold."""

    train: Mask
    valid: Mask
    seen: Mask
    test: Mask

    def cut(self, data: Dataset, history: int | None, rule: Rule) -> Split:
        """Return the split; a user with a target is one query of that part, in the order of user numbers."""
        events = data.interactions
        return Split(
            train=data.with_interactions(events.select(self.train)),
            valid=_ask(data, self.train, self.valid, history),
            test=_ask(data, self.seen, self.test, history),
            rule=rule,
        )


def _ask(data: Dataset, seen: Mask, targets: Mask, history: int | None) -> Targets:
    events, n_users = data.interactions, len(data.users)
    users = np.flatnonzero(np.bincount(events.users[targets], minlength=n_users))
    row = np.full(n_users, -1)
    row[users] = np.arange(len(users))
    past = np.flatnonzero(seen & (row[events.users] >= 0))
    rows = row[events.users[past]]
    queries = ask(users.astype(np.int32), rows, events, past, rated=events.rated, clock=data.clock, last=history)
    row_of_target = row[events.users[targets]]
    relevant = pad_ragged(row_of_target, events.items[targets], len(users))
    values = pad_ragged(row_of_target, events.values[targets], len(users), fill=0) if events.rated else None
    return Targets(queries, relevant, values=values)


def first_meetings(events: Interactions, n_items: int) -> Mask:
    """Return which events (n,) are the first of their user with their item."""
    pairs = events.users.astype(np.int64) * n_items + events.items
    return pl.Series(pairs).is_first_distinct().to_numpy()


def cold_items(split: Split) -> Numbers:
    """Return the item numbers, ascending, that are relevant in validation or test and have no training event."""
    wanted = [part.relevant.ravel() for part in (split.valid, split.test)]
    return _absent(np.concatenate(wanted), split.train.interactions.items, len(split.train.items))


def cold_users(split: Split) -> Numbers:
    """Return the user numbers, ascending, that validation or test asks about and that have no training event."""
    asked = [part.queries.users for part in (split.valid, split.test)]
    return _absent(np.concatenate(asked), split.train.interactions.users, len(split.train.users))


def _absent(numbers: Numbers, known: Numbers, size: int) -> Numbers:
    """Return the distinct numbers below ``size`` that ``known`` lacks, without -1."""
    absent = np.zeros(size + 1, np.bool_)  # one place more, where -1 lands
    absent[numbers] = True
    absent[known] = False
    return np.flatnonzero(absent[:-1]).astype(np.int32)


def check_user_rule(short_users: str, ties: str, history: int | None) -> None:
    """Raise a ConfigError unless the arguments that per-user rules share are known."""
    for name, value, known in (("short_users", short_users, get_args(ShortUsers)), ("ties", ties, get_args(Ties))):
        if value not in known:
            raise ConfigError(
                f"{name} = {value!r}", expected=" or ".join(map(repr, known)), cure=did_you_mean(value, known)
            )
    check_history(history)


def check_history(history: int | None) -> None:
    """Raise a ConfigError unless ``history`` is None or at least 1."""
    if history is not None and history < 1:
        raise ConfigError(f"history = {history}", expected="at least 1, or None for all", cure="change it")


def check_fractions(fractions: Mapping[str, float], *, example: str) -> None:
    """Raise a ConfigError unless all fractions are above 0 and leave something over."""
    if not (all(value > 0 for value in fractions.values()) and sum(fractions.values()) < 1):
        raise ConfigError(
            ", ".join(f"{name} = {value}" for name, value in fractions.items()),
            expected="two fractions above 0 with a sum below 1",
            cure=f"use for example {example}",
        )


def check_clock(data: Dataset) -> None:
    """Raise a DataError if the times of different users cannot be compared."""
    if not data.clock:
        raise DataError(
            f"the times of {data.name!r} only order each user's events (clock is False)",
            expected="times that compare between users, Unix seconds",
            cure="use leave_last_out or per_user_ratio, which cut each user alone",
        )


def check_targets(data: Dataset, parts: Parts) -> None:
    """Raise a DataError unless somebody is asked in validation and in the test."""
    if not (parts.valid.any() and parts.test.any()):
        raise DataError(
            f"no user of {data.name!r} has targets ({len(data.interactions)} events)",
            expected="a user with three events at different times",
            cure="take a larger data set",
        )


def check_short(data: Dataset, short: Mask, short_users: str, ties: str) -> None:
    """Raise a DataError that names the first of the ``short`` users (n_users,), unless they may stay for training."""
    if short_users != "error" or not short.any():
        return
    user = int(np.argmax(short))
    times = data.interactions.times[data.interactions.users == user]
    strict = ties == "strict"
    raise DataError(
        f"user {data.users.ids[user]!r} has {len(times)} events"
        + (f" at {len(np.unique(times))} different times" if strict else "")
        + f" ({int(short.sum())} of {len(short)} users have too few)",
        expected=f"at least three{' different times' if strict else ''}: one to train on, two targets",
        cure="pass short_users='train' to keep such users for training only" + (", or ties='order'" if strict else ""),
    )
