"""Sequence files: a user and a tab, then the items in order with spaces between; RecBole's, LLMRank's, our own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from llmrec.data import Dataset, Interactions
from llmrec.data_prep.about import CURE, About, encode, read_about, require_good, stem
from llmrec.data_prep.raw.delimited import TSV, Layout, read_header, read_table
from llmrec.data_prep.raw.files import RawFile, single
from llmrec.data_prep.raw.reading import Check, Reading, Refusal, not_blank
from llmrec.data_prep.raw.second_look import Read, look_again, read_distinct
from llmrec.errors import DataError


def load_sequences(
    path: Path | str,
    items: Path | str | None = None,
    *,
    header: bool = True,
    item_id: str = "item",
    title: str | None = "title",
    item_layout: Layout | None = None,
    name: str | None = None,
    source: str = "",
    licence: str = "",
    reading: Reading | None = None,
) -> Dataset:
    """Return the data set of a file with one user a line: the id, a tab, and item ids from oldest to newest.

    Times are places in the sequence, from 0 (``clock`` is False). Columns behind the second go on with the sequence, as
    RecBole's ``item_id`` does behind its ``item_id_list``. Ids stay integers where all are written as such. A file of
    candidates (LLMRank's) reads in the same way: its order is that of the list.

    Args:
        path: the file, plain or gzipped.
        items: table of the catalogue, in any format of ``raw.anyfile``; its further columns are kept.
        header: whether the first line names the columns.
        item_id: column of ids in ``items``.
        title: column of titles in ``items``; None where there is none.
        item_layout: how ``items`` is written where its name does not tell: MovieLens' ``movies.dat`` has ``::``.
        name: of the data set; the file's own by default.
        source: where the data came from.
        licence: under which terms.
        reading: which rows may be left out.

    Raises:
        DataError: a file is missing, empty or damaged, a column is absent, or a row is bad and may not be left out: a
            user is blank or on an earlier line, a sequence is empty or has an item that ``items`` lacks.
    """
    reading, file = reading or Reading(), single(Path(path), what="a file of sequences")
    catalogue = read_about(items, item_id, reading, title=title, layout=item_layout)
    lists = _read_lists(file, _names(file, header=header), catalogue, reading, header=header)
    users, numbers = encode(lists["user"], None)
    lengths = lists["items"].list.len().to_numpy().astype(np.int64)
    vocabulary, flat = encode(lists["items"].explode(), catalogue)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return Dataset(
        name=name or stem(file.path),
        interactions=Interactions.sort(np.repeat(numbers, lengths), flat, np.arange(len(flat)) - starts),
        users=users,
        items=vocabulary,
        item_table=pl.DataFrame(height=len(vocabulary)) if catalogue is None else catalogue.table,
        source=source,
        licence=licence,
        clock=False,
    )


def _names(file: RawFile, *, header: bool) -> list[str]:
    """Return the names of the columns: the user's, then those of the sequence."""
    if header:
        names = read_header(file, TSV)
    else:
        with file.open() as (stream, _):
            fields = stream.readline().count(b"\t") + 1
        names = ["user", "items", *(f"items_{column}" for column in range(3, fields + 1))][:fields]
    if len(names) < 2:
        raise DataError(
            f"{file.name} has one column in its first line",
            expected="a user, a tab and items with spaces between",
            cure="put a tab between user and items" + ("" if header else ", or say header=True"),
        )
    return names


def _read_lists(
    file: RawFile, names: list[str], catalogue: About | None, reading: Reading, *, header: bool
) -> pl.DataFrame:
    """Return a row for each user: ``user``, and ``items`` as a list of texts with one at least."""
    user, *parts = names
    joined = pl.concat_str(parts, separator=" ", ignore_nulls=True)
    checks = [
        not_blank(user),
        Check(parts[0], ~joined.str.contains(r"\S"), "items with spaces between, oldest first"),
    ]
    layout = TSV if header else TSV.model_copy(update={"header": tuple(names)})

    def read(reading: Reading, further: Sequence[Check]) -> pl.DataFrame:
        columns = dict.fromkeys(names, pl.String)
        return read_table(file, columns, reading, checks=[*checks, *further], layout=layout)

    lists = read_distinct(read, user, reading).select(
        pl.col(user).alias("user"),
        joined.str.split(" ").list.filter(pl.element() != "").alias("items"),
    )
    require_good(lists, file.path)
    return lists if catalogue is None else _known_items(lists, user, catalogue, read, reading)


def _known_items(lists: pl.DataFrame, user: str, catalogue: About, read: Read, reading: Reading) -> pl.DataFrame:
    """Return the rows whose items are all in the catalogue; the others are refused, with the first stranger named."""
    strangers = (
        lists.explode("items")
        .filter(~pl.col("items").is_in(catalogue.ids.implode()))
        .unique("user", keep="first", maintain_order=True)
    )
    if strangers.is_empty():
        return lists
    wrong = {f"{user} = {one!r}": item for one, item in strangers.iter_rows()}

    def explain(row: Refusal) -> Refusal | None:
        item = wrong.pop(row.reason, None)  # a user's later line was refused before
        return None if item is None else replace(row, reason=f"item {item!r}", cure=CURE)

    those = strangers["user"].implode()
    look_again(read, Check(user, pl.col(user).is_in(those), f"items of {catalogue.file}"), explain, reading)
    return lists.filter(~pl.col("user").is_in(those))
