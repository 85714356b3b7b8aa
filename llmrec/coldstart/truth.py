"""How often the language model and the controls are right about the same pairs, of which the test says what is true."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.coldstart.accuracy import pair_accuracy
from llmrec.coldstart.cuts import Cut
from llmrec.coldstart.simulate import Simulated
from llmrec.coldstart.simulations import Simulations
from llmrec.data import Targets
from llmrec.errors import DataError
from llmrec.eval.significance import paired_test
from llmrec.prompts.votes import TIED

LANGUAGE_MODEL, NEARER, COIN = "language model", "content", "random"


def truth_table(simulations: Simulations, cut: Cut) -> pl.DataFrame:
    """Return a row for the language model, the content control and a coin: how often each is right, by users.

    ``accuracy`` is of the pairs that are kept, with its interval; ``difference`` is that to the content control over
    all pairs, one that is not kept counting half, and ``p`` that of the paired test over users.

    Raises:
        LlmrecError: the language model gave nothing that can be used, or no truth is known.
    """
    told = simulations.truth(cut)
    every = {
        LANGUAGE_MODEL: told,
        NEARER: simulations.content(cut, told.pairs, "truth"),
        COIN: simulations.random(told.pairs),
    }
    targets = cut.split.test
    halves = {name: by_user(each, targets) for name, each in every.items()}
    rows = []
    for name, each in every.items():
        found = pair_accuracy(each.preferences, targets)
        test = None if name == NEARER else paired_test(halves[name], halves[NEARER])
        rows.append(
            {
                "source": name,
                "pairs": len(each.pairs),
                "users": found.users,
                "inconsistent": each.counts["inconsistent"] / len(each.pairs),
                "accuracy": found.accuracy,
                "low": found.low,
                "high": found.high,
                "difference": test and test.difference,
                "p": test and test.p,
            }
        )
    return pl.DataFrame(rows)


def by_user(told: Simulated, targets: Targets) -> NDArray[np.float64]:
    """Return the share of each user's pairs that is right, by ascending user; a pair that is not kept counts half.

    Args:
        told: answers to pairs of which one item was taken and the other was not.
        targets: what was taken.

    Raises:
        DataError: there is no pair.
    """
    if not len(told.pairs):
        raise DataError("no pair of known truth", expected="one at least", cure="raise truth, or the budget")
    rows, places = np.nonzero(targets.relevant >= 0)
    taken = set(zip(targets.queries.users[rows].tolist(), targets.relevant[rows, places].tolist(), strict=True))
    first = np.array([pair in taken for pair in zip(told.pairs.users.tolist(), told.pairs.first.tolist(), strict=True)])
    scores = np.nan_to_num(told.votes.scores(), nan=TIED)
    _, users = np.unique(told.pairs.users, return_inverse=True)
    shares: NDArray[np.float64] = np.bincount(users, np.where(first, scores, 1 - scores)) / np.bincount(users)
    return shares
