"""Examples for language models: what tuning, reward models and preference optimisation learn from."""

from llmrec.data_prep.examples.answers import cv_to_posting, describe_item, next_item, preference_pairs
from llmrec.data_prep.examples.negatives import draw_negatives
from llmrec.data_prep.examples.questions import listwise, yes_no_from_impressions, yes_no_from_ratings
from llmrec.data_prep.examples.recipe import ExamplesRecipe, make_examples
from llmrec.data_prep.examples.table import Examples
from llmrec.data_prep.examples.wording import Budget

__all__ = [
    "Budget",
    "Examples",
    "ExamplesRecipe",
    "cv_to_posting",
    "describe_item",
    "draw_negatives",
    "listwise",
    "make_examples",
    "next_item",
    "preference_pairs",
    "yes_no_from_impressions",
    "yes_no_from_ratings",
]
