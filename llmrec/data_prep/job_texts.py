"""Texts of CVs and postings: from tables, folders of tables or folders of text files; each text once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data_prep.about import About, describe, require_good, stem
from llmrec.data_prep.raw.anyfile import JSON, LAYOUTS, PARQUET, read_any, suffix
from llmrec.data_prep.raw.files import RawFile, require_some
from llmrec.data_prep.raw.reading import Check, Reading, Refusal, not_blank
from llmrec.data_prep.raw.second_look import Read, read_distinct
from llmrec.errors import DataError

TABLES = (*LAYOUTS, *JSON, PARQUET)
WHAT = "a table, a folder of tables with the same columns, or a folder of .txt files"


@dataclass(frozen=True)
class Texts:
    """Which column of a table of texts is what.

    Attributes:
        id: column of ids; None numbers the records from 1, over all files.
        title: column of titles, or None.
        parts: columns that are joined to one text, with line breaks.
        called: what that is called.
    """

    id: str | None
    title: str | None
    parts: Sequence[str]
    called: str

    @property
    def joined(self) -> pl.Expr:
        """The text."""
        parts = [pl.col(part).replace("", None) for part in self.parts]
        return pl.concat_str(parts, separator="\n", ignore_nulls=True).str.strip_chars()

    def reader(self, path: Path, earlier: pl.Series) -> Read:
        """Return what reads a file with ids that no earlier file has."""
        names = [*([self.id] if self.id else []), *([self.title] if self.title else []), *self.parts]
        checks = [Check(self.parts[0], ~self.joined.str.contains(r"\S"), f"a text in {' or '.join(self.parts)}")]
        if self.id is not None:
            again = Check(self.id, pl.col(self.id).is_in(earlier.implode()), "an id that no earlier file has")
            checks = [not_blank(self.id), again, *checks]

        def read(reading: Reading, further: Sequence[Check]) -> pl.DataFrame:
            columns = dict.fromkeys(names, pl.String)
            return read_any(path, columns, reading, checks=[*checks, *further], others=True)

        return read

    def described(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the title and the text of each record, and the further columns."""
        title = {"title": pl.col(self.title)} if self.title else {}
        return describe(frame, drop=[self.id] if self.id else [], **title, **{self.called: self.joined})


def read_texts(source: Path, texts: Texts, reading: Reading, *, numbered: bool) -> About:
    """Return the ids of all records of a source, and what is said of each.

    Args:
        source: a table, a folder of tables, or a folder of ``.txt`` files, whose names are the ids.
        texts: which column is what; of text files only ``called`` counts.
        reading: which rows may be left out.
        numbered: whether another file goes by record numbers, so that none may be left out where they are the ids.

    Raises:
        DataError: a file is missing, empty or damaged, a column is absent, or a row is bad and may not be left out.
    """
    paths = _tables(source)
    if source.is_dir() and suffix(paths[0]) == ".txt":
        return _read_text_files(source, paths, texts.called, reading)
    refused, frames, ids = len(reading.rejected), list[pl.DataFrame](), pl.Series("id", [], pl.String)
    for path in paths:
        read = texts.reader(path, ids)
        if texts.id is None:
            frames.append(read(reading, []))
        else:
            frames.append(read_distinct(read, texts.id, reading))
            ids.append(frames[-1][texts.id].alias("id"))
    frame = pl.concat(frames, how="diagonal_relaxed")
    require_good(frame, source)
    if texts.id is None:
        if numbered and len(reading.rejected) > refused:
            raise _shifted(source, reading.rejected[-1])
        ids = pl.Series("id", range(1, frame.height + 1)).cast(pl.String)
    return About(ids, texts.described(frame), source.name)


def merged(table: pl.DataFrame, columns: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return each row's number among the distinct ones (n,), and the first row of each of those.

    Rows are the same where the columns are, whatever their case and white space.
    """
    folded = (
        pl.col(name).fill_null("").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars() for name in columns
    )
    first = table.select(folded).with_row_index("row").select(pl.col("row").first().over(columns))
    kept, numbers = np.unique(first.to_series().to_numpy(), return_inverse=True)
    return numbers.astype(np.int32), kept.astype(np.int64)


def _tables(source: Path) -> list[Path]:
    """Return the files of a source: all tables, or all texts."""
    if not source.is_dir():
        return [source]
    paths = sorted(path for path in source.iterdir() if path.is_file() and suffix(path) in TABLES)
    require_some([RawFile(path) for path in paths], source, what=WHAT)
    texts = sum(suffix(path) == ".txt" for path in paths)
    if 0 < texts < len(paths):
        raise DataError(
            f"{str(source)!r} holds {texts} .txt files and {len(paths) - texts} tables",
            expected=WHAT,
            cure="move the others away",
        )
    return paths


def _read_text_files(source: Path, paths: Sequence[Path], called: str, reading: Reading) -> About:
    """Return the texts of files, each with its name's stem as id; shorter names first, so that 10 comes behind 9."""
    found: dict[str, str] = {}
    for path in sorted(paths, key=lambda path: (len(path.name), path.name)):
        with RawFile(path).open() as (stream, _):
            content = stream.read()
        try:
            text = content.decode("utf-8-sig").strip()
            reason = "" if text else "no text"
        except UnicodeDecodeError as error:
            reason = f"byte 0x{content[error.start]:02x} is no UTF-8 text"
        if reason:
            shown = content.decode("utf-8", "replace")
            reading.refuse(Refusal(RawFile(path).name, 1, shown, reason, "a text", "mend that file, or move it away"))
        else:
            found[stem(path)] = text
    table = pl.DataFrame({called: list(found.values())}, schema={called: pl.String})
    require_good(table, source)
    return About(pl.Series("id", list(found), pl.String), table, source.name)


def _shifted(source: Path, row: Refusal) -> DataError:
    return DataError(
        f"{source.name} has no column of ids, and {row.file} line {row.line} was left out ({row.reason})",
        expected="every record, since matches go by their numbers",
        cure="mend that line, or name a column of ids",
    )
