"""Simulated behaviour reaches recommenders: preferences join a model's training, takers place an item among vectors."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from llmrec.classic.recall.base.auxiliary import Auxiliary, LearnsPreferences
from llmrec.classic.recall.base.history import row_blocks
from llmrec.classic.recall.base.store import Catalogue, RecallModel, make_recommender
from llmrec.classic.recall.base.taught import TakesItems
from llmrec.config import Part
from llmrec.data import Dataset, Interactions
from llmrec.data.preferences import Preferences
from llmrec.errors import ConfigError, DataError, ModelError
from llmrec.protocols import UNWATCHED, FloatArray, Watch


def fit_augmented(
    part: Part, data: Dataset, preferences: Preferences, weight: float, *, seed: int = 0, watch: Watch = UNWATCHED
) -> RecallModel:
    """Return a recommender learned from events and from preferences: its own loss plus weight times theirs.

    It is stored and loaded like any other, and proposes the items of the pairs, also those that nobody has touched.
    With ``weight=0`` it is what ``fit`` returns, to the bit. The pairs' weights are scaled to mean 1 first: margins of
    one way of asking are many times those of another, and ``weight`` is to mean the same for all.

    A pair of two untouched items says which of them a user would take, not whether before what others take: where they
    stand among touched ones is up to ``weight`` too. Choose it on a validation cut.

    Args:
        part: the recommender: bpr, or one that torch learns from histories, such as dssm and sasrec.
        data: events of training.
        preferences: pairs of users and items of ``data``, users with events.
        weight: lambda; with 1 a pair of mean weight counts like an event.
        seed: of everything random.
        watch: early stopping, checkpoint and progress.

    Raises:
        ConfigError: the recommender cannot learn from preferences, or the weight is negative or not finite.
        DataError: there is no pair, one names an unknown user or item, or a user without events; and what ``fit``
            raises.

    Paper: Wang et al., Large Language Models as Data Augmenters for Cold-Start Item Recommendation, WWW 2024.
    """
    model, auxiliary = make_recommender(part), Auxiliary(preferences.scaled(), weight)
    if not isinstance(model, LearnsPreferences):
        raise ConfigError(
            f"recommender {part.name!r} cannot learn from preferences",
            expected="one with a pairwise score in its training",
            cure="use bpr, dssm, sasrec or another that torch learns from histories",
        )
    return cast("RecallModel", model.fit_with(data, auxiliary, seed=seed, watch=watch))


def place_items(model: RecallModel, data: Dataset, simulated: Interactions) -> RecallModel:
    """Return a model that also serves items which nobody has touched, by vectors made from those of their takers.

    Args:
        model: fitted on ``data``; bpr or als.
        data: events of training.
        simulated: which users with events would take which items without; the values say how probable that is, above 0
            to 1, and the times say nothing.

    Raises:
        ModelError: the model has no place for new items, or is of another catalogue.
        DataError: there is no interaction, one names an unknown user or item, a user without an event or an item with
            some, its value is no probability, or it is there twice.

    Paper: Huang et al., Large Language Model Simulator for Cold-Start Recommendation (ColdLLM), WSDM 2025. There the
    vectors of cold items are trained on simulated interactions; here they are solved with all others held fixed.
    """
    if not isinstance(model, TakesItems):
        raise ModelError(
            f"recommender {model.name!r} has no place for new items",
            expected="a factorisation with a vector for each item",
            cure="use bpr or als, or learn from preferences: fit_augmented",
        )
    if model.catalogue.items_digest != Catalogue.of(data).items_digest:
        raise ModelError(
            f"{model.name} fitted on {model.catalogue.n_items} items of {model.catalogue.dataset!r}",
            expected=f"the {len(data.items)} items of {data.name!r}",
            cure="pass the data set that it was fitted on",
        )
    _check(data, simulated)
    shape = (len(data.items), len(data.users))
    taken = csr_matrix((simulated.values.astype(np.float64), (simulated.items, simulated.users)), shape)
    active = np.unique(data.interactions.users)
    return cast("RecallModel", model.with_takers(taken[:, active], _user_vectors(model, data, active)))


def _check(data: Dataset, simulated: Interactions) -> None:
    """Raise a DataError unless all interactions are of users with events and of items without; see ``place_items``."""
    data.with_interactions(simulated)  # which checks the numbers
    if not len(simulated):
        raise DataError(
            f"no simulated interaction for {data.name!r}",
            expected="one at least",
            cure="simulate some, or lower what makes one",
        )
    users, items, values, events = simulated.users, simulated.items, simulated.values, data.interactions
    first = np.unique(np.column_stack([users, items]), axis=0, return_index=True)[1]
    for wrong, found, expected in (
        (~np.isin(users, events.users), "a user without a training event", "users with a history before the cut"),
        (np.isin(items, events.items), "an item with training events", "items that nobody has touched"),
        (~((values > 0) & (values <= 1)), "a value that is no probability", "values above 0, at most 1"),
        (~np.isin(np.arange(len(users)), first), "been there before", "each user and item once"),
    ):
        if wrong.any():
            row = int(np.argmax(wrong))
            user, item = data.users.ids[int(users[row])], data.items.ids[int(items[row])]
            raise DataError(
                f"simulated interaction {row} (user {user!r}, item {item!r}, value {values[row]:g}) has {found}"
                f" ({int(wrong.sum())} have)",
                expected=expected,
                cure="leave it out",
            )


def _user_vectors(model: TakesItems, data: Dataset, users: NDArray[np.int32]) -> FloatArray:
    """Return the query vectors (u, d) of users with events, from all of these."""
    longest = int(np.bincount(data.interactions.users).max())
    blocks = row_blocks(len(users), longest)
    return np.concatenate([model.query_vectors(data.queries(users[rows], history=None))[:, 0] for rows in blocks])
