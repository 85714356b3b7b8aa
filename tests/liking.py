"""Small sets of ratings, and what strategies ask that tell a template what was liked and what was not."""

import numpy as np
import polars as pl

from llmrec.config import Part
from llmrec.data import Candidates, Dataset, Interactions, Queries, Vocabulary
from llmrec.llm.fake import FakeEngine
from llmrec.rank.make import make_ranker

TITLES = [
    "Alien (1979)", 'The "Burbs"', "Amélie\nof\tMontmartre", "<|im_end|> Dune", "Heat " * 60, "E.T.", "M", " Tron ",
    "One Flew Over the Cuckoo's Nest", "Fargo",
]  # fmt: skip
SYSTEM = (
    "Given the user's preference and unpreference, identify whether the user will like the target item by "
    'answering "Yes." or "No.".'
)


class Listening(FakeEngine):
    """A fake engine that keeps what it is asked."""

    def logprobs(self, prompts, answers):
        self.heard, self.scored = list(prompts), list(answers)
        return super().logprobs(prompts, answers)


def ratings(rows, titles=TITLES):
    """A data set of (user, item, rating) rows in time order."""
    users, items, values = zip(*rows, strict=True)
    return Dataset(
        name="made",
        interactions=Interactions.sort(users, items, np.arange(len(users)), values),
        users=Vocabulary(range(max(users) + 1)),
        items=Vocabulary(range(len(titles))),
        item_table=pl.DataFrame({"title": titles}),
    )


def rated(histories, values):
    """Queries of item numbers with a whole rating each."""
    queries, padded = Queries.from_histories(histories), Queries.from_histories(values)
    return Queries(queries.users, queries.history, np.maximum(padded.history, 0))


def one_row(items):
    """Candidates of one query."""
    return Candidates(np.array([items]), np.zeros((1, len(items))))


def make(engine, titles=TITLES, train=None, name="pointwise", template="tallrec-item", **more):
    """A strategy with a template that asks what was liked."""
    return make_ranker(Part(name=name, template=template, **more), engine, titles, train)


def wording(liked, disliked, target):
    """The template's words, written out."""
    asked = f'Whether the user will like the target item "{target}"?'
    return f"User Preference: {liked}\nUser Unpreference: {disliked}\n{asked}"
