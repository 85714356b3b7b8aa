"""Candidates read block by block, so that a file of any length is ranked in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from llmrec.data import Candidates, Dataset, Queries
from llmrec.data.candidates import COLUMNS
from llmrec.data.files import require_columns
from llmrec.errors import DataError

_ROWS = 1 << 16
"""Rows read at a time."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some queries in a row with their candidates.

    Attributes:
        number: of the block, from 0.
        first: number of its first query.
        queries: q queries.
        candidates: (q, k).
    """

    number: int
    first: int
    queries: Queries
    candidates: Candidates

    def __len__(self) -> int:
        return len(self.queries)


def read_blocks(path: Path, dataset: Dataset, queries: Queries, size: int) -> Iterator[Block]:
    """Yield the candidates of all queries, ``size`` queries at a time.

    Args:
        path: a Parquet file as ``Candidates.to_frame`` gives it: queries in order, the rows of each together.
        dataset: the data set that the items are of.
        queries: whose candidates they are.
        size: queries of a block.

    Raises:
        DataError: the file is missing, truncated or lacks a column; queries are out of order or not those asked for;
            an item is not in the data set or twice at a query; a query has no candidate.
    """
    rows = _in_order(path, len(queries))
    held = next(rows)
    for number, first in enumerate(range(0, max(1, len(queries)), size)):
        end = min(first + size, len(queries))
        parts = [held]
        while (not held.height or held["query"][-1] < end) and (more := next(rows, None)) is not None:
            parts.append(held := more)
        read = pl.concat(parts)
        cut = int(read["query"].search_sorted(end))
        held = read[cut:]
        some = queries.select(slice(first, end))
        found = Candidates.from_frame(read[:cut], dataset, some, first=first, where=str(path))
        yield Block(number, first, some, found)


def _in_order(path: Path, n_queries: int) -> Iterator[pl.DataFrame]:
    """Yield the rows of a file, an empty table first, and see that query numbers only go up and exist."""
    try:
        scan = pl.scan_parquet(path, glob=False)
        empty = scan.head(0).collect()
        require_columns(empty, COLUMNS, where=str(path))
        _require_numbers(empty, path)
        yield empty.select(COLUMNS)
        last = -1
        for frame in scan.select(COLUMNS).collect_batches(chunk_size=_ROWS, maintain_order=True):
            if frame.height:
                _check_queries(frame["query"], last, n_queries, path)
                last = int(frame["query"][-1])
                yield frame
    except FileNotFoundError:
        raise DataError(
            f"no file {str(path)!r}", expected="a Parquet file of candidates", cure="check the path, or write it first"
        ) from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{str(path)!r} cannot be read ({str(error).splitlines()[0]})",
            expected="a whole Parquet file",
            cure="it may be truncated: write it again",
        ) from None


def _require_numbers(frame: pl.DataFrame, path: Path) -> None:
    for column in ("query", "rank"):
        if not frame[column].dtype.is_integer():
            raise DataError(
                f"{path} has a column {column!r} of {frame[column].dtype}",
                expected="whole numbers",
                cure=f"cast it: pl.col({column!r}).cast(pl.Int32)",
            )


def _check_queries(column: pl.Series, last: int, n_queries: int, path: Path) -> None:
    if column.null_count():
        raise DataError(f"{path} has a row without a query", expected="a query number", cure="drop that row")
    numbers = column.to_numpy()
    if numbers.min() < 0 or numbers.max() >= n_queries:
        raise DataError(
            f"{path} has query {int(numbers.max() if numbers.max() >= n_queries else numbers.min())}",
            expected=f"query numbers from 0 to {n_queries - 1}",
            cure="rank the part (valid or test) that the candidates were recalled for",
        )
    down = np.flatnonzero(np.diff(numbers.astype(np.int64), prepend=last) < 0)
    if len(down):
        row = int(down[0])
        before = int(numbers[row - 1]) if row else last
        raise DataError(
            f"{path} has rows of query {int(numbers[row])} behind those of query {before}",
            expected="queries in order, the rows of each together",
            cure="sort it: pl.scan_parquet(…).sort('query', 'rank').sink_parquet(…)",
        )
