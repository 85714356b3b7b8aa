"""A matcher as a ranker: candidates in the order of how well they suit the user's context."""

from __future__ import annotations

import numpy as np

from llmrec.data import Candidates, Queries
from llmrec.errors import DataError
from llmrec.generate.enhance import Matcher
from llmrec.generate.enhance_pairs import Pairs
from llmrec.generate.enhance_vectors import Vectors


class MatchRanker:
    """Orders candidates by a matcher's log-odds; a user without a context keeps the order that came in.

    Args:
        matcher: a trained one.
        vectors: row u of contexts and generated texts is user number u, zeros where there is none; row i of items is
            item number i.
    """

    def __init__(self, matcher: Matcher, vectors: Vectors) -> None:
        self.matcher, self.vectors = matcher, vectors

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return a permutation of each row of candidates, best first; only the users of the queries are read.

        Raises:
            DataError: a row has no candidate, or a user or item has no place among the vectors.
        """
        candidates.require_filled()
        known = queries.users >= 0
        if queries.users.max(initial=-1) >= len(self.vectors.contexts):
            raise DataError(
                f"user number {queries.users.max()}",
                expected=f"numbers from 0 to {len(self.vectors.contexts) - 1}, the users with contexts",
                cure="embed the contexts of all users",
            )
        known &= self.vectors.contexts[queries.users].any(axis=1)
        scores = np.full(candidates.items.shape, np.nan, np.float32)
        rows, places = np.nonzero((candidates.items >= 0) & known[:, None])
        if len(rows):
            items = candidates.items[rows, places]
            pairs = Pairs(queries.users[rows], items, np.zeros(len(rows), np.bool_))
            scores[rows, places] = self.matcher.scores(self.vectors, pairs)
        return candidates.with_scores(scores)
