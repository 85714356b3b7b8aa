"""Readers as they are often written, a line at a time in plain Python: what the loaders are measured against.

They check nothing and leave nothing out; they end in the same arrays.
"""

from __future__ import annotations

import calendar
import csv
import json
import time
from itertools import islice
from operator import itemgetter
from pathlib import Path

import numpy as np


def read_mind(folder: Path) -> dict[str, np.ndarray]:
    """Return the events (users, items, times) of one part of MIND and its impressions (offsets, shown, clicked)."""
    with (folder / "news.tsv").open(encoding="utf-8") as file:
        number = {line.split("\t", 1)[0]: row for row, line in enumerate(file)}
    names, times, lengths, shown, clicked = [], [], [], [], []
    histories: dict[str, list[int]] = {}
    with (folder / "behaviors.tsv").open(encoding="utf-8") as file:
        for line in file:
            _, user, moment, history, impression = line.rstrip("\n").split("\t")
            names.append(user)
            times.append(calendar.timegm(time.strptime(moment, "%m/%d/%Y %I:%M:%S %p")))
            if user not in histories:
                histories[user] = [number[item] for item in history.split()]
            tokens = impression.split()
            lengths.append(len(tokens))
            for token in tokens:
                item, click = token.split("-")
                shown.append(number[item])
                clicked.append(click == "1")
    order = {user: row for row, user in enumerate(sorted(histories))}
    start = min(times) - 1
    users, items, moments = [], [], []
    for user, history in histories.items():
        users += [order[user]] * len(history)
        items += history
        moments += [start] * len(history)
    lists = np.array([order[user] for user in names], np.int32)
    flags, flat = np.array(clicked, np.bool_), np.array(shown, np.int32)
    row = np.repeat(np.arange(len(lists)), lengths)[flags]
    all_times = np.concatenate([np.array(moments, np.int64), np.array(times, np.int64)[row]])
    by_time = np.argsort(all_times, kind="stable")
    return {
        "users": np.concatenate([np.array(users, np.int32), lists[row]])[by_time],
        "items": np.concatenate([np.array(items, np.int32), flat[flags]])[by_time],
        "times": all_times[by_time],
        "impression_users": lists,
        "offsets": np.concatenate([[0], np.cumsum(lengths)]),
        "shown": flat,
        "clicked": flags,
    }


def read_json(path: Path) -> dict[str, list]:
    """Return the columns (users, items, times, values) of a file of Amazon reviews of 2018, as they stand there."""
    users, items, times, values = [], [], [], []
    with path.open(encoding="utf-8") as file:
        for line in file:
            review = json.loads(line)
            users.append(review["reviewerID"])
            items.append(review["asin"])
            times.append(review["unixReviewTime"])
            values.append(review["overall"])
    return {"users": users, "items": items, "times": times, "values": values}


def read_amazon(path: Path) -> dict[str, np.ndarray]:
    """Return the events (users, items, times, values) of a file of Amazon reviews of 2018, the last of each pair."""
    last: dict[tuple[str, str], tuple[int, float]] = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            review = json.loads(line)
            pair, event = (review["reviewerID"], review["asin"]), (review["unixReviewTime"], review["overall"])
            if pair not in last or event[0] >= last[pair][0]:
                last.pop(pair, None)  # so that events of one second keep the file's order
                last[pair] = event
    users = {user: row for row, user in enumerate(sorted({user for user, _ in last}))}
    items = {item: row for row, item in enumerate(sorted({item for _, item in last}))}
    events = sorted(last.items(), key=lambda each: each[1][0])
    return {
        "users": np.array([users[user] for (user, _), _ in events], np.int32),
        "items": np.array([items[item] for (_, item), _ in events], np.int32),
        "times": np.array([moment for _, (moment, _) in events], np.int64),
        "values": np.array([rating for _, (_, rating) in events], np.float32),
    }


def read_movielens(folder: Path) -> dict[str, np.ndarray]:
    """Return the events (users, items, times, values) of a folder of MovieLens CSVs."""
    with (folder / "movies.csv").open(encoding="utf-8", newline="") as file:
        films = {row[0]: number for number, row in enumerate(islice(csv.reader(file), 1, None))}
    users: dict[str, int] = {}
    rows: list[tuple[int, int, int, float]] = []
    with (folder / "ratings.csv").open(encoding="utf-8", newline="") as file:
        for user, film, rating, moment in islice(csv.reader(file), 1, None):
            rows.append((users.setdefault(user, len(users)), films[film], int(moment), float(rating)))
    rows.sort(key=itemgetter(2))
    columns = zip(*rows, strict=True)
    types = {"users": np.int32, "items": np.int32, "times": np.int64, "values": np.float32}
    return {name: np.array(column, kind) for (name, kind), column in zip(types.items(), columns, strict=True)}
