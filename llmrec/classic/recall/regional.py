"""Regional popularity: what people of the same place, age or group had."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_matrix

from llmrec.classic.recall.base.columns import scalar_texts
from llmrec.classic.recall.base.history import HistoryRecommender, seen_matrix
from llmrec.classic.recall.base.store import Arrays
from llmrec.config import Config
from llmrec.data import Dataset, Queries
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import DataError
from llmrec.protocols import FloatArray, Watch


class RegionalConfig(Config):
    """What a region is."""

    column: str = "zip"
    """Column of the user table that holds the region, gender, age group, …"""
    prefix: int | None = Field(None, ge=1)
    """First characters of a value that make the region, 1 to 3 for US zip codes; null takes all of it."""
    smoothing: float = Field(100.0, gt=0)
    """Users of average taste added to each region; more for many small regions."""


class Regional(HistoryRecommender[RegionalConfig]):
    """Scores an item by how many users of the same region had it, plus ``smoothing`` times the share of all who did.

    This rule looks at who asks, not at the history: at ``queries.users``, numbers of the training data's users. Unseen
    users (-1) and those without a region get overall popularity.
    """

    name: ClassVar[str] = "regional"
    config_class: ClassVar[type[Config]] = RegionalConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:  # noqa: ARG002 - counted
        regions, n_regions = user_regions(data, self.config.column, self.config.prefix)
        known = np.flatnonzero(regions >= 0)
        of_region = csr_matrix((np.ones(len(known), np.float32), (regions[known], known)), (n_regions, len(regions)))
        counts = (of_region @ seen_matrix(data)).tocsr()
        counts.sort_indices()
        return {"regions": regions, "users": counts.data, "items": counts.indices, "starts": counts.indptr}

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        self.regions: NDArray[np.int32] = arrays["regions"]
        parts = (arrays["users"], arrays["items"], arrays["starts"])
        self._counts = csr_matrix(parts, shape=(len(arrays["starts"]) - 1, n_items))
        self._counts.check_format(full_check=True)
        if self.regions.max(initial=-1) >= self._counts.shape[0]:
            raise ValueError(f"region {self.regions.max()} of {self._counts.shape[0]}")

    def _score(self, queries: Queries) -> FloatArray:
        users = queries.users
        if len(users) and (users.max() >= len(self.regions) or users.min() < -1):
            wrong = int(users.max() if users.max() >= len(self.regions) else users.min())
            raise DataError(
                f"user number {wrong} in a query",
                expected=f"numbers from 0 to {len(self.regions) - 1}, or -1 for an unseen user",
                cure="use the data set that the model was fitted on",
            )
        regions = np.where(users >= 0, self.regions[users], -1)
        known = np.flatnonzero(regions >= 0)
        scores = np.zeros((len(queries), self.catalogue.n_items), np.float32)
        share = self.popularity / len(self.regions)
        scores[known] = self._counts[regions[known]].toarray() + np.float32(self.config.smoothing) * share
        return scores


def user_regions(data: Dataset, column: str, prefix: int | None) -> tuple[NDArray[np.int32], int]:
    """Return the region number of each user (-1 where it is blank), and how many regions there are.

    Raises:
        DataError: there is no user table or no such column, or it holds lists or nothing.
    """
    where = f"the user table of {data.name!r}"
    if data.user_table is None:
        raise DataError(
            f"{data.name!r} has no user table",
            expected=f"one with the column {column!r}",
            cure="prepare the data from files that describe users, as MovieLens 100K and 1M do",
        )
    texts = scalar_texts(data.user_table, column, where=where)
    texts = texts if prefix is None else texts.str.head(prefix)
    if texts.null_count() == len(texts):
        raise DataError(
            f"column {column!r} of {where} is blank throughout", expected="a value a region", cure="name another column"
        )
    vocabulary = Vocabulary.of(texts)
    return vocabulary.numbers(texts), len(vocabulary)
