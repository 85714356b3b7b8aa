"""JSON files that are one document: an array of objects, or an object of objects (or of lists) keyed by id."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator

from llmrec.data_prep.raw.files import RawFile
from llmrec.data_prep.raw.rows import Record
from llmrec.errors import DataError

ID = "id"  # the column that the keys of an object of objects become
VALUES = "values"  # the column of the lists where an object is one of lists
_BLANK = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def is_document(file: RawFile) -> bool:
    """Return whether a JSON file is one array or one object of objects or lists, rather than one object a line."""
    with file.open() as (stream, _):
        first = next((line for line in stream if line.strip()), b"").removeprefix(codecs.BOM_UTF8).strip()
        second = next((line for line in stream if line.strip()), b"").strip()
    if not first.startswith(b"{"):
        return first.startswith(b"[")
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return not second.startswith(b"{")  # a broken line among whole ones, or an object over many lines
    kinds = {type(each) for each in value.values()}
    return not second and kinds in ({dict}, {list})


def read_document(file: RawFile) -> list[Record]:
    """Return the objects of a document, each on one line of JSON, with the numbers of the lines where they begin.

    Of an object of objects, each key becomes ``id``; of an object of lists also each list ``values``.

    Raises:
        DataError: the file is damaged, or no whole JSON.
    """
    with file.open() as (stream, _):
        content = stream.read().removeprefix(codecs.BOM_UTF8)
    try:
        return list(_records(content.decode()))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found, expected = f"byte 0x{content[error.start]:02x} is no UTF-8 text", "text in that encoding"
    except json.JSONDecodeError as error:
        line, found, expected = error.lineno, f"broken JSON ({error.msg})", "one whole JSON document"
    except RecursionError:
        line, found, expected = 1, "JSON nested too deeply", "objects of texts and numbers"
    raise DataError(f"{file.name} line {line}: {found}", expected=expected, cure="mend it, or fetch the file again")


def _records(text: str) -> Iterator[Record]:
    place, line, counted = _skip(text, 0), 1, 0
    keyed = text[place] == "{"
    closing = "}" if keyed else "]"
    place = _skip(text, place + 1)
    while text[place : place + 1] != closing:
        line, counted = line + text.count("\n", counted, place), place
        key = None
        if keyed:
            key, place = _DECODER.raw_decode(text, place)
            place = _skip(text, _expect(text, _skip(text, place), ":"))
        value, place = _DECODER.raw_decode(text, place)
        if keyed and isinstance(value, list):
            value = {VALUES: value}
        if keyed and isinstance(value, dict):
            value = {**value, ID: key}
        yield Record(line, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
        place = _skip(text, place)
        if text[place : place + 1] != closing:
            place = _skip(text, _expect(text, place, ","))
            if text[place : place + 1] == closing:
                raise json.JSONDecodeError("a comma before the end", text, place)
    if (behind := _skip(text, place + 1)) < len(text):
        raise json.JSONDecodeError("something behind the end", text, behind)


def _skip(text: str, place: int) -> int:
    """Return where the next character that is not blank stands."""
    found = _BLANK.match(text, place)
    return found.end() if found else place


def _expect(text: str, place: int, character: str) -> int:
    if text[place : place + 1] != character:
        raise json.JSONDecodeError(f"no {character!r}", text, place)
    return place + 1
