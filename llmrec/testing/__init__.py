"""A data set small enough to check by hand, and contract tests for authors of extensions.

Derive a test class from a contract, say how to make the part, and pytest runs the rest::

    class TestMyModel(RecommenderContract):
        def make(self) -> MyModel:
            return MyModel()
"""

from llmrec.testing.engines import EmbedderContract, EngineContract
from llmrec.testing.injections import INJECTIONS
from llmrec.testing.learned_rankers import LearnedRankerContract
from llmrec.testing.rankers import RankerContract
from llmrec.testing.recommenders import RecommenderContract
from llmrec.testing.toy import TOY_HISTORIES, TOY_TITLES, assert_same, expect_error, toy

__all__ = [
    "INJECTIONS",
    "TOY_HISTORIES",
    "TOY_TITLES",
    "EmbedderContract",
    "EngineContract",
    "LearnedRankerContract",
    "RankerContract",
    "RecommenderContract",
    "assert_same",
    "expect_error",
    "toy",
]
