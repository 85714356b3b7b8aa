"""Examples as files and as datasets.Dataset: what goes out comes back, and what is broken says where."""

import json

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from llmrec.data_prep.examples import Examples, next_item, preference_pairs, yes_no_from_ratings
from llmrec.errors import DataError
from llmrec.testing import expect_error, toy


def frame(**columns):
    return pl.DataFrame(
        {"prompt": ["Do\n\nthis", "that"], "system": ["Do", ""], "completion": [" Yes.", " No."]} | columns
    )


def pairs(rejected):
    return preference_pairs(toy(), rejected=rejected, seed=1)


@pytest.mark.parametrize("made", [next_item(toy()), pairs(1), pairs(2)], ids=["completions", "pairs", "lists"])
def test_json_lines_come_back(tmp_path, made):
    path = made.save(tmp_path / "new" / "examples.jsonl")
    assert_frame_equal(Examples.load(path).frame, made.frame)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert lines == made.frame.to_dicts()
    assert [each.name for each in path.parent.iterdir()] == ["examples.jsonl"], "no temporary file stays"


def test_odd_characters_and_nulls_come_back(tmp_path):
    made = Examples(
        frame(
            prompt=['"Amélie" 東京 🎬\u2028 x\n', "\\n"],
            user=pl.Series([None, None], dtype=pl.String),
            time=pl.Series([None, None], dtype=pl.Int64),
            label=[True, False],
        )
    )
    assert_frame_equal(Examples.load(made.save(tmp_path / "x.jsonl")).frame, made.frame)


def test_a_dataset_holds_the_same_rows():
    made = pairs(2)
    dataset = made.to_dataset()
    assert dataset.column_names == made.frame.columns
    assert dataset.to_list() == made.frame.to_dicts()
    chat = Examples(frame(label=[True, False])).to_dataset(chat=True)
    system, answer = {"role": "system", "content": "Do"}, {"role": "assistant", "content": "Yes."}
    assert chat[0] == {
        "prompt": [system, {"role": "user", "content": "this"}],
        "completion": [answer],
        "label": True,
    }
    assert chat[1]["prompt"] == [{"role": "user", "content": "that"}]
    both = pairs(1).to_dataset(chat=True)
    chosen, rejected = pairs(1).frame.select("chosen", "rejected").row(0)
    assert both[0]["chosen"] == [{"role": "assistant", "content": chosen.strip()}]
    assert both[0]["rejected"] == [{"role": "assistant", "content": rejected.strip()}]


def test_tallrec_s_form_by_hand(tmp_path):
    made = Examples(frame())
    expected = [
        {"instruction": "Do", "input": "this", "output": "Yes."},
        {"instruction": "", "input": "that", "output": "No."},
    ]
    assert made.to_tallrec() == expected
    read = Examples.load(made.save_tallrec(tmp_path / "x.json"))
    assert_frame_equal(read.frame, frame(label=[True, False]))
    expect_error(DataError, lambda: pairs(1).to_tallrec(), "a table of pairs has no column 'completion'")


def test_other_answers_than_yes_and_no_are_no_label(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"instruction": "Say", "input": "", "output": "Heat"}]))
    read = Examples.load(path)
    assert read.frame.rows() == [("Say", "Say", " Heat")]
    assert read.balance == {}
    assert str(read) == "1 example"


def test_a_summary_counts_labels_and_what_was_left_out():
    made = Examples(frame(label=[True, False]), {"too_long": 3, "truncated": 1, "no_click": 0})
    assert made.summary() == {
        "rows": 2,
        "yes": 1,
        "no": 1,
        "yes_share": 0.5,
        "too_long": 3,
        "truncated": 1,
        "no_click": 0,
    }
    assert str(made) == "2 examples, 1 yes (50.0%), 1 cut to fit; left out: 3 too long"
    assert len(made) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ("is empty",)),
        (b"\n \n", ("is empty",)),
        (b"[]", ("is empty",)),
        (b'{"prompt": "a", "system": "", "completion": " b"}\n{"prompt": "a"', ("line 2",)),
        (b'{"prompt": "a", "system": "", "completion": " b"}\n{"promt": "a"}', ("line 2", "no text 'prompt'")),
        (b'{"prompt": 3}', ("line 1", "no text 'prompt'")),
        (b"3", ("line 1", "no text 'prompt'")),
        (b'{"prompt": "a", "system": ""}', ("no column 'completion'",)),
        (b'{"prompt": "a", "system": "", "chosen": " b"}', ("no column 'rejected'",)),
        (b'{"prompt": "a", "system": "", "completion": 1}\n{"prompt": "a", "completion": "b"}', ("mixes types",)),
        (b'[{"instruction": "a", "input": "b"}]', ("row 0 lacks a text of instruction, input, output",)),
        (b'[{"instruction": "a", "input": "b", "output": 1}]', ("row 0 lacks a text",)),
        (b"[3]", ("row 0 lacks a text",)),
        (b'[{"instruction": "a"', ("JSON array",)),
        (b'{"prompt": "\xff"}', ("a file in UTF-8",)),
    ],
)
def test_a_broken_file_is_one_line(tmp_path, content, words):
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    expect_error(DataError, lambda: Examples.load(path), *words)


def test_a_missing_file_and_an_empty_table_are_one_line(tmp_path):
    expect_error(DataError, lambda: Examples.load(tmp_path / "none.jsonl"), "none.jsonl", "check the path")
    expect_error(DataError, lambda: Examples(frame()[:0]), "no example is left (the table is empty)")


def test_a_label_may_be_absent_and_ratings_report_theirs():
    data = toy()
    assert "label" not in next_item(data).summary()
    expect_error(DataError, lambda: yes_no_from_ratings(data), "ratings on both sides")
