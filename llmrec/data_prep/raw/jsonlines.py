"""Files with one JSON object, or one Python literal, a line."""

from __future__ import annotations

import ast
import codecs
import json
from collections.abc import Callable, Iterator, Sequence

import polars as pl

from llmrec.data_prep.raw.at_once import read_at_once
from llmrec.data_prep.raw.files import RawFile
from llmrec.data_prep.raw.reading import Check, Reading
from llmrec.data_prep.raw.rows import Columns, Format, passes, read_chunks
from llmrec.errors import DataError


def read_json_lines(file: RawFile, columns: Columns, reading: Reading, *, checks: Sequence[Check] = ()) -> pl.DataFrame:
    """Return the named keys of each object in the types given; what an object lacks is null.

    A whole file is parsed at once by all cores (see ``at_once.py``). Only where that fails, or a check does, is it read
    again in chunks to find the lines. A text column takes any value: numbers too, and lists and objects as a text that
    need not be valid JSON.

    Args:
        file: where it is; gzip is read as it is.
        columns: key -> type of what is wanted.
        reading: which rows may be left out.
        checks: what the columns must hold.

    Raises:
        DataError: the file is empty or damaged, or a row is bad and may not be left out.
    """
    table = read_at_once(file, columns)
    if table is None or not passes(table, checks):
        form = json_format(columns, checks)
        table = pl.concat([form.empty, *read_chunks(file, form, reading)])
    require_rows(table, file, reading)
    return table


def json_format(columns: Columns, checks: Sequence[Check]) -> Format:
    """Return how lines with one JSON object each are parsed."""
    return Format(
        parse=lambda content: _parse(content, columns),
        explain=lambda content: explain_json(content, columns),
        checks=checks,
        empty=pl.DataFrame(schema=columns),
    )


def read_literals(
    file: RawFile, row: Callable[[dict[str, object]], dict[str, object]], columns: Columns, reading: Reading
) -> Iterator[pl.DataFrame]:
    """Yield frames of a file with one Python dictionary a line, as the Amazon metadata of 2014 is written.

    Args:
        file: where it is.
        row: a line's dictionary -> one value for each column; raises ValueError where it does not fit.
        columns: name -> type.
        reading: which rows may be left out.

    Raises:
        DataError: the file is damaged, or a row is bad and may not be left out.
    """

    def parse(content: bytes) -> pl.DataFrame:
        rows = [row(_literal(line)) for line in content.split(b"\n") if line.strip()]
        return pl.DataFrame(rows, schema=columns, orient="row")

    form = Format(parse=parse, explain=_explain_literal, checks=(), empty=pl.DataFrame(schema=columns))
    yield from read_chunks(file, form, reading)


def require_rows(table: pl.DataFrame, file: RawFile, reading: Reading) -> None:
    """Raise a DataError where a file has no row at all."""
    if table.is_empty() and not reading.rejected:
        raise DataError(f"{file.name} is empty", expected="one object a line", cure="fetch the file again")


def _parse(content: bytes, columns: Columns) -> pl.DataFrame:
    text = content.removeprefix(codecs.BOM_UTF8)
    return pl.scan_ndjson(text, schema=columns).collect() if text.strip() else pl.DataFrame(schema=columns)


def explain_json(content: bytes, columns: Columns) -> tuple[str, str]:
    """Return what is wrong with a line that does not parse, and what was expected."""
    try:
        value = json.loads(content.decode())
    except UnicodeDecodeError as error:
        return f"byte 0x{content[error.start]:02x} is no UTF-8 text", "text in that encoding"
    except (ValueError, RecursionError) as error:
        return f"broken JSON ({error})", "one JSON object a line"
    if not isinstance(value, dict):
        return f"JSON of type {type(value).__name__}", "one JSON object a line"
    for name, wanted in columns.items():
        found = value.get(name)
        number = isinstance(found, int | float) and not isinstance(found, bool)
        if wanted.is_numeric() and found is not None and not (number and (wanted.is_float() or found == int(found))):
            return f"{name} = {found!r}", "a whole number" if wanted.is_integer() else "a number"
    return "JSON that is not strict", "numbers and texts as RFC 8259 writes them"


def _literal(line: bytes) -> dict[str, object]:
    try:
        value = ast.literal_eval(line.decode().strip())
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(value, dict):
        raise ValueError(f"a Python {type(value).__name__}")  # noqa: TRY004 - one kind of error for a bad row
    return value


def _explain_literal(content: bytes) -> tuple[str, str]:
    try:
        _literal(content)
    except UnicodeDecodeError as error:
        return f"byte 0x{content[error.start]:02x} is no UTF-8 text", "text in that encoding"
    except ValueError as error:
        return f"no Python literal ({error})", "one Python dictionary a line"
    return "a dictionary with a value that does not fit", "texts, numbers and lists of texts"
