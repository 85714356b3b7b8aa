"""Pairwise simulation: what is kept, what a budget leaves, and that nothing after the cut reaches a prompt."""

import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from cold import Listening, numbers, pair_rows, world
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from made import dataset

from llmrec.coldstart.asking import make_taste
from llmrec.coldstart.budget import Budget, BudgetedEngine
from llmrec.coldstart.items import ColdStart
from llmrec.coldstart.pairs import Pairs, draw_pairs
from llmrec.coldstart.simulate import simulate_pairs
from llmrec.config import Part
from llmrec.data_prep.split import global_time_cut
from llmrec.errors import DataError
from llmrec.prompts.votes import Votes

WORLD = world()
PAIRS = Pairs(numbers(0, 1, 2, 0, 1), numbers(4, 5, 6, 7, 9), numbers(9, 4, 5, 6, 7))
WAYS = st.sampled_from(["likelihood", "yes-no", "choice"])


class Scripted:
    """A taste that says what it is told to."""

    def __init__(self, first, second):
        self.votes = Votes(np.array(first, np.float64), np.array(second, np.float64))
        self.counts, self.at = Counter(shortened=3), 0

    def compare(self, pairs):
        rows = slice(self.at, self.at + len(pairs))
        self.at += len(pairs)
        return Votes(self.votes.first[rows], self.votes.second[rows])


@pytest.mark.parametrize("block", [1, 2, 100])
def test_consistent_pairs_are_kept_with_their_margin(block):
    nan = float("nan")
    taste = Scripted([2.0, -0.5, 1.0, nan, -1.0], [1.0, -1.5, -3.0, 1.0, 0.0])
    done = simulate_pairs(taste, PAIRS, block=block)
    kept = done.preferences
    rows = zip(kept.users.tolist(), kept.chosen.tolist(), kept.rejected.tolist(), kept.weights.tolist(), strict=True)
    assert list(rows) == [(0, 4, 9, 1.5), (1, 4, 5, 1.0)]
    assert done.counts == Counter(pairs=5, kept=2, inconsistent=2, failed=1, shortened=3)
    assert not done.exhausted
    frame = done.to_frame(WORLD.train)
    assert frame.rows()[1] == ("u1", 1005, 1004, -0.5, -1.5, "second")
    assert frame["outcome"].to_list() == ["first", "second", "inconsistent", "failed", "inconsistent"]
    assert frame["odds_first"].null_count() == 1


def test_nothing_asked_nothing_kept():
    done = simulate_pairs(Scripted([], []), PAIRS.select(slice(0)))
    assert len(done.preferences) == len(done.to_frame(WORLD.train)) == 0
    assert done.to_frame(WORLD.train).columns[-1] == "outcome"


@settings(max_examples=40)
@given(WAYS, st.integers(0, 14), st.integers(1, 6))
def test_a_budget_keeps_the_first_pairs_whole(name, calls, block):
    whole, _ = asked(name, None, 100)
    part, engine = asked(name, calls, block)
    # Titles without a history are one more prompt for each block that has new ones.
    alone = sum(text == "" for text, _ in engine.heard)
    n = min(len(PAIRS), max(0, calls - alone) // 2)
    assert pair_rows(part.pairs) == pair_rows(PAIRS)[:n]
    assert part.votes.first.tolist() == whole.votes.first.tolist()[:n]
    assert part.votes.second.tolist() == whole.votes.second.tolist()[:n]
    assert part.exhausted == (n < len(PAIRS))
    assert part.counts["pairs"] == n == len(PAIRS) - part.counts["not_asked"]
    assert part.counts["failed"] == 0
    assert len(engine.heard) <= calls
    assert not whole.exhausted


def asked(name, calls, block):
    engine = Listening()
    budgeted = BudgetedEngine(engine, Budget(calls=calls), together=2)
    return simulate_pairs(make_taste(Part(name=name), budgeted, WORLD), PAIRS, engine=budgeted, block=block), engine


many_events = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 7), st.integers(0, 9)), min_size=8, max_size=40)
TITLE = re.compile(r"\d+")


@settings(max_examples=80)
@given(many_events, st.floats(0.2, 0.8), WAYS, st.integers(1, 4), st.integers(0, 3))
def test_nothing_after_the_cut_reaches_a_prompt(rows, train, name, history, seed):
    """All numbers in a prompt are titles: the newest training items of the user, in order, and the two cold ones."""
    try:
        split = global_time_cut(dataset(rows, n_users=5), train=train, valid=0.1)
        known = ColdStart.of(split)
        pairs = draw_pairs(known, 12, seed=seed)
    except DataError:
        assume(False)
    moment = split.rule["valid_from"]
    past = defaultdict(list)
    for user, item, _ in sorted((row for row in rows if row[2] < moment), key=lambda row: row[2]):
        past[user].append(item)
    touched = {item for items in past.values() for item in items}
    engine = Listening()
    done = simulate_pairs(make_taste(Part(name=name, parameters={"history": history}), engine, known), pairs)
    prompts = [(text, answers) for text, answers in engine.heard if text]  # "" tells a title without a history
    expected = []
    for user, first, second in pair_rows(done.pairs):
        assert not {first, second} & touched
        orders = [[first, second], [second, first]] if name == "choice" else [[first], [second]]
        expected += [past[user][-history:] + order for order in orders]
    found = [
        [int(number) for number in TITLE.findall(text + ("".join(answers) if name == "likelihood" else ""))]
        for text, answers in prompts
    ]
    assert found == expected
