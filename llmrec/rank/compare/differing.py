"""The users whom two prompts rank most differently, with what was asked and answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Candidates
from llmrec.eval.metrics import compute
from llmrec.rank.compare.recipe import CompareRecipe
from llmrec.rank.compare.recording import Exchange
from llmrec.rank.compare.run import Asked, Engines, Outcome, replay

SHOWN = 3
"""Prompts of a user that are shown for each variant."""
LISTED = 10
HISTORY = 10


@dataclass(frozen=True, slots=True)
class Side:
    """What one variant made of a user.

    Attributes:
        variant: its name.
        value: the first metric.
        listed: titles in its order, whether relevant, and the incoming place (from 1).
        exchanges: the first prompts with their answers.
        prompts: how many there were.
    """

    variant: str
    value: float
    listed: tuple[tuple[str, bool, int], ...]
    exchanges: tuple[Exchange, ...]
    prompts: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A user whom two variants rank differently.

    Attributes:
        user: id.
        history: newest titles, oldest first.
        truth: titles of the relevant items.
        sides: the two variants, the better one first.
    """

    user: str
    history: tuple[str, ...]
    truth: tuple[str, ...]
    sides: tuple[Side, Side]


def find_differing(
    recipe: CompareRecipe, asked: Asked, outcomes: Sequence[Outcome], engines: Engines
) -> list[Difference]:
    """Return the users with the largest difference of the first metric between any two variants that ran.

    Where that is equal, lists that differ in more places come first. Each user is there once.
    """
    ran = [(each, each.ranked) for each in outcomes if each.ranked is not None]
    metric = recipe.metrics[0]
    values = np.array([compute(ranked, asked.targets, [metric])[metric] for _, ranked in ran])
    pairs = widest_pairs(values, [ranked for _, ranked in ran], recipe.examples)
    wanted: dict[int, list[int]] = {}
    for row, pair in pairs:
        for each in pair:
            wanted.setdefault(each, []).append(row)
    exchanges = {
        (each, row): found
        for each, rows in wanted.items()
        for row, found in zip(rows, replay(recipe, ran[each][0].variant, asked, rows, engines), strict=True)
    }
    return [_describe(asked, ran, values, row, pair, exchanges) for row, pair in pairs]


def widest_pairs(
    values: NDArray[np.float64], ranked: Sequence[Candidates], count: int
) -> list[tuple[int, tuple[int, int]]]:
    """Return (query, (better, worse)) for at most ``count`` queries, the widest difference first.

    Args:
        values: (m, q) a metric of each of m rankings.
        ranked: m rankings of the same candidates.
        count: at most so many queries.
    """
    best: dict[int, tuple[float, float, tuple[int, int]]] = {}
    for one, two in combinations(range(len(ranked)), 2):
        wide = np.abs(values[one] - values[two]).round(9)
        moved = (ranked[one].items != ranked[two].items).mean(axis=1)
        for row in np.flatnonzero(moved):
            pair = (one, two) if values[one, row] >= values[two, row] else (two, one)
            found = (float(wide[row]), float(moved[row]), pair)
            if row not in best or found[:2] > best[row][:2]:
                best[int(row)] = found
    order = sorted(best, key=lambda row: (-best[row][0], -best[row][1], row))[:count]
    return [(row, best[row][2]) for row in order]


def _describe(
    asked: Asked,
    ran: Sequence[tuple[Outcome, Candidates]],
    values: NDArray[np.float64],
    row: int,
    pair: tuple[int, int],
    exchanges: dict[tuple[int, int], list[Exchange]],
) -> Difference:
    titles, queries = asked.train.titles(), asked.targets.queries
    relevant = [item for item in asked.targets.relevant[row].tolist() if item >= 0]
    places = {item: place for place, item in enumerate(asked.candidates.items[row].tolist(), 1)}
    user = asked.train.users.decode(queries.users[row : row + 1])[0]

    def side(each: int) -> Side:
        outcome, ranked = ran[each]
        items = [item for item in ranked.items[row].tolist() if item >= 0][:LISTED]
        found = exchanges[each, row]
        return Side(
            variant=outcome.variant.name,
            value=float(values[each, row]),
            listed=tuple((titles[item], item in relevant, places[item]) for item in items),
            exchanges=tuple(found[:SHOWN]),
            prompts=len(found),
        )

    return Difference(
        user="unseen" if user is None else str(user),
        history=tuple(titles[item] for item in queries.lists()[row][-HISTORY:]),
        truth=tuple(titles[item] for item in dict.fromkeys(relevant)),
        sides=(side(pair[0]), side(pair[1])),
    )
