"""What a recipe stands for: variants by name, grids multiplied, nothing twice."""

import pytest

from llmrec.config import Part, make_config
from llmrec.errors import ConfigError, UnknownNameError
from llmrec.rank.compare.recipe import CompareRecipe, label, list_variants, resolved, setting, with_setting
from llmrec.testing import expect_error


def variants(**values):
    paths = {"dataset": "a", "candidates": "b", "out": "c"}
    return list_variants(make_config(CompareRecipe, paths | values))


def test_a_grid_is_multiplied_and_named_by_what_differs():
    found = variants(
        grid={
            "templates": ["likelihood-list", "likelihood-sentence"],
            "strategies": ["likelihood", {"name": "likelihood", "score": "mean"}],
            "engines": ["fake"],
            "histories": [5, 20],
        }
    )
    assert [each.name for each in found] == [
        "likelihood-list, likelihood, history 5",
        "likelihood-sentence, likelihood, history 5",
        "likelihood-list, likelihood, history 20",
        "likelihood-sentence, likelihood, history 20",
        "likelihood-list, likelihood score=mean, history 5",
        "likelihood-sentence, likelihood score=mean, history 5",
        "likelihood-list, likelihood score=mean, history 20",
        "likelihood-sentence, likelihood score=mean, history 20",
    ]
    assert found[5].strategy == Part(
        name="likelihood", parameters={"score": "mean", "template": "likelihood-sentence", "history": 5}
    )
    assert {each.engine.name for each in found} == {"fake"}


def test_lists_that_are_not_given_leave_the_strategies_defaults():
    (only,) = variants(grid={"strategies": ["one-token"], "engines": ["fake"]})
    assert only.name == "one-token"
    assert only.strategy.parameters == {}
    assert setting(only.strategy, "template") == "choose-label"
    assert setting(only.strategy, "history") == 20


def test_named_variants_come_before_the_grid():
    named = {"name": "mine", "strategy": "pointwise", "engine": "fake"}
    found = variants(variants=[named, {"strategy": "setwise", "engine": "fake"}], grid={"engines": ["fake"]})
    assert [each.name for each in found] == ["mine", "setwise", "likelihood"]


def test_a_strategy_around_another_hands_settings_in():
    part = with_setting(Part(name="window", parameters={"size": 10, "step": 5}), "history", 3)
    assert part.parameters["size"] == 10
    assert setting(part, "history") == 3
    assert setting(part, "template") == "choose-label"
    deeper = Part(name="window", parameters={"inner": {"name": "bootstrap", "inner": "pointwise"}})
    assert setting(deeper, "template") == "pointwise-yes-no"
    assert setting(with_setting(deeper, "template", "likelihood-list"), "template") == "likelihood-list"
    assert label(deeper) == "window (bootstrap (pointwise))"


def test_equal_settings_are_the_same_experiment_however_they_are_written():
    short, long = variants(
        variants=[
            {"name": "a", "strategy": "likelihood", "engine": "fake"},
            {"name": "b", "strategy": {"name": "likelihood", "history": 19}, "engine": "fake"},
        ]
    )
    assert resolved(short) != resolved(long)
    same = {"name": "b", "strategy": {"name": "likelihood", "history": 20}, "engine": {"name": "fake"}}
    first = {"name": "a", "strategy": "likelihood", "engine": "fake"}
    expect_error(ConfigError, lambda: variants(variants=[first, same]), "'b' is 'a' again")


FAKE = {"engines": ["fake"]}
WRONG = {
    "nothing": ({}, ConfigError, ["no variant", "a grid"]),
    "an empty list": ({"grid": {"strategies": []}}, ConfigError, ["grid.strategies = []", "at least 1"]),
    "a template twice": ({"grid": FAKE | {"templates": ["likelihood-list"] * 2}}, ConfigError, ["again", "drop one"]),
    "a default given": ({"grid": FAKE | {"histories": [20, 20]}}, ConfigError, ["history 20", "again"]),
    "one name twice": (
        {"variants": [{"name": "a", "strategy": name, "engine": "fake"} for name in ("pointwise", "setwise")]},
        ConfigError,
        ["'a' is 'a' again"],
    ),
    "the name of what came": ({"variants": [{"name": "incoming order", "engine": "fake"}]}, ConfigError, ["again"]),
    "an unknown strategy": ({"grid": FAKE | {"strategies": ["listwize"]}}, UnknownNameError, ["'listwise'"]),
    "an unknown engine": ({"grid": {"engines": ["fakes"]}}, UnknownNameError, ["unknown engine", "'fake'"]),
    "an unknown parameter": (
        {"grid": FAKE | {"strategies": [{"name": "likelihood", "scor": 1}]}},
        ConfigError,
        ["'scor'", "did you mean 'score'?"],
    ),
    "an unknown engine parameter": ({"grid": {"engines": [{"name": "fake", "dely": 1}]}}, ConfigError, ["'delay'"]),
    "an unknown key": ({"grid": {"template": ["likelihood-list"]}}, ConfigError, ["grid.template"]),
    "a history below nothing": ({"grid": FAKE | {"histories": [-1]}}, ConfigError, ["history = -1"]),
    "an inner parameter": (
        {"grid": FAKE | {"strategies": [{"name": "window", "inner": {"name": "one-token", "siz": 3}}]}},
        ConfigError,
        ["'siz'", "did you mean 'size'?"],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_recipe_is_one_line(name):
    values, kind, words = WRONG[name]
    expect_error(kind, lambda: variants(**values), *words)
