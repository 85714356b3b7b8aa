"""A shop with two tastes in which new items keep coming, and an engine that reads the tastes off the titles."""

import numpy as np
import polars as pl

from llmrec.coldstart.recipe import EvaluateRecipe
from llmrec.config import make_config
from llmrec.data import Dataset, Interactions, Vocabulary
from llmrec.data_prep.split import global_time_cut
from llmrec.llm.fake import FakeEngine
from llmrec.protocols import Usage

USERS, ITEMS, EVENTS = 40, 60, 900
COLOURS = ("crimson", "azure")
"""Even users take crimson items, odd ones azure ones."""


def shop(name="shop"):
    """Items come one after the other; at each moment a user takes one of the newest ones of the user's colour."""
    rng = np.random.default_rng(0)
    had, rows = set(), []
    for time in range(EVENTS):
        user = int(rng.integers(USERS))
        newest = 6 + (ITEMS - 6) * time // EVENTS
        there = [
            item for item in range(max(0, newest - 16), newest) if item % 2 == user % 2 and (user, item) not in had
        ]
        if there:
            item = int(rng.choice(there))
            had.add((user, item))
            rows.append((user, item, 1000 + time))
    users, items, times = (list(column) for column in zip(*rows, strict=True))
    titles = [f"{COLOURS[item % 2]} thing {item}" for item in range(ITEMS)]
    return Dataset(
        name=name,
        interactions=Interactions.sort(users, items, times),
        users=Vocabulary([f"u{user}" for user in range(USERS)]),
        items=Vocabulary([100 + item for item in range(ITEMS)]),
        item_table=pl.DataFrame({"title": titles, "categories": [[COLOURS[item % 2]] for item in range(ITEMS)]}),
    )


def save_shop(folder, data=None):
    """Write the shop, cut, and return its folder."""
    global_time_cut(shop() if data is None else data, train=0.7, valid=0.1).save(folder / "split")
    return folder


class Reader(FakeEngine):
    """Finds a title the likelier the more lines of the prompt share its colour; ``asked`` counts its prompts."""

    asked = 0

    def logprobs(self, prompts, answers):
        Reader.asked += len(prompts)
        self.usage += Usage(len(prompts), len(prompts), len(prompts), 0, 0, sum(map(len, answers)), 0.0)
        return [
            np.array([_likes(prompt.user, answer) for answer in row], np.float32)
            for prompt, row in zip(prompts, answers, strict=True)
        ]

    @property
    def identity(self):
        return "reader"


def _likes(prompt, answer):
    colour = next((each for each in COLOURS if each in answer), None)
    return -20.0 + (0 if colour is None else prompt.count(colour))


TEXT = {"embedder": "fake", "columns": ["title"]}
QUICK = {
    "engine": "fake",
    "models": [{"name": "bpr", "factors": 8, "epochs": 40}],
    "controls": [{"name": "text", **TEXT}, "category-popular"],
    "text": TEXT,
    "pairs": [100, 400],
    "weights": [0.3, 1],
    "interactions": {"neighbours": 12, "keep": 8},
    "truth": 60,
    "k": 5,
}


def recipe(folder, **values):
    """A recipe for the shop in a folder, quick to run."""
    given = {"dataset": folder / "shop", "out": folder / "run", "cache": folder / "answers.sqlite", **QUICK, **values}
    return make_config(EvaluateRecipe, given)
