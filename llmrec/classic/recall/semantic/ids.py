"""Semantic ids: an item as a short row of tokens, and the trie of all items' rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.classic.recall.base.columns import text_lists
from llmrec.data import Dataset
from llmrec.errors import DataError

Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SemanticIds:
    """The tokens of each item; no two items have the same.

    Attributes:
        tokens: int64 (n_items, width), -1 throughout for an item without an id.
        sizes: int64 (width,), how many tokens each place knows; place p holds 0 to ``sizes[p] - 1``.
        collisions: how many items have the codes of an earlier one, and differ from it in the last token only.

    Raises:
        ValueError: a token is out of range, or two items have the same tokens.
    """

    tokens: Numbers
    sizes: Numbers
    collisions: int

    def __post_init__(self) -> None:
        if self.tokens.ndim != 2 or self.sizes.shape != self.tokens.shape[1:] or not self.tokens.size:
            raise ValueError(f"tokens of shape {self.tokens.shape} of {self.sizes.shape} sizes")
        given = self.tokens[self.known]
        if (given < 0).any() or (given >= self.sizes).any() or (self.tokens[~self.known] != -1).any():
            raise ValueError("a token that its place does not know")
        if len(np.unique(given, axis=0)) < len(given):
            raise ValueError("two items with the same tokens")

    @classmethod
    def of(cls, codes: Numbers, sizes: Numbers) -> SemanticIds:
        """Return the ids of codes (n_items, levels) of ``sizes`` (levels,); a row of -1 stands for no id.

        Where items share their codes, all rows get one more token: 0 for the first item that has them, 1 for the
        second, and so on in the order of item numbers; 0 for items that share them with nobody.

        Paper: Rajput et al., NeurIPS 2023, section 3.1; without a collision there is no such token.
        """
        known = codes[:, 0] >= 0
        order = np.lexsort(codes.T[::-1])  # a stable sort: items of equal codes stay in the order of their numbers
        first = np.ones(len(codes), np.bool_)
        first[1:] = (codes[order][1:] != codes[order][:-1]).any(axis=1)
        starts = np.flatnonzero(first)
        extra = np.empty(len(codes), np.int64)
        extra[order] = np.arange(len(codes)) - np.repeat(starts, np.diff(np.r_[starts, len(codes)]))
        extra[~known] = -1
        collisions = int((extra > 0).sum())
        if not collisions:
            return cls(codes, sizes, 0)
        return cls(np.column_stack([codes, extra]), np.append(sizes, extra.max() + 1), collisions)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which items have an id, (n_items,)."""
        return self.tokens[:, 0] >= 0


def given_codes(data: Dataset, column: str) -> tuple[Numbers, Numbers]:
    """Return ready-made codes (n_items, levels), numbered from 0 in each level, and how many each level has.

    Args:
        data: a data set.
        column: column of its item table with a list of codes, texts or numbers, for each item; an item without gets
            -1 throughout.

    Raises:
        DataError: the column is not there, holds no lists of one length, or no item has codes.
    """
    lists = text_lists(data.item_table, column, where=f"the item table of {data.name!r}")
    lengths = lists.list.len()
    widths = lengths.filter(lengths > 0).unique().sort().to_list()
    if len(widths) != 1:
        raise DataError(
            f"column {column!r} of {data.name!r} has {' and '.join(map(str, widths)) or 'no'} codes an item",
            expected="the same number of codes for every item that has any",
            cure="pad the codes in the item table, or leave codes_column out to make them from texts",
        )
    levels = [lists.list.get(level, null_on_oob=True) for level in range(widths[0])]
    codes = pl.select(
        (level.rank("dense") - 1).fill_null(-1).cast(pl.Int64).alias(str(n)) for n, level in enumerate(levels)
    )
    return codes.to_numpy(), np.array([level.drop_nulls().n_unique() for level in levels], np.int64)


@dataclass(frozen=True, eq=False)
class Level:
    """The prefixes of one length, in lexicographic order, under those that are one token shorter.

    Attributes:
        starts: int64 (n_parents + 1,); parent i has the prefixes from ``starts[i]`` to ``starts[i + 1]``, one at least.
        tokens: int64 (n_prefixes,), the last token of each prefix.
        fan: most prefixes of a parent.
    """

    starts: Numbers
    tokens: Numbers
    fan: int


@dataclass(frozen=True, eq=False)
class Trie:
    """All ids as one tree in flat arrays: which tokens may follow which prefix.

    Attributes:
        levels: one for each place; the first has the root as its only parent.
        items: int64, the item that each whole id (a prefix of the last level) belongs to.
    """

    levels: tuple[Level, ...]
    items: Numbers

    @classmethod
    def of(cls, tokens: Numbers) -> Trie:
        """Return the trie of distinct tokens (n_items, width); rows of -1 are left out."""
        items = np.flatnonzero(tokens[:, 0] >= 0)
        items = items[np.lexsort(tokens[items].T[::-1])]
        rows = tokens[items]
        begins = np.zeros(len(rows), np.bool_)
        begins[:1] = True  # where a prefix differs from the one before it
        levels = []
        for place in range(rows.shape[1]):
            parents = begins.copy()
            begins[1:] |= rows[1:, place] != rows[:-1, place]
            number = np.cumsum(begins)  # of prefixes that begin up to each row
            starts = np.append(number[parents] - 1, number[-1])
            levels.append(Level(starts, rows[begins, place], int(np.diff(starts).max())))
        return cls(tuple(levels), items)
