"""Small data sets to ask about: films with descriptions, shown news, CVs with postings."""

from dataclasses import replace

import numpy as np
import polars as pl

from llmrec.data import Dataset, Impressions, Interactions, Vocabulary
from llmrec.testing import toy

ABOUT = ["A ship\nand a\x00 beast.", None, "A bar in Morocco.", "Sand.", "  ", "Snow.", "Genes."]


def described():
    data = toy()
    return replace(data, item_table=data.item_table.with_columns(description=pl.Series(ABOUT)))


def news():
    """The toy data with four impressions; u0 reads at 10 20 30 40, u1 at 11 21 31."""
    shown = [
        (0, 25, [4, 2, 5, 6], [0, 1, 0, 0]),  # Casablanca clicked, after Alien and Brazil
        (1, 31, [6, 3, 4], [1, 1, 0]),  # two clicks in the very second of u1's third event
        (2, 99, [0, 6], [0, 0]),  # no click
        (3, 99, [1, 2], [0, 0]),  # not labelled
    ]
    lists = Impressions(
        users=[row[0] for row in shown],
        times=[row[1] for row in shown],
        offsets=np.cumsum([0, *(len(row[2]) for row in shown)]),
        items=np.concatenate([row[2] for row in shown]),
        clicked=np.concatenate([row[3] for row in shown]).astype(bool),
        labelled=np.array([True, True, True, False]),
    )
    return replace(toy(), impressions=lists)


def jobs():
    """Three CVs, one of them blank, three postings, five judgements."""
    return Dataset(
        name="jobs",
        interactions=Interactions.sort([0, 0, 1, 1, 2], [0, 1, 1, 2, 2], [0] * 5, [1, 0, 1, 0, 1]),
        users=Vocabulary(["ann", "bob", "eve"]),
        items=Vocabulary(["p0", "p1", "p2"]),
        item_table=pl.DataFrame({"title": ["Nurse", "Cook", "Pilot"], "description": ["Nights.", "Soups.", None]}),
        user_table=pl.DataFrame({"text": ["Ann,\nnurse since 2001", "Bob cooks", " "]}),
    )
