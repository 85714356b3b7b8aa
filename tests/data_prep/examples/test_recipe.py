"""Recipes do what the functions do, and what cannot be made is one line."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from asked import described, jobs, news

from llmrec.data import Queries, Targets
from llmrec.data_prep.examples import (
    ExamplesRecipe,
    cv_to_posting,
    describe_item,
    listwise,
    make_examples,
    next_item,
    preference_pairs,
    yes_no_from_impressions,
)
from llmrec.data_prep.examples.recipe import KINDS
from llmrec.data_prep.split import leave_last_out
from llmrec.errors import ConfigError, DataError, UnknownNameError
from llmrec.testing import expect_error, toy


def count(texts):
    return [len(text) for text in texts]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_recipe_does_what_its_function_does(kind):
    rated = news().interactions
    values = replace(rated, values=np.where(np.arange(16) % 3, 5, 1))
    user_table = pl.DataFrame({"text": [f"CV {user}" for user in range(5)]})
    data = replace(news(), interactions=values, item_table=described().item_table, user_table=user_table)
    options = {"window": 1} if kind == "yes-no-ratings" else {}
    made = make_examples(data, ExamplesRecipe(kind=kind, last=2, max_tokens=2000, **options), count)
    assert made.frame.equals(KINDS[kind](data, last=2, **options).frame)
    for prompt in made.frame["prompt"]:
        assert not prompt.endswith(" ")
    for row in made.frame.to_dicts():
        answer = row.get("completion") or row["chosen"]
        assert answer[0] in " \n" or row["prompt"].endswith("\n")


def test_a_part_of_a_split_is_taken_without_its_future():
    split = leave_last_out(toy())
    train = make_examples(split, ExamplesRecipe(kind="next-item")).frame
    assert train.select("user", "prompt", "completion").rows() == [("u0", "Alien\n", "Brazil\n")]
    test = make_examples(split, ExamplesRecipe(kind="next-item", part="test")).frame
    assert test.equals(next_item(split.train, targets=split.test).frame)


def test_a_recipe_that_does_not_fit_is_one_line():
    split = leave_last_out(toy())

    def make(data, **options):
        return lambda: make_examples(data, ExamplesRecipe(**options))

    expect_error(ConfigError, make(toy(), kind="next-item", part="test"), "part = 'test'", "split the data set first")
    expect_error(DataError, make(split, kind="yes-no-ratings", part="test"), "values from 1 to 1 with like_above = 3")
    expect_error(ConfigError, make(split, kind="yes-no-impressions", part="test"), "without shown items")
    expect_error(ConfigError, make(toy(), kind="next-item", rejected=2), "rejected = 2", "history, last, like_above")
    expect_error(ConfigError, make(toy(), kind="next-item", max_tokens=9), "max_tokens = 9 without a tokenizer")


def test_what_cannot_be_made_is_one_line():
    data = toy()
    expect_error(DataError, lambda: yes_no_from_impressions(data), "'toy' has no impressions")
    expect_error(DataError, lambda: describe_item(data), "no column 'description'")
    lists = replace(data, item_table=data.item_table.with_columns(description=pl.Series([["a"]] * 7)))
    expect_error(DataError, lambda: describe_item(lists), "type List(String)", "join them")
    expect_error(DataError, lambda: cv_to_posting(described()), "'toy' has no user table")
    expect_error(DataError, lambda: cv_to_posting(jobs(), cv_column="cv"), "no column 'cv'")
    expect_error(ConfigError, lambda: next_item(data, history=0), "history = 0")
    expect_error(ConfigError, lambda: next_item(data, last=0), "last = 0")
    expect_error(ConfigError, lambda: next_item(data, titles=0), "titles = 0")
    expect_error(ConfigError, lambda: next_item(data, titles=2, targets=leave_last_out(data).test), "one item")
    sentence = "likelihood-sentence"
    expect_error(ConfigError, lambda: next_item(data, titles=2, template=sentence), "ends its line", "likelihood-list")
    expect_error(UnknownNameError, lambda: next_item(data, ties="strct"), "did you mean 'strict'?")
    expect_error(ConfigError, lambda: next_item(data, template="llmrank-recency"), "answer 'continuation'")
    expect_error(ConfigError, lambda: describe_item(described(), text_limit=0), "text_limit = 0")
    expect_error(ConfigError, lambda: listwise(data, candidates=1), "candidates = 1")
    expect_error(ConfigError, lambda: listwise(data, template="likelihood-list"), "the answer 'continuation'")
    expect_error(UnknownNameError, lambda: listwise(data, answer="choise"), "did you mean 'choice'?")
    expect_error(UnknownNameError, lambda: listwise(data, negatives="randm"), "did you mean 'random'?")
    expect_error(UnknownNameError, lambda: preference_pairs(data, task="next"), "did you mean 'next-item'?")
    expect_error(UnknownNameError, lambda: preference_pairs(data, negatives="no"), "unknown rule of negatives 'no'")
    expect_error(UnknownNameError, lambda: yes_no_from_impressions(news(), negatives="no"), "'no'")
    expect_error(ConfigError, lambda: preference_pairs(data, rejected=0), "rejected = 0")
    expect_error(ConfigError, lambda: preference_pairs(data, negatives="disliked"), "without like_above")
    expect_error(ConfigError, lambda: yes_no_from_impressions(news(), per_click=0), "per_click = 0")
    nobody = Targets(Queries.from_histories([[0]]), np.empty((1, 0)))
    expect_error(DataError, lambda: next_item(data, targets=nobody), "targets without relevant items")
    unknown = Targets(Queries.from_histories([[0]]), [[1]])
    expect_error(ConfigError, lambda: listwise(data, targets=unknown, negatives="shown"), "without shown items")
    expect_error(ConfigError, lambda: cv_to_posting(jobs(), targets=unknown, mismatches=True), "mismatches of targets")
