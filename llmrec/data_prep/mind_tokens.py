"""Lists of news ids as MIND writes them -> numbers, a whole chunk at once."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data.files import ragged_series

LABEL = "-[01]$"  # stands behind an id that was shown: whether it was clicked


class Lookup:
    """Numbers of tokens among n distinct names, for many millions of tokens.

    A token's hash points at one name, which is then compared. Names that share a place with another (a few in a
    hundred) stand in a second, smaller table under another hash, and so on until none is left.

    Args:
        names: (n,) in the order of their numbers.
    """

    def __init__(self, names: pl.Series) -> None:
        self._names = names
        self._tables: list[NDArray[np.int32]] = []
        left = np.arange(len(names), dtype=np.int32)
        while len(left):
            seed, table = len(self._tables), np.zeros(1 << (len(left).bit_length() + 3), np.int32)
            places = _places(names.gather(left), seed, table)
            table[places] = left
            self._tables.append(table)
            left = left[table[places] != left]

    def numbers(self, tokens: pl.Series) -> NDArray[np.int32]:
        """Return the number of each token, int32 (t,); -1 where it is no name."""
        if not self._tables:
            return np.full(len(tokens), -1, np.int32)
        numbers, wrong = self._guess(tokens, 0)
        for seed in range(1, len(self._tables)):
            numbers[wrong], still = self._guess(tokens.gather(wrong), seed)
            wrong = wrong[still]
        numbers[wrong] = -1
        return numbers

    def _guess(self, tokens: pl.Series, seed: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return the one number that each token (t,) may have in a table, and the places of those that have not."""
        table = self._tables[seed]
        numbers = table[_places(tokens, seed, table)]
        return numbers, np.flatnonzero((self._names.gather(numbers) != tokens).to_numpy())


def _places(tokens: pl.Series, seed: int, table: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Return a place in a table of 2**b for each token: the highest b bits of its hash."""
    places: NDArray[np.uint64] = tokens.hash(seed).to_numpy() >> np.uint64(65 - len(table).bit_length())
    return places


class Seen:
    """Rows that have come before, told by 64-bit hashes; a row whose place another has taken since counts as new."""

    def __init__(self) -> None:
        self._hashes = np.zeros(1 << 21, np.uint64)

    def new(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which rows (m,) have not been added."""
        unlike: NDArray[np.bool_] = self._hashes[self._places(hashes)] != hashes
        return unlike

    def add(self, hashes: NDArray[np.uint64]) -> None:
        """Remember rows."""
        self._hashes[self._places(hashes)] = hashes

    def _places(self, hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
        return hashes & np.uint64(len(self._hashes) - 1)


def with_labels(ids: pl.Series) -> pl.Series:
    """Return (2 n,) tokens: number 2 i is id i as it was shown, 2 i + 1 is id i as it was clicked."""
    pair = pl.concat_list(pl.col("id") + "-0", pl.col("id") + "-1")
    return pl.DataFrame({"id": ids.cast(pl.String)}).select(pair.explode()).to_series()


def split(texts: pl.Series) -> tuple[pl.Series, NDArray[np.int64]]:
    """Return all tokens of texts (m,), split at each space, and offsets (m + 1,); a null text has none."""
    lists = texts.str.split(" ")
    return lists.drop_nulls().explode(empty_as_null=False), offsets_of(lists.list.len().fill_null(0).to_numpy())


def offsets_of(lengths: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return where lists of these lengths (m,) start and end in one array, int64 (m + 1,)."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def flat(lists: pl.Series) -> NDArray[np.int32]:
    """Return the numbers of all lists, one after the other."""
    return lists.explode(empty_as_null=False, keep_nulls=False).to_numpy()


def numbered(texts: pl.Series, lookup: Lookup, odd: pl.Expr) -> pl.DataFrame:
    """Return a row for each text (m,) with what its tokens are.

    Args:
        texts: tokens with a space between them.
        lookup: what tokens may be.
        odd: whether a column ``token`` is no token at all.

    Returns:
        ``<name> numbers``, lists of Int32 with -1 for what ``lookup`` does not know; ``token in <name>`` and ``news in
        <name>``, the first of a text's unknown tokens that is odd and that is not, null where there is none.
    """
    tokens, offsets = split(texts)
    numbers = lookup.numbers(tokens)
    missing = np.flatnonzero(numbers < 0)
    strange = pl.DataFrame({"token": tokens.gather(missing)})
    rows = np.searchsorted(offsets, missing, side="right") - 1
    wrong = strange.select(odd).to_series().to_numpy().astype(np.bool_)
    lists = ragged_series(numbers, offsets) if len(texts) else pl.Series(dtype=pl.List(pl.Int32))
    return pl.DataFrame(
        {
            f"{texts.name} numbers": lists,
            f"token in {texts.name}": _first(rows[wrong], strange["token"].filter(pl.Series(wrong)), len(texts)),
            f"news in {texts.name}": _first(rows[~wrong], strange["token"].filter(pl.Series(~wrong)), len(texts)),
        }
    )


def _first(rows: NDArray[np.integer], tokens: pl.Series, height: int) -> pl.Series:
    """Return (height,) the first token of each row; ``rows`` never decrease."""
    found, place = np.unique(rows, return_index=True)
    return pl.repeat(None, height, dtype=pl.String, eager=True).scatter(found, tokens.gather(place))
