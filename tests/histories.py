"""Worlds of shown lists in which only what happened before tells what is clicked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.classic.ranking.base.examples import target_rows
from llmrec.data import Candidates, Dataset, Impressions, Interactions, Queries, Targets, Vocabulary
from llmrec.eval.yes_no import auc

Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class World:
    """Users with a history and one shown list each; the later half of them is held out.

    Attributes:
        histories: (n, h) items, oldest first, padded with -1.
        shown: (n, m) items.
        clicked: (n, m) 0 or 1.
        table: a row an item.
    """

    histories: Numbers
    shown: Numbers
    clicked: Numbers
    table: pl.DataFrame

    @property
    def data(self) -> Dataset:
        """What is learned from: the first half."""
        users, h = len(self.histories) // 2, self.histories.shape[1]
        user, time = np.nonzero(self.histories[:users] >= 0)
        events = Interactions.sort(user, self.histories[user, time], time)
        m = self.shown.shape[1]
        lists = Impressions(
            np.arange(users),
            np.full(users, h + 1),
            np.arange(users + 1) * m,
            self.shown[:users].ravel(),
            self.clicked[:users].ravel(),
            np.ones(users),
        )
        items = Vocabulary(range(len(self.table)))
        return Dataset("world", events, Vocabulary(range(users)), items, self.table, impressions=lists)

    def auc(self, ranker: Any) -> float:
        """Return the AUC of a ranker's scores on the lists of the other half, who are unseen users."""
        rest = slice(len(self.histories) // 2, None)
        asked = [[item for item in row if item >= 0] for row in self.histories[rest].tolist()]
        queries, shown = Queries.from_histories(asked), self.shown[rest]
        ranked = ranker.rank(queries, Candidates(shown, np.zeros(shown.shape)))
        order = np.argsort(ranked.items, axis=1)
        scores = np.take_along_axis(ranked.scores, order, 1)
        labels = np.take_along_axis(self.clicked[rest], np.argsort(shown, axis=1), 1)
        return auc(labels.ravel(), scores.ravel())


def marked(kinds: int, *, noise: int = 0, users: int = 1200, shown: int = 8, seed: int = 0) -> World:
    """Return a world in which every user had each kind of item once, with a mark of 0 or 1: what is clicked is the
    items of those kinds that the user had with a mark of 1. Item 2 kind + mark. Then ``noise`` events of no such kind.
    """
    rng = np.random.default_rng(seed)
    order = rng.permuted(np.tile(np.arange(kinds), (users, 1)), axis=1)
    marks = rng.integers(0, 2, (users, kinds))  # of each kind
    items = 2 * order + np.take_along_axis(marks, order, 1)
    later = 2 * kinds + rng.integers(0, 10, (users, noise))
    asked = np.argsort(rng.random((users, kinds)), axis=1)[:, :shown]
    table = pl.DataFrame(
        {
            "kind": [f"k{item // 2}" for item in range(2 * kinds)] + ["noise"] * 10,
            "mark": [f"m{item % 2}" for item in range(2 * kinds)] + ["m2"] * 10,
        }
    )
    candidates = 2 * asked + rng.integers(0, 2, asked.shape)
    return World(np.concatenate([items, later], axis=1), candidates, np.take_along_axis(marks, asked, 1), table)


def newest(kinds: int = 4, *, users: int = 1200, seed: int = 0) -> World:
    """Return a world in which every user had each of the kinds once, and items of the kind had last are clicked."""
    rng = np.random.default_rng(seed)
    order = rng.permuted(np.tile(np.arange(kinds), (users, 1)), axis=1)
    shown = rng.permuted(np.tile(np.arange(kinds), (users, 1)), axis=1)
    table = pl.DataFrame({"kind": [f"k{item}" for item in range(kinds)]})
    return World(order, shown, (shown == order[:, -1:]).astype(np.int64), table)


def newcomers(*, users: int = 1200, seed: int = 0) -> World:
    """Return a world of two kinds of items, in which those who had one event click one kind, those of eight the other;
    one user in ten is new.
    """
    rng = np.random.default_rng(seed)
    new = rng.random(users) < 0.1
    histories = rng.integers(0, 10, (users, 8))
    histories[new, 1:] = -1
    shown = np.argsort(rng.random((users, 10)), axis=1)[:, :4]
    table = pl.DataFrame({"kind": [f"k{item % 2}" for item in range(10)]})
    return World(histories, shown, (shown % 2 == new[:, None]).astype(np.int64), table)


def held_out_auc(ranker: Any, targets: Targets) -> float:
    """Return the AUC of a ranker's own scores on the later ratings."""
    rows = target_rows(
        targets, "ratings", ranker.config.examples, np.ones(targets.relevant.max() + 1, int), np.random.default_rng(0)
    )
    ranked = ranker.rank(targets.queries, Candidates(targets.relevant, np.zeros(targets.relevant.shape)))
    scores = {(row, item): score for row, pairs in enumerate(zip(ranked.items, ranked.scores, strict=True))
              for item, score in zip(*pairs, strict=True)}  # fmt: skip
    return auc(rows.labels, [scores[pair] for pair in zip(rows.lists, rows.items, strict=True)])
