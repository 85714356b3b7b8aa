"""The LLMRank protocol's data: users, histories and 20 candidates each.

Paper: Hou et al., Large Language Models are Zero-Shot Rankers for Recommender Systems, ECIR 2024. Each of its 200
users has the first 19 items of its random list that are not the true next item, and the true one; one relevant item.
The history is everything before the target. FOLDER holds ``llmrank/ml-1m`` and ``llmrank/Games`` (candidate lists and
titles of the paper's repository; all users' games) and ``movielens-1m/sequences.tsv``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from llmrec.data import Candidates, Dataset, Interactions, Queries, Targets, Vocabulary
from llmrec.data_prep.movielens import natural_title

SETS = ("ml-1m", "Games")


@dataclass(frozen=True)
class Protocol:
    """One of the paper's data sets.

    Attributes:
        name: of the set.
        ids: the items', in number order.
        titles: in number order.
        sequences: each user's items in time order, the test item last.
        drawn: each of the paper's users with its random items.
    """

    name: str
    ids: list[str]
    titles: list[str]
    sequences: dict[str, list[int]]
    drawn: dict[str, list[int]]

    @classmethod
    def read(cls, data: Path, name: str = "ml-1m", style: str = "natural-year") -> Protocol:
        """Read a set; ``style`` says how films are written: natural-year, natural, raw-year or raw."""
        folder = data / "llmrank" / name
        lines = [line.split("\t") for line in (folder / f"{name}.item").read_text(encoding="utf-8").splitlines()[1:]]
        numbers = {item: number for number, (item, *_) in enumerate(lines)}
        titles = [_film(*line[1:3], style) if name == "ml-1m" else line[1] for line in lines]
        if name == "ml-1m":
            path, end = data / "movielens-1m" / "sequences.tsv", 0
        else:
            path, end = folder / f"{name}.test.inter", 1
        rows = (line.split("\t") for line in path.read_text().splitlines()[1:])
        sequences = {
            user: [numbers[item] for item in f"{items} {' '.join(rest[:end])}".split()] for user, items, *rest in rows
        }
        random = (line.split("\t") for line in (folder / f"{name}.random").read_text().splitlines())
        drawn = {user: [numbers[item] for item in items.split()] for user, items in random}
        return cls(name, list(numbers), titles, sequences, drawn)

    def asked(self, users: int, part: str) -> tuple[Targets, Candidates]:
        """Return the first users' targets, test or the item before (valid), and 20 shuffled candidates each."""
        histories, truths, rows = [], [], []
        rng = np.random.default_rng(0)
        for user, drawn in list(self.drawn.items())[:users]:
            sequence = self.sequences[user] if part == "test" else self.sequences[user][:-1]
            truth = sequence[-1]
            negatives = [item for item in drawn if item != truth][:19]
            histories.append(sequence[:-1])
            truths.append([truth])
            rows.append(rng.permutation([*negatives, truth]))
        items = np.array(rows)
        return Targets(Queries.from_histories(histories), np.array(truths)), Candidates(items, np.zeros(items.shape))

    def train(self) -> Dataset:
        """Return all events but each user's last two, times their place in the sequence."""
        kept = {user: items[:-2] for user, items in self.sequences.items()}
        lengths = [len(items) for items in kept.values()]
        places = np.concatenate([np.arange(length) for length in lengths])
        users = np.repeat(np.arange(len(kept)), lengths)
        items = np.array([item for items in kept.values() for item in items])
        return Dataset(
            self.name,
            Interactions.sort(users, items, places),
            Vocabulary(list(kept)),
            Vocabulary(range(len(self.titles))),
            pl.DataFrame({"title": self.titles}),
            clock=False,
        )


def _film(title: str, year: str, style: str) -> str:
    natural = title if style.startswith("raw") else natural_title(title)[0]
    return f"{natural} ({year})" if style.endswith("year") else natural
