"""MIND's behaviors.tsv: who was shown which news when, what was clicked, and what had been clicked before."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data_prep.mind_tokens import LABEL, Lookup, Seen, flat, numbered, split, with_labels
from llmrec.data_prep.raw.delimited import TSV, Layout, table_format
from llmrec.data_prep.raw.files import RawFile
from llmrec.data_prep.raw.reading import Check, Reading, not_blank
from llmrec.data_prep.raw.rows import Format, read_chunks
from llmrec.errors import DataError

HEADER = ("impression", "user", "time", "history", "impressions")
LAYOUT = Layout(separator=TSV.separator, header=HEADER, quoted=TSV.quoted)
TIME = "%m/%d/%Y %I:%M:%S %p"
BEGINNING = 1 << 16  # bytes at a file's beginning that tell whether it has labels


@dataclass(frozen=True, eq=False)
class Behaviors:
    """The m impressions of one file, in its order; items are rows of the ids that it was read with.

    Attributes:
        users: (m,) user ids.
        times: int64 (m,), Unix seconds, or 1 to m where the file's own are not read.
        history_lengths: uint32 (m,), how many items were clicked before; 0 where an earlier line has the same user and
            the same history.
        history: int32 (their sum,), those items, oldest first.
        lengths: uint32 (m,), how many items were shown.
        shown: int32 (their sum,), those items in the order shown.
        clicked: bool (their sum,).
        labelled: whether the file says what was clicked; ``clicked`` is False throughout where it does not.
    """

    users: pl.Series
    times: NDArray[np.int64]
    history_lengths: NDArray[np.uint32]
    history: NDArray[np.int32]
    lengths: NDArray[np.uint32]
    shown: NDArray[np.int32]
    clicked: NDArray[np.bool_]
    labelled: bool


def read_behaviors(file: RawFile, ids: pl.Series, reading: Reading, *, clock: bool) -> Behaviors:
    """Return a file's impressions.

    Args:
        file: where they are.
        ids: (n,) all news ids there may be.
        reading: which rows may be left out.
        clock: whether the file's times are read.

    Raises:
        DataError: the file is empty or damaged, or a row is bad and may not be left out.
    """
    labelled, before = has_labels(file), len(reading.rejected)
    seen = Seen()
    form = _form(ids, seen, labelled=labelled, clock=clock)
    parts = [_behaviors(form.empty, labelled=labelled)]
    for frame in read_chunks(file, form, reading):
        parts.append(_behaviors(frame, labelled=labelled))
        seen.add(frame["pair"].to_numpy())
    users = pl.concat([part.users for part in parts])
    if not len(users) and len(reading.rejected) == before:
        raise DataError(f"{file.name} is empty", expected="an impression a line", cure="fetch the file again")
    return Behaviors(
        users=users,
        times=np.concatenate([part.times for part in parts]) if clock else np.arange(1, len(users) + 1),
        history_lengths=np.concatenate([part.history_lengths for part in parts]),
        history=np.concatenate([part.history for part in parts]),
        lengths=np.concatenate([part.lengths for part in parts]),
        shown=np.concatenate([part.shown for part in parts]),
        clicked=np.concatenate([part.clicked for part in parts]),
        labelled=labelled,
    )


def unknown_news(file: RawFile, ids: pl.Series, *, clock: bool) -> pl.Series:
    """Return the ids in a file's good rows that ``ids`` lacks, sorted."""
    labelled = has_labels(file)
    found = [pl.Series("id", dtype=pl.String)]
    form = _form(ids, Seen(), labelled=labelled, clock=clock, unknown=True)
    for frame in read_chunks(file, form, Reading(skip_bad_rows=sys.maxsize)):
        for name in ("history", "impressions"):
            missing = pl.Series(flat(frame[f"{name} numbers"]) < 0)
            tokens = split(frame[name])[0].filter(missing).unique().alias("id")
            found.append(tokens.str.replace(LABEL, "") if labelled and name == "impressions" else tokens)
    return pl.concat(found).unique().sort()


def has_labels(file: RawFile) -> bool:
    """Return whether at least half of the tokens at a file's beginning end in -0 or -1."""
    try:
        with file.open() as (stream, _):
            lines = stream.read(BEGINNING).splitlines()
    except DataError:
        return True  # damaged: the reading itself says so, with the line
    whole = lines[:-1] or lines
    tokens = [token for line in whole for token in line.rpartition(b"\t")[2].split()]
    return 2 * sum(token.endswith((b"-0", b"-1")) for token in tokens) >= len(tokens)


def _form(ids: pl.Series, seen: Seen, *, labelled: bool, clock: bool, unknown: bool = False) -> Format:
    """Return the format of a file.

    Args:
        ids: (n,) known news.
        seen: users with a history that need not be looked at again.
        labelled: whether -0 or -1 stands behind what was shown.
        clock: whether times are read.
        unknown: whether rows with other news than ``ids`` are good.
    """
    table = table_format(HEADER, dict.fromkeys(HEADER[1:], pl.String), (), LAYOUT)
    plain = Lookup(ids)
    shown = Lookup(with_labels(ids)) if labelled else plain
    blank, label = pl.col("token") == "", pl.col("token").str.contains(LABEL)
    odd = (pl.col("token").str.len_bytes() < 3) | ~label if labelled else blank | label
    time = pl.col("time").str.strptime(pl.Datetime("ms"), TIME, strict=False).dt.epoch("s")

    def complete(frame: pl.DataFrame) -> pl.DataFrame:
        pair = frame.select("user", "history").hash_rows()
        new = pl.Series(seen.new(pair.to_numpy()))
        history = frame.select(pl.when(new).then("history")).to_series()
        return pl.concat(
            [
                frame.with_columns(seconds=time if clock else pl.lit(0, pl.Int64), pair=pair),
                numbered(history, plain, blank),
                numbered(frame["impressions"], shown, odd),
            ],
            how="horizontal",
        )

    return replace(
        table,
        parse=lambda content: complete(table.parse(content)),
        checks=_checks(labelled=labelled, unknown=unknown),
        empty=complete(table.empty),
    )


def _checks(*, labelled: bool, unknown: bool) -> list[Check]:
    ids = "news ids with one space between them"
    label = "each with -0 or -1 behind it" if labelled else "none with -0 or -1 behind it, as the file begins"
    moment = "month/day/year and time as in '11/12/2019 2:14:46 PM'"
    without = "mend that line, or read a copy without times with times='order'"
    both = "take both files from one download, or keep such items with unknown_items='keep'"
    checks = [
        not_blank("user", "a user id"),
        not_blank("impressions", ids),
        _absent("token in history", ids),
        _absent("token in impressions", f"{ids}, {label}"),
        Check("time", pl.col("seconds").is_null() | (pl.col("seconds") < 0), moment, without),
    ]
    described = [_absent(f"news in {name}", "an id that news.tsv has", both) for name in ("history", "impressions")]
    return checks if unknown else checks + described


def _absent(column: str, expected: str, cure: str = "") -> Check:
    return Check(column, pl.col(column).is_not_null(), expected, cure)


def _behaviors(frame: pl.DataFrame, *, labelled: bool) -> Behaviors:
    """Return the impressions of one checked frame."""
    codes = flat(frame["impressions numbers"])
    return Behaviors(
        users=frame["user"],
        times=frame["seconds"].to_numpy(),
        history_lengths=frame["history numbers"].list.len().to_numpy(),
        history=flat(frame["history numbers"]),
        lengths=frame["impressions numbers"].list.len().to_numpy(),
        shown=codes >> 1 if labelled else codes,
        clicked=(codes & 1).astype(np.bool_) if labelled else np.zeros(len(codes), np.bool_),
        labelled=labelled,
    )
