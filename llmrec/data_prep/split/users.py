"""Cut a data set by people: some to learn from, others whom nothing is known of but what their own table says."""

from __future__ import annotations

import numpy as np

from llmrec.data import Dataset, Split
from llmrec.data_prep.split.parts import Parts, Rule, check_fractions
from llmrec.errors import DataError


def by_user(data: Dataset, *, train: float = 0.7, valid: float = 0.15, seed: int = 0) -> Split:
    """Train on some users' events, validate on those of others, test on those of the rest.

    Users with events are shuffled; the first share trains, the next validates, the rest is for the test, each part at
    least one of them. A query of a held-out user has no history: it is for what reads the user table, such as CVs. All
    of a user's events are targets, of whatever value: ``values`` of the targets say which fit.

    Args:
        data: what to cut.
        train: share of the users to train on, above 0.
        valid: share to validate on, above 0; the rest is for the test.
        seed: of the shuffle.

    Raises:
        ConfigError: the shares leave nothing for a part.
        DataError: fewer than three users have events.
    """
    check_fractions({"train": train, "valid": valid}, example="train=0.7 valid=0.15")
    events = data.interactions
    users = np.random.default_rng(seed).permutation(np.unique(events.users))
    if len(users) < 3:
        raise DataError(
            f"{len(users)} users of {data.name!r} with events", expected="three or more", cure="take a larger data set"
        )
    first = min(max(1, round(len(users) * train)), len(users) - 2)
    second = min(max(first + 1, round(len(users) * (train + valid))), len(users) - 1)
    stage = np.full(len(data.users), 2)
    stage[users[:second]] = 1
    stage[users[:first]] = 0
    of_event = stage[events.users]
    parts = Parts(train=of_event == 0, valid=of_event == 1, seen=of_event == 0, test=of_event == 2)
    rule: Rule = {
        "name": "by-user",
        "train": train,
        "valid": valid,
        "seed": seed,
        "train_users": first,
        "valid_users": second - first,
        "users": len(users) - second,
    }
    return parts.cut(data, None, rule)
