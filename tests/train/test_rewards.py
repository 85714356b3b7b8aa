"""Rewards: weighted sums by hand, and every way in which one can be wrong is said with the row that it is about."""

import math
import sys

import numpy as np
import pytest

from llmrec.config import make_config
from llmrec.errors import ConfigError, ModelError, TrainingError
from llmrec.protocols import Reward
from llmrec.testing import expect_error
from llmrec.train.rewards import RewardPart, Weighted, WeightedRewards, distinct_words, load_rewards


def length(prompts, completions, **columns):
    return [float(len(text)) for text in completions]


def liked(prompts, completions, *, label, **columns):
    return [1.0 if yes else -1.0 for yes in label]


def test_weights_and_columns_by_hand():
    both = WeightedRewards([Weighted("length", length, 0.5), Weighted("liked", liked, -2.0)])
    assert isinstance(both, Reward)
    assert both(["p", "q"], ["abc", ""], label=[True, False], item=[1, 2]) == [1.5 - 2.0, 0.0 + 2.0]
    parts = both.each(["p", "q"], ["abc", ""], {"label": [True, False]})
    assert {name: values.tolist() for name, values in parts.items()} == {"length": [3.0, 0.0], "liked": [1.0, -1.0]}
    assert both.total(parts).tolist() == [-0.5, 2.0]


@pytest.mark.parametrize(
    "good", [[1, 2.5], (1, 2.5), np.array([1, 2.5]), [np.float32(1), np.int64(2) + 0.5], [True, 2.5]]
)
def test_numbers_of_any_kind_are_taken(good):
    assert WeightedRewards([Weighted("r", lambda *_: good)])(["p"] * 2, ["a"] * 2) == [1.0, 2.5]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (
            [1.0, math.nan],
            ["returned nan for row 2 (answer 'second')", "expected a finite number", "0.0 where it has no"],
        ),
        ([math.inf, 1.0], ["returned inf for row 1 (answer 'first')"]),
        ([1.0, None], ["returned None for row 2"]),
        ([1.0, "2"], ["returned '2' for row 2"]),
        (np.array([math.nan, 1.0]), ["returned nan for row 1"]),
        ([1.0], ["returned 1 rewards for 2 answers", "one number for each"]),
        ([1.0] * 3, ["returned 3 rewards for 2 answers"]),
        (None, ["returned a NoneType for 2 answers", "expected a list"]),
        (1.0, ["returned a float for 2 answers"]),
        (np.ones((2, 1)), ["returned a ndarray for 2 answers"]),
    ],
)
def test_what_is_no_number_names_reward_and_row(bad, said):
    rewards = WeightedRewards([Weighted("good", length), Weighted("bad", lambda *_: bad)])
    expect_error(TrainingError, lambda: rewards(["p", "q"], ["first", "second"]), "reward 'bad'", *said)


def test_rows_are_named_as_they_are_asked_to_be():
    rewards = WeightedRewards([Weighted("bad", lambda *_: [math.nan])], lambda row: f"line {row + 7}")
    expect_error(TrainingError, lambda: rewards(["p"], ["x" * 90]), f"for line 7 (answer '{'x' * 40}…')")


def test_a_list_needs_one_and_names_differ():
    expect_error(ConfigError, lambda: WeightedRewards([]), "rewards none", "one or more")
    twice = [Weighted("length", length), Weighted("length", length)]
    expect_error(ConfigError, lambda: WeightedRewards(twice), "rewards length, length", "each once")


def part(**values):
    return make_config(RewardPart, values)


def test_functions_are_found_by_name():
    (found,) = load_rewards([part(function="llmrec.train.rewards:distinct_words", weight=0.25)])
    assert (found.name, found.reward, found.weight) == ("distinct_words", distinct_words, 0.25)


def test_a_module_of_the_user_that_lacks_another_says_so_itself(tmp_path, monkeypatch):
    (tmp_path / "half_there.py").write_text("import no_such_package\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        load_rewards([part(function="half_there:reward")])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_module:f", ["no module 'no_such_module'", "in the folder of its file"]),
        ("llmrec.no_such:f", ["no module 'llmrec.no_such'"]),
        ("llmrec.train.rewards:distinct_word", ["no function 'distinct_word'", "did you mean 'distinct_words'?"]),
        ("llmrec.train.rewards:_SHOWN", ["no function '_SHOWN'"]),
    ],
)
def test_a_name_of_nothing_is_one_line(name, said):
    expect_error(ConfigError, lambda: load_rewards([part(function=name)]), *said)


def test_a_part_is_a_function_or_a_model(tmp_path):
    expect_error(ConfigError, lambda: load_rewards([part()]), "neither function nor model", "function: module:function")
    both = part(function="a:b", model="c")
    expect_error(ConfigError, lambda: load_rewards([both]), "both function and model", "one of them")
    expect_error(ModelError, lambda: load_rewards([part(model=tmp_path)]), "expected a reward model")
    expect_error(ConfigError, lambda: part(function="nothing"), "function = 'nothing'")
    expect_error(ConfigError, lambda: part(function="a:b", weight=math.nan), "weight = nan")


def test_distinct_words_by_hand():
    texts = ["A dog, a cat and a DOG", "", "one", "!!! ?"]
    assert distinct_words([""] * 4, texts) == [4 / 7, 0.0, 1.0, 0.0]
