"""Small data sets made of (user, item, time) rows, and splits read back as plain lists."""

from dataclasses import replace

import numpy as np
import polars as pl

from llmrec.data import Dataset, Impressions, Interactions, Queries, Split, Targets, Vocabulary
from llmrec.data_prep.lint import lint_split

Event = tuple[int, int, int]  # user, item, time


def dataset(rows: list[Event], *, n_users: int = 6, n_items: int = 8) -> Dataset:
    """Return a data set whose values number the events as given."""
    users, items, times = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    return Dataset(
        name="made",
        interactions=Interactions.sort(users, items, times, np.arange(len(rows))),
        users=Vocabulary([f"u{user}" for user in range(n_users)]),
        items=Vocabulary(range(n_items)),
        item_table=pl.DataFrame({"title": [str(item) for item in range(n_items)]}),
    )


def asked(targets: Targets) -> dict[int, tuple[list[int], list[int]]]:
    """Return user -> (history, relevant)."""
    relevant = [row[row >= 0].tolist() for row in targets.relevant]
    users = targets.queries.users.tolist()
    assert users == sorted(set(users))
    return dict(zip(users, zip(targets.queries.lists(), relevant, strict=True), strict=True))


def train_events(split: Split) -> list[int]:
    """Return the numbers of the training events, in the order in which they were made."""
    return sorted(split.train.interactions.values.astype(int).tolist())


Shown = tuple[int, int, list[int], list[int] | None]  # user, time, items, those clicked or None for no labels


def shown(lists: list[Shown], events: list[Event] = (), *, n_users: int = 6, n_items: int = 8) -> Dataset:
    """Return a data set of impressions, whose interactions are ``events`` and then every click."""
    clicks = [(user, item, time) for user, time, items, clicked in lists for item in items if item in (clicked or [])]
    return replace(
        dataset([*events, *clicks], n_users=n_users, n_items=n_items),
        impressions=Impressions(
            users=np.array([user for user, *_ in lists], np.int32),
            times=np.array([time for _, time, *_ in lists], np.int64),
            offsets=np.cumsum([0, *(len(items) for *_, items, _ in lists)]),
            items=np.array([item for *_, items, _ in lists for item in items], np.int32),
            clicked=np.array([item in (clicked or []) for *_, items, clicked in lists for item in items], np.bool_),
            labelled=np.array([clicked is not None for *_, clicked in lists], np.bool_),
        ),
    )


def by_hand(
    data: Dataset,
    train: list[int],
    valid: dict[int, tuple[list[int], list[int]]],
    test: dict[int, tuple[list[int], list[int]]],
    rule: str = "by hand",
) -> Split:
    """Return a split of event numbers to train on, and user -> (history, relevant) for each part."""

    def targets(part: dict[int, tuple[list[int], list[int]]]) -> Targets:
        histories, relevant = ([row[place] for row in part.values()] for place in (0, 1))
        return Targets(Queries.from_histories(histories, list(part)), Queries.from_histories(relevant).history)

    return Split(
        train=data.with_interactions(data.interactions.select(np.array(train, np.int64))),
        valid=targets(valid),
        test=targets(test),
        rule={"name": rule},
    )


def found(data: Dataset, split: Split, rule: str, **arguments: str) -> list[tuple[str, int]]:
    """Return severity and count of each finding of one rule."""
    return [(one.severity, one.count) for one in lint_split(data, split, **arguments) if one.rule == rule]
