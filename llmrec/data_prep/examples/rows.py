"""Which examples there are, in numbers: who, after which events, which item; no word is written yet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Dataset, Targets
from llmrec.data.queries import pad_ragged
from llmrec.data_prep.examples.negatives import Pool, check_rule, ranges
from llmrec.errors import ConfigError, DataError, UnknownNameError, did_you_mean

Ties = Literal["strict", "order"]
Counts = dict[str, int]


@dataclass(frozen=True, eq=False)
class Rows:
    """Moments at which a user chose.

    Attributes:
        users: int32 (n,), user numbers, -1 for unseen ones.
        history: int32 (n, h), item numbers from oldest to newest, left-padded with -1; all before the moment.
        chosen: int32 (n, r), what was chosen then, padded with -1.
        times: int64 (n,), Unix seconds, or None where they are not known.
        values: float32 (n, r), the value of what was chosen, or None where there is none.
        shown: what was shown and not chosen, or None where that is not known.
    """

    users: NDArray[np.int32]
    history: NDArray[np.int32]
    chosen: NDArray[np.int32]
    times: NDArray[np.int64] | None = None
    values: NDArray[np.float32] | None = None
    shown: Pool | None = None

    def one_each(self) -> tuple[Rows, NDArray[np.int32]]:
        """Return a row for each chosen item, and these items (m,).

        ``chosen`` still holds all of the moment; ``values`` (m, 1) are of the row's own item.
        """
        rows, places = np.nonzero(self.chosen >= 0)
        values = None if self.values is None else self.values[rows, places, None]
        if len(rows) == len(self):  # one each already
            return replace(self, values=values), self.chosen[rows, places]
        shown = None if self.shown is None else _repeat_pool(self.shown, rows, len(self))
        return replace(self.select(rows), values=values, shown=shown), self.chosen[rows, places]

    def liked(self, like_above: float) -> tuple[Rows, int]:
        """Return the rows without chosen items of a value not above ``like_above``, and how many items that were.

        A row that has none left is left out too.
        """
        if self.values is None:
            return self, 0
        keep = self.values > like_above
        dropped = (self.chosen >= 0) & ~keep
        chosen = np.where(keep, self.chosen, -1)
        rows = np.flatnonzero((chosen >= 0).any(axis=1))
        pool = None if self.shown is None else _repeat_pool(self.shown, rows, len(self))
        return replace(self.select(rows), chosen=chosen[rows], shown=pool), int(dropped.sum())

    def select(self, rows: NDArray[np.int64]) -> Rows:
        """Return some rows, without what was shown."""
        times = None if self.times is None else self.times[rows]
        values = None if self.values is None else self.values[rows]
        return Rows(self.users[rows], self.history[rows], self.chosen[rows], times, values)

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True, eq=False)
class Windows:
    """Events as targets with the events before them.

    Attributes:
        targets: (n,) event numbers, by user number, then in time order.
        past: (n, w) event numbers from oldest to newest, left-padded with -1.
        short: how many events had too few before them.
    """

    targets: NDArray[np.int64]
    past: NDArray[np.int64]
    short: int


def windows(
    data: Dataset,
    *,
    width: int,
    at_least: int,
    ties: str = "strict",
    only: NDArray[np.bool_] | None = None,
    last: int | None = None,
) -> Windows:
    """Return each event that has enough events of its user before it, with the ``width`` newest of those.

    Args:
        data: the events.
        width: at most so many earlier events.
        at_least: events with fewer before them are no targets.
        ties: ``strict`` counts events of an earlier second; ``order`` those that stand earlier in the input too.
        only: (n_events,) which events may be targets; the others still count as earlier ones.
        last: only the last so many targets.

    Raises:
        ConfigError: an argument is unknown or out of range.
    """
    check_choice("ties", ties, get_args(Ties))
    check_positive(last=last)
    events = data.interactions
    order = np.argsort(events.users, kind="stable")  # each user's events together, in time order
    user = events.users[order]
    starts = np.cumsum(counts := np.bincount(user, minlength=len(data.users))) - counts
    place = np.arange(len(user))
    end = place if ties == "order" else _first_of_second(user, events.times[order])
    earlier = end - starts[user]
    allowed = np.ones(len(user), np.bool_) if only is None else np.asarray(only, np.bool_)[order]
    rows = np.flatnonzero(allowed & (earlier >= at_least))
    short = int(allowed.sum()) - len(rows)
    rows = rows if last is None else rows[-last:]
    back = np.arange(-width, 0)
    past = np.where(back >= -earlier[rows, None], order[np.maximum(end[rows, None] + back, 0)], -1)
    return Windows(order[rows], past, short)


def _first_of_second(user: NDArray[np.int32], time: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each event the place of the first event of the same user and time."""
    place = np.arange(len(user))
    new = np.ones(len(user), np.bool_)
    new[1:] = (user[1:] != user[:-1]) | (time[1:] != time[:-1])
    return np.maximum.accumulate(np.where(new, place, 0))


def rows_from_events(
    data: Dataset,
    *,
    history: int,
    at_least: int = 1,
    like_above: float | None = None,
    ties: str = "strict",
    last: int | None = None,
) -> tuple[Rows, Counts]:
    """Return a row for each event (those with a value above ``like_above``) with ``at_least`` earlier ones."""
    events = data.interactions
    only = None if like_above is None else events.values > like_above
    found = windows(data, width=history, at_least=at_least, ties=ties, only=only, last=last)
    counts = {"short_history": found.short} | ({} if only is None else {"not_liked": int((~only).sum())})
    at = found.targets
    past = np.where(found.past >= 0, events.items[found.past], -1) if len(at) else np.empty((0, history))
    chosen = events.items[at, None]
    return Rows(events.users[at], past.astype(np.int32), chosen, events.times[at], events.values[at, None]), counts


def rows_from_targets(targets: Targets, *, history: int, last: int | None = None) -> tuple[Rows, Counts]:
    """Return a row for each query of a split.

    Raises:
        DataError: the labels are not known.
    """
    check_positive(last=last)
    if not targets.labelled:
        raise DataError(
            "targets without relevant items", expected="labels to learn from", cure="make examples of another part"
        )
    if last is not None:
        targets = targets.select(slice(max(0, len(targets) - last), None))
    shown = None
    if targets.shown is not None:
        rows, places = np.nonzero(targets.shown >= 0)
        shown = Pool(rows, targets.shown[rows, places])
    queries = targets.queries.last(history)
    return Rows(queries.users, queries.history, targets.relevant, values=targets.values, shown=shown), {}


@dataclass(frozen=True, eq=False)
class Rated:
    """Items that users rated, each with the ratings before it.

    Attributes:
        users: int32 (n,), user numbers.
        items: int32 (n,), item numbers.
        values: float32 (n,), the ratings.
        past: int32 (n, w), items rated before from oldest to newest, left-padded with -1.
        past_values: float32 (n, w), what they were given.
        times: int64 (n,), Unix seconds, or None where they are not known.
        short: how many had too few ratings before them and were left out.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    values: NDArray[np.float32]
    past: NDArray[np.int32]
    past_values: NDArray[np.float32]
    times: NDArray[np.int64] | None
    short: int


def rated_events(
    data: Dataset, *, window: int, ties: str, only: NDArray[np.bool_] | None = None, last: int | None = None
) -> Rated:
    """Return each event that has ``window`` earlier ones; the arguments are those of ``windows``."""
    events = data.interactions
    found = windows(data, width=window, at_least=window, ties=ties, only=only, last=last)
    at = found.targets
    items, values = events.items, events.values
    past, past_values = items[found.past], values[found.past]
    return Rated(events.users[at], items[at], values[at], past, past_values, events.times[at], found.short)


def rated_targets(targets: Targets, *, window: int, last: int | None = None) -> Rated:
    """Return each relevant item of a split whose query holds ``window`` ratings.

    Raises:
        DataError: it is not known what users gave the items.
    """
    check_positive(last=last)
    queries = targets.queries.last(window)
    if targets.values is None or queries.values is None:
        raise DataError(
            "targets without ratings",
            expected="a split that was cut from ratings",
            cure="prepare the data set again; for clicks take yes-no-impressions",
        )
    enough = (queries.history >= 0).sum(axis=1) >= window
    rows, places = np.nonzero(targets.relevant >= 0)
    kept = enough[rows]
    short = int((~kept).sum())
    rows, places = (each[kept][slice(None) if last is None else slice(-last, None)] for each in (rows, places))
    items, values = targets.relevant[rows, places], targets.values[rows, places]
    return Rated(queries.users[rows], items, values, queries.history[rows], queries.values[rows], None, short)


def rows_from_impressions(data: Dataset, *, history: int, last: int | None = None) -> tuple[Rows, Counts]:
    """Return a row for each impression with a click; the history holds events of earlier seconds only.

    Raises:
        DataError: the data set has no impressions.
    """
    check_positive(last=last)
    shown = data.impressions
    if shown is None or not len(shown):
        raise DataError(
            f"data set {data.name!r} has no impressions",
            expected="lists of items that users were shown, as MIND has them",
            cure="make examples from ratings, or draw negatives by the rule 'random'",
        )
    row = np.repeat(np.arange(len(shown)), np.diff(shown.offsets))
    clicks = np.bincount(row[shown.clicked], minlength=len(shown)) > 0
    usable = np.flatnonzero(clicks & shown.labelled)
    counts = {"unlabelled": int((~shown.labelled).sum()), "no_click": int((shown.labelled & ~clicks).sum())}
    shown = shown.select(usable if last is None else usable[-last:])
    row = np.repeat(np.arange(len(shown)), np.diff(shown.offsets))
    queries = data.queries(shown.users, history=history, before=shown.times)
    chosen = pad_ragged(row[shown.clicked], shown.items[shown.clicked], len(shown))
    pool = Pool(row[~shown.clicked], shown.items[~shown.clicked])
    return Rows(queries.users, queries.history, chosen, shown.times, shown=pool), counts


def moments_of(
    data: Dataset,
    targets: Targets | None,
    rule: str,
    *,
    history: int,
    like_above: float | None,
    ties: str,
    last: int | None,
    at_least: int = 1,
) -> tuple[Rows, dict[str, int]]:
    """Return the rows of a split's targets, or of the impressions where the rule needs them, or of all events.

    Targets of a value not above ``like_above`` are left out, where values are known.
    """
    check_positive(history=history)
    check_rule(rule)
    if targets is not None:
        rows, counts = rows_from_targets(targets, history=history, last=last)
        if like_above is not None:
            rows, counts["not_liked"] = rows.liked(like_above)
        return rows, counts
    if rule == "shown":
        return rows_from_impressions(data, history=history, last=last)
    return rows_from_events(data, history=history, at_least=at_least, like_above=like_above, ties=ties, last=last)


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise an UnknownNameError unless ``value`` is known."""
    if value not in known:
        raise UnknownNameError(
            f"{name} = {value!r}", expected=" or ".join(map(repr, known)), cure=did_you_mean(value, known)
        )


def check_positive(**numbers: int | None) -> None:
    """Raise a ConfigError if a number is below 1; None is none."""
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise ConfigError(f"{name} = {number}", expected="at least 1", cure="change it")


def _repeat_pool(pool: Pool, rows: NDArray[np.int64], n_rows: int) -> Pool:
    """Return the pool of rows that repeat others: row i of the result has what row ``rows[i]`` had."""
    order = np.argsort(pool.rows, kind="stable")
    counts = np.bincount(pool.rows, minlength=n_rows)
    ends = np.cumsum(counts)
    row, flat = ranges((ends - counts)[rows], ends[rows])
    return Pool(row, pool.items[order[flat]])


def real(numbers: NDArray[np.int64] | NDArray[np.int32]) -> NDArray[np.int64] | NDArray[np.int32]:
    """Return what is no padding."""
    return numbers[numbers >= 0]
