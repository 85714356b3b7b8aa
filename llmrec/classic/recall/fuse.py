"""Fusion: several lists of candidates become one, by rank or by normalised score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmrec.classic.recall.store import (
    Catalogue,
    RecallModel,
    load_recommender,
    read_about,
    read_catalogue,
    read_config,
    write_about,
)
from llmrec.config import Config, Part, make_config
from llmrec.data import Candidates, Dataset, Queries
from llmrec.data.candidates import check_k
from llmrec.data.files import atomic_folder
from llmrec.errors import ConfigError, DataError, ModelError
from llmrec.protocols import UNWATCHED, Watch
from llmrec.registry import RECOMMENDERS

Normalise = Literal["minmax", "zscore", "none"]
Scores = NDArray[np.float64]


def reciprocal_rank_fusion(
    lists: Sequence[Candidates], k: int, *, weights: Sequence[float] | None = None, constant: float = 60
) -> Candidates:
    """Return k candidates a query by the sum of weight / (constant + rank) over the lists that hold an item.

    Equal sums keep the order of the first list, then items that it lacks by item number. Rows with fewer than k
    items in all lists together are padded with -1.

    Args:
        lists: candidates of the same q queries, each (q, its own k).
        k: items wanted.
        weights: one for each list; None for 1 each.
        constant: the larger, the less the first ranks stand out.

    Raises:
        DataError: no list, lists of different queries, not one finite weight a list, or k below 1.

    Paper: Cormack, Clarke, Büttcher, Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
    Methods, SIGIR 2009; its weights are all 1.
    """
    weights = _check(lists, weights, k)
    if constant < 0:
        raise DataError(f"constant = {constant}", expected="0 or more", cure="the paper's is 60")
    ranks = [1 + np.arange(one.items.shape[1], dtype=np.float64) for one in lists]
    parts = [
        np.broadcast_to(weight / (constant + rank), one.items.shape)
        for one, weight, rank in zip(lists, weights, ranks, strict=True)
    ]
    return _merge(lists, parts, k)


def weighted_fusion(
    lists: Sequence[Candidates], weights: Sequence[float], k: int, *, normalise: Normalise = "minmax"
) -> Candidates:
    """Return k candidates a query by the weighted sum of their normalised scores.

    Each row of each list is normalised by itself, over its items with a finite score. An item that a list lacks, or
    holds without a score, gets the least normalised score of that row; 0 where the row has none. Ties and
    padding are as in ``reciprocal_rank_fusion``.

    Args:
        lists: candidates of the same q queries, each (q, its own k).
        weights: one for each list.
        k: items wanted.
        normalise: ``minmax`` maps a row to 0..1 (a row of equal scores to 1, items that it lacks still to 0);
            ``zscore`` to mean 0 and population standard deviation 1 (a row of equal scores to 0); ``none`` leaves it.

    Raises:
        DataError: no list, lists of different queries, not one finite weight a list, or k below 1.
    """
    weights = _check(lists, weights, k)
    base = np.zeros((len(lists[0]), 1))
    parts = []
    for one, weight in zip(lists, weights, strict=True):
        scores, floor = _normalised(one, normalise)
        parts.append(weight * (scores - floor))
        base += weight * floor
    return _merge(lists, parts, k, base)


def _check(lists: Sequence[Candidates], weights: Sequence[float] | None, k: int) -> Sequence[float]:
    """Return one weight for each list; a DataError where lists, weights or k do not fit."""
    if not lists or len({len(one) for one in lists}) > 1:
        raise DataError(
            f"lists of {[len(one) for one in lists]} queries",
            expected="at least one list, all of the same queries",
            cure="recall each for the same queries",
        )
    weights = [1.0] * len(lists) if weights is None else weights
    if len(weights) != len(lists) or not np.isfinite(weights).all():
        raise DataError(
            f"weights {list(weights)}", expected=f"{len(lists)} finite numbers", cure="give one for each list"
        )
    if k < 1:
        raise DataError(f"k = {k}", expected="1 or more", cure="ask for at least one candidate")
    return weights


def _normalised(one: Candidates, how: Normalise) -> tuple[Scores, Scores]:
    """Return normalised scores (q, k) with gaps filled, and what an absent item gets (q, 1)."""
    scored = (one.items >= 0) & np.isfinite(one.scores)
    counts = np.maximum(scored.sum(axis=1, keepdims=True), 1)
    values = np.where(scored, one.scores.astype(np.float64), 0)
    low = np.min(values, axis=1, keepdims=True, where=scored, initial=np.inf)
    low = np.where(np.isfinite(low), low, 0)
    high = np.max(values, axis=1, keepdims=True, where=scored, initial=-np.inf)
    flat = ~(high > low)
    if how == "minmax":
        shift, scale, floor = low, np.where(flat, 1, high - low), np.zeros_like(low)
    elif how == "zscore":
        shift = values.sum(axis=1, keepdims=True) / counts
        spread = np.sqrt((np.where(scored, values - shift, 0) ** 2).sum(axis=1, keepdims=True) / counts)
        scale = np.where(flat, 1, spread)
        shift = np.where(flat, low, shift)  # a mean of equal numbers can be off by a rounding
        floor = (low - shift) / scale
    else:
        shift, scale, floor = np.zeros_like(low), np.ones_like(low), low
    normalised = (values - shift) / scale + (flat if how == "minmax" else 0)
    return np.where(scored, normalised, floor), floor


def _merge(lists: Sequence[Candidates], parts: Sequence[Scores], k: int, base: Scores | float = 0.0) -> Candidates:
    """Return the k best items by the sum of their parts over the lists, plus base (q, 1)."""
    items = np.concatenate([one.items for one in lists], axis=1)
    order = np.argsort(items, axis=1, kind="stable")  # puts copies of an item side by side, the first list's first
    items = np.take_along_axis(items, order, axis=1)
    first = np.ones(items.shape, bool)
    first[:, 1:] = items[:, 1:] != items[:, :-1]
    group = np.cumsum(first.ravel()) - 1
    sums = np.take_along_axis(np.concatenate(parts, axis=1), order, axis=1).ravel()
    totals = np.bincount(group, weights=sums)[group].reshape(items.shape) + base
    kept = first & (items >= 0)
    # Ordered as float32, as they are returned: sums that differ by the order of addition only are ties.
    scores = np.where(kept, totals, np.nan).astype(np.float32)
    items = np.where(kept, items, -1)
    place = np.minimum(order, lists[0].items.shape[1])
    best = np.lexsort((items, place, -scores, ~kept), axis=1)[:, :k]
    gap = ((0, 0), (0, k - best.shape[1]))
    return Candidates(
        np.pad(np.take_along_axis(items, best, axis=1), gap, constant_values=-1),
        np.pad(np.take_along_axis(scores, best, axis=1), gap, constant_values=np.nan),
    )


class FusedConfig(Config):
    """What to fuse, and how."""

    members: tuple[Part, ...] = (Part(name="ease"), Part(name="als"))
    """Recommenders to make and fit, at least two."""
    method: Literal["rrf", "weighted"] = "rrf"
    """Reciprocal ranks, or normalised scores."""
    weights: tuple[float, ...] | None = None
    """One for each member; null for 1 each."""
    depth: int = Field(200, ge=1)
    """Candidates taken from each member; k where that is more."""
    constant: float = Field(60, ge=0)
    """The larger, the less the first ranks stand out; only read with method=rrf."""
    normalise: Normalise = "minmax"
    """How each member's scores are normalised; only read with method=weighted."""


class FusedRecommender:
    """Several recommenders as one.

    Args:
        config: what to fuse and how; None for the defaults.
        members: recommenders to fuse, fitted or not, instead of making ``config.members`` (which becomes empty).

    Raises:
        ConfigError: fewer than two members, or not one weight for each.

    Paper: see ``reciprocal_rank_fusion``.
    """

    name: ClassVar[str] = "fused"
    config_class: ClassVar[type[Config]] = FusedConfig

    def __init__(self, config: FusedConfig | None = None, members: Sequence[RecallModel] = ()) -> None:
        config = config or FusedConfig()
        self.config = config.model_copy(update={"members": ()}) if members else config
        self.members = tuple(members) or tuple(_make(member) for member in config.members)
        if len(self.members) < 2:
            raise ConfigError(f"{len(self.members)} members", expected="two or more", cure="name more recommenders")
        if config.weights is not None and len(config.weights) != len(self.members):
            raise ConfigError(
                f"weights = {list(config.weights)}", expected=f"{len(self.members)} of them", cure="give one a member"
            )

    @property
    def catalogue(self) -> Catalogue:
        """What the members were fitted on.

        Raises:
            ModelError: one is not fitted, or they do not know the same items.
        """
        known = [member.catalogue for member in self.members]
        for other in known[1:]:
            if other.items_digest != known[0].items_digest:
                raise ModelError(
                    f"members fitted on {known[0].n_items} items of {known[0].dataset!r} and on {other.n_items} of "
                    f"{other.dataset!r}",
                    expected="the same items",
                    cure="fit all members on one data set",
                )
        return known[0]

    def fit(self, data: Dataset, *, seed: int = 0, watch: Watch = UNWATCHED) -> Self:
        """Fit every member on the same data and return itself."""
        for number, member in enumerate(self.members):
            folder = None if watch.checkpoint is None else watch.checkpoint / f"member-{number}"
            member.fit(data, seed=seed, watch=replace(watch, checkpoint=folder))
        return self

    def recommend(self, queries: Queries, k: int, *, exclude_seen: bool = True) -> Candidates:
        """Return the k best items of each query after fusing ``depth`` candidates of each member.

        Raises:
            DataError: k or an item of a history is outside the catalogue.
            ModelError: a member is not fitted, or they do not know the same items.
        """
        n_items = self.catalogue.n_items
        check_k(k, n_items)
        depth = min(max(self.config.depth, k), n_items)
        lists = [member.recommend(queries, depth, exclude_seen=exclude_seen) for member in self.members]
        if self.config.method == "rrf":
            return reciprocal_rank_fusion(lists, k, weights=self.config.weights, constant=self.config.constant)
        weights = self.config.weights or [1.0] * len(lists)
        return weighted_fusion(lists, weights, k, normalise=self.config.normalise)

    def save(self, folder: Path) -> Path:
        """Write ``config.json`` and one sub-folder for each member, whole or not at all."""
        with atomic_folder(folder) as temporary:
            write_about(temporary, self.name, self.config, self.catalogue, members=len(self.members))
            for number, member in enumerate(self.members):
                member.save(temporary / f"member-{number}")
        return folder

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder that ``save`` wrote.

        Raises:
            ModelError: the folder of the fusion or of a member is damaged.
        """
        about = read_about(folder, name=cls.name)
        config, catalogue = read_config(folder, about, FusedConfig), read_catalogue(folder, about)
        model = cls(
            config, [load_recommender(folder / f"member-{number}") for number in range(about.get("members", 0))]
        )
        model.config = config
        if model.catalogue != catalogue:
            raise ModelError(
                f"members fitted on {model.catalogue.n_items} items of {model.catalogue.dataset!r} in {str(folder)!r}",
                expected=f"{catalogue.n_items} items of {catalogue.dataset!r}",
                cure="fit and save the model again",
            )
        return model


def _make(member: Part) -> RecallModel:
    """Return an unfitted recommender; a ConfigError or UnknownNameError where the member is none."""
    kind: type[RecallModel] = RECOMMENDERS.get(member.name)
    return kind(make_config(kind.config_class, member.parameters))
