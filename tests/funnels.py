"""Rankers that do one simple thing, for pipelines under test, and what pipelines write."""

import json
import time
from collections import Counter

import numpy as np
import polars as pl

from llmrec.data import Candidates, Dataset, Interactions, Vocabulary
from llmrec.errors import EngineError
from llmrec.llm.fake import FakeEngine

N_USERS, N_ITEMS = 30, 40


def made(n_items=N_ITEMS):
    """Thirty users with four events each on forty films."""
    users = np.repeat(np.arange(N_USERS), 4)
    items = (users * 7 + np.tile([0, 3, 11, 20], N_USERS)) % N_ITEMS
    return Dataset(
        name="films",
        interactions=Interactions.sort(users, items, np.arange(len(users))),
        users=Vocabulary([f"user {number}" for number in range(N_USERS)]),
        items=Vocabulary([1000 + number for number in range(n_items)]),
        item_table=pl.DataFrame({"title": [f"Film {chr(65 + number % 26)}{number}" for number in range(n_items)]}),
    )


class ByNumber:
    """Orders candidates by a number for each item, highest first."""

    def __init__(self, worth):
        self.worth = np.asarray(worth, np.float32)

    def rank(self, queries, candidates):
        return candidates.with_scores(np.where(candidates.items < 0, np.nan, self.worth[candidates.items]))


class Turned:
    """Turns each row around, and counts the rows."""

    def __init__(self):
        self.counts = Counter()

    def rank(self, queries, candidates):
        self.counts["turned"] += len(candidates)
        return candidates.with_scores(np.broadcast_to(np.arange(candidates.items.shape[1]), candidates.items.shape))


class Failing(Turned):
    """Raises what it is told to for the calls that it is told to fail, from 0; all of them by default."""

    def __init__(self, error=None, calls=range(1000)):
        super().__init__()
        self.error = error or EngineError("no server", expected="one", cure="start it")
        self.calls, self.asked = calls, 0

    def rank(self, queries, candidates):
        self.asked += 1
        if self.asked - 1 in self.calls:
            raise self.error
        return super().rank(queries, candidates)


class Slow(Turned):
    """Sleeps before it answers."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def rank(self, queries, candidates):
        time.sleep(self.seconds)
        return super().rank(queries, candidates)


class Fixed:
    """A recommender that proposes the same items to everybody, the first k of them."""

    def __init__(self, items):
        self.items = np.asarray(items, np.int32)

    def recommend(self, queries, k, *, exclude_seen=True):
        rows = np.tile(self.items[:k], (len(queries), 1))
        seen = (
            (rows[:, :, None] == queries.history[:, None, :]).any(axis=2)
            if exclude_seen
            else np.zeros(rows.shape, bool)
        )
        scores = np.where(seen, -np.inf, -np.arange(rows.shape[1], dtype=np.float32))
        best = Candidates(rows, np.where(seen, np.nan, scores)).with_scores(scores)
        gone = best.scores == -np.inf
        return Candidates(np.where(gone, -1, best.items), np.where(gone, np.nan, best.scores))


class Unsteady(FakeEngine):
    """Fails its calls that ``down`` names, by raising, or sleeps through them."""

    calls, down, sleeps = 0, (), 0.0

    def logprobs(self, prompts, answers):
        Unsteady.calls += 1
        if Unsteady.calls - 1 in self.down:
            if not self.sleeps:
                raise ConnectionError("no route to host")
            time.sleep(self.sleeps)
        return super().logprobs(prompts, answers)


def written(recipe):
    return sorted(path.name for path in recipe.out.iterdir())


def read(recipe):
    return pl.read_parquet(recipe.out / "candidates.parquet")


def record(recipe):
    return json.loads((recipe.out / "run.json").read_text())


class Stopped(BaseException):
    """Ends a run as a kill does."""


def stop_at(query):
    def progress(done, _total, _text):
        if done >= query:
            raise Stopped

    return progress
