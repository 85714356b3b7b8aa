"""The items of Amazon's metadata: scraped pages made into texts, lists and prices."""

from __future__ import annotations

import codecs
import html
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from llmrec.data_prep.raw.files import RawFile
from llmrec.data_prep.raw.jsonlines import explain_json, read_literals
from llmrec.data_prep.raw.reading import Reading, not_blank
from llmrec.data_prep.raw.rows import FAILED, Format, read_chunks
from llmrec.errors import DataError

Columns = dict[str, pl.DataType | type[pl.DataType]]
LISTS = ("categories", "description")
RAW: Columns = {
    "id": pl.String,
    "title": pl.String,
    "brand": pl.String,
    "categories": pl.List(pl.String),
    "description": pl.List(pl.String),
    "price": pl.String,
}

# What remains of a page where the scraper missed the text: the page's own code.
CODE = r"getTime\(\)|^\s*(?:var\s+\w+\s*=|function\s*\w*\(|\(function|window\.\w+\s*=|[.#@][\w.# -]+\{)"
HIDDEN = r"(?is)<!--.*?(?:-->|\z)|<script\b.*?(?:</script\s*>|\z)|<style\b.*?(?:</style\s*>|\z)"
NAMES = (
    r"(?:a|abbr|b|big|blockquote|body|br|button|center|code|div|em|font|form|h[1-6]|head|hr|html|i|iframe|img|input|"
    r"label|li|link|meta|ol|p|param|pre|s|script|small|span|strong|style|sub|sup|table|tbody|td|th|thead|title|tr|u|ul)"
)
UNCLOSED = rf"(?i)</?{NAMES}\s[^<>]*=[^<>]*<"  # the next tag begins before this one ends
CUT = rf"(?i)</?{NAMES}(?:\s+[\w:-]*(?:\s*=[^<>]*)?)?$"
INLINE = r"(?i)</?(?:a|abbr|b|big|em|font|i|s|small|span|strong|sub|sup|u)(?:\s[^<>]*)?/?>"
TAG = r"</?[A-Za-z][\w:-]*(?:\s[^<>]*)?/?>|<![A-Za-z][^<>]*>"
SPACE = r"[\s\x00-\x1f\x7f]+"

NUMBER = r"(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
PRICE = rf"^\s*(?i:from\s+)?\$?\s*{NUMBER}(?:\s*[-\x{{2013}}]\s*\$?\s*{NUMBER})?\s*$"


@dataclass(frozen=True)
class Metadata:
    """A file of metadata.

    Attributes:
        file: where it is.
        keys: the file's key for each column of ``RAW``.
        literals: whether a line is a Python dictionary rather than a JSON object.
    """

    file: RawFile
    keys: Mapping[str, str]
    literals: bool


def read_items(metadata: Metadata, reading: Reading, known: pl.Series | None = None) -> pl.DataFrame:
    """Return id, title, brand, categories (list), description and price (Float32, US dollars) of each item once.

    Titles and descriptions lose their tags, scripts, entities and line breaks; what is then empty is null. Of an item
    that is described several times, the first description with a title stays.

    Args:
        metadata: what to read.
        reading: which rows may be left out.
        known: ids to keep; None keeps all. The others are dropped as the file is read, some 16 MiB at a time.

    Raises:
        DataError: the file is empty or damaged, or a row is bad and may not be left out.
    """
    frames, rows, before = [], 0, len(reading.rejected)
    wanted = None if known is None else known.implode()
    for frame in _frames(metadata, reading):
        rows += frame.height
        frames.append(frame if wanted is None else frame.filter(pl.col("id").is_in(wanted)))
    if not rows and len(reading.rejected) == before:
        raise DataError(f"{metadata.file.name} is empty", expected="one object a line", cure="fetch the file again")
    return _tidy(_once(pl.concat([pl.DataFrame(schema=RAW), *frames])))


def clean(texts: pl.Series) -> pl.Series:
    """Return scraped texts (n,) as a reader saw them on the page; null where nothing is left.

    Scripts, comments and tags go, also a tag that the text's end cuts off; entities are read, escaped twice or not;
    white space and control characters become single spaces.
    """
    texts = texts.set(texts.str.contains(CODE), None)
    texts = texts.str.replace_all(HIDDEN, " ").str.replace_all(UNCLOSED, "<").str.replace_all(CUT, "")
    texts = _without_tags(texts)
    escaped = texts.filter(texts.str.contains("&", literal=True)).unique()
    if len(escaped):
        meant = [html.unescape(html.unescape(text)) for text in escaped]
        texts = _without_tags(texts.replace(escaped, pl.Series(meant, dtype=pl.String)))
    texts = texts.str.replace_all(SPACE, " ").str.strip_chars()
    return texts.set(texts == "", None)


def prices(texts: pl.Series) -> pl.Series:
    """Return prices (n,) such as ``"$1,299.99"`` as Float32; a range gives its lower end, anything else null."""
    numbers = texts.set(~texts.str.contains(PRICE), None).str.extract_all(NUMBER)
    return numbers.list.eval(pl.element().str.replace_all(",", "").cast(pl.Float32)).list.min()


def _without_tags(texts: pl.Series) -> pl.Series:
    return texts.str.replace_all(INLINE, "").str.replace_all(TAG, " ")


def _once(table: pl.DataFrame) -> pl.DataFrame:
    """Return the first row of each id that has a title, or its first row where none has."""
    table = table.with_columns(clean(table["title"]))
    titled = table.sort(pl.col("title").is_null(), maintain_order=True)
    return titled.unique("id", keep="first", maintain_order=True)


def _tidy(table: pl.DataFrame) -> pl.DataFrame:
    brand = table["brand"].str.replace(r"^\s*by\s*\n", "")  # "by", a line break and the brand, as on the page
    return table.with_columns(
        clean(brand),
        _clean_lists(table["categories"]).fill_null([]),
        _clean_lists(table["description"]).list.join(" "),
        prices(table["price"]),
    )


def _clean_lists(lists: pl.Series) -> pl.Series:
    """Return lists of scraped texts cleaned, each text once a list; null where no text is left."""
    rows = pl.DataFrame(lists).with_row_index("row")
    texts = rows.explode(lists.name, empty_as_null=False).with_columns(pl.col(lists.name).map_batches(clean))
    texts = texts.drop_nulls().unique(maintain_order=True)
    grouped = texts.group_by("row", maintain_order=True).agg(lists.name)
    return rows.select("row").join(grouped, on="row", how="left", maintain_order="left")[lists.name]


def _frames(metadata: Metadata, reading: Reading) -> Iterator[pl.DataFrame]:
    if metadata.literals:
        yield from read_literals(metadata.file, lambda row: _literal_row(row, metadata.keys), RAW, reading)
        return
    texts: Columns = dict.fromkeys(metadata.keys.values(), pl.String)
    form = Format(
        parse=lambda content: _parse(content, metadata.keys),
        explain=lambda content: explain_json(content, texts),
        checks=[not_blank(metadata.keys["id"])],
        empty=_parse(b"", metadata.keys),
    )
    names = {key: name for name, key in metadata.keys.items()}
    for frame in read_chunks(metadata.file, form, reading):
        yield frame.rename(names)


def _parse(content: bytes, keys: Mapping[str, str]) -> pl.DataFrame:
    """Return a chunk of JSON lines as a frame.

    A value that should be a list is a plain text in some rows of 2018. Read as text, polars would not escape
    backslashes in a list, so such a chunk is read by Python once polars has judged it.
    """
    schema = {keys[name]: kind for name, kind in RAW.items()}
    content = content.removeprefix(codecs.BOM_UTF8)
    if not content.strip():
        return pl.DataFrame(schema=schema)
    try:
        return pl.scan_ndjson(content, schema=schema).collect()
    except FAILED:
        frame = pl.scan_ndjson(content, schema=dict.fromkeys(schema, pl.String)).collect()
    objects = [json.loads(line) for line in content.split(b"\n") if line.strip()]
    if len(objects) != frame.height:
        raise ValueError("polars and Python count different rows")
    lists = {keys[name]: [_as_list(value.get(keys[name])) for value in objects] for name in LISTS}
    return frame.with_columns(pl.Series(key, values, pl.List(pl.String)) for key, values in lists.items())


def _literal_row(row: dict[str, object], keys: Mapping[str, str]) -> dict[str, object]:
    """Return the columns of a line of 2014.

    Raises:
        ValueError: the item has no id.
    """
    values: dict[str, object] = {
        name: _as_list(row.get(key)) if name in LISTS else _as_text(row.get(key)) for name, key in keys.items()
    }
    if not str(values["id"] or "").strip():
        raise ValueError("no id")
    return values


def _as_text(value: object) -> str | None:
    return None if value is None else str(value)


def _as_list(value: object) -> list[str] | None:
    """Return a text, a list of texts or the paths of 2014, which are lists of lists, as one list of texts."""
    if value is None:
        return None
    if not isinstance(value, list):
        return [str(value)]
    return [text for entry in value for text in _as_list(entry) or []]
