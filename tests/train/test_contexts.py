"""Prompts that are asked: each once, none empty, none without room for an answer, cut where they can be."""

import json

import numpy as np
import polars as pl
import pytest

from llmrec.config import make_config
from llmrec.data import Dataset, Interactions, Vocabulary
from llmrec.data_prep.split import leave_last_out
from llmrec.errors import ConfigError, DataError
from llmrec.testing import expect_error
from llmrec.train.contexts import load_contexts
from llmrec.train.recipe import Source


@pytest.fixture
def load(tokens, tmp_path):
    def make(asks, *, max_length=40, room=10, seed=0, **more):
        path = tmp_path / "asks.jsonl"
        path.write_text(asks if isinstance(asks, str) else "\n".join(map(json.dumps, asks)))
        source = make_config(Source, {"file": path, **more})
        return load_contexts(source, tokens, max_length=max_length, room=room, seed=seed)

    return make


def test_prompts_are_read_with_what_stands_beside_them(load, tokens):
    found = load([{"prompt": "Ann:", "label": True}, {"prompt": "Bob:\n", "label": False, "completion": " yes"}])
    assert [tokens.tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") for ids in found.prompts] == [
        "Ann:",
        "Bob:\n",
    ]
    assert found.answers == [[], []]
    assert found.frame["label"].to_list() == [True, False]
    assert "completion" not in found.frame.columns
    assert found.name([1]) == "2 of asks.jsonl"
    assert found.counts.total() == 0


def test_what_cannot_be_asked_is_left_out_and_counted(load):
    rows = [{"prompt": text} for text in ("a", "", " \n ", "b" * 30, "a", "c" * 29, "c")]
    found = load(rows)  # 30 tokens of a prompt with the one that begins it
    assert found.frame["prompt"].to_list() == ["a", "c" * 29, "c"]
    assert found.counts == {"empty": 2, "longer_than_max_length": 1, "repeated": 1}
    assert found.name([1]) == "6 of asks.jsonl"


def test_a_prompt_longer_than_the_models_context_is_left_out(load):
    found = load([{"prompt": "x" * 600}, {"prompt": "y" * 500}], max_length=100_000, room=11)
    assert found.frame["prompt"].to_list() == ["y" * 500]
    assert found.counts == {"longer_than_max_length": 1}


def test_only_some_are_drawn_from_the_seed_in_the_order_of_the_file(load):
    rows = [{"prompt": f"{number}"} for number in range(50)]
    drawn = [load(rows, rows=10, seed=seed).frame["prompt"].to_list() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(len(set(each)) == 10 for each in drawn)
    assert all(each == sorted(each, key=int) for each in drawn)
    assert load([*rows, {"prompt": ""}] * 2, rows=50).frame["prompt"].n_unique() == 50


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("", ["asks.jsonl is empty"]),
        ('{"prompt": "a"}\n{"prompt"', ["asks.jsonl line 2 (", "JSON lines with 'prompt'"]),
        ('{"text": "a"}', ["line 1 has no text 'prompt'"]),
        ('["a"]', ["line 1 has no text 'prompt'"]),
        ('{"prompt": 3}', ["line 1 has no text 'prompt'"]),
        ('{"prompt": "a", "item": 1}\n{"prompt": "b", "item": {"c": 1}}', ["mixes types"]),
        ([{"prompt": " "}], ["0 prompts of asks.jsonl can be asked (1 empty)", "at least 1"]),
        ([{"prompt": "x" * 50}], ["(1 longer than max length)", "raise max_length"]),
    ],
)
def test_a_bad_file_is_one_line(load, rows, said):
    expect_error(DataError, lambda: load(rows), *said)


def test_too_few_and_no_room_are_one_line(load):
    expect_error(DataError, lambda: load([{"prompt": "a"}] * 5, rows=2), "1 prompts", "(4 repeated)", "at least 2")
    expect_error(ConfigError, lambda: load([{"prompt": "a"}], room=40), "max_tokens = 40", "less than the 40 tokens")
    expect_error(ConfigError, lambda: load([], max_length=9000, room=600), "max_tokens = 600", "less than the 512")
    expect_error(ConfigError, lambda: load([{"prompt": "a"}], dataset="d"), "prompts with file, dataset")


@pytest.fixture
def films(tmp_path):
    """Three users with eight films each, of which half have a description."""
    user, place = np.divmod(np.arange(24), 8)
    data = Dataset(
        name="made",
        interactions=Interactions.sort(user, (place * 3 + user) % 12, place),
        users=Vocabulary(range(3)),
        items=Vocabulary(range(12)),
        item_table=pl.DataFrame(
            {
                "title": [f"Film {item}" for item in range(12)],
                "description": ["Long." if item % 2 else None for item in range(12)],
            }
        ),
    )
    leave_last_out(data).save(tmp_path / "data" / "split")
    return tmp_path / "data"


def test_histories_of_a_data_set_are_cut_until_an_answer_fits(films, tokens):
    """Rows without a reference answer are asked all the same, and answers' lengths cut nothing."""
    examples = {"kind": "describe-item", "history": 8, "max_tokens": 200}
    source = make_config(Source, {"dataset": films, "examples": examples})
    found = load_contexts(source, tokens, max_length=250, room=20, seed=0)
    assert len(found) == 15  # each user's first six films, but for the one without a history
    assert max(map(len, found.prompts)) <= 201
    assert {text.count("- Film") for text in found.frame["prompt"]} == {1, 2}  # with a third one more than 200 letters
    assert found.counts == {"truncated": 9}  # of the fifteen those with three films and more
    few = load_contexts(source.model_copy(update={"rows": 4}), tokens, max_length=250, room=20, seed=0)
    assert set(few.frame["prompt"]) < set(found.frame["prompt"])
    assert len(few) == 4
    short = make_config(Source, {"dataset": films, "examples": {**examples, "max_tokens": 100}})
    expect_error(
        DataError,
        lambda: load_contexts(short, tokens, max_length=250, room=20, seed=0),
        "0 prompts of data can be asked (15 too long)",
    )


def test_preference_pairs_are_asked_for_their_prompts(films, tokens):
    examples = {"kind": "preference-pairs", "rejected": 2}
    source = make_config(Source, {"dataset": films, "examples": examples})
    found = load_contexts(source, tokens, max_length=400, room=20, seed=0)
    assert {"chosen", "rejected", "completion"}.isdisjoint(found.frame.columns)
    assert len(found) == 15
