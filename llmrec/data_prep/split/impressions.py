"""Cut impressions by time: what was shown and clicked before a moment trains, later lists are asked one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data import Dataset, Impressions, Split, Targets
from llmrec.data.queries import pad_ragged
from llmrec.data_prep.split.parts import Mask, Rule, check_clock, check_fractions, check_history, cold_items, cold_users
from llmrec.errors import ConfigError, DataError


def impression_time_cut(
    data: Dataset,
    *,
    valid_from: int | None = None,
    test_from: int | None = None,
    valid: float = 0.1,
    test: float = 0.1,
    history: int | None = 50,
) -> Split:
    """Train on impressions before one moment, validate from it to a second one, test after that.

    Training keeps the impressions and the interactions before ``valid_from``. Later impressions are one query each, in
    the order of ``data.impressions``: the history holds the user's interactions before the impression's second (of
    the same part too, as they are known by then), the clicked items are relevant, each once and in the order shown,
    and ``shown`` is the list. A list without a click cannot be scored and is left out (``without_click`` in the rule).

    Impressions without labels, those of a leaderboard, are the test part: its targets then have no relevant items and
    keep every list. A part must not hold both kinds, and only the test part may be without labels.

    Args:
        data: what to cut.
        valid_from: Unix seconds; None takes the newest ``valid`` of the labelled impressions before ``test_from``.
        test_from: Unix seconds; None takes the first impression without labels, and where all have some, the newest
            ``test`` of them. Impressions of the very second of a moment come after it.
        valid: fraction of the labelled impressions, above 0; unused where ``valid_from`` is given.
        test: fraction of the impressions, above 0; unused where ``test_from`` is given or labels are missing.
        history: at most so many newest items in a query; None for all.

    Raises:
        ConfigError: the moments are out of order, or an argument is out of range.
        DataError: there are no impressions, times of different users do not compare, a part is empty or without any
            click, or labelled and unlabelled impressions meet in a part.
    """
    check_fractions({"valid": valid, "test": test}, example="valid=0.1 test=0.1")
    check_history(history)
    check_clock(data)
    impressions = _impressions(data)
    by_fraction = {} if valid_from is not None else {"valid": valid}
    if test_from is None and impressions.labelled.all():
        by_fraction["test"] = test
    test_from = _test_from(impressions, test) if test_from is None else test_from
    valid_from = _valid_from(impressions, test_from, valid) if valid_from is None else valid_from
    _check_moments(impressions, valid_from, test_from)
    train, *asked = lists_of_parts(impressions, valid_from, test_from)
    _check_lists(data.name, impressions, valid_from, test_from, asked)
    before = int(np.searchsorted(data.interactions.times, valid_from))
    split = Split(
        train=replace(
            data,
            interactions=data.interactions.select(np.arange(before)),
            impressions=impressions.select(train),
        ),
        valid=_targets(data, impressions.select(asked[0]), history),
        test=_targets(data, impressions.select(asked[1]), history),
    )
    rule: Rule = {
        "name": "impression-time",
        "valid_from": valid_from,
        "test_from": test_from,
        **by_fraction,
        "history": "all" if history is None else history,
        "train_impressions": int(train.sum()),
        "valid_impressions": len(split.valid),
        "test_impressions": len(split.test),
        "without_click": len(impressions) - int(train.sum()) - len(split.valid) - len(split.test),
        "unlabelled": int((~impressions.labelled).sum()),
        "cold_users": len(cold_users(split)),
        "cold_items": len(cold_items(split)),
    }
    return replace(split, rule=rule)


def lists_of_parts(impressions: Impressions, valid_from: int, test_from: int) -> tuple[Mask, Mask, Mask]:
    """Return the lists (m,) that train, and those that validation and test ask about: with a click or no labels."""
    answerable = ~impressions.labelled
    answerable[_list_numbers(impressions, np.flatnonzero(impressions.clicked))] = True
    early, late = impressions.times < valid_from, impressions.times >= test_from
    return early, ~early & ~late & answerable, late & answerable


def _list_numbers(impressions: Impressions, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which list each place of ``impressions.items`` belongs to."""
    return np.searchsorted(impressions.offsets, places, side="right") - 1


def _targets(data: Dataset, lists: Impressions, history: int | None) -> Targets:
    queries = data.queries(lists.users, history=history, before=lists.times)
    lengths = np.diff(lists.offsets)
    shown = np.full((len(lists), int(lengths.max(initial=0))), -1, np.int32)
    shown[np.arange(shown.shape[1]) < lengths[:, None]] = lists.items
    places = np.flatnonzero(lists.clicked)
    row, item = _list_numbers(lists, places), lists.items[places]
    first = pl.Series(row * len(data.items) + item).is_first_distinct().to_numpy()
    return Targets(queries, pad_ragged(row[first], item[first], len(lists)), shown)


def _test_from(impressions: Impressions, test: float) -> int:
    if not impressions.labelled.all():
        return int(impressions.times[~impressions.labelled].min())
    n = len(impressions)
    return int(np.sort(impressions.times)[min(n - round(n * test), n - 1)])


def _valid_from(impressions: Impressions, test_from: int, valid: float) -> int:
    times = np.sort(impressions.times[impressions.labelled])
    place = int(np.searchsorted(times, test_from)) - max(round(len(times) * valid), 1)
    return int(times[max(place, 0)]) if len(times) else test_from


def _impressions(data: Dataset) -> Impressions:
    if data.impressions is None or not len(data.impressions):
        raise DataError(
            f"{data.name!r} has no impressions",
            expected="lists of items that users were shown",
            cure="use leave_last_out, per_user_ratio or global_time_cut, which cut interactions",
        )
    return data.impressions


def _check_moments(impressions: Impressions, valid_from: int, test_from: int) -> None:
    first, last = int(impressions.times.min()), int(impressions.times.max())
    if not first < valid_from < test_from <= last:
        raise ConfigError(
            f"valid_from = {valid_from}, test_from = {test_from} for impressions from {first} to {last}",
            expected="both within that span, valid_from first",
            cure="change the moments or the fractions",
        )


def _check_lists(name: str, impressions: Impressions, valid_from: int, test_from: int, asked: list[Mask]) -> None:
    """Raise a DataError unless labels are whole where they are needed, and each part asks something."""
    period = np.searchsorted([valid_from, test_from], impressions.times, side="right")
    for number, part in enumerate(("train", "valid", "test")):
        labelled = impressions.labelled[period == number]
        without = int((~labelled).sum())
        if without and (number < 2 or labelled.any()):
            raise DataError(
                f"the {part} part of {name!r} has {len(labelled) - without} impressions with labels"
                f" and {without} without",
                expected="impressions without labels in the test part, and no others with them",
                cure="leave test_from out, or drop one kind with Impressions.select",
            )
        if number and not asked[number - 1].any():
            raise DataError(
                f"the {part} part of {name!r} has {len(labelled)} impressions, none with a click",
                expected="an impression with a click in each part",
                cure="change the moments or the fractions",
            )
