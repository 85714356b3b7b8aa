"""The funnel: who is asked in which order, what is kept, and what a budget leaves."""

import numpy as np
import polars as pl
import pytest
from cold import Listening, numbers, world
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.coldstart.asking import make_taste
from llmrec.coldstart.budget import Budget, BudgetedEngine
from llmrec.coldstart.funnel import Funnelled, SimulatedInteractions, in_bands, simulate_interactions
from llmrec.config import Part
from llmrec.errors import DataError
from llmrec.testing import expect_error

WORLD = world()
NEAR = np.array([[0, 2], [1, -1], [-1, -1], [2, 0], [0, -1]])  # of the cold items 4, 5, 6, 7, 9
ASKED = [(0, 4), (0, 7), (0, 9), (1, 5), (2, 4), (2, 7)]


def rows(found):
    return list(zip(found.users.tolist(), found.items.tolist(), strict=True))


def simulate(name="yes-no", budget=None, block=100):
    engine = Listening()
    budgeted = BudgetedEngine(engine, budget or Budget())
    taste = make_taste(Part(name=name), budgeted, WORLD)
    return simulate_interactions(taste, WORLD, NEAR, engine=budgeted, block=block), engine, taste


@pytest.mark.parametrize("name", ["yes-no", "likelihood"])
def test_each_likely_user_is_asked_once(name):
    done, engine, taste = simulate(name)
    assert rows(done) == ASKED
    np.testing.assert_array_equal(done.odds, taste.odds(done.users, done.items))
    assert done.counts["asked"] == 6
    assert done.share == 6 / (5 * 3)
    assert not done.exhausted
    assert len([text for text, _ in engine.heard if text]) == 6 * 2
    assert done.to_frame(WORLD.train).row(1) == ("u0", 1007, done.odds[1])


def test_the_nearest_of_all_items_come_first_and_a_user_in_one_go():
    near = np.arange(80).reshape(2, 40) % 50
    users, items = in_bands(numbers(6, 9), near)
    assert len(users) == 80
    first = set(zip(users[:32].tolist(), items[:32].tolist(), strict=True))
    assert first == {(user, 6) for user in range(16)} | {(user % 50, 9) for user in range(40, 56)}
    assert np.all(np.diff(users[:32]) >= 0)
    assert np.all(np.diff(users[32:64]) >= 0)
    assert set(zip(users.tolist(), items.tolist(), strict=True)) == {(u, 6) for u in range(40)} | {
        (user % 50, 9) for user in range(40, 80)
    }


@settings(max_examples=30)
@given(st.integers(0, 9), st.integers(1, 4), st.sampled_from(["yes-no", "likelihood"]))
def test_a_budget_keeps_the_first_questions(calls, block, name):
    whole, *_ = simulate(name)
    part, engine, _ = simulate(name, Budget(calls=calls), block)
    alone = sum(text == "" for text, _ in engine.heard)
    n = min(6, max(0, calls - alone))
    assert rows(part) == ASKED[:n]
    assert part.odds.tolist() == whole.odds.tolist()[:n]
    assert part.exhausted == (n < 6)
    assert part.counts["not_asked"] == 6 - n
    assert len(engine.heard) <= calls


ODDS = Funnelled(numbers(3, 1, 2, 5, 4, 0), numbers(7, 7, 7, 4, 7, 4), np.array([0.5, 2, -1, np.nan, 2, -3]), {}, 1.0)


@pytest.mark.parametrize(
    ("keep", "threshold", "expected"),
    [
        (None, None, [(0, 4), (1, 7), (4, 7), (3, 7), (2, 7)]),
        (2, None, [(0, 4), (1, 7), (4, 7)]),
        (None, 0.5, [(1, 7), (4, 7)]),
        (1, -1, [(1, 7)]),
        (3, -5, [(0, 4), (1, 7), (4, 7), (3, 7)]),
        (1, 9, []),
    ],
)
def test_what_is_kept(keep, threshold, expected):
    assert rows(ODDS.interactions(keep, threshold)) == expected


def test_interactions_come_back_from_a_file(tmp_path):
    kept = ODDS.interactions()
    back = SimulatedInteractions.load(kept.save(tmp_path / "kept.parquet"))
    assert rows(back) == rows(kept)
    assert back.odds.tolist() == kept.odds.tolist() == [-3, 2, 2, 0.5, -1]
    assert len(SimulatedInteractions.load(ODDS.interactions(1, 9).save(tmp_path / "none.parquet"))) == 0


def test_interactions_as_events():
    kept = SimulatedInteractions(numbers(1, 0, 2), numbers(7, 4, 7), np.array([0, np.log(3), -1000]))
    events = kept.events(99)
    assert events.times.tolist() == [99] * 3
    assert events.values[:2].tolist() == pytest.approx([0.5, 0.75])
    assert 0 < events.values[2] < 1e-30
    assert len(WORLD.train.with_interactions(events).interactions) == 3


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"user": [1]}, ("no column 'item'",)),
        ({"user": [1], "item": ["a"], "odds": [0.5]}, ("String", "Int32 user and item")),
        ({"user": pl.Series([1, None], dtype=pl.Int32), "item": pl.Series([1, 2], dtype=pl.Int32),
          "odds": pl.Series([1, 2], dtype=pl.Float32)}, ("nulls", "SimulatedInteractions.save")),
    ],
)  # fmt: skip
def test_a_file_of_something_else(tmp_path, columns, words):
    pl.DataFrame(columns).write_parquet(tmp_path / "x.parquet")
    expect_error(DataError, lambda: SimulatedInteractions.load(tmp_path / "x.parquet"), *words)
    expect_error(DataError, lambda: SimulatedInteractions.load(tmp_path / "y.parquet"), "no file")


def test_wrong_interactions_are_refused():
    expect_error(DataError, lambda: SimulatedInteractions(numbers(1), numbers(1, 2), np.ones(1)), "(1,), (2,), (1,)")
    for user, item, odds in ((-1, 0, 1.0), (0, -1, 1.0), (0, 0, np.nan)):
        expect_error(
            DataError,
            lambda one=user, two=item, three=odds: SimulatedInteractions(numbers(one), numbers(two), np.array([three])),
            f"interaction 0 of user {user} and item {item}",
            "finite odds",
        )
