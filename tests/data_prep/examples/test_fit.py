"""Histories are cut at their old end until prompt and answer fit, no further, and answers never."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from llmrec.data import Dataset, Interactions, Vocabulary
from llmrec.data_prep.examples import (
    Budget,
    cv_to_posting,
    describe_item,
    listwise,
    next_item,
    preference_pairs,
    yes_no_from_ratings,
)
from llmrec.data_prep.examples.wording import full_text
from llmrec.errors import ConfigError, DataError
from llmrec.llm.tokens import PromptTokenizer
from llmrec.prompts.template import load_template
from llmrec.testing import expect_error

WORDS = ["Alien", "The Usual Suspects", "Heat", "Amélie Poulain", "Dune Part Two", "Zatoichi"]


def byte_pairs(size=300):
    """A small BPE tokenizer: the length of a text is not the sum of its pieces' lengths."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False)
    tokenizer.train_from_iterator([*WORDS, "The user has chosen, oldest first: \n- Heat\n- Alien"] * 3, trainer)
    return tokenizer


TOKENIZER = byte_pairs()


def count(texts):
    return [len(encoding.ids) for encoding in TOKENIZER.encode_batch(list(texts), add_special_tokens=False)]


def made(picks, ratings):
    """One user's events: titles of WORDS with numbers behind them, so that they differ; six more are never seen."""
    titles = [f"{WORDS[pick]} {place}" for place, pick in enumerate([*picks, *range(6)])]
    return Dataset(
        name="made",
        interactions=Interactions.sort(np.zeros(len(picks)), range(len(picks)), range(len(picks)), ratings),
        users=Vocabulary(["u"]),
        items=Vocabulary(range(len(titles))),
        item_table=pl.DataFrame({"title": titles, "description": [f"About {title}." for title in titles]}),
        user_table=pl.DataFrame({"text": [" ".join(titles[: len(picks)])]}),
    )


def lengths(made_examples):
    frame = made_examples.frame
    if "chosen" in frame.columns:
        rejected = frame["rejected"].to_list()
        answers = [[chosen, *others] for chosen, others in zip(frame["chosen"], rejected, strict=True)]
    else:
        answers = [[answer] for answer in frame["completion"]]
    return [max(count([prompt + one for one in row])) for prompt, row in zip(frame["prompt"], answers, strict=True)]


MAKERS = {
    "yes-no": lambda data, **rest: yes_no_from_ratings(data, window=6, **rest),
    "next": next_item,
    "listwise": lambda data, **rest: listwise(data, candidates=3, history=8, **rest),
    "describe": lambda data, **rest: describe_item(data, history=9, **rest),
    "pairs": lambda data, **rest: preference_pairs(data, rejected=3, **rest),
    "cv": cv_to_posting,
}
picks = st.lists(st.integers(0, len(WORDS) - 1), min_size=8, max_size=14)


@settings(deadline=None)
@given(picks, st.sampled_from(sorted(MAKERS)), st.integers(10, 260))
def test_prompt_and_answer_always_fit_and_answers_are_whole(chosen, kind, max_tokens):
    data = made(chosen, [1 + 4 * (place % 2) for place in range(len(chosen))])
    whole = MAKERS[kind](data)
    try:
        cut = MAKERS[kind](data, budget=Budget(max_tokens, count))
    except DataError as error:
        assert "no example is left" in str(error)  # noqa: PT017 - the other errors must fail the test
        return
    assert max(lengths(cut)) <= max_tokens
    answer = "chosen" if "chosen" in whole.frame.columns else "completion"
    of_item = dict(whole.frame.select("item", answer).iter_rows())
    assert [of_item[item] for item in cut.frame["item"]] == cut.frame[answer].to_list()
    # Rows that fitted as they were are untouched.
    prompts = dict(whole.frame.select("item", "prompt").iter_rows())
    fitted = {item for item, n in zip(whole.frame["item"], lengths(whole), strict=True) if n <= max_tokens}
    same = [prompts[item] == prompt for item, prompt in cut.frame.select("item", "prompt").iter_rows()]
    assert {item for item, unchanged in zip(cut.frame["item"], same, strict=True) if unchanged} == fitted
    assert cut.counts["truncated"] == same.count(False)
    assert len(cut) + cut.counts["too_long"] + cut.counts["no_prompt"] == len(whole)


@settings(max_examples=30, deadline=None)
@given(picks, st.integers(8, 120))
def test_the_newest_titles_stay_and_as_many_as_fit(chosen, max_tokens):
    data = made(chosen, np.ones(len(chosen)))
    titles, template = data.titles(), load_template("describe-item")
    expected = {}
    for target in range(1, len(titles)):
        answer = f" About {titles[target]}."
        for first in range(target + 1):
            prompt = full_text(template.render(history=titles[first:target]))
            if count([prompt + answer])[0] <= max_tokens:
                expected[target] = prompt
                break
    try:
        cut = describe_item(data, budget=Budget(max_tokens, count))
    except DataError:
        assert not expected
        return
    assert dict(cut.frame.select("item", "prompt").iter_rows()) == expected


def test_a_cv_loses_its_last_words_and_one_must_stay():
    data = made([0, 2, 0, 2, 0, 2, 0, 2], np.ones(8))
    cv = [word for place in range(8) for word in (("Alien", "Heat")[place % 2], str(place))]
    sizes = [
        count([full_text(load_template("cv-posting").render(document=" ".join(cv[:n]))) + "\nHeat 7\nAbout Heat 7."])[0]
        for n in range(17)
    ]
    for n in (1, 5, 15, 16):
        cut = cv_to_posting(data, budget=Budget(sizes[n], count), last=1).frame["prompt"][0]
        assert cut.endswith(f"CV:\n{' '.join(cv[:n])}\n\nJob posting:")
    expect_error(
        DataError, lambda: cv_to_posting(data, budget=Budget(sizes[0], count), last=1), "1 without a history or text"
    )
    expect_error(DataError, lambda: cv_to_posting(data, budget=Budget(sizes[0] - 1, count), last=1), "1 too long")


def test_a_model_s_own_tokenizer_counts(tiny_model):
    tokenizer = PromptTokenizer(str(tiny_model))
    data = made([0, 1, 2, 0, 1, 2, 0, 1], np.ones(8))
    cut = next_item(data, budget=Budget(40, tokenizer.count))
    texts = [prompt + answer for prompt, answer in cut.frame.select("prompt", "completion").iter_rows()]
    assert max(len(text) for text in texts) <= 40, "a token is a character here"
    assert cut.frame["prompt"][-1] == "Heat 5\nAlien 6\n"
    assert cut.counts["truncated"] == 5


def test_few_rounds_of_counting_are_needed():
    """A thousand titles before the target: the guess from their own lengths saves the halving."""
    calls = []

    def counting(texts):
        calls.append(len(texts))
        return count(texts)

    data = made([0] * 1001, np.ones(1001))
    next_item(data, history=1000, last=1, budget=Budget(100, counting))
    assert len(calls) <= 6, calls


def test_a_budget_of_nothing_is_one_line():
    expect_error(ConfigError, lambda: Budget(0, count), "max_tokens = 0")


def test_without_a_budget_nothing_is_cut():
    data = made([0] * 12, np.ones(12))
    assert next_item(data, last=1).counts["truncated"] == 0
    assert next_item(data, last=1).frame["prompt"][0].count("\n") == 11


@pytest.mark.parametrize("block", [1, 3])
def test_blocks_change_nothing(monkeypatch, block):
    data = made([0, 1, 2, 3, 4, 5, 0, 1], np.ones(8))
    whole = next_item(data, budget=Budget(25, count))
    monkeypatch.setattr("llmrec.data_prep.examples.wording._BLOCK", block)
    split = next_item(data, budget=Budget(25, count))
    assert split.frame.equals(whole.frame)
    assert split.counts == whole.counts
