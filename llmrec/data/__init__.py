"""The nouns: frozen, batched, numbers inside, ids outside.

Arrays in, arrays out. ``-1`` is padding or unknown; ``NaN`` is unscored. Nothing here is ever mutated.
"""

from llmrec.data.candidates import Candidates
from llmrec.data.dataset import Dataset
from llmrec.data.events import Impressions, Interactions
from llmrec.data.queries import Queries
from llmrec.data.split import Split, Targets
from llmrec.data.vocabulary import Vocabulary

__all__ = [
    "Candidates",
    "Dataset",
    "Impressions",
    "Interactions",
    "Queries",
    "Split",
    "Targets",
    "Vocabulary",
]
