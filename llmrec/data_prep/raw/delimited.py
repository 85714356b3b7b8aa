"""Tables with one row a line and a separator between fields: CSV, TSV, MovieLens' ``::``."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import polars as pl
from pydantic import Field

from llmrec.config import Config
from llmrec.data_prep.raw.files import RawFile
from llmrec.data_prep.raw.reading import Check, Reading
from llmrec.data_prep.raw.rows import Columns, Format, Parse, read_chunks
from llmrec.errors import DataError

UNIT = b"\x1f"  # stands in for a separator of several characters
_CONTROL = re.compile("[\x80-\x9f]")  # no latin-1 text holds these; other encodings read as latin-1 do


class Layout(Config):
    """How a table stands in its file."""

    separator: str = Field(default=",", min_length=1)
    """One character or several."""
    header: tuple[str, ...] | None = None
    """Names of the columns where the file's first line does not give them."""
    quoted: bool = True
    """Whether ``"`` quotes a field."""
    latin: bool = False
    """Read as latin-1 what is no UTF-8, as MovieLens 100K and 1M need it."""


CSV = Layout()
TSV = Layout(separator="\t", quoted=False)


def read_table(
    file: RawFile, columns: Columns, reading: Reading, *, checks: Sequence[Check] = (), layout: Layout = CSV
) -> pl.DataFrame:
    """Return the named columns of a table in the types given.

    Args:
        file: where it is.
        columns: name -> type of what is wanted, in any order; others are not read.
        reading: which rows may be left out.
        checks: what the columns must hold.
        layout: how the file is written.

    Raises:
        DataError: the file is empty or damaged, a column is absent, or a row is bad and may not be left out.
    """
    frames = list(read_tables(file, columns, reading, checks=checks, layout=layout))
    table = pl.concat(frames) if frames else pl.DataFrame(schema=columns)
    if table.is_empty() and not reading.rejected:
        below = "" if layout.header else " below its header"
        raise DataError(f"{file.name} is empty{below}", expected="at least one row", cure="fetch the file again")
    return table


def read_tables(
    file: RawFile, columns: Columns, reading: Reading, *, checks: Sequence[Check] = (), layout: Layout = CSV
) -> Iterator[pl.DataFrame]:
    """Yield what ``read_table`` returns in frames of some 16 MiB of text, for files that are large."""
    header = layout.header or read_header(file, layout)
    _require(header, columns, file)
    form = table_format(header, columns, checks, layout)
    yield from read_chunks(file, form, reading, first_line=1 if layout.header else 2)


def read_header(file: RawFile, layout: Layout = CSV) -> list[str]:
    """Return the names in a file's first line.

    Raises:
        DataError: the file is empty, or a name occurs twice.
    """
    with file.open() as (stream, _):
        first = stream.readline(1 << 20).removeprefix(codecs.BOM_UTF8)
    if not first.strip():
        raise DataError(f"{file.name} is empty", expected="a header and rows", cure="fetch the file again")
    names = _fields(first.decode("utf-8", "replace").rstrip("\r\n"), layout)
    if len(set(names)) < len(names):
        raise DataError(f"{file.name} has the header {', '.join(names)}", expected="each name once", cure="rename one")
    return names


def _require(header: Sequence[str], columns: Columns, file: RawFile) -> None:
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(
            f"{file.name} has no column {', '.join(map(repr, missing))} (it has {', '.join(header)})",
            expected=f"the columns {', '.join(columns)}",
            cure="rename or add it",
        )


def table_format(header: Sequence[str], columns: Columns, checks: Sequence[Check], layout: Layout) -> Format:
    """Return how a table with these names is parsed."""
    return Format(
        parse=_parser(header, columns, layout),
        explain=_explainer(header, columns, layout),
        checks=checks,
        empty=pl.DataFrame(schema=columns),
        quoted=layout.quoted,
    )


def _parser(header: Sequence[str], columns: Columns, layout: Layout) -> Parse:
    schema = {name: columns.get(name, pl.String) for name in header}
    single = UNIT if len(layout.separator) > 1 else layout.separator.encode()

    def parse(content: bytes) -> pl.DataFrame:
        text = _utf8(content.removeprefix(codecs.BOM_UTF8), layout)
        if len(layout.separator) > 1:
            text = text.replace(layout.separator.encode(), UNIT)
        if not text.strip():
            return pl.DataFrame(schema=columns)
        table = pl.scan_csv(
            text,
            has_header=False,
            schema=schema,
            separator=single.decode(),
            quote_char='"' if layout.quoted else None,
        )
        frame = table.select(*columns).collect()
        if _separators(text, single, quoted=layout.quoted) != frame.height * (len(header) - 1):
            raise ValueError("a row has too few or too many fields")  # polars fills short rows up without a word
        return frame

    return parse


def _utf8(content: bytes, layout: Layout) -> bytes:
    if not layout.latin:
        return content
    try:
        content.decode()
    except UnicodeDecodeError:
        text = content.decode("latin-1")
        if _CONTROL.search(text):
            raise
        return text.encode()
    return content


def _separators(text: bytes, separator: bytes, *, quoted: bool) -> int:
    """Return how many separators stand outside quotes."""
    if not quoted or b'"' not in text:
        return text.count(separator)
    characters = np.frombuffer(text, np.uint8)
    inside = np.bitwise_xor.accumulate(characters == ord('"'))
    return int(((characters == ord(separator)) & ~inside).sum())


def _explainer(header: Sequence[str], columns: Columns, layout: Layout) -> Callable[[bytes], tuple[str, str]]:
    def explain(content: bytes) -> tuple[str, str]:
        try:
            text = _utf8(content.removeprefix(codecs.BOM_UTF8), layout).decode()
        except UnicodeDecodeError as error:
            return f"byte 0x{content[error.start]:02x} is no {error.encoding.upper()} text", "text in that encoding"
        if layout.quoted and text.count('"') % 2:
            return "a quote that does not close", "quotes in pairs"
        fields = _fields(text, layout)
        if len(fields) != len(header):
            return f"{len(fields)} fields", f"{len(header)} fields ({', '.join(header)})"
        for name, field in zip(header, fields, strict=True):
            wanted = columns.get(name, pl.String)
            if field and pl.Series([field]).cast(wanted, strict=False).null_count():
                return f"{name} = {field!r}", "a whole number" if wanted.is_integer() else "a number"
        return "a row that cannot be parsed", "fields, each quoted whole or not at all"

    return explain


def _fields(text: str, layout: Layout) -> list[str]:
    if layout.quoted and len(layout.separator) == 1:
        return next(csv.reader([text], delimiter=layout.separator), [])
    return text.split(layout.separator)
