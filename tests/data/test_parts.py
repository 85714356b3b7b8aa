"""A file made of pieces."""

import polars as pl
import pytest

from llmrec.data.parts import Parts
from llmrec.errors import DataError
from llmrec.testing import expect_error


@pytest.mark.parametrize("n", [1, 3])
def test_pieces_become_the_file_in_order_and_go(tmp_path, n):
    parts = Parts(tmp_path / "out.parquet")
    for number in reversed(range(n)):
        parts.write(number, pl.DataFrame({"a": [2 * number, 2 * number + 1]}), {"about": str(number)})
    parts.write(9, pl.DataFrame({"a": [-1]}))  # of a longer run that was killed
    assert pl.read_parquet_metadata(parts.path(0))["about"] == "0"
    parts.join(range(n))
    parts.remove()
    assert pl.read_parquet(parts.out)["a"].to_list() == list(range(2 * n))
    assert list(tmp_path.iterdir()) == [parts.out]


def test_what_somebody_else_keeps_beside_them_stays(tmp_path):
    parts = Parts(tmp_path / "out.parquet")
    parts.write(0, pl.DataFrame({"a": [0]}))
    (parts.folder / "notes.txt").write_text("mine")
    parts.remove()
    assert [path.name for path in parts.folder.iterdir()] == ["notes.txt"]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "out.parquet.parts").write_text("a file")
    parts = Parts(tmp_path / "out.parquet")
    words = ("out.parquet.parts", "cannot be written", "what is done is kept")
    expect_error(DataError, lambda: parts.write(0, pl.DataFrame({"a": [0]})), *words)
