"""Tournaments: small groups send their better half on, many times over, and what comes far gets points."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
from pydantic import Field

from llmrec.data import Candidates, Dataset, Queries
from llmrec.prompts.choosing import Chooser
from llmrec.prompts.prompting import PromptConfig, Prompter
from llmrec.protocols import Engine
from llmrec.rank.rounds import in_rounds

Group = tuple[int, ...]


class TournamentConfig(PromptConfig):
    """How tournaments are held."""

    template: str = "choose-label"
    """A template of labels that sees ``candidates`` and ``labels``."""
    size: int = Field(10, ge=2)
    """Candidates of a group, at most."""
    final: int = Field(2, ge=1)
    """A tournament ends where so many are left."""
    rounds: int = Field(3, ge=1)
    """Tournaments that each query holds, each with groups of its own."""


class TournamentRanker:
    """Candidates are put into random groups; the likelier half of each goes on and gets a point; points rank.

    A group is one prompt that is answered by the odds of its labels, so a stage is one batch for all queries and
    tournaments. Equal points keep the incoming order.

    Paper: Chen et al., TourRank: Utilizing Large Language Models for Documents Ranking with a Tournament-Inspired
    Strategy, WWW 2025. There the model writes who goes on, and group sizes are fixed for 100 documents.

    Args:
        engine: scores the labels.
        titles: the title of each item, in number order.
        config: groups, tournaments.
        train: whose users give examples.

    Attributes:
        counts: prompts ``shortened`` to fit the context.

    Raises:
        DataError: a row without a candidate.
        ConfigError: fewer labels than a group has candidates, or labels of several tokens.
    """

    config_class = TournamentConfig

    def __init__(
        self,
        engine: Engine,
        titles: Sequence[str],
        config: TournamentConfig | None = None,
        train: Dataset | None = None,
    ) -> None:
        self.config = config or TournamentConfig()
        self.prompter = Prompter(
            engine, titles, self.config, answers=("continuation",), strategy="tournament", train=train
        )
        self.counts = self.prompter.counts
        self.chooser = Chooser(self.prompter, self.config.size)

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return each row by points, stages survived in all tournaments."""
        candidates.require_filled()
        histories, rows = self.prompter.histories(queries), self.prompter.rows(candidates.items)
        rounds = self.config.rounds
        failed: set[int] = set()
        tournaments = [
            self._tournament(len(titles), [self.config.seed, number, *sorted(items[items >= 0].tolist())])
            for titles, items in zip(rows, candidates.items, strict=True)
            for number in range(rounds)
        ]

        def ask(asked: list[tuple[int, Group]]) -> list[list[int]]:
            groups = [
                (histories[number // rounds], [rows[number // rounds][place] for place in group])
                for number, group in asked
            ]
            found = self.chooser.choose(groups)
            failed.update(
                number // rounds for (number, _), each in zip(asked, found, strict=True) if np.isnan(each).any()
            )
            return [np.argsort(-each, kind="stable").tolist() for each in found]

        scores = np.full(candidates.items.shape, np.nan, np.float32)
        for number, points in enumerate(in_rounds(tournaments, ask)):
            row = number // rounds
            places = np.flatnonzero(candidates.items[row] >= 0)
            scores[row, places] = np.nan_to_num(scores[row, places]) + points
        scores[list(failed)] = np.nan
        return candidates.with_scores(scores)

    def _tournament(self, n: int, seed: list[int]) -> Generator[list[Group], list[list[int]], list[int]]:
        """Ask for the order of groups of n candidates; return the stages that each survived."""
        rng, alive, points = np.random.default_rng(seed), list(range(n)), [0] * n
        while len(alive) > self.config.final:
            drawn = rng.permutation(alive).tolist()
            count = -(-len(drawn) // self.config.size)
            groups = [tuple(drawn[start::count]) for start in range(count)]
            contested = [group for group in groups if len(group) > 1]
            orders = yield contested
            alive = [group[0] for group in groups if len(group) == 1]  # nobody to be asked about
            alive += [
                group[place]
                for group, order in zip(contested, orders, strict=True)
                for place in order[: len(group) // 2]
            ]
            for candidate in alive:
                points[candidate] += 1
        return points
