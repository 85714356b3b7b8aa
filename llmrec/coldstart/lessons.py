"""What a recommender learns beside its events: simulated preferences, or simulated interactions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from llmrec.classic.recall.base.auxiliary import Auxiliary
from llmrec.classic.recall.base.store import RecallModel, make_recommender
from llmrec.classic.recall.base.taught import TakesItems
from llmrec.coldstart.augment import fit_augmented, place_items
from llmrec.coldstart.funnel import SimulatedInteractions
from llmrec.config import Part
from llmrec.data import Dataset, Interactions
from llmrec.data.preferences import Preferences
from llmrec.errors import DataError
from llmrec.protocols import UNWATCHED, Watch


@dataclass(frozen=True, eq=False)
class Pairwise:
    """Preferences, as a term of the loss.

    Attributes:
        preferences: which of two items users would take.
        weight: lambda.
    """

    preferences: Preferences
    weight: float

    @property
    def digest(self) -> str:
        """SHA-256 of all that it holds."""
        return Auxiliary(self.preferences, self.weight).digest


@dataclass(frozen=True, eq=False)
class Taken:
    """Interactions: a model with room for new items is given their vectors, another learns them as events.

    Attributes:
        simulated: who would take what.
    """

    simulated: SimulatedInteractions

    @property
    def digest(self) -> str:
        """SHA-256 of all that it holds."""
        found = hashlib.sha256(b"taken")
        for array in (self.simulated.users, self.simulated.items, self.simulated.odds):
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()


Lesson = Pairwise | Taken
"""What is learned beside events."""


def learn(
    part: Part, data: Dataset, lesson: Lesson | None = None, *, seed: int = 0, watch: Watch = UNWATCHED
) -> RecallModel:
    """Return a recommender fitted on events and on what was simulated; None is the plain model.

    Args:
        part: the recommender.
        data: events of training.
        lesson: what was simulated for its users and cold items.
        seed: of everything random.
        watch: early stopping, checkpoint and progress.

    Raises:
        ConfigError: the recommender cannot learn so.
        DataError: the lesson is of other data; see ``fit_augmented`` and ``place_items``.
    """
    if isinstance(lesson, Pairwise):
        return fit_augmented(part, data, lesson.preferences, lesson.weight, seed=seed, watch=watch)
    model = make_recommender(part)
    if lesson is None:
        return model.fit(data, seed=seed, watch=watch)
    if isinstance(model, TakesItems):
        simulated = lesson.simulated.events(_newest(data))
        return place_items(model.fit(data, seed=seed, watch=watch), data, simulated)
    return model.fit(with_events(data, lesson.simulated), seed=seed, watch=watch)


def with_events(data: Dataset, simulated: SimulatedInteractions) -> Dataset:
    """Return a data set with simulated interactions behind its events, at the time and with the mean value of those.

    Raises:
        DataError: there is none, or one names an unknown user or item.
    """
    if not len(simulated):
        raise DataError(
            f"no simulated interaction for {data.name!r}",
            expected="one at least",
            cure="simulate some, or lower what makes one",
        )
    events, n = data.interactions, len(simulated)
    value = events.values.mean() if len(events) else 1.0
    columns = ((events.users, simulated.users), (events.items, simulated.items))
    users, items = (np.concatenate(each) for each in columns)
    times = np.concatenate([events.times, np.full(n, _newest(data))])
    return data.with_interactions(
        Interactions(users, items, times, np.concatenate([events.values, np.full(n, value, np.float32)]))
    )


def _newest(data: Dataset) -> int:
    times = data.interactions.times
    return int(times[-1]) if len(times) else 0
