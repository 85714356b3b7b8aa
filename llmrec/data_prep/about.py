"""What a table says of items or users, and ids that tables share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data import Vocabulary
from llmrec.data_prep.raw.anyfile import read_any
from llmrec.data_prep.raw.delimited import Layout
from llmrec.data_prep.raw.files import single
from llmrec.data_prep.raw.reading import Check, Reading, not_blank
from llmrec.data_prep.raw.second_look import read_distinct
from llmrec.errors import DataError

CANONICAL = r"^(?:0|-?[1-9]\d{0,17})$"  # 007 and +7 are texts: as numbers they would be 7
CURE = "add it there, mend or drop that line"


@dataclass(frozen=True)
class About:
    """What a table says of items or users.

    Attributes:
        ids: (n,) text, each once.
        table: row i describes id i.
        file: the file's name.
    """

    ids: pl.Series
    table: pl.DataFrame
    file: str


def read_about(
    path: Path | str | None, column: str, reading: Reading, *, title: str | None = None, layout: Layout | None = None
) -> About | None:
    """Return what a table says of each id, or None where there is no table.

    Args:
        path: the table.
        column: where the ids are; blank and repeated ones are bad rows.
        reading: which rows may be left out.
        title: column that becomes ``title``, the first.
        layout: how the table is written where its name does not tell.

    Raises:
        DataError: as ``load_table``.
    """
    if path is None:
        return None
    wanted = dict.fromkeys([column] if title is None else [column, title], pl.String)

    def read(reading: Reading, further: Sequence[Check]) -> pl.DataFrame:
        checks = [not_blank(column), *further]
        return read_any(Path(path), wanted, reading, checks=checks, layout=layout, others=True)

    frame = read_distinct(read, column, reading)
    require_good(frame, Path(path))
    renamed = {} if title is None else {"title": pl.col(title)}
    table = describe(frame, drop=[column] if column != title else [], **renamed)
    return About(frame[column], table, single(Path(path), what="a table").name)


def describe(frame: pl.DataFrame, *, drop: Sequence[str] = (), **first: pl.Expr) -> pl.DataFrame:
    """Return a table for a data set: the named columns first, then the others but for those that they were made of.

    A further column whose name is taken, or ``id``, which the data set's folder needs, gets ``_in_file`` behind it.
    """
    used = {root for expression in first.values() for root in expression.meta.root_names()}
    others = [name for name in frame.columns if name not in used and name not in drop]
    taken = {*first, "id"}
    kept = [pl.col(name).alias(f"{name}_in_file" if name in taken else name) for name in others]
    named = [expression.alias(name) for name, expression in first.items()]
    return frame.select(*named, *kept) if named or kept else pl.DataFrame(height=frame.height)


def known(column: str, about: About | None) -> list[Check]:
    """Refuse blank ids, and those that a table lacks."""
    if about is None:
        return [not_blank(column)]
    return [
        not_blank(column),
        Check(column, ~pl.col(column).is_in(about.ids.implode()), f"an id of {about.file}", CURE),
    ]


def encode(ids: pl.Series, about: About | None) -> tuple[Vocabulary, NDArray[np.int32]]:
    """Return the vocabulary of text ids and the number of each, int32 (n,): as a table lists them, else sorted.

    Ids become integers where every one is written as ``str`` writes an integer.
    """
    distinct = ids.unique() if about is None else about.ids
    whole = bool(distinct.str.contains(CANONICAL).all())
    natural = distinct.cast(pl.Int64) if whole else distinct
    if about is None:
        order = natural.arg_sort()
        distinct, natural = distinct.gather(order), natural.gather(order)
    numbers = ids.cast(pl.Enum(distinct)).to_physical()
    return Vocabulary(natural), numbers.to_numpy().astype(np.int32)


def stem(path: Path) -> str:
    """Return a file's name without its endings."""
    return path.name.removesuffix(".gz").rsplit(".", 1)[0]


def require_good(frame: pl.DataFrame, path: Path) -> None:
    """Raise a DataError where every row of a file was left out."""
    if frame.is_empty():
        raise DataError(
            f"{path.name} has no good row", expected="one at least", cure="mend the rows that were left out"
        )
