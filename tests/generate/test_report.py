"""What a report says of texts, counted by hand."""

import pytest
from generated import texts, write_lines

from llmrec.errors import DataError
from llmrec.generate.report import ReportRecipe, read_answers, report_texts
from llmrec.testing import expect_error

ROWS = [
    ("one two three four", "one two three", "stop"),  # bigrams: both in the context
    ("one two three four", "red two three", "length"),  # red two, two three: one of two in the context
    ("five six", "One two, three!", "stop"),  # the same words as the first text, in another context
    ("five six", "six", "stop"),
    ("five six", " \n", "stop"),
    ("seven", "", "error"),
]


def test_counts_by_hand():
    found = report_texts(texts(ROWS), ReportRecipe(ngram=2), ["so one two", "two three"])
    assert (found.texts, found.failed) == (5, 1)
    assert (found.empty, found.cut) == (1 / 5, 1 / 5)
    assert found.mean_words == (3 + 3 + 3 + 1 + 0) / 5
    assert found.mean_tokens == (3 + 3 + 3 + 1 + 0) / 5
    assert found.distinct_1 == 5 / 10  # one two three red six, of 3 + 3 + 3 + 1
    assert found.distinct_2 == 3 / 6  # one two, two three, red two
    assert found.near_duplicates == 2 / 4  # of the texts with words
    assert found.context_share == pytest.approx((1 + 1 / 2 + 0) / 3)  # of the texts with two words or more
    assert found.copied_from_context == pytest.approx(2 / 3)  # half counts
    assert found.answers_share == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert found.copied_from_answers == 1


def test_thresholds_count():
    found = report_texts(texts(ROWS), ReportRecipe(ngram=2, copied=0.51, near_duplicate=0.3), ["so one two"])
    assert found.copied_from_context == pytest.approx(1 / 3)
    assert found.copied_from_answers == 0
    assert found.near_duplicates == 3 / 4  # one of three: {one two, two three} and {red two, two three}


def test_of_no_text_nothing_is_known():
    found = report_texts(texts([("a", "", "error")]), ReportRecipe())
    assert (found.texts, found.failed) == (0, 1)
    assert found.empty is found.cut is found.mean_words is found.near_duplicates is found.context_share is None
    assert found.table().columns == ["of the texts", ""]
    assert found.table()["of the texts"].to_list() == ["texts", "failed"]


def test_a_model_that_ends_at_once():
    found = report_texts(texts([("a", ""), ("b", "")]), ReportRecipe())
    assert (found.empty, found.mean_tokens, found.distinct_1, found.near_duplicates) == (1, 0, None, None)


def test_answers_of_training(tmp_path):
    rows = [{"prompt": "p", "system": "", "completion": text} for text in (" b", " a", " b")]
    assert read_answers(write_lines(tmp_path / "a.jsonl", rows)) == [" b", " a"]
    pairs = [{"prompt": "p", "system": "", "chosen": " good", "rejected": " bad"}]
    assert read_answers(write_lines(tmp_path / "b.jsonl", pairs)) == [" good"]
    assert read_answers(None) is None
    expect_error(DataError, lambda: read_answers(tmp_path / "c.jsonl"), "c.jsonl", "cannot be read")
    write_lines(tmp_path / "d.jsonl", [{"prompt": "p", "system": ""}])
    expect_error(DataError, lambda: read_answers(tmp_path / "d.jsonl"), "no column 'completion'")
