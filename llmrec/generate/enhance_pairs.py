"""Pairs of a context and an item that match or do not, and what they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data import Queries, Targets
from llmrec.data.queries import pad_ragged
from llmrec.data_prep.examples.table import prompts_of
from llmrec.errors import DataError

PARTS = ("train", "valid", "test")
_KEY = ["prompt", "user"]

Numbers = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Contexts with items, one pair a row, as numbers of a ``Corpus``.

    Attributes:
        contexts: int32 (n,).
        items: int32 (n,).
        labels: bool (n,), whether they match.

    Raises:
        DataError: the lengths differ, or there is no pair.
    """

    contexts: Numbers
    items: Numbers
    labels: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if not len(self.contexts) == len(self.items) == len(self.labels) or not len(self.labels):
            raise DataError(
                f"{len(self.contexts)} contexts with {len(self.items)} items and {len(self.labels)} labels",
                expected="one of each for at least one pair",
                cure="pass the columns of one table",
            )

    def require_both(self, part: str) -> None:
        """Raise a DataError unless some pairs match and some do not."""
        if self.labels.all() or not self.labels.any():
            raise DataError(
                f"{len(self):,} pairs of {part}, {'all' if self.labels[0] else 'none'} of which match",
                expected="pairs that match and pairs that do not",
                cure="add the others: mismatches, or drawn negatives",
            )

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Corpus:
    """What pairs are made of.

    Attributes:
        contexts: row c is context c: ``prompt``, ``user`` (null where unknown) and ``text``, the prompt without its
            instructions.
        histories: int32 (c, h), item numbers from oldest to newest, left-padded with -1; (c, 0) where none is known.
        items: the text of each item.
        ids: the id of each item, null where unknown.
        trained: bool (i,), items that somebody chose in training: the others are cold.
        parts: the pairs of ``PARTS``.
    """

    contexts: pl.DataFrame
    histories: Numbers
    items: list[str]
    ids: pl.Series
    trained: NDArray[np.bool_]
    parts: Mapping[str, Pairs]

    @property
    def users(self) -> list[str]:
        """Who asks, for each context: its user, or where some are not known each context for itself."""
        users = self.contexts["user"]
        return [str(row) for row in range(len(users))] if users.null_count() else users.to_list()

    def asked(self) -> tuple[Numbers, Targets]:
        """Return the contexts of the test that match something, (q,), and the items that they match."""
        pairs = self.parts["test"]
        yes = pairs.labels
        contexts, rows = np.unique(pairs.contexts[yes], return_inverse=True)
        queries = Queries(np.full(len(contexts), -1), self.histories[contexts])
        return contexts, Targets(queries, pad_ragged(rows, pairs.items[yes], len(contexts)))

    def counts(self) -> dict[str, int]:
        """Return how many pairs and matches each part has, and what they are made of."""
        known = {"contexts": self.contexts.height, "items": len(self.items)}
        for name, pairs in self.parts.items():
            known |= {f"{name} pairs": len(pairs), f"{name} matches": int(pairs.labels.sum())}
        shared = np.intersect1d(self.parts["train"].contexts, self.parts["test"].contexts)
        return {**known, "test contexts that train has too": len(shared)}


def make_corpus(
    rows: pl.DataFrame, items: list[str], ids: pl.Series, trained: NDArray[np.bool_], histories: Numbers | None = None
) -> Corpus:
    """Return the corpus of a table of pairs; rows of one prompt and user are one context.

    Args:
        rows: (n,) ``part``, ``prompt``, ``system``, ``user`` (a text or null), ``item`` (its number) and ``label``.
        items: their texts.
        ids: their ids.
        trained: which of them somebody chose in training.
        histories: (n, h), item numbers, left-padded with -1; None where there are none.

    Raises:
        DataError: a part has no pair, or one label only.
    """
    known = rows.unique(_KEY, keep="first", maintain_order=True).with_row_index("context")
    numbered = rows.join(known.select(*_KEY, "context"), on=_KEY, nulls_equal=True, maintain_order="left")
    contexts = numbered["context"].to_numpy().astype(np.int32)
    first = np.unique(contexts, return_index=True)[1]
    parts = {part: _pairs(numbered.filter(part=part)) for part in PARTS}
    for part, pairs in parts.items():
        pairs.require_both(part)
    return Corpus(
        known.select(*_KEY, text=pl.Series([prompt.user for prompt in prompts_of(known)], dtype=pl.String)),
        np.zeros((len(first), 0), np.int32) if histories is None else histories[first],
        items,
        ids,
        trained,
        parts,
    )


def _pairs(rows: pl.DataFrame) -> Pairs:
    contexts, items = (rows[name].to_numpy().astype(np.int32) for name in ("context", "item"))
    return Pairs(contexts, items, rows["label"].to_numpy())
