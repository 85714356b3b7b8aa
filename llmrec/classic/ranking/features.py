"""Features, declared once: categories, numbers, statistics, a history and texts, as arrays that every ranker reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from llmrec.classic.ranking.base import statistics as known
from llmrec.classic.ranking.base.categories import UNKNOWN, Codes
from llmrec.classic.ranking.base.rows import Rows
from llmrec.config import Config, Part
from llmrec.protocols import FloatArray

Arrays = Mapping[str, NDArray[Any]]
Statistic = Literal[
    "item-popularity", "item-rate", "user-activity", "user-rate", "user-category-share", "user-category-rate"
]
PREFIX = "features."


class FeatureConfig(Config):
    """What a ranker reads of a user, an item and a history."""

    categories: tuple[str, ...] | None = None
    """``user``, ``item``, ``user.COLUMN``, ``item.COLUMN``; null: user, item and the usual columns that are there."""
    buckets: dict[str, int] = Field(default_factory=dict)
    """Category -> codes that its values are hashed into; the others have a vocabulary."""
    numbers: tuple[str, ...] = ()
    """``user.COLUMN`` or ``item.COLUMN`` of numbers; a missing one counts as the mean."""
    statistics: tuple[Statistic, ...] | None = None
    """Of earlier events; null: all that the data set allows."""
    category: str | None = None
    """Item column of the user-category statistics; null: the first usual one that is there."""
    texts: tuple[str, ...] = ()
    """Item columns that are embedded together as one vector."""
    embedder: Part = Part(name="sentence")
    """What turns texts into vectors; only read when the model is fitted."""
    history: int = Field(50, ge=0)
    """Newest items of a history that are read, and that statistics of the user count; 0 reads none."""
    min_count: int = Field(2, ge=1)
    """Training events that an id or a value needs for a code of its own; rarer ones share that of unknown ones."""

    @field_validator("buckets")
    @classmethod
    def _positive(cls, buckets: dict[str, int]) -> dict[str, int]:
        if wrong := [name for name, size in buckets.items() if size < 1]:
            raise ValueError(f"at least 1 bucket for {wrong[0]!r}")
        return buckets


@dataclass(frozen=True)
class Category:
    """One categorical feature.

    Attributes:
        name: as declared.
        owner: whose it is.
        size: number of codes, those of padding and of the unknown counted.
        many: whether a row can have several.
    """

    name: str
    owner: str
    size: int
    many: bool


class FeatureSpace:
    """The features of a data set as arrays, and how rows are turned into them.

    Args:
        config: resolved: no null in it.
        arrays: what ``learn_features`` made; kept with a model.

    Attributes:
        categories: the categorical features.
        number_names: the columns of ``numbers``.

    Raises:
        KeyError, ValueError: the arrays do not fit the config.
    """

    def __init__(self, config: FeatureConfig, arrays: Arrays) -> None:
        self.config, self.arrays = config, {name: each for name, each in arrays.items() if name.startswith(PREFIX)}
        self.categories = tuple(self._category(name) for name in config.categories or ())
        self.number_names = (*config.numbers, *(config.statistics or ()))
        if len(self.arrays[PREFIX + "mean"]) != len(self.number_names):
            raise ValueError(f"means of shape {self.arrays[PREFIX + 'mean'].shape}")

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.arrays[PREFIX + "item_numbers"]) - 1

    @property
    def n_users(self) -> int:
        """Users of the training data."""
        return len(self.arrays[PREFIX + "user_numbers"]) - 1

    @property
    def texts(self) -> FloatArray | None:
        """Vectors of the items' texts, (n_items + 1, d), the first of no item; None without."""
        return self.arrays.get(PREFIX + "texts")

    def codes(self, name: str) -> Codes:
        """Return the codes of a category, (n + 1, m), the first row of an unseen user or of no item."""
        return self.arrays[f"{PREFIX}codes.{name}"]

    def known(self, users: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the users (n,) with -1 for those that the training data does not have."""
        return np.where(users < self.n_users, users, np.int32(-1))

    def numbers(self, rows: Rows) -> FloatArray:
        """Return the numeric features of rows to rank, float32 (n, number_names), statistics as training ended."""
        return self.scaled(self.raw(rows, lambda name: self.arrays[PREFIX + name][rows.items]))

    def count_unknown(self, rows: Rows) -> dict[str, int]:
        """Return how many rows each category is unknown in, by ``unknown CATEGORY``, where there are any."""
        asked = {"user": self.known(rows.users), "item": rows.items}
        unknown = {
            f"unknown {each.name}": int((self.codes(each.name)[asked[each.owner] + 1] == UNKNOWN).sum())
            for each in self.categories
        }
        return {name: number for name, number in unknown.items() if number}

    def _category(self, name: str) -> Category:
        codes = self.codes(name)
        size = int(self.arrays[f"{PREFIX}size.{name}"])
        if codes.ndim != 2 or codes.min(initial=0) < 0 or codes.max(initial=0) >= size:
            raise ValueError(f"codes of {name!r} beyond {size}")
        return Category(name, name.partition(".")[0], size, codes.shape[1] > 1)

    def raw(self, rows: Rows, of_item: Callable[[str], FloatArray]) -> FloatArray:
        """Return the columns before they are scaled; ``of_item`` gives an item statistic for each row."""
        config, made = self.config, dict[str, FloatArray]()
        names = config.statistics or ()
        if {"user-category-share", "user-category-rate"} & set(names):
            members = self.arrays[PREFIX + "members"]
            pair = known.category_shares(rows, members, config.history)
            made["user-category-share"], made["user-category-rate"] = pair
        if "user-activity" in names:
            made["user-activity"] = known.activity(rows, config.history)
        if "user-rate" in names:
            made["user-rate"] = known.user_rate(rows, config.history)
        made |= {name: of_item(name) for name in names if name.startswith("item-")}
        users, items = self.arrays[PREFIX + "user_numbers"], self.arrays[PREFIX + "item_numbers"]
        columns = [users[self.known(rows.users) + 1], items[rows.items + 1], *(made[name][:, None] for name in names)]
        return np.concatenate(columns, axis=1)

    def scaled(self, raw: FloatArray) -> FloatArray:
        """Return columns of ``raw`` with mean 0 and deviation 1 over the training rows; what is missing is 0."""
        scaled = (raw - self.arrays[PREFIX + "mean"]) * self.arrays[PREFIX + "scale"]
        return np.nan_to_num(scaled).astype(np.float32)
