"""An auxiliary loss: preferences between items that a model learns beside the events, for items nobody has touched."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Dataset
from llmrec.data.preferences import Preferences
from llmrec.errors import ConfigError, DataError
from llmrec.protocols import UNWATCHED, Watch


@dataclass(frozen=True, eq=False)
class Auxiliary:
    """A term beside a model's own loss: weight * sum of w * -ln sigmoid(y(user, chosen) - y(user, rejected)).

    An epoch counts each pair once, as it counts each event or row once: a pair is worth weight * w of them, whatever
    the size of a batch. The scores y are those that the model's own loss is of.

    Attributes:
        preferences: n pairs, each with a user and a weight w.
        weight: lambda; with 0 a model learns what it learns without the term, to the bit.

    Raises:
        ConfigError: the weight is negative or not finite.
    """

    preferences: Preferences
    weight: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.weight) and self.weight >= 0):
            raise ConfigError(
                f"weight = {self.weight:g} of preferences",
                expected="a finite number of 0 or more",
                cure="0 learns nothing from them, 1 counts a pair of weight 1 like an event",
            )

    def check(self, data: Dataset) -> None:
        """Raise a DataError unless there are pairs, all of users and items of ``data``, and of users with events."""
        pairs = self.preferences
        if not len(pairs):
            raise DataError(
                f"no preference for {data.name!r}",
                expected="one pair at least",
                cure="simulate some, or fit the plain model",
            )
        pairs.require_known(data)
        without = np.bincount(data.interactions.users, minlength=len(data.users))[pairs.users] == 0
        if without.any():
            user = data.users.ids[int(pairs.users[np.argmax(without)])]
            raise DataError(
                f"a preference of user {user!r}, who has no training event ({int(without.sum())} pairs are of such)",
                expected="users with a history before the cut",
                cure="leave their pairs out",
            )

    def taught(self, touched: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which items only pairs teach, those of weight 0 left out, (n_items,).

        Args:
            touched: (n_items,), items with training events.
        """
        pairs = self.preferences.select(self.preferences.weights * self.weight > 0)
        named = np.zeros(len(touched), np.bool_)
        named[pairs.chosen] = named[pairs.rejected] = True
        return named & ~touched

    @property
    def digest(self) -> str:
        """SHA-256 of the pairs and the weight."""
        pairs, found = self.preferences, hashlib.sha256(repr(float(self.weight)).encode())
        for array in (pairs.users, pairs.chosen, pairs.rejected, pairs.weights):
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()


@runtime_checkable
class LearnsPreferences(Protocol):
    """A recommender that can learn with an auxiliary term."""

    def fit_with(self, data: Dataset, auxiliary: Auxiliary, *, seed: int = 0, watch: Watch = UNWATCHED) -> Self:
        """Learn from ``data`` and the term, and return itself: its pairs' items are served, cold ones too.

        Raises:
            DataError: see ``Auxiliary.check``, and what ``fit`` raises.
        """
        ...
