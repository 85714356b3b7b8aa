"""A table in any of the formats that people keep one in: CSV, TSV, JSON, Parquet, each plain or gzipped."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from llmrec.data.files import require_columns
from llmrec.data_prep.raw.delimited import CSV, TSV, Layout, read_header, read_table
from llmrec.data_prep.raw.document import is_document, read_document
from llmrec.data_prep.raw.files import RawFile, single
from llmrec.data_prep.raw.jsonlines import json_format, read_json_lines, require_rows
from llmrec.data_prep.raw.parquet import read_parquet
from llmrec.data_prep.raw.reading import Check, Reading
from llmrec.data_prep.raw.rows import FAILED, Columns, Format, Record, read_chunks, read_records
from llmrec.errors import DataError

LAYOUTS: Mapping[str, Layout] = {
    ".csv": CSV,
    **dict.fromkeys((".tsv", ".tab", ".inter", ".item", ".user", ".txt"), TSV),
}
JSON = (".json", ".jsonl", ".ndjson")
PARQUET = ".parquet"
EVERYTHING = 1 << 62  # bad rows, where only the good ones are looked at


def read_any(
    path: Path,
    columns: Columns,
    reading: Reading,
    *,
    checks: Sequence[Check] = (),
    layout: Layout | None = None,
    others: bool = False,
) -> pl.DataFrame:
    """Return the named columns of a table in the types given, in the file's order of rows.

    The format is told by the name's end: ``.csv``; ``.tsv``, ``.tab``, ``.txt`` and RecBole's ``.inter``, ``.item``,
    ``.user`` (tab-separated); ``.jsonl``, ``.ndjson``, ``.json`` (one object a line, an array of objects, or an object
    of objects, whose keys become the column ``id``); ``.parquet``; each with ``.gz`` too.

    Args:
        path: the file.
        columns: name -> type of what is wanted.
        reading: which rows may be left out; of Parquet, the number of a row from 1 stands for its line.
        checks: what the columns must hold.
        layout: how a delimited file is written, whatever it is called; None goes by its name.
        others: return the further columns too, behind the named ones: text from delimited files; from JSON and Parquet
            in their own types, JSON's nested objects as text.

    Raises:
        DataError: the file is missing, empty, damaged or of another format, a column is absent, or a row is bad and may
            not be left out.
    """
    file = single(path, what="a table")
    kind = suffix(path)
    if layout is None and kind == PARQUET:
        return read_parquet(file, columns, reading, checks, others=others)
    if layout is None and kind in JSON:
        return _read_json(file, columns, reading, checks, others=others)
    layout = layout or LAYOUTS.get(kind)
    if layout is None:
        raise DataError(
            f"{file.name} ends in {kind!r}",
            expected=f"one of {', '.join((*LAYOUTS, *JSON, PARQUET))}, or that with .gz",
            cure="rename it, or give its layout (separator and header)",
        )
    wanted = dict(columns)
    if others:
        wanted |= {name: pl.String() for name in layout.header or read_header(file, layout) if name not in wanted}
    table = read_table(file, wanted, reading, checks=checks, layout=layout)
    return table.drop("", strict=False)  # pandas writes its index under no name


def suffix(path: Path) -> str:
    """Return the end of a file's name that tells its format, without ``.gz``."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _read_json(
    file: RawFile, columns: Columns, reading: Reading, checks: Sequence[Check], *, others: bool
) -> pl.DataFrame:
    if suffix(file.path) != ".json" or not is_document(file):
        wanted = _and_others(columns, _sample(file), file) if others else columns
        return read_json_lines(file, wanted, reading, checks=checks)
    records = read_document(file)
    wanted = _and_others(columns, _good_lines(records, file), file) if others else columns
    table = read_records(records, file.name, json_format(wanted, checks), reading)
    require_rows(table, file, reading)
    return table


def _sample(file: RawFile) -> bytes | Path:
    """Return what the types of a JSON file's values are told by: the file, or its good lines where some are bad."""
    try:
        if not glob.has_magic(str(file.path)):  # polars would look for files that match
            pl.scan_ndjson(file.path, infer_schema_length=None).collect_schema()
            return file.path
    except (*FAILED, OSError):
        pass
    frames = read_chunks(file, _lines(), Reading(EVERYTHING))
    return b"\n".join(line for frame in frames for line in frame["line"])


def _good_lines(records: Sequence[Record], file: RawFile) -> bytes:
    good = read_records(records, file.name, _lines(), Reading(EVERYTHING))
    return b"\n".join(good["line"])


def _lines() -> Format:
    """Return how lines are told apart that hold an object, whatever is in it."""

    def parse(content: bytes) -> pl.DataFrame:
        pl.scan_ndjson(content, infer_schema_length=None).collect()
        return pl.DataFrame({"line": [line for line in content.split(b"\n") if line.strip()]}, schema=schema)

    schema = {"line": pl.Binary}
    return Format(parse=parse, explain=lambda _: ("", ""), checks=(), empty=pl.DataFrame(schema=schema))


def _and_others(columns: Columns, sample: bytes | Path, file: RawFile) -> Columns:
    if not sample:  # no good line: each will be refused for what is wrong with it
        return columns
    found = pl.scan_ndjson(sample, infer_schema_length=None).collect_schema()
    require_columns(found.to_frame(), columns, where=file.name)
    return {**columns, **{name: _plain(dtype) for name, dtype in found.items() if name not in columns}}


def _plain(dtype: pl.DataType) -> pl.DataType:
    """Return the type that a JSON value is kept in: text for what is nested or always null."""
    inner = dtype.inner if isinstance(dtype, pl.List) else dtype
    return pl.String() if inner.is_nested() or inner == pl.Null else dtype
