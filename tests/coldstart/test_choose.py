"""What is chosen on the validation cut: the best for cold items that leaves warm ones alone, by hand."""

import cold_run
import numpy as np
import pytest
from cold import cut

from llmrec.coldstart import lessons, simulations
from llmrec.coldstart.choose import Trial, best_trial
from llmrec.coldstart.compare import compare
from llmrec.coldstart.pairs import Pairs
from llmrec.coldstart.simulate import Simulated, count_votes
from llmrec.coldstart.truth import by_user
from llmrec.data import Queries, Targets
from llmrec.errors import DataError
from llmrec.llm import make
from llmrec.prompts.votes import Votes
from llmrec.testing import expect_error


def trial(cold, warm, overall=0.1, pairs=10, weight=1.0):
    return Trial(pairs, weight, cold, cold, cold, warm, warm, warm, overall, 0)


PLAIN = trial(0.0, 0.2, pairs=0, weight=0.0)


@pytest.mark.parametrize(
    ("trials", "best"),
    [
        ([trial(0.1, 0.2), trial(0.3, 0.198), trial(0.4, 0.197)], 1),  # a loss of 1 % is allowed, 1.5 % not
        ([trial(0.1, 0.3), trial(0.1, 0.2, overall=0.2)], 1),
        ([trial(0.1, 0.2), trial(0.1, 0.2)], 0),
        ([trial(0.9, 0.1), trial(0.2, 0.15), trial(0.5, 0.12)], 1),  # all do harm
        ([trial(0.0, 0.0)], 0),
    ],
)
def test_the_best_for_cold_items_that_leaves_warm_ones_alone(trials, best):
    assert best_trial(trials, PLAIN, 0.01) is trials[best]


def test_nothing_warm_to_lose():
    assert best_trial([trial(0.1, 0.0), trial(0.2, 0.0)], trial(0, 0.0), 0.01).cold == 0.2


def told(first, second, users=(0, 0, 0, 2)):
    pairs = Pairs(np.array(users), np.array([4, 5, 6, 7]), np.array([9, 9, 9, 9]))
    votes = Votes(np.array(first, float), np.array(second, float))
    return Simulated(pairs, votes, count_votes(votes))


def test_the_share_that_is_right_by_user():
    """User 0 took 4 and 9, user 2 took 7: right, wrong, half (the orders disagree); and not answered, so half."""
    targets = Targets(Queries.from_histories([(0,), (1,)], [0, 2]), np.array([[4, 9], [7, -1]]))
    found = by_user(told([1, 2, 3, np.nan], [1, 2, -3, np.nan]), targets)
    # The second pair's other item was the one taken, and the first was said: wrong.
    assert found.tolist() == pytest.approx([(1 + 0 + 0.5) / 3, 0.5])
    nothing = told([1, 2, 3, 4], [1, 2, 3, 4]).first(0)
    expect_error(DataError, lambda: by_user(nothing, targets), "no pair of known truth", "raise truth")


def test_answers_come_back_from_their_table():
    train = cut().train
    one = told([1, -2, np.nan, 4], [1, -3, 2, -4])
    back = Simulated.from_frame(one.to_frame(train), train)
    for name in ("users", "first", "second"):
        np.testing.assert_array_equal(getattr(back.pairs, name), getattr(one.pairs, name))
    np.testing.assert_array_equal(back.votes.first, one.votes.first)
    assert dict(back.counts) == {"pairs": 4, "kept": 2, "inconsistent": 1, "failed": 1}
    assert (len(back.first(2).pairs), back.first(1).counts["kept"]) == (2, 1)
    np.testing.assert_array_equal(back.first(2).preferences.chosen, [4, 9])
    other = one.to_frame(train).with_columns(first=99_999)
    expect_error(DataError, lambda: Simulated.from_frame(other, train), "users or items that 'films' does not have")
    expect_error(DataError, lambda: Simulated.from_frame(one.to_frame(train).drop("user"), train), "no column 'user'")


def test_networks_stop_on_the_validation_cut_and_run_as_long_before_the_test(tmp_path, monkeypatch):
    cold_run.save_shop(tmp_path / "shop")
    for module in (make, simulations):
        monkeypatch.setattr(module, "make_engine", lambda _: cold_run.Reader())
    fits, learn = [], lessons.learn

    def noted(part, data, lesson=None, *, seed=0, watch):
        fits.append((len(data.items), part.parameters["epochs"], watch.valid is not None))
        return learn(part, data, lesson, seed=seed, watch=watch)

    monkeypatch.setattr("llmrec.coldstart.results.learn", noted)
    network = {"name": "sasrec", "embedding_dim": 8, "epochs": 6, "patience": 2, "history": 5, "learning_rate": 0.01}
    less = {"models": [network], "controls": [], "interactions": None, "truth": 0, "pairs": [60], "weights": [1]}
    found = compare(cold_run.recipe(tmp_path, **less))
    stopped = {choice.plain.epochs for choice in found.choices.values()} | {
        choice.chosen.epochs for choice in found.choices.values()
    }
    before = [(epochs, valid) for items, epochs, valid in fits if items < cold_run.ITEMS]
    test = [(epochs, valid) for items, epochs, valid in fits if items == cold_run.ITEMS]
    assert before == [(6, True)] * 4
    assert len(test) == 4
    assert {valid for _, valid in test} == {False}
    assert {epochs for epochs, _ in test} == stopped <= set(range(1, 7))
