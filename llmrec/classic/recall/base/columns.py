"""Columns of an item or user table as texts: scalars and lists alike."""

from __future__ import annotations

import polars as pl

from llmrec.data.files import require_columns
from llmrec.errors import DataError


def text_lists(table: pl.DataFrame, column: str, *, where: str) -> pl.Series:
    """Return a column as lists of texts without blank ones, List(String) (n,): of one text where it holds scalars.

    Args:
        table: an item or user table.
        column: its column of texts, numbers or lists of them.
        where: what the table is called in an error.

    Raises:
        DataError: the column is not there, or holds what is no text.
    """
    require_columns(table, [column], where=where)
    values = table[column]
    inner = values.dtype.inner if isinstance(values.dtype, pl.List | pl.Array) else values.dtype
    if inner.is_nested() or inner in {pl.Binary, pl.Object}:
        raise DataError(
            f"column {column!r} of {where} holds {values.dtype}",
            expected="texts, numbers or lists of them",
            cure="name another column, or turn it into texts",
        )
    if isinstance(values.dtype, pl.Array):
        values = values.arr.to_list()
    elif not isinstance(values.dtype, pl.List):
        values = pl.select(pl.concat_list(values)).to_series()
    member = pl.element().cast(pl.String).str.strip_chars()
    return values.list.eval(member.filter(member != "")).fill_null([]).alias(column)


def scalar_texts(table: pl.DataFrame, column: str, *, where: str) -> pl.Series:
    """Return a column of scalars as texts, String (n,), null where blank; a DataError where it holds lists."""
    lists = text_lists(table, column, where=where)
    if table[column].dtype.is_nested():
        raise DataError(
            f"column {column!r} of {where} holds {table[column].dtype}",
            expected="one value a row",
            cure="name another column",
        )
    return lists.list.first()
