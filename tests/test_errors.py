"""An error says value, expectation and cure in one line."""

import sys

import pytest

from llmrec.errors import DataError, LlmrecError, MissingPackageError, did_you_mean, require
from llmrec.testing import expect_error


def test_a_message_is_one_line_with_value_expectation_and_cure():
    error = DataError("k = 9\n", expected="1 to 7", cure="ask\nfor fewer")
    assert str(error) == "k = 9 : expected 1 to 7; ask for fewer"
    assert error.exit_code == 2
    assert isinstance(error, LlmrecError)


def test_a_close_name_is_proposed_and_otherwise_all_are():
    assert did_you_mean("item-kn", ["als", "item-knn"]) == "did you mean 'item-knn'?"
    assert did_you_mean("xyz", ["b", "a"]) == "choose from a, b"
    assert did_you_mean("xyz", []) == "choose from none"


def test_a_missing_package_names_the_extra():
    expect_error(
        MissingPackageError,
        lambda: require("no_such_package_at_all", extra="demo", purpose="the demo"),
        "'no_such_package_at_all' is not installed",
        "pip install 'llmrec[demo]'",
    )


def test_a_broken_package_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "half_broken.py").write_text("import something_that_is_gone")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="something_that_is_gone"):
        require("half_broken", extra="demo", purpose="a test")
    sys.modules.pop("half_broken", None)
