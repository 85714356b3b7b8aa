"""Categories as codes: of ids, of columns with one value a row, and of columns with lists."""

from __future__ import annotations

import zlib

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.classic.recall.base.columns import text_lists
from llmrec.data.queries import pad_ragged
from llmrec.errors import DataError

PADDING, UNKNOWN, KNOWN = 0, 1, 2
"""Codes: nothing at all; a value that was not learned, or none; the first of those that were."""
Codes = NDArray[np.int32]


def id_codes(counts: NDArray[np.integer], *, buckets: int | None, min_count: int) -> tuple[Codes, int]:
    """Return the code of each number 0, 1, …, int32 (n, 1), and how many codes there are.

    Args:
        counts: (n,), events of each number in training; those with fewer than ``min_count`` share the unknown code.
        buckets: hash the numbers into so many codes; None gives each its own.
        min_count: see ``counts``.
    """
    known = counts >= min_count
    if buckets is not None:
        hashed = _hashed(pl.Series(np.arange(len(counts))).cast(pl.String), buckets)
        return np.where(known, hashed, UNKNOWN).astype(np.int32)[:, None], KNOWN + buckets
    return np.where(known, KNOWN - 1 + np.cumsum(known), UNKNOWN).astype(np.int32)[:, None], KNOWN + int(known.sum())


def column_codes(
    table: pl.DataFrame,
    column: str,
    counts: NDArray[np.integer],
    *,
    where: str,
    buckets: int | None,
    min_count: int,
) -> tuple[Codes, int]:
    """Return the codes of each row's values, int32 (n, m) with padding, and how many codes there are.

    A row without a value, or only with values that occur in fewer than ``min_count`` training events, has the unknown
    code. Values that are hashed are never unknown.

    Args:
        table: the item or user table.
        column: a column of it, of scalars or of lists.
        counts: (n,), training events of each row.
        where: what the table is called in an error.
        buckets: hash the values into so many codes; None gives each its own.
        min_count: events that a value needs.

    Raises:
        DataError: the column is not there, cannot be read, or says nothing.
    """
    lists = text_lists(table, column, where=where)
    flat = pl.DataFrame({"row": np.arange(len(lists)), "value": lists}).explode("value", empty_as_null=False)
    flat = flat.drop_nulls().unique(maintain_order=True).sort("row", maintain_order=True)
    if flat.is_empty():
        raise DataError(
            f"column {column!r} of {where} says nothing", expected="a value for some row", cure="name another column"
        )
    rows = flat["row"].to_numpy()
    if buckets is not None:
        codes, size = _hashed(flat["value"], buckets), KNOWN + buckets
    else:
        values = flat["value"].rank("dense").to_numpy().astype(np.int64) - 1
        known = np.bincount(values, counts[rows]) >= min_count
        codes = np.where(known, KNOWN - 1 + np.cumsum(known), UNKNOWN)[values].astype(np.int32)
        size = KNOWN + int(known.sum())
    unknown = codes == UNKNOWN
    padded = pad_ragged(rows[~unknown], codes[~unknown], len(lists), fill=PADDING)
    padded = padded if padded.shape[1] else np.zeros((len(lists), 1), np.int32)
    padded[~padded.any(axis=1), -1] = UNKNOWN
    return padded, size


def _hashed(values: pl.Series, buckets: int) -> Codes:
    """Return the same code for the same text on every machine, (n,)."""
    distinct = values.unique()
    codes = pl.Series([KNOWN + zlib.crc32(text.encode()) % buckets for text in distinct], dtype=pl.Int32)
    return values.replace_strict(distinct, codes, return_dtype=pl.Int32).to_numpy()
