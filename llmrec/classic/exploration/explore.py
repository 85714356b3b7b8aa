"""Re-rankers that explore: little shown candidates get a chance in the first places, and the chance is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from llmrec.classic.exploration.bandit import Bandit
from llmrec.classic.exploration.chances import Floats, Mask, best_of_normals, uniform
from llmrec.classic.exploration.slots import Chances, explore, propensities
from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.reranking.base import Reranker
from llmrec.classic.reranking.choosing import relevance
from llmrec.config import Config
from llmrec.data import Candidates, Dataset, Queries
from llmrec.errors import DataError
from llmrec.protocols import Watch


class EpsilonRule(Config):
    """The best candidate left, and now and then any."""

    rule: Literal["epsilon"] = "epsilon"
    """Its name."""
    epsilon: float = Field(0.1, ge=0, le=1)
    """Share of places that are drawn uniformly from what is left."""

    def chances(self, means: Floats, doubt: Floats, left: Mask) -> Floats:  # noqa: ARG002 - one signature for all
        """Return how probable each candidate is to come next, (q, n)."""
        return self.epsilon * uniform(left) + (1 - self.epsilon) * _best(means, left)


class UCBRule(Config):
    """The candidate left whose relevance could be the highest; nothing is random."""

    rule: Literal["ucb"] = "ucb"
    """Its name."""
    width: float = Field(0.2, ge=0)
    """Added to the relevance, from 0 to 1 in each list, of an item that was never shown."""

    def chances(self, means: Floats, doubt: Floats, left: Mask) -> Floats:
        """Return how probable each candidate is to come next, (q, n)."""
        return _best(means + self.width * doubt, left)


class ThompsonRule(Config):
    """Each candidate left as often as its relevance, of which a normal distribution is known, is the highest."""

    rule: Literal["thompson"] = "thompson"
    """Its name."""
    width: float = Field(0.2, ge=0)
    """Standard deviation of the relevance, from 0 to 1 in each list, of an item that was never shown."""

    def chances(self, means: Floats, doubt: Floats, left: Mask) -> Floats:
        """Return how probable each candidate is to come next, (q, n)."""
        return best_of_normals(means, self.width * doubt, left)


class ExploreConfig(Config):
    """How the first places are explored."""

    how: Annotated[EpsilonRule | UCBRule | ThompsonRule, Field(discriminator="rule")] = EpsilonRule()
    """What comes next; in YAML ``{rule: thompson, width: 0.2}``."""
    slots: int = Field(10, ge=1)
    """First places that are explored; the candidates after them keep their order."""
    strength: float = Field(10.0, gt=0)
    """Shows of an item that halve the variance of its relevance."""


class Explore(Reranker[ExploreConfig]):
    """Explores the first places of each list; whoever logs what it shows can evaluate other rankers on that.

    What a candidate is worth is its score, scaled to 0..1 in its list (where scores contradict the order, the order
    holds); how little is known of it falls with how often it was shown in training: impressions where the data has
    them, else events. Draws depend on the user, the history and the seed of ``fit``: a query gets the same list until
    something happens.

    Paper: the rules are those of ``EpsilonGreedy``, ``UCB1`` and ``ThompsonSampling``; a ranker's scores instead of
    means, and a doubt of width / sqrt(1 + shows / strength) instead of theirs, are this toolkit's.
    """

    name: ClassVar[str] = "explore"
    config_class: ClassVar[type[Config]] = ExploreConfig
    final: ClassVar[bool] = True

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:  # noqa: ARG002 - nothing takes long
        events = data.interactions.items if data.impressions is None else data.impressions.items
        return {"shows": np.bincount(events[events >= 0], minlength=len(data.items)), "seed": np.array([seed])}

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        shows = arrays["shows"]
        if shows.shape != (n_items,) or (shows < 0).any():
            raise ValueError(f"shows of shape {shows.shape}, the least {shows.min(initial=0)}")
        self._doubt, self._seed = 1 / np.sqrt(1 + shows / self.config.strength), int(arrays["seed"][0])

    def _order(self, queries: Queries, candidates: Candidates) -> Candidates:
        return explore(queries, candidates, self.config.slots, self._chances(candidates), self._seed)

    def propensities(self, candidates: Candidates, ranked: Candidates) -> Floats:
        """Return how probable this re-ranker makes each of the first places of ``ranked``, given those before it.

        Of its own rankings these are what to log; of another's they are what to weigh them by.

        Args:
            candidates: (q, n) as they came, best first.
            ranked: the same candidates in another order.

        Returns:
            float64 (q, slots), NaN where a place is empty.

        Raises:
            DataError: an item of ``ranked`` is not among the candidates.
            ModelError: the re-ranker is not fitted.
        """
        self.require_known(candidates)
        return propensities(candidates, ranked, self.config.slots, self._chances(candidates))

    def require_known(self, candidates: Candidates) -> None:
        """Raise a DataError where an item is outside the catalogue, a ModelError before ``fit``."""
        n_items = self.catalogue.n_items
        if candidates.items.max(initial=-1) >= n_items:
            raise DataError(
                f"candidate item number {candidates.items.max()}",
                expected=f"numbers from 0 to {n_items - 1}",
                cure="use the data set that the re-ranker was fitted on",
            )

    def _chances(self, candidates: Candidates) -> Chances:
        means, doubt = relevance(candidates), self._doubt[candidates.items]

        def chances(left: Mask) -> Floats:
            return self.config.how.chances(means, doubt, left)

        return chances


class PolicyRanker:
    """Ranks by an exploration policy that has an arm for each item: it chooses the first places among what is left.

    It learns where it runs: ``policy.update(contexts(queries), items, rewards)`` with what came of what was shown.

    Args:
        policy: what chooses; arm i is item i.
        contexts: from q queries to their contexts (q, d), such as a mean of item vectors over the history.
        slots: first places that the policy chooses; the candidates after them keep their order.
        seed: of the draws, which beyond it depend on the user and the history only.
    """

    final: ClassVar[bool] = True

    def __init__(
        self, policy: Bandit[Any], contexts: Callable[[Queries], Floats], *, slots: int = 10, seed: int = 0
    ) -> None:
        self.policy, self.contexts, self.slots, self.seed = policy, contexts, slots, seed

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return each row in the policy's order; scores count down.

        Raises:
            DataError: a row has no candidate, or an item is none of the policy's arms.
        """
        candidates.require_filled()
        return explore(queries, candidates, self.slots, self._chances(queries, candidates), self.seed)

    def propensities(self, queries: Queries, candidates: Candidates, ranked: Candidates) -> Floats:
        """Return how probable the policy makes each of the first places of ``ranked``; see ``Explore``."""
        return propensities(candidates, ranked, self.slots, self._chances(queries, candidates))

    def _chances(self, queries: Queries, candidates: Candidates) -> Chances:
        contexts = self.contexts(queries)

        def chances(left: Mask) -> Floats:
            found, some = np.zeros(left.shape), left.any(axis=1)
            found[some] = self.policy.chances(contexts[some], np.where(left, candidates.items, -1)[some])
            return found

        return chances


def _best(values: Floats, left: Mask) -> Floats:
    """Return 1 for the highest value that is left, the first of equal ones, 0 for all others, (q, n)."""
    best = np.argmax(np.where(left, values, -np.inf), axis=1)
    found: Floats = ((np.arange(left.shape[1]) == best[:, None]) & left).astype(np.float64)
    return found
