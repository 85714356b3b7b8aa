"""Names of parts: what is built in, and what other packages bring through entry points."""

from llmrec.registry.exploration import POLICIES
from llmrec.registry.language import EMBEDDERS, ENGINES, RANKERS, TASTES
from llmrec.registry.ranking import LEARNED_RANKERS
from llmrec.registry.recall import RECOMMENDERS
from llmrec.registry.reranking import RERANKERS
from llmrec.registry.table import Registry, Row

__all__ = [
    "EMBEDDERS",
    "ENGINES",
    "LEARNED_RANKERS",
    "POLICIES",
    "RANKERS",
    "RECOMMENDERS",
    "RERANKERS",
    "TASTES",
    "Registry",
    "Row",
]
