"""A vocabulary: ids outside, numbers 0..n-1 inside."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.errors import DataError


class Vocabulary:
    """Two-way map between ids (integers or strings) and numbers 0..n-1.

    Lookups are a binary search over the sorted ids, so ten million ids need no Python dictionary; the sort
    happens once, at the first lookup by id.

    Args:
        ids: n distinct ids, in the order of their numbers.

    Raises:
        DataError: an id occurs twice or is missing.
    """

    def __init__(self, ids: Iterable[int] | Iterable[str] | pl.Series) -> None:
        series = ids if isinstance(ids, pl.Series) else pl.Series("id", list(ids))
        if series.dtype == pl.Null:
            series = series.cast(pl.Int64)
        series = series.cast(pl.Int64 if series.dtype.is_integer() else pl.String).alias("id")
        if series.null_count():
            raise DataError(
                f"id number {series.is_null().arg_true()[0]} is missing",
                expected="an id for every row",
                cure="drop or fill the rows without an id",
            )
        if series.n_unique() < len(series):
            twice = series.filter(series.is_duplicated())[0]
            raise DataError(f"duplicate id {twice!r}", expected="every id once", cure="drop the repeated rows")
        self.ids = series

    @classmethod
    def of(cls, ids: pl.Series) -> Vocabulary:
        """Return the vocabulary of the distinct values of ``ids``, sorted."""
        return cls(ids.drop_nulls().unique().sort())

    @classmethod
    def encode(cls, ids: pl.Series) -> tuple[Vocabulary, NDArray[np.int32]]:
        """Return ``of(ids)`` and the number of each id, int32 (n,), by hashing: for millions of events.

        Raises:
            DataError: an id is missing.
        """
        vocabulary = cls.of(ids)
        if ids.null_count():
            raise DataError(
                f"id number {ids.is_null().arg_true()[0]} is missing",
                expected="an id for every event",
                cure="drop or fill the events without an id",
            )
        if ids.dtype.is_integer():
            return vocabulary, vocabulary.numbers(ids)
        return vocabulary, ids.cast(pl.Enum(vocabulary.ids)).to_physical().to_numpy().astype(np.int32)

    @cached_property
    def _sorted(self) -> tuple[pl.Series, NDArray[np.int32]]:
        order = self.ids.arg_sort()
        return self.ids.gather(order), order.to_numpy().astype(np.int32)

    def numbers(self, ids: Iterable[int] | Iterable[str] | pl.Series) -> NDArray[np.int32]:
        """Return the number of each id, int32 (n,); -1 where the id is unknown or null."""
        asked = ids if isinstance(ids, pl.Series) else pl.Series("id", list(ids), strict=False)
        if not len(asked) or not len(self.ids):
            return np.full(len(asked), -1, np.int32)
        if asked.dtype.is_float():
            asked = asked.set(asked != asked.floor(), None)  # a cast alone would turn the unknown id 1.5 into 1
        asked = asked.cast(self.ids.dtype, strict=False)
        ids_sorted, order = self._sorted
        place = ids_sorted.search_sorted(asked).clip(0, len(ids_sorted) - 1)
        known = (ids_sorted.gather(place) == asked).fill_null(value=False).to_numpy()
        return np.where(known, order[place.fill_null(0).to_numpy()], -1).astype(np.int32)

    def decode(self, numbers: NDArray[np.integer]) -> pl.Series:
        """Return the id of each number, null for -1; ``numbers`` has any shape and is read flat."""
        flat = pl.Series("id", np.asarray(numbers, np.int64).ravel())
        return self.ids.gather(flat.set(flat < 0, None))

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.ids.equals(other.ids)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Vocabulary({len(self):,} ids)"
