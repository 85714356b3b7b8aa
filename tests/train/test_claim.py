"""A run that was begun with other rows is not gone on with: what was learnt stays, and says what has changed."""

import json

import pytest
from tuning import questions, save, titles

from llmrec.data.files import read_json
from llmrec.errors import DataError
from llmrec.testing import expect_error
from llmrec.train.tallrec import tune


class KilledError(Exception):
    """Stands for a kill in the middle of an update."""


def begin(recipe):
    """Run into the second stage and no further."""

    def report(done, _, text):
        if text.startswith("films") and done == 6:
            raise KilledError

    with pytest.raises(KilledError):
        tune(recipe, report=report)


def kept(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("file", "part"),
    [("general", "general.train"), ("films", "films.train"), ("valid", "films.valid"), ("test", "test")],
)
def test_a_file_that_changed_since_is_named(recipe, two_stages, tmp_path, file, part):
    path = tmp_path / f"{file}.jsonl"
    test = {"file": str(save(tmp_path / "test.jsonl", questions(8, seed=2)))}
    begun = recipe(stages=two_stages, test=test)
    begin(begun)
    before, good = kept(tmp_path / "run"), path.read_text()
    lines = good.splitlines()
    path.write_text("\n".join([*lines[:2], lines[3], lines[2], *lines[4:]]) + "\n")  # the same rows in another order
    expect_error(
        DataError,
        lambda: tune(begun),
        f"run' was begun with other rows of {part} (digest ",
        "expected files and data sets as they were",
        "put them back, name another out folder",
    )
    assert kept(tmp_path / "run") == before
    path.write_text(good)
    assert not tune(begun).before


def test_a_change_before_anything_was_learnt_is_taken(recipe, tmp_path, monkeypatch):
    path = save(tmp_path / "rows.jsonl", questions(24))
    begun = recipe(stage={"train": [{"file": str(path)}]})
    with monkeypatch.context() as patched:
        patched.setattr("llmrec.train.tallrec.AnswerHead", lambda _: pytest.fail("far enough"))
        with pytest.raises(pytest.fail.Exception):
            tune(begun)
    assert (tmp_path / "run" / "config.json").exists()
    save(path, questions(20))
    assert tune(begun).counts == {"tuning": {"train": 20}}


def test_a_folder_that_does_not_say_its_rows_is_not_gone_on_with(recipe, two_stages, tmp_path):
    begun = recipe(stages=two_stages)
    begin(begun)
    config = tmp_path / "run" / "config.json"
    rest = read_json(config)
    assert sorted(rest.pop("rows")) == ["films.train", "films.valid", "general.train"]
    config.write_text(json.dumps(rest))
    expect_error(DataError, lambda: tune(begun), "other rows of general.train (digest None, now ")


def test_a_digest_is_of_each_token_and_label(encode):
    one = encode(questions(6))
    same = encode([{**row, "user": "u", "item": 3} for row in questions(6)], source="elsewhere")
    assert one.digest() == same.digest()
    moved = encode([{**row, "prompt": row["prompt"] + "a", "completion": row["completion"][1:]} for row in titles(3)])
    split = encode([{**row, "prompt": row["prompt"] + "a\n"} for row in titles(3)])
    unlabelled = encode(
        [{**row, "label": None if number == 3 else row["label"]} for number, row in enumerate(questions(6))]
    )
    turned = encode([{**row, "label": not row["label"]} for row in questions(6)])
    fewer = encode(questions(5))
    others = [each.digest() for each in (one, moved, split, unlabelled, turned, fewer, encode(titles(3)))]
    assert len(set(others)) == len(others)
    # Where a prompt ends and its answer begins counts too.
    shifted = encode(questions(6))
    shifted.answers[0].insert(0, shifted.prompts[0].pop())
    assert shifted.digest() != one.digest()
