"""What a data set is like: counts, long tail, time span, texts, cold shares; a table and a page with plots."""

from llmrec.data_prep.describe.description import Description
from llmrec.data_prep.describe.measure import describe
from llmrec.data_prep.describe.page import print_description, write_description

__all__ = ["Description", "describe", "print_description", "write_description"]
