"""Parquet files under the rules that text files are read by."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import polars as pl

from llmrec.data.files import require_columns
from llmrec.data_prep.raw.files import RawFile
from llmrec.data_prep.raw.reading import Check, Reading, Refusal
from llmrec.data_prep.raw.rows import Columns
from llmrec.errors import DataError


def read_parquet(
    file: RawFile, columns: Columns, reading: Reading, checks: Sequence[Check], *, others: bool = False
) -> pl.DataFrame:
    """Return the named columns in the types given, and behind them, if asked, the others in their own.

    The number of a row, from 1, stands for its line. Moments become text as ISO 8601 writes them, in UTC.

    Raises:
        DataError: the file is empty or damaged, a column is absent or of a type that cannot be turned, or a row is bad
            and may not be left out.
    """
    frame = _parquet(file)
    require_columns(frame, columns, where=file.name)
    if frame.is_empty():
        raise DataError(f"{file.name} is empty", expected="at least one row", cure="write it again")
    further = [name for name in frame.columns if name not in columns] if others else []
    for name in columns:
        if frame[name].dtype.is_nested():
            raise DataError(
                f"{file.name} has lists or objects in column {name!r}", expected="texts or numbers", cure="name another"
            )
    typed = frame.select(*(_cast(name, frame[name], columns[name]) for name in columns), *further)
    lost = [
        (name, frame[name].is_not_null() & typed[name].is_null(), Check(name, pl.lit(value=True), _named(dtype)))
        for name, dtype in columns.items()
    ]
    fails = [(check.column, typed.select(check.bad.fill_null(value=True)).to_series(), check) for check in checks]
    return typed.filter(_refuse_rows(frame, [*lost, *fails], file, reading))


def _parquet(file: RawFile) -> pl.DataFrame:
    try:
        if not file.compressed:
            return pl.read_parquet(file.path, glob=False)
        with file.open() as (stream, _):
            return pl.read_parquet(io.BytesIO(stream.read()))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{file.name} cannot be read ({str(error).splitlines()[0]})",
            expected="a whole Parquet file",
            cure="it may be truncated: fetch or write it again",
        ) from None


def _cast(name: str, column: pl.Series, dtype: pl.DataType | type[pl.DataType]) -> pl.Expr:
    value = pl.col(name)
    if dtype == pl.String and isinstance(column.dtype, pl.Datetime):
        utc = value.dt.convert_time_zone("UTC") if column.dtype.time_zone else value
        return utc.dt.strftime("%Y-%m-%dT%H:%M:%S%.f")
    if dtype.is_integer() and column.dtype.is_float():
        value = pl.when(value == value.floor()).then(value)  # a cast alone would turn 1.5 into 1
    return value.cast(dtype, strict=False)


def _named(dtype: pl.DataType | type[pl.DataType]) -> str:
    return "a whole number" if dtype.is_integer() else "a number" if dtype.is_numeric() else "text"


def _refuse_rows(
    frame: pl.DataFrame, fails: Sequence[tuple[str, pl.Series, Check]], file: RawFile, reading: Reading
) -> np.ndarray:
    """Refuse the rows that fail something, in order, each for the first thing; return which rows stay."""
    first = np.full(frame.height, -1)
    for number, (_, bad, _) in reversed(list(enumerate(fails))):
        first[bad.to_numpy()] = number
    for row in np.flatnonzero(first >= 0).tolist():
        column, _, check = fails[first[row]]
        value = frame[column][row]
        reason = f"{column} = {value!r}" if value is not None else f"no {column}"
        reading.refuse(Refusal(file.name, row + 1, str(frame.row(row)), reason, check.expected, check.cure))
    kept: np.ndarray = first < 0
    return kept
