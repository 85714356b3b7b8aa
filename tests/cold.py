"""Small worlds with cold items, and an engine that writes down what it is asked."""

import numpy as np
import polars as pl

from llmrec.coldstart.items import ColdStart
from llmrec.data import Dataset, Interactions, Vocabulary
from llmrec.data_prep.split import global_time_cut
from llmrec.llm.fake import FakeEngine

TITLES = ("Alien", "Brazil", "Casablanca", "Dune", "Heat", "Fargo", "Gattaca", "Ran", "", "Solaris")
ABOUT = ("A ship.", None, None, "Sand.", None, "Snow.", "Genes in space.", None, "No title.", "  ")
TRAINED = ((0, 0, 5), (0, 1, 4), (0, 2, 3), (1, 1, 2), (1, 0, 4), (2, 3, 5), (0, 3, 1))  # user, item, value
LATER = ((0, 6, 5), (1, 7, 1), (3, 6, 4), (0, 9, 2), (2, 4, 3))
"""User 3 has no event before the cut. Cold: 4 to 9, of which 8 has no title, and 5 is never touched."""


def films(trained=TRAINED, later=LATER, titles=TITLES, about=ABOUT):
    """The films with their events in order, a second apart."""
    users, items, values = (list(column) for column in zip(*trained, *later, strict=True))
    return Dataset(
        name="films",
        interactions=Interactions.sort(users, items, range(100, 100 + len(users)), values),
        users=Vocabulary([f"u{user}" for user in range(5)]),
        items=Vocabulary([1000 + item for item in range(len(titles))]),
        item_table=pl.DataFrame({"title": titles, "description": about}),
    )


def cut(data=None, n_valid=2):
    """The films cut behind their training events."""
    data = films() if data is None else data
    n = len(data.interactions)
    return global_time_cut(data, train=len(TRAINED) / n, valid=n_valid / n)


def world(**changes):
    return ColdStart.of(cut(films(**changes)))


class Listening(FakeEngine):
    """Writes down every prompt with its answers."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.heard = []

    def logprobs(self, prompts, answers):
        self.heard += [(prompt.user, list(row)) for prompt, row in zip(prompts, answers, strict=True)]
        return super().logprobs(prompts, answers)


def pair_rows(pairs):
    return list(zip(pairs.users.tolist(), pairs.first.tolist(), pairs.second.tolist(), strict=True))


def numbers(*values):
    return np.array(values, np.int32)
