"""DPP: the list whose items span the largest volume, each as long as it is relevant."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.reranking.base import GreedyConfig, Reranker
from llmrec.classic.reranking.choosing import Choice, relevance
from llmrec.classic.reranking.likeness import Likeness, vectors_of
from llmrec.config import Config
from llmrec.data import Candidates, Dataset, Queries
from llmrec.eval.vectors import Floats
from llmrec.protocols import Watch

LEAST = 1e-10  # of a squared distance: below it a candidate adds no volume


class DPPConfig(GreedyConfig):
    """How a determinantal point process weighs relevance, and what makes items alike."""

    relevance: float = Field(0.7, ge=0, le=1)
    """The paper's theta: weight of the scores against the logarithm of the volume; 1 keeps the incoming order."""
    off_diagonal: float = Field(0.9, ge=0, le=1)
    """What likenesses are multiplied with; below 1, items that are the same in kind still add some volume."""
    likeness: Likeness = Likeness()
    """What two items are compared by."""


class DPP(Reranker[DPPConfig]):
    """Chooses, place after place, the candidate that adds most to ``relevance`` scores + (1 - ``relevance``) log det S.

    The scores are scaled to 0..1 in each list; S holds the likenesses of the chosen, 1 on its diagonal. Candidates that
    add no volume follow by their scores. The determinant is never computed: each step updates what every candidate
    would multiply it by, in O(n (k + d)) for n candidates of d numbers and k chosen ones.

    Paper: Chen, Zhang, Zhou, Fast Greedy MAP Inference for Determinantal Point Process to Improve Recommendation
    Diversity, NeurIPS 2018, algorithm 1 with the trade-off of section 5. ``off_diagonal`` is the alpha of Wilhelm et
    al., Practical Diversified Recommendations on YouTube with Determinantal Point Processes, CIKM 2018.
    """

    name: ClassVar[str] = "dpp"
    config_class: ClassVar[type[Config]] = DPPConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:  # noqa: ARG002 - nothing is random
        return self.config.likeness.read(data, watch)

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        self.vectors = vectors_of(arrays, n_items)

    def _floats(self, width: int) -> int:
        return 2 * width * (self.vectors.widest(width) + min(self.config.k, width))

    def _order(self, queries: Queries, candidates: Candidates) -> Candidates:  # noqa: ARG002 - whose list it is
        weight, choice = self.config.relevance, Choice(candidates)
        wanted = weight * relevance(candidates)
        volume = Volume(self.vectors.gather(candidates.items), self.config.k, self.config.off_diagonal)
        for _ in range(min(self.config.k, wanted.shape[1])):
            volume.add(choice.take(wanted + (1 - weight) * volume.gains()))
        return choice.ordered()


class Volume:
    """What each candidate would add to the logarithm of the determinant, while candidates are added to it.

    ``factor`` has, for each candidate, the row that it would have in the Cholesky factor of the kernel of the chosen;
    ``squares`` what it would have on that factor's diagonal, squared: what the determinant would be multiplied by.
    Both mean nothing for a candidate that was chosen.

    Args:
        vectors: (b, n, d), of length 1, or zeros for what is like nothing.
        k: how many are added at most.
        off_diagonal: what the kernel's likenesses are multiplied with.
    """

    def __init__(self, vectors: Floats, k: int, off_diagonal: float = 1.0) -> None:
        b, n, _ = vectors.shape
        self.vectors, self.off_diagonal = vectors, off_diagonal
        self.rows, self.size = np.arange(b), 0
        self.factor = np.zeros((b, min(k, n), n))
        self.squares = np.ones((b, n))

    def gains(self) -> Floats:
        """Return by how much each candidate would raise the log-determinant, (b, n); log ``LEAST`` at least."""
        gains: Floats = np.log(np.maximum(self.squares, LEAST))
        return gains

    def add(self, places: NDArray[np.intp]) -> None:
        """Add one candidate to each list, given by its place (b,)."""
        chosen = self.vectors[self.rows, places]
        kernel = self.off_diagonal * (self.vectors @ chosen[:, :, None])[:, :, 0]
        before = self.factor[:, : self.size]
        explained = (before[self.rows, :, places][:, None, :] @ before)[:, 0]
        length = np.sqrt(np.maximum(self.squares[self.rows, places], LEAST))
        row = (kernel - explained) / length[:, None]
        self.factor[:, self.size] = row
        self.squares -= row**2
        self.size += 1
