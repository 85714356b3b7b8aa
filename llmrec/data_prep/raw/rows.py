"""Chunks of a raw file parsed at once; where one fails, halved until the bad rows stand alone.

The fast parser is the only judge: no second parser decides what a good row is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import polars as pl

from llmrec.data_prep.raw.files import BROKEN, CHUNK, RawFile, unpacking_failed
from llmrec.data_prep.raw.reading import Check, Reading, Refusal
from llmrec.errors import DataError

BLOCK = 1024  # rows that are sifted before the limit of bad rows is looked at again
LONGEST = 64 << 20  # bytes of one row; a quote that never closes would swallow the file

Columns = Mapping[str, "pl.DataType | type[pl.DataType]"]
"""Names of columns and the types that they are read in."""
Parse = Callable[[bytes], pl.DataFrame]
FAILED = (pl.exceptions.PolarsError, UnicodeError, ValueError)
"""What a parser raises where bytes do not fit its format."""


@dataclass(frozen=True)
class Format:
    """How the bytes of one file become a table.

    Attributes:
        parse: whole rows -> a frame with one row each; raises one of ``FAILED`` where a row does not fit.
        explain: one such row -> what is wrong, and what was expected.
        checks: what the columns must hold.
        empty: what ``parse`` returns, without a row.
        quoted: whether a line break between two ``"`` belongs to the row.
    """

    parse: Parse
    explain: Callable[[bytes], tuple[str, str]]
    checks: Sequence[Check]
    empty: pl.DataFrame
    quoted: bool = False


@dataclass(frozen=True)
class Record:
    """One row of a file: its bytes without the line break, and the number of its first line."""

    line: int
    content: bytes


def read_chunks(file: RawFile, form: Format, reading: Reading, *, first_line: int = 1) -> Iterator[pl.DataFrame]:
    """Yield checked frames of a file, some 16 MiB of it at a time, without the first ``first_line - 1`` lines.

    Raises:
        DataError: a row is bad and may not be left out, or the file is damaged.
    """
    for chunk in _chunks(file, form.quoted, reading, first_line):
        yield read_chunk(chunk, file.name, form, reading)


def read_chunk(chunk: Record, name: str, form: Format, reading: Reading) -> pl.DataFrame:
    """Return the good rows of a chunk; the others are refused in the order of their lines."""
    try:
        frame = form.parse(chunk.content)
    except FAILED:
        pass
    else:
        if passes(frame, form.checks):
            return frame
    return read_records(list(_records(chunk, form.quoted)), name, form, reading)


def read_records(records: Sequence[Record], name: str, form: Format, reading: Reading) -> pl.DataFrame:
    """Return the good ones of some rows; the others are refused in the order of their lines."""
    blocks = [records[start : start + BLOCK] for start in range(0, len(records), BLOCK)]
    return pl.concat([form.empty, *(_sift_block(block, name, form, reading) for block in blocks)])


def passes(frame: pl.DataFrame, checks: Sequence[Check]) -> bool:
    """Return whether no row fails a check."""
    quick = {place: check.fine for place, check in enumerate(checks) if check.fine is not None}
    fine = frame.select(all_fine.alias(str(place)) for place, all_fine in quick.items()).row(0) if quick else ()
    settled = {place for place, is_fine in zip(quick, fine, strict=True) if is_fine}
    left = [check.bad.fill_null(value=True).any() for place, check in enumerate(checks) if place not in settled]
    return not left or not any(frame.select(bad.alias(str(place)) for place, bad in enumerate(left)).row(0))


def _sift_block(records: Sequence[Record], name: str, form: Format, reading: Reading) -> pl.DataFrame:
    broken: list[Record] = []
    good: list[Record] = []
    frames = []
    for some, frame in _sift(records, form, broken):
        good += some
        frames.append(frame)
    refusals = [_refusal(record, name, *form.explain(record.content)) for record in broken]
    frame = pl.concat(frames) if frames else form.empty
    bad = pl.Series([False] * len(good), dtype=pl.Boolean)
    for check in form.checks:
        fails = frame.select(check.bad.fill_null(value=True).alias("bad")).to_series() & ~bad
        for place in fails.arg_true():
            value = frame[check.column][place]
            reason = f"{check.column} = {value!r}" if value is not None else f"no {check.column}"
            refusals.append(_refusal(good[place], name, reason, check.expected, check.cure))
        bad = bad | fails
    for refusal in sorted(refusals, key=lambda each: each.line):
        reading.refuse(refusal)
    return frame.filter(~bad)


def _sift(
    records: Sequence[Record], form: Format, broken: list[Record]
) -> Iterator[tuple[Sequence[Record], pl.DataFrame]]:
    """Yield runs of good records with their frames, in order; add the others to ``broken``."""
    try:
        frame = form.parse(b"\n".join(record.content for record in records) + b"\n")
        if frame.height == len(records):
            yield records, frame
            return
    except FAILED:
        pass
    if len(records) == 1:
        broken += records
        return
    middle = len(records) // 2
    yield from _sift(records[:middle], form, broken)
    yield from _sift(records[middle:], form, broken)


def _refusal(record: Record, name: str, reason: str, expected: str, cure: str = "") -> Refusal:
    return Refusal(name, record.line, record.content.decode("utf-8", "replace"), reason, expected, cure)


def _chunks(file: RawFile, quoted: bool, reading: Reading, first_line: int) -> Iterator[Record]:
    """Yield whole rows, some ``CHUNK`` bytes at a time."""
    total, line, rest = file.size(), first_line, b""
    with file.open() as (stream, position):
        for _ in range(first_line - 1):
            stream.readline()
        while True:
            try:
                block = stream.read(CHUNK)
            except BROKEN as error:
                raise unpacking_failed(file.name, error, _last_line(file)) from None
            content = rest + block if rest else block
            end = _last_break(content, quoted) if block else len(content)
            if block and not end and len(content) > LONGEST:
                raise DataError(
                    f"{file.name} line {line}: a row of more than {LONGEST >> 20} MiB",
                    expected="rows of text" + (", each quote closed" if quoted else ""),
                    cure="look at that line: a quote may be open, or the file be none of text",
                )
            if end:
                yield Record(line, content if end == len(content) else content[:end])
            line += content.count(b"\n", 0, end)
            rest = content[end:]
            if block and reading.progress is not None:
                reading.progress(position(), total)
            if not block:
                return


def _last_line(file: RawFile) -> int:
    """Return the number of the line at which a damaged archive breaks."""
    line = 1
    with suppress(DataError), file.open() as (stream, _):
        for _row in stream:
            line += 1
    return line


def _last_break(content: bytes, quoted: bool) -> int:
    """Return where the last whole row ends: behind a line break that is not between quotes, or 0."""
    end = content.rfind(b"\n") + 1
    if not quoted:
        return end
    odd = content.count(b'"', 0, end) % 2
    while end and odd:
        before = content.rfind(b"\n", 0, end - 1) + 1
        odd ^= content.count(b'"', before, end) % 2
        end = before
    return end


def _records(chunk: Record, quoted: bool) -> Iterator[Record]:
    """Yield the rows of a chunk that are not blank."""
    held: list[bytes] = []
    start = line = chunk.line
    odd = 0
    for text in chunk.content.split(b"\n"):
        if not held:
            start = line
        line += 1
        if quoted:
            odd ^= text.count(b'"') % 2
        held.append(text)
        if not odd:
            row = b"\n".join(held).rstrip(b"\r")
            held = []
            if row.strip():
                yield Record(start, row)
    if held:
        yield Record(start, b"\n".join(held))
