"""Channels: what several recommenders proposed for the same queries, and who proposed which candidate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.classic.recall.fusion.union import union
from llmrec.data import Candidates, Dataset, Queries
from llmrec.data.events import frozen_array
from llmrec.errors import DataError


@dataclass(frozen=True, eq=False)
class Channels:
    """Lists of candidates of the same q queries, by the name of who proposed them.

    Attributes:
        names: one for each list, no two the same.
        lists: candidates, each (q, its own k), best first.
    """

    names: tuple[str, ...]
    lists: tuple[Candidates, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.lists) or len(set(self.names)) < len(self.names) or not self.names:
            raise DataError(
                f"channels {', '.join(self.names) or 'without names'} for {len(self.lists)} lists",
                expected="a name for each list, no two the same",
                cure="name the channels apart",
            )
        if len({len(one) for one in self.lists}) > 1:
            raise DataError(
                f"channels of {[len(one) for one in self.lists]} queries",
                expected="the same queries",
                cure="recall each for the same queries",
            )

    def select(self, rows: slice) -> Channels:
        """Return the channels of some queries."""
        return Channels(self.names, tuple(one.select(rows) for one in self.lists))

    def without(self, name: str) -> Channels:
        """Return the other channels; a DataError where none is left."""
        kept = [number for number, other in enumerate(self.names) if other != name]
        return Channels(tuple(self.names[number] for number in kept), tuple(self.lists[number] for number in kept))

    def provenance(self, candidates: Candidates) -> Provenance:
        """Return who proposed each of ``candidates`` (q, k), at which rank; any candidates of these queries will do.

        Raises:
            DataError: ``candidates`` are of another number of queries.
        """
        if len(candidates) != len(self.lists[0]):
            raise DataError(
                f"{len(candidates)} rows of candidates for channels of {len(self.lists[0])} queries",
                expected="the same queries",
                cure="pass what these channels were fused to",
            )
        ranks = np.full((*candidates.items.shape, len(self.lists)), -1, np.int32)
        for number, one in enumerate(self.lists):
            items, (asked, listed) = union([candidates, one])
            table = np.full((len(items), items.shape[1] + 1), -1, np.int32)
            from_one = np.arange(1, one.items.shape[1] + 1, dtype=np.int32)
            np.put_along_axis(table, listed, np.broadcast_to(from_one, listed.shape), axis=1)
            table[:, -1] = -1  # of the padding
            ranks[:, :, number] = np.take_along_axis(table, asked, axis=1)
        return Provenance(candidates, self.names, ranks)


@dataclass(frozen=True, eq=False)
class Provenance:
    """Who proposed each candidate.

    Attributes:
        candidates: what was proposed, (q, k).
        channels: names of the m channels.
        ranks: int32 (q, k, m), the rank from 1 of each candidate in each channel, -1 where that did not propose it.
    """

    candidates: Candidates
    channels: tuple[str, ...]
    ranks: NDArray[np.int32]

    def __post_init__(self) -> None:
        object.__setattr__(self, "ranks", frozen_array(self.ranks, np.int32))

    def to_frame(self, dataset: Dataset, queries: Queries) -> pl.DataFrame:
        """Return ``candidates`` as a long table with one column more, ``channels``: a list of {channel, rank}.

        It is in the order of the channels, and empty for a candidate that none of them proposed.
        """
        return self.candidates.to_frame(dataset, queries).with_columns(self._column())

    def _column(self) -> pl.Series:
        ranks = self.ranks[self.candidates.items >= 0]  # (n, m), in the order of the table
        row, channel = np.nonzero(ranks > 0)
        names = pl.Series(self.channels, dtype=pl.String).gather(channel)
        said = pl.DataFrame({"channel": names, "rank": ranks[row, channel]}).to_struct("channels")
        lengths = (ranks > 0).sum(axis=1)
        bounds = pl.DataFrame({"start": np.cumsum(lengths) - lengths, "length": lengths})
        if not len(said):
            return pl.Series("channels", [[]] * len(ranks), dtype=pl.List(said.dtype))
        everything = pl.lit(said.implode()).first()
        return bounds.select(everything.list.slice("start", "length").alias("channels")).to_series()
