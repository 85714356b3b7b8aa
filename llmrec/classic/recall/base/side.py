"""Side information: columns of the item table as categories, each item with any number of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.classic.recall.base.columns import scalar_texts, text_lists
from llmrec.data import Dataset
from llmrec.errors import DataError

USUAL_COLUMNS = ("categories", "subcategory", "brand", "author")


@dataclass(frozen=True, eq=False)
class Side:
    """What is known of each item: for each of its c columns, a list of values.

    Attributes:
        members: int64 (m,), values from 0; each column has values of its own.
        starts: int64 (n_items, c), where the members of an item's column begin.
        counts: int64 (n_items, c), how many there are.
        values: how many values there are in all columns together.
    """

    members: NDArray[np.int64]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    values: int


def read_side(data: Dataset, columns: Sequence[str] | None) -> Side:
    """Return the side information in some columns of the item table; None takes those of ``USUAL_COLUMNS`` there are.

    A list's members, and a plain value as a list of one, are categories; blank texts and nulls are none. An item's
    repeated value counts once.

    Raises:
        DataError: a column is not there, or says nothing.
    """
    table = data.item_table
    if columns is None:
        columns = [name for name in USUAL_COLUMNS if name in table.columns]
    shape = (table.height, len(columns))
    cells, members, total = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
    for number, name in enumerate(columns):
        items, codes, size = _categories(data, name)
        cells.append(items * len(columns) + number)
        members.append(codes + total)
        total += size
    cell = np.concatenate(cells)
    counts = np.bincount(cell, minlength=table.height * len(columns))
    starts = np.cumsum(counts) - counts
    flat = np.concatenate(members)[np.argsort(cell, kind="stable")]
    return Side(flat, starts.reshape(shape), counts.reshape(shape), total)


def single_values(data: Dataset, name: str) -> NDArray[np.int64]:
    """Return the number of each item's value in a column from 1, 0 where it is null or blank, (n_items,).

    Raises:
        DataError: the column is not there, says nothing, or holds lists.
    """
    items, codes, _ = _categories(data, name, single=True)
    numbers = np.zeros(len(data.items), np.int64)
    numbers[items] = codes + 1
    return numbers


def _categories(data: Dataset, name: str, *, single: bool = False) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Return item and category of each value of a column, sorted by item, and how many categories there are."""
    where = f"the item table of {data.name!r}"
    if single:
        values = scalar_texts(data.item_table, name, where=where)
        flat = pl.DataFrame({"item": np.arange(len(values)), "value": values}).drop_nulls()
    else:
        lists = text_lists(data.item_table, name, where=where)
        flat = pl.DataFrame({"item": np.arange(len(lists)), "value": lists}).explode("value", empty_as_null=False)
        flat = flat.drop_nulls().unique(maintain_order=True)
    if flat.is_empty():
        raise DataError(
            f"column {name!r} of {where} says nothing", expected="a value for some item", cure="name another column"
        )
    codes = flat["value"].rank("dense").cast(pl.Int64).to_numpy() - 1
    return flat["item"].to_numpy(), codes, int(codes.max()) + 1
