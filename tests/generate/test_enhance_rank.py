"""A matcher as a ranker."""

import numpy as np
import torch

from llmrec.data import Candidates, Queries
from llmrec.errors import DataError
from llmrec.generate.enhance import Matcher
from llmrec.generate.enhance_forms import DotMatcher
from llmrec.generate.enhance_rank import MatchRanker
from llmrec.generate.enhance_recipe import MatcherConfig
from llmrec.generate.enhance_vectors import Vectors
from llmrec.testing import RankerContract, expect_error


def ranker(contexts) -> MatchRanker:
    """A matcher whose query is the context itself (through relu), over items 0.1, 0.2, … in one dimension."""
    matcher = Matcher("dot", generated=False, embedding_dim=1, config=MatcherConfig(hidden=(1,)))
    assert isinstance(matcher.module, DotMatcher)
    matcher.module.load_state_dict(
        {"bias": weights(0), "net.0.weight": weights([[1]]), "net.0.bias": weights([0]),
         "net.3.weight": weights([[1]]), "net.3.bias": weights([-1])}
    )  # fmt: skip
    items = np.arange(1, 8, dtype=np.float32)[:, None] / 10
    known = np.array(contexts, np.float32)[:, None]
    return MatchRanker(matcher, Vectors(known, items, np.zeros_like(known)))


def weights(values):
    return torch.tensor(values, dtype=torch.float32)


class TestMatchRanker(RankerContract):
    def make(self) -> MatchRanker:
        return ranker([3, 2, 0.5, 1, 4])


def test_scores_are_the_matchers_and_users_without_a_context_keep_their_order() -> None:
    """The query is relu(c) - 1: 2 for user 0, which likes large items, and -0.5 for user 2, which does not."""
    candidates = Candidates(np.tile([[1, 4, 2]], (4, 1)), np.tile(np.array([[3, 2, 1]], np.float32), (4, 1)))
    found = ranker([3, 0, 0.5]).rank(Queries.from_histories([(), (), (), ()], [0, 2, 1, -1]), candidates)
    assert found.items.tolist() == [[4, 2, 1], [1, 2, 4], [1, 4, 2], [1, 4, 2]]
    np.testing.assert_allclose(found.scores[:2], [[1.0, 0.6, 0.4], [-0.1, -0.15, -0.25]], rtol=1e-5)
    assert np.isnan(found.scores[2:]).all()


def test_a_user_beyond_the_contexts() -> None:
    queries = Queries.from_histories([()], [3])
    candidates = Candidates(np.array([[0, 1]]), np.zeros((1, 2), np.float32))
    expect_error(DataError, lambda: ranker([1, 2]).rank(queries, candidates), "user number 3", "0 to 1")
