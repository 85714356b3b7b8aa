"""Names of parts: what is built in, and what other packages bring through entry points."""

from llmrec.registry.language import EMBEDDERS, ENGINES, RANKERS, TASTES
from llmrec.registry.recall import RECOMMENDERS
from llmrec.registry.table import Registry, Row

__all__ = ["EMBEDDERS", "ENGINES", "RANKERS", "RECOMMENDERS", "TASTES", "Registry", "Row"]
