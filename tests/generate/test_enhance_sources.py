"""Pairs from files and from a data set's choices, and which generated text is whose."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from enhancing import WORDS, write_pairs, write_texts
from made import by_hand, dataset

from llmrec.config import load_config, make_config
from llmrec.errors import ConfigError, DataError
from llmrec.generate.enhance_pairs import PARTS
from llmrec.generate.enhance_recipe import EnhanceRecipe
from llmrec.generate.enhance_sources import read_corpus, read_texts
from llmrec.testing import expect_error


def recipe(**settings) -> EnhanceRecipe:
    return make_config(EnhanceRecipe, {"out": "out", "texts": "texts.parquet", **settings})


def lines(path, change):
    """Rewrite a file's rows."""
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    text = "".join(json.dumps(change(number, row)) + "\n" for number, row in enumerate(rows))
    Path(path).write_text(text, encoding="utf-8")


def test_files_make_a_corpus(tmp_path) -> None:
    corpus = read_corpus(recipe(**write_pairs(tmp_path, users=4)))
    assert corpus.items == [f"{words} wanted" for words in WORDS]
    assert corpus.ids.to_list() == ["0", "1", "2"]
    assert corpus.contexts["text"][5] == "CV:\nperson valid1\n\nPosting:"  # without its instructions
    assert corpus.users == [f"{part}-{number}" for part in PARTS for number in range(4)]
    valid = corpus.parts["valid"]
    assert valid.contexts.tolist() == np.repeat([4, 5, 6, 7], 3).tolist()
    assert valid.items.tolist() == [0, 1, 2] * 4
    assert np.flatnonzero(valid.labels).tolist() == [0, 4, 8, 9]  # persons 0 to 3 suit postings 0, 1, 2, 0
    assert corpus.trained.all()
    asked, targets = corpus.asked()
    assert asked.tolist() == [8, 9, 10, 11]
    assert targets.relevant.tolist() == [[0], [1], [2], [0]]
    assert targets.queries.history.shape == (4, 0)
    assert corpus.counts() == {
        "contexts": 12, "items": 3, "train pairs": 12, "train matches": 4, "valid pairs": 12, "valid matches": 4,
        "test pairs": 12, "test matches": 4, "test contexts that train has too": 0,
    }  # fmt: skip


def test_contexts_that_training_knows_are_counted_and_unknown_users_are_contexts(tmp_path) -> None:
    paths = write_pairs(tmp_path, users=4, known=False)
    paths["test"] = paths["train"]
    corpus = read_corpus(recipe(**paths))
    assert corpus.counts()["test contexts that train has too"] == 4
    assert corpus.users == [str(context) for context in range(8)]
    assert corpus.ids.to_list() == [None] * 3


def test_an_item_that_nobody_chose_in_training_is_cold(tmp_path) -> None:
    paths = write_pairs(tmp_path, users=4)
    lines(paths["train"], lambda number, row: row | {"label": number % 3 == 0})
    assert read_corpus(recipe(**paths)).trained.tolist() == [True, False, False]


@pytest.fixture
def prepared(tmp_path):
    """Six users with events on eight items, the last two of each for validation and test; item 7 is new in the test."""
    histories = {user: [(user + step) % 6 for step in range(4)] for user in range(6)}
    data = dataset([(user, item, 10 * step) for user, items in histories.items() for step, item in enumerate(items)])
    table = data.item_table.with_columns(description=pl.Series([f"about {item}" for item in range(7)] + [None]))
    data = replace(data, item_table=table)
    part = {user: (items, [(user + 4) % 6]) for user, items in histories.items()}
    test = {user: ([*items, (user + 4) % 6], [6]) for user, items in histories.items()}
    by_hand(data, list(range(24)), part, test).save(tmp_path / "data" / "split")
    return tmp_path / "data"


def of_dataset(folder, **settings):
    examples = {"kind": "describe-item", "history": 3, **settings.pop("examples", {})}
    return recipe(dataset=str(folder), examples=examples, **settings)


def test_a_data_set_makes_a_corpus(prepared) -> None:
    corpus = read_corpus(of_dataset(prepared, negatives=2, seed=4))
    assert corpus.items[:2] == ["0. about 0", "1. about 1"]
    assert corpus.items[7] == "7"
    assert corpus.ids.to_list() == [str(item) for item in range(8)]
    assert corpus.trained.tolist() == [True] * 6 + [False] * 2
    for part in ("train", "valid", "test"):
        pairs = corpus.parts[part]
        for context in np.unique(pairs.contexts):
            rows = pairs.contexts == context
            user = int(corpus.contexts["user"][int(context)][1:])
            yes, no = pairs.items[rows & pairs.labels], pairs.items[rows & ~pairs.labels]
            history = corpus.histories[context]
            assert len(yes) == 1
            assert not {*yes, *history} & {*no}
            assert not {*no} & {(user + step) % 6 for step in range(4)}  # what the user had in training
            titles = "".join(f"- {item}\n" for item in history[history >= 0])
            assert titles in corpus.contexts["text"][int(context)] + "\n"
    _, targets = corpus.asked()
    assert targets.relevant.tolist() == [[6]] * 6
    assert targets.queries.history.tolist() == [[(user + step) % 6 for step in (2, 3, 4)] for user in range(6)]
    other = read_corpus(of_dataset(prepared, negatives=2, seed=5))
    assert not np.array_equal(corpus.parts["train"].items, other.parts["train"].items)


def test_a_moment_of_a_user_is_a_context_of_its_own(prepared) -> None:
    corpus = read_corpus(of_dataset(prepared))
    assert corpus.contexts["user"].to_list().count("u2") == 3 + 1 + 1


def test_texts_find_their_contexts(tmp_path) -> None:
    corpus = read_corpus(recipe(**write_pairs(tmp_path, users=4)))
    more = [
        {"user": "test-0", "prompt": None, "text": "a second one"},
        {"user": "test-1", "prompt": "", "text": " \n"},
        {"user": "stranger", "prompt": "x", "text": "who?"},
        {"user": None, "prompt": None, "text": "whose?"},
    ]
    path = tmp_path / "texts.parquet"
    write_texts(path, users=4, without=("train-2", "test-3"), more=more)
    found = read_texts(path, corpus, "user")
    assert found.counts == {
        "texts": 11, "texts of no context": 2, "blank texts": 1, "contexts without a text": 2,
    }  # fmt: skip
    assert found.contexts.tolist() == [0, 1, 3, 4, 5, 6, 7, 8, 8, 9, 10]
    assert found.texts[7:9] == [f" {WORDS[0]}", "a second one"]
    by_prompt = read_texts(path, corpus, "prompt")
    assert by_prompt.contexts.tolist() == [0, 1, 3, 4, 5, 6, 7, 8, 9, 10]
    assert by_prompt.counts["texts of no context"] == 3


def test_numbers_as_users_are_found(tmp_path) -> None:
    paths = write_pairs(tmp_path, users=4)
    for part, path in paths.items():
        first = 10 * PARTS.index(part)
        lines(path, lambda number, row, first=first: row | {"user": first + number // 3})
    pl.DataFrame({"user": [0, 21], "text": ["a", "b"]}).write_parquet(tmp_path / "texts.parquet")
    found = read_texts(tmp_path / "texts.parquet", read_corpus(recipe(**paths)), "user")
    assert found.contexts.tolist() == [0, 9]


def test_bad_texts(tmp_path) -> None:
    corpus = read_corpus(recipe(**write_pairs(tmp_path, users=4)))
    path = tmp_path / "texts.parquet"
    expect_error(DataError, lambda: read_texts(path, corpus, "user"), "texts.parquet", "write it first")
    pl.DataFrame({"user": ["test-0"], "text": [3]}).write_parquet(path)
    expect_error(DataError, lambda: read_texts(path, corpus, "user"), "texts of type Int64")
    expect_error(DataError, lambda: read_texts(path, corpus, "prompt"), "no column 'prompt'")
    pl.DataFrame({"user": ["nobody"], "text": ["?"]}).write_parquet(path)
    words = ("no user of the 1 texts", "12 contexts", "texts_by=prompt")
    expect_error(DataError, lambda: read_texts(path, corpus, "user"), *words)


def test_bad_pairs(tmp_path, prepared) -> None:
    paths = write_pairs(tmp_path, users=4)
    without = {name: path for name, path in paths.items() if name != "valid"}
    expect_error(ConfigError, lambda: read_corpus(recipe(**without)), "pairs from train, test", "training stops by")
    expect_error(ConfigError, lambda: read_corpus(recipe()), "pairs from nowhere")
    both = of_dataset(prepared, **paths)
    expect_error(ConfigError, lambda: read_corpus(both), "dataset, examples, train, valid, test")
    lines(paths["valid"], lambda number, row: row | {"label": True})
    expect_error(DataError, lambda: read_corpus(recipe(**paths)), "12 pairs of valid, all of which match", "mismatches")
    lines(paths["valid"], lambda number, row: row | {"label": None if number == 2 else True})
    expect_error(DataError, lambda: read_corpus(recipe(**paths)), "valid.jsonl", "1 rows without a label")
    lines(paths["valid"], lambda number, row: row | {"label": True, "completion": "\n" if number else "x"})
    expect_error(DataError, lambda: read_corpus(recipe(**paths)), "11 without a completion")
    lines(paths["valid"], lambda number, row: {key: row[key] for key in ("prompt", "system", "completion")})
    expect_error(DataError, lambda: read_corpus(recipe(**paths)), "no column 'label'")
    wrong = recipe(dataset=str(prepared), examples={"kind": "listwise"})
    expect_error(ConfigError, lambda: read_corpus(wrong), "'listwise'", "describe-item, cv-posting")
    judged = recipe(dataset=str(prepared), examples={"kind": "cv-posting", "mismatches": True})
    expect_error(ConfigError, lambda: read_corpus(judged), "'cv-posting' with mismatches", "labelled examples")


def test_shipped_recipes_can_be_read() -> None:
    folder = Path(__file__).parents[2] / "configs"
    found = [load_config(EnhanceRecipe, path) for path in sorted(folder.glob("enhance-*.yaml"))]
    assert [each.texts_by for each in found] == ["prompt", "user"]
