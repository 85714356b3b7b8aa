"""Multi-channel recall: several recommenders as one, each candidate with the channels that proposed it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from llmrec.classic.recall.base.store import (
    Catalogue,
    RecallModel,
    load_recommender,
    make_recommender,
    read_about,
    read_catalogue,
    read_config,
    write_about,
)
from llmrec.classic.recall.fuse import Normalise, reciprocal_rank_fusion, weighted_fusion
from llmrec.classic.recall.fusion.channels import Channels
from llmrec.classic.recall.interleave import quota_fusion, snake_merge
from llmrec.config import Config, Part
from llmrec.data import Candidates, Dataset, Queries
from llmrec.data.candidates import check_k
from llmrec.data.files import atomic_folder
from llmrec.errors import ConfigError, DataError, ModelError, did_you_mean
from llmrec.protocols import UNWATCHED, Watch

BLOCK = 1 << 22  # candidates of all channels that are fused at once


class FusedConfig(Config):
    """What to fuse, and how."""

    members: tuple[Part, ...] = (Part(name="ease"), Part(name="als"))
    """Recommenders to make and fit, at least two."""
    channels: tuple[str, ...] | None = None
    """A name for each member's channel, no two the same; null for the members' own: als, als-2, …."""
    method: Literal["rrf", "weighted", "quota", "snake"] = "rrf"
    """Reciprocal ranks, normalised scores, a share of the places for each channel, or turns."""
    weights: tuple[float, ...] | None = None
    """One for each member; null for 1 each; not read with method=snake."""
    quotas: tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = None
    """Share of the places that each member fills, at most 1 together; null for equal ones; only read with
    method=quota."""
    depth: int = Field(200, ge=1)
    """Candidates taken from each member; k where that is more."""
    constant: float = Field(60, ge=0)
    """The larger, the less the first ranks stand out; only read with method=rrf and quota."""
    normalise: Normalise = "minmax"
    """How each member's scores are normalised; only read with method=weighted."""


class FusedRecommender:
    """Several recommenders as one.

    A member that knows nothing about a history proposes popular items, as it does alone, and they count as its own.

    Args:
        config: what to fuse and how; None for the defaults.
        members: recommenders to fuse, fitted or not, instead of making ``config.members`` (which becomes empty).

    Attributes:
        channels: the name of each member's channel.

    Raises:
        ConfigError: fewer than two members; channels, weights or quotas that are not one for each.

    Paper: see ``reciprocal_rank_fusion``; quotas and turns are common practice.
    """

    name: ClassVar[str] = "fused"
    config_class: ClassVar[type[Config]] = FusedConfig

    def __init__(self, config: FusedConfig | None = None, members: Sequence[RecallModel] = ()) -> None:
        config = config or FusedConfig()
        self.config = config.model_copy(update={"members": ()}) if members else config
        self.members = tuple(members) or tuple(make_recommender(member) for member in config.members)
        if len(self.members) < 2:
            raise ConfigError(f"{len(self.members)} members", expected="two or more", cure="name more recommenders")
        for key in ("channels", "weights", "quotas"):
            given = getattr(config, key)
            if given is not None and len(given) != len(self.members):
                raise ConfigError(
                    f"{key} = {list(given)}", expected=f"{len(self.members)} of them", cure="give one a member"
                )
        if config.quotas is not None and sum(config.quotas) > 1 + 1e-6:
            raise ConfigError(
                f"quotas = {list(config.quotas)}", expected="shares of at most 1 together", cure="lower some"
            )
        self.channels = config.channels or tuple(_told_apart([member.name for member in self.members]))
        if len(set(self.channels)) < len(self.channels):
            raise ConfigError(
                f"channels = {list(self.channels)}", expected="no two the same", cure="name each member apart"
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
        return self.fuse(self.propose(queries, k, exclude_seen=exclude_seen), k)

    def propose(self, queries: Queries, k: int, *, exclude_seen: bool = True) -> Channels:
        """Return what each member proposes for k fused candidates: ``depth`` candidates each, or k if that is more.

        ``fuse`` makes one list of them; their ``provenance`` says who proposed what in it.

        Raises:
            DataError: k or an item of a history is outside the catalogue.
            ModelError: a member is not fitted, or they do not know the same items.
        """
        n_items = self.catalogue.n_items
        check_k(k, n_items)
        depth = min(max(self.config.depth, k), n_items)
        lists = [member.recommend(queries, depth, exclude_seen=exclude_seen) for member in self.members]
        return Channels(self.channels, tuple(lists))

    def fuse(self, channels: Channels, k: int) -> Candidates:
        """Return the k best candidates of each query of some or all of this model's channels.

        Raises:
            DataError: a channel is none of this model's, or k is below 1.
        """
        for name in channels.names:
            if name not in self.channels:
                raise DataError(f"channel {name!r}", expected="a member's", cure=did_you_mean(name, self.channels))
        numbers = [self.channels.index(name) for name in channels.names]
        found = [self._fuse(channels.select(rows).lists, numbers, k) for rows in _blocks(channels)]
        return Candidates(np.concatenate([one.items for one in found]), np.concatenate([one.scores for one in found]))

    def _fuse(self, lists: Sequence[Candidates], numbers: Sequence[int], k: int) -> Candidates:
        config = self.config
        weights = [1.0 if config.weights is None else config.weights[number] for number in numbers]
        if config.method == "snake":
            return snake_merge(lists, k)
        if config.method == "weighted":
            return weighted_fusion(lists, weights, k, normalise=config.normalise)
        if config.method == "rrf":
            return reciprocal_rank_fusion(lists, k, weights=weights, constant=config.constant)
        shares = [1 / len(numbers) if config.quotas is None else config.quotas[number] for number in numbers]
        places = [int(share * k + 1e-6) for share in shares]  # 0.29 of 100 is 28.999… in floating point
        return quota_fusion(lists, places, k, weights=weights, constant=config.constant)

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


def _told_apart(names: Sequence[str]) -> Iterator[str]:
    """Yield each name, with -2, -3, … where it was there before."""
    given: set[str] = set()
    for name in names:
        numbered = (name if number == 1 else f"{name}-{number}" for number in range(1, len(names) + len(given) + 2))
        given.add(free := next(each for each in numbered if each not in given))
        yield free


def _blocks(channels: Channels) -> Iterator[slice]:
    """Yield slices of queries with at most ``BLOCK`` candidates together; at least one slice, at least one query."""
    n_rows = len(channels.lists[0])
    step = max(1, BLOCK // max(1, sum(one.items.shape[1] for one in channels.lists)))
    for start in range(0, max(n_rows, 1), step):
        yield slice(start, start + step)
