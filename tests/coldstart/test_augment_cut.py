"""Nothing later than the cut reaches a loss."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from made import dataset

from llmrec.classic.recall.neural.batches import Windows
from llmrec.classic.recall.neural.preferences import PREFIX, BatchesWithPreferences
from llmrec.coldstart.augment import fit_augmented
from llmrec.coldstart.controls import RandomTaste
from llmrec.coldstart.items import ColdStart
from llmrec.coldstart.pairs import draw_pairs
from llmrec.coldstart.simulate import simulate_pairs
from llmrec.config import Part
from llmrec.data.preferences import Preferences
from llmrec.data_prep.split import global_time_cut
from llmrec.errors import DataError

events = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 7), st.integers(0, 9)), min_size=8, max_size=40)
SMALL = {
    "bpr": {"factors": 2, "epochs": 2},
    "dssm": {"embedding_dim": 2, "epochs": 1, "hidden": [2]},
    "sasrec": {"embedding_dim": 2, "epochs": 1, "history": 3, "blocks": 1, "heads": 1},
}


def simulated(rows, train: float) -> tuple[ColdStart, Preferences, int]:
    """Return what is known at the cut, preferences of a coin, and the moment; gives the example up where none are."""
    try:
        split = global_time_cut(dataset(rows, n_users=5), train=train, valid=0.1)
        known = ColdStart.of(split)
        return known, simulate_pairs(RandomTaste(), draw_pairs(known, 12)).preferences, split.rule["valid_from"]
    except DataError:
        assume(False)
        raise


@settings(max_examples=60)
@given(events, st.floats(0.2, 0.8), st.integers(1, 4))
def test_users_are_asked_with_what_they_had_before_the_cut_and_targets_lie_before_it(rows, train, history):
    known, pairs, moment = simulated(rows, train)
    past = defaultdict(list)
    for user, item, _ in sorted((row for row in rows if row[2] < moment), key=lambda row: row[2]):
        past[user].append(item)
    asked = defaultdict(list)
    for user, *pair in zip(pairs.users.tolist(), pairs.chosen.tolist(), pairs.rejected.tolist(), strict=True):
        asked[user].append(pair)
    expected = sorted((past[user][-history:], sorted(each)) for user, each in asked.items())
    try:
        windows = Windows(known.train, history, 4)
    except DataError:
        assume(False)
    found = []
    for batch in BatchesWithPreferences(windows, known.train, pairs, history).epoch(np.random.default_rng(0)):
        assert set(batch["target"][batch["target"] >= 0].tolist()) <= {
            item for items in past.values() for item in items
        }
        for prefix in ("", PREFIX):
            assert (batch[prefix + "times"][batch[prefix + "history"] >= 0] < moment).all()
        for items, chosen, rejected in zip(
            *(batch[PREFIX + name] for name in ("history", "chosen", "rejected")), strict=True
        ):
            real = [pair for pair in np.column_stack([chosen, rejected]).tolist() if pair[0] >= 0]
            found.append((items[items >= 0].tolist(), sorted(real)))
    assert sorted(found) == expected


@pytest.mark.parametrize("name", SMALL)
@settings(max_examples=10)
@given(rows=events, train=st.floats(0.3, 0.8), shift=st.integers(1, 4))
def test_other_events_after_the_cut_give_the_same_model(name, rows, train, shift):
    known, pairs, moment = simulated(rows, train)
    others = [
        (user, item, time) if time < moment else ((user + shift) % 5, 7 - item, time) for user, item, time in rows
    ]
    there, same, then = simulated(others, train)
    assert then == moment
    part, models = Part(name=name, parameters=SMALL[name]), []
    for world, learned in ((known, pairs), (there, same)):
        try:
            models.append(fit_augmented(part, world.train, learned, 1.0))
        except DataError:  # nobody has two events to learn what comes next from
            assume(False)
    assert models[0].item_vectors.tobytes() == models[1].item_vectors.tobytes()
