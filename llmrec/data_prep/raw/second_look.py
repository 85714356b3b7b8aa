"""Rows that are bad only beside other rows: a file is read again, on failure alone, to name their lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import polars as pl

from llmrec.data_prep.raw.reading import Check, Reading, Refusal

Read = Callable[[Reading, Sequence[Check]], pl.DataFrame]
"""Reads a file under some rules, with further checks behind its own."""

Explain = Callable[[Refusal], Refusal | None]
"""A row that the further check refused -> why it is refused, or None where it may stay."""


class _SecondLook(Reading):
    """Passes on the rows that one check refuses; what the first look refused is not counted twice."""

    def __init__(self, reading: Reading, expected: str, explain: Explain) -> None:
        super().__init__()
        self._first, self._expected, self._explain = reading, expected, explain

    def refuse(self, row: Refusal) -> None:
        """Leave a row out of the first reading, unless that has done so already."""
        self.rejected.append(row)  # a file of which every row is refused is not an empty one
        explained = self._explain(row) if row.expected == self._expected else None
        if explained is not None:
            self._first.refuse(explained)


def look_again(read: Read, check: Check, explain: Explain, reading: Reading) -> None:
    """Refuse the rows that fail one more check, each with its line; nothing is held but the rows refused.

    Args:
        read: reads the file.
        check: true for the rows in question; its ``expected`` differs from that of the file's own checks.
        explain: told each of them in the order of the lines.
        reading: which rows may be left out.

    Raises:
        DataError: there are more such rows than may be.
    """
    read(_SecondLook(reading, check.expected, explain), [check])


def read_distinct(read: Read, column: str, reading: Reading) -> pl.DataFrame:
    """Return the rows of a file, those refused whose value in one column stands on an earlier line.

    Raises:
        DataError: there are more bad rows than may be.
    """
    table = read(reading, [])
    again = table[column].filter(table[column].is_duplicated()).unique()
    if again.is_empty():
        return table
    first: dict[str, int] = {}

    def explain(row: Refusal) -> Refusal | None:
        line = first.setdefault(row.reason, row.line)
        return None if line == row.line else replace(row, reason=f"{row.reason} stands on line {line} too")

    check = Check(column, pl.col(column).is_in(again.implode()), f"each {column} once")
    look_again(read, check, explain, reading)
    return table.filter(pl.col(column).is_first_distinct())
