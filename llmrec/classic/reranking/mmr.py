"""MMR: the next candidate is relevant, and unlike the most similar one before it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.reranking.base import GreedyConfig, Reranker
from llmrec.classic.reranking.choosing import Choice, relevance
from llmrec.classic.reranking.likeness import Likeness, vectors_of
from llmrec.config import Config
from llmrec.data import Candidates, Dataset, Queries
from llmrec.protocols import Watch


class MMRConfig(GreedyConfig):
    """How MMR weighs relevance, and what makes items alike."""

    relevance: float = Field(0.7, ge=0, le=1)
    """The paper's lambda: weight of a candidate's score against its likeness to those chosen; 1 keeps the order."""
    likeness: Likeness = Likeness()
    """What two items are compared by."""


class MMR(Reranker[MMRConfig]):
    """Chooses, place after place, the candidate with the highest marginal relevance.

    That is ``relevance`` times its score, scaled to 0..1 in its list, less (1 - ``relevance``) times its largest
    likeness to a candidate chosen before. Equal values keep the incoming order.

    Paper: Carbonell, Goldstein, The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing
    Summaries, SIGIR 1998.
    """

    name: ClassVar[str] = "mmr"
    config_class: ClassVar[type[Config]] = MMRConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:  # noqa: ARG002 - nothing is random
        return self.config.likeness.read(data, watch)

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        self.vectors = vectors_of(arrays, n_items)

    def _floats(self, width: int) -> int:
        return 2 * width * self.vectors.widest(width)

    def _order(self, queries: Queries, candidates: Candidates) -> Candidates:  # noqa: ARG002 - whose list it is
        weight, choice = self.config.relevance, Choice(candidates)
        vectors, wanted = self.vectors.gather(candidates.items), weight * relevance(candidates)
        values, nearest = wanted, np.full(wanted.shape, -np.inf)
        for _ in range(min(self.config.k, wanted.shape[1])):
            places = choice.take(values)
            likeness = (vectors @ vectors[choice.rows, places, :, None])[:, :, 0]
            nearest = np.maximum(nearest, likeness)
            values = wanted - (1 - weight) * nearest
        return choice.ordered()
