"""Likes in batches: solved examples from training ratings, ``llmrec rank``, and the commands that look at prompts."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from liking import SYSTEM, Listening, make, one_row, rated, ratings, wording
from polars.testing import assert_frame_equal

from llmrec.config import make_config
from llmrec.data import Candidates, Split
from llmrec.data_prep.prepare import save_prepared
from llmrec.data_prep.recipes import MovieLensRecipe
from llmrec.data_prep.split import leave_last_out
from llmrec.errors import DataError
from llmrec.llm.fake import FakeEngine
from llmrec.prompts.examples import draw_examples
from llmrec.rank.batch import RankRecipe, rank_batch
from llmrec.rank.compare.experiment import compare
from llmrec.rank.compare.recipe import CompareRecipe
from llmrec.rank.compare.render import RenderRecipe, render_prompts
from llmrec.rank.compare.trial import serving_strategies
from llmrec.rank.shards import made_from
from llmrec.testing import expect_error

TITLES = [f"F{number}" for number in range(10)]


def few_shot_set():
    """Six users: the last event of 0, 1, 2 was liked, that of 3 and 4 was not, and 5 has only one."""
    last = {0: 5.0, 1: 4.0, 2: 3.5, 3: 3.0, 4: 1.0}
    rows = [(user, (user + place) % 10, (1.0, 5.0, 3.0)[place]) for user in last for place in range(3)]
    return ratings([*rows, (5, 0, 5.0), *((user, user + 3, value) for user, value in last.items())])


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_solved_examples_are_ratings_half_of_them_likes(n):
    """Each shows two ratings (5 liked, 3 not) behind which its user's last one was what the answer says."""
    engine = Listening()
    ranker = make(engine, TITLES, few_shot_set(), examples=n, history=2, seed=4)
    ranker.rank(rated([(0,)], [(5,)]), one_row([1]))
    *shown, asked = engine.heard[0].user.split("\n\n")
    assert asked == wording('"F0"', "", "F1")
    solved = {
        user: wording(f'"F{user + 1}"', f'"F{user + 2}"', f"F{user + 3}") + (" Yes." if user < 3 else " No.")
        for user in range(5)
    }
    users = [user for text in shown for user, whole in solved.items() if whole == text]
    assert len(users) == len(set(users)) == len(shown) == n
    assert sum(user < 3 for user in users) == n - n // 2
    assert engine.heard[0].system == SYSTEM


def test_solved_examples_stand_in_random_order_and_follow_the_seed():
    options = {"history": 9, "candidates": 2, "like_above": 3.0}
    orders = {seed: [each.yes for each in draw_examples(few_shot_set(), 4, seed=seed, **options)] for seed in range(20)}
    assert {tuple(order) for order in orders.values()} > {(True, True, False, False), (False, True, False, True)}
    assert orders[7] == [each.yes for each in draw_examples(few_shot_set(), 4, seed=7, **options)]


def test_too_few_users_to_draw_from():
    data = few_shot_set()
    expect_error(
        DataError,
        lambda: make(FakeEngine(), train=data, examples=6),
        "2 training users with two events, the last one not liked",
        "3 examples",
        "lower examples",
    )
    expect_error(
        DataError,
        lambda: make(FakeEngine(), train=data, examples=6, like_above=4.5),
        "1 training users with two events, the last one liked",
    )


@pytest.fixture
def folder(tmp_path):
    """Eight users' ratings, prepared, with four candidates for each test user."""
    rows = [
        (user, (user * 3 + place) % 10, float(1 + (user + place * 2) % 5)) for place in range(6) for user in range(8)
    ]
    data = ratings(rows, TITLES)
    split = leave_last_out(data)
    save_prepared(data, split, MovieLensRecipe(out=tmp_path / "made"))
    some_candidates().to_frame(data, split.test.queries).write_parquet(tmp_path / "candidates.parquet")
    return tmp_path


def some_candidates():
    return Candidates((np.arange(8)[:, None] + np.arange(4)) % 10, np.tile([4.0, 3, 2, 1], (8, 1)))


def recipe(folder, kind=RankRecipe, **values):
    paths = {"candidates": folder / "candidates.parquet", "dataset": folder / "made", "out": folder / "out.parquet"}
    return make_config(kind, {**paths, "cache": folder / "answers.sqlite", **values})


def pointwise(**more):
    return {"name": "pointwise", "template": "tallrec-movie", **more}


@pytest.mark.parametrize("strategy", [pointwise(history=3), pointwise(examples=2)])
def test_a_batch_in_blocks_is_ranked_as_in_memory(folder, strategy):
    rank_batch(recipe(folder, strategy=strategy, engine="fake", block=3))
    split = Split.load(folder / "made" / "split")
    assert split.test.queries.values.max() > 3 >= split.test.queries.values[split.test.queries.history >= 0].min()
    ranker = make(FakeEngine(), TITLES, split.train, **strategy)
    expected = ranker.rank(split.test.queries, some_candidates())
    assert_frame_equal(pl.read_parquet(folder / "out.parquet"), expected.to_frame(split.train, split.test.queries))


@pytest.mark.parametrize(
    "strategy",
    [
        {"name": "window", "size": 3, "step": 2, "inner": pointwise()},
        {"name": "bootstrap", "rounds": 2, "inner": pointwise()},
    ],
)
def test_strategies_that_ask_through_another_hand_ratings_on(folder, strategy):
    assert rank_batch(recipe(folder, strategy=strategy, engine="fake")).queries == 8


def test_a_shard_made_from_other_ratings_is_another_one():
    """Solved examples depend on the values of training events: the same events rated otherwise are another data set."""
    data = few_shot_set()
    events = replace(data.interactions, values=data.interactions.values + 1)
    strategy = make_config(
        RankRecipe, {"candidates": "c", "dataset": "d", "out": "o", "strategy": pointwise()}
    ).strategy
    assert made_from(strategy, "fake", 4, data) != made_from(strategy, "fake", 4, data.with_interactions(events))


def test_looking_at_prompts_and_comparing_them(folder):
    assert serving_strategies("tallrec-movie") == serving_strategies("tallrec-item") == ["pointwise"]
    look = {"template": "tallrec-item", "dataset": folder / "made", "part": "test", "user": "0", "cache": folder / "a"}
    found = render_prompts(make_config(RenderRecipe, {**look, "candidates": folder / "candidates.parquet"}))
    assert found.strategy == "pointwise"
    # User 0 gave films 0 to 4 the ratings 1, 3, 5, 2 and 4.
    assert [each.prompt.user for each in found.exchanges] == [
        wording('"F2", "F4"', '"F0", "F1", "F3"', f"F{item}") for item in range(4)
    ]
    grid = {
        "templates": ["tallrec-item", "pointwise-yes-no"],
        "strategies": ["pointwise", "likelihood"],
        "engines": ["fake"],
    }
    made = compare(recipe(folder, CompareRecipe, out=folder / "compared", part="test", grid=grid))
    errors = {each.variant.name: each.error for each in made.outcomes}
    ran = {name for name, error in errors.items() if not error}
    assert ran == {"tallrec-item, pointwise", "pointwise-yes-no, pointwise"}
    assert "asks what was liked, for strategy 'likelihood'" in errors["tallrec-item, likelihood"]
