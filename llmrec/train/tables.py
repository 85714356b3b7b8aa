"""What rows are drawn from: a file, or a data set of which only what is drawn is put into words."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data_prep.examples import Examples
from llmrec.data_prep.examples.table import nothing_left
from llmrec.data_prep.examples.unwritten import Unwritten
from llmrec.errors import DataError
from llmrec.train.leaks import Leaks
from llmrec.train.rows import ROW, labels_of

Numbers = NDArray[np.int64]


class Table(Protocol):
    """Rows of prompt and answer.

    Attributes:
        numbers: (n,) of the rows, rising; those of a file count from its first.
        labels: (n,) yes or no, null where there is none; None where no row has one.
        counts: what was left out so far, by reason.
    """

    numbers: Numbers
    labels: pl.Series | None
    counts: Counter[str]

    def read(self, numbers: Numbers) -> pl.DataFrame:
        """Return some rows with their numbers as ``ROW``, but for those that are left out and counted."""
        ...


class FileTable:
    """The rows of a file; those that leak are left out at once.

    Args:
        path: of the file.
        repeats: keep rows that leak.
        pairs: whether rows are to have a chosen answer and rejected ones; it is then the former that may leak.

    Raises:
        DataError: it cannot be read, rows have pairs instead of completions or the other way round, or no answer, or
            most leak.
    """

    def __init__(self, path: Path, *, repeats: bool, pairs: bool = False) -> None:
        frame = Examples.load(path).frame.with_row_index(ROW)
        if ("completion" not in frame.columns) != pairs:
            raise _other_rows(pairs=pairs)
        frame = _as_completions(frame)
        leaks = Leaks()
        self.frame = frame if repeats else leaks.without(frame, ROW)
        _require_answers(self.frame, path.name)
        self.numbers: Numbers = self.frame[ROW].to_numpy().astype(np.int64)
        self.labels = labels_of(self.frame)
        self.counts = Counter({"leaking": leaks.count})

    def read(self, numbers: Numbers) -> pl.DataFrame:
        """Return some rows."""
        return self.frame[np.searchsorted(self.numbers, numbers)]


class DraftTable:
    """Rows that are made of a data set when they are read.

    Args:
        unwritten: the rows.
        repeats: keep rows that leak.
        wanted: how many are drawn; 0 where all are read.
        pairs: as in ``FileTable``.

    Raises:
        DataError: there is no row, or rows have pairs instead of completions or the other way round; later, that most
            leak.
    """

    def __init__(self, unwritten: Unwritten, *, repeats: bool, wanted: int, pairs: bool = False) -> None:
        if bool(unwritten.rejected) != pairs:
            raise _other_rows(pairs=pairs)
        if not len(unwritten):
            raise nothing_left(unwritten.counts)
        self.unwritten, self.leaks = unwritten, None if repeats else Leaks(wanted)
        self.numbers: Numbers = np.arange(len(unwritten))
        self.labels = None if unwritten.labels is None else pl.Series("label", unwritten.labels)
        self.counts = Counter(unwritten.counts)

    def read(self, numbers: Numbers) -> pl.DataFrame:
        """Put some rows into words and return those that can be and do not leak."""
        frame, kept, counts = self.unwritten.write_rows(numbers)
        frame = _as_completions(frame.with_columns(pl.Series(ROW, kept, pl.UInt32)))
        self.counts.update(counts)
        if self.leaks is not None:
            frame = self.leaks.without(frame, ROW)
            self.counts["leaking"] = self.leaks.count
        return frame


def _other_rows(*, pairs: bool) -> DataError:
    kinds = ("completions", "chosen and rejected answers")
    return DataError(f"rows of {kinds[not pairs]}", expected=kinds[pairs], cure="take another kind of rows")


def _as_completions(frame: pl.DataFrame) -> pl.DataFrame:
    """Return pairs with what was chosen as ``completion`` and ``rejected`` as lists; other rows as they are."""
    if "chosen" not in frame.columns:
        return frame
    rejected = pl.col("rejected")
    if frame["rejected"].dtype == pl.String:
        rejected = pl.concat_list(rejected)
    return frame.rename({"chosen": "completion"}).with_columns(rejected)


def _require_answers(frame: pl.DataFrame, source: str) -> None:
    none = _is_blank(pl.col("completion"))
    if "rejected" in frame.columns:
        none |= pl.col("rejected").list.eval(_is_blank(pl.element())).list.all().fill_null(True)
    blank = frame.filter(none)
    if len(blank):
        raise DataError(
            f"row {blank[ROW][0] + 1} of {source} has no answer"
            + (f", nor have {len(blank) - 1:,} more" if len(blank) > 1 else ""),
            expected="a text in each",
            cure="mend or drop what has none",
        )


def _is_blank(text: pl.Expr) -> pl.Expr:
    return text.fill_null("").str.strip_chars() == ""
