"""llmrec: large language models in recommender systems.

Classic recall proposes candidates, language models rank them; see the README for the main job in five lines.
"""

from llmrec.data import Candidates, Dataset, Impressions, Interactions, Queries, Split, Targets, Vocabulary
from llmrec.errors import LlmrecError
from llmrec.protocols import (
    Completion,
    Embedder,
    Engine,
    Generator,
    Prompt,
    Ranker,
    Recommender,
    Reward,
    Sampling,
    Scorer,
    Trainable,
    Usage,
)

__version__ = "0.1.0"

__all__ = [
    "Candidates",
    "Completion",
    "Dataset",
    "Embedder",
    "Engine",
    "Generator",
    "Impressions",
    "Interactions",
    "LlmrecError",
    "Prompt",
    "Queries",
    "Ranker",
    "Recommender",
    "Reward",
    "Sampling",
    "Scorer",
    "Split",
    "Targets",
    "Trainable",
    "Usage",
    "Vocabulary",
]
