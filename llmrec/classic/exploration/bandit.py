"""The base of exploration policies: how probable each arm is, a draw from that, and a folder to come back from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from llmrec.classic.exploration.chances import Floats, Mask, draw
from llmrec.classic.recall.base.store import AGAIN, SCHEMA_VERSION, read_about, read_arrays, read_config
from llmrec.config import Config, Part, make_config
from llmrec.data.files import atomic_folder, save_arrays, write_json
from llmrec.errors import DataError, ModelError
from llmrec.eval.replay import Choices
from llmrec.registry.exploration import POLICIES

KIND = "exploration policy"
Numbers = NDArray[np.int32]
State = dict[str, NDArray[Any]]


class BanditConfig(Config):
    """What all policies are told."""

    arms: int = Field(ge=1)
    """How many arms there are, numbered from 0."""


class ContextConfig(BanditConfig):
    """What policies are told that read contexts."""

    dimension: int = Field(ge=1)
    """Numbers in a context; a constant among them gives each arm an intercept."""


C = TypeVar("C", bound=BanditConfig)


class Bandit(ABC, Generic[C]):
    """A policy that learns from the rewards of what it chose; a ``llmrec.eval.replay.Policy``.

    A choice is a draw from ``chances``, so that its propensity is exact. All rows of a batch are drawn from what is
    known before it. Ties are broken at random.

    Args:
        config: hyper-parameters and sizes.
        seed: of the draws.
    """

    name: ClassVar[str]
    config_class: ClassVar[type[Config]]

    def __init__(self, config: C, *, seed: int = 0) -> None:
        self.config, self.seed = config, seed
        self.draws = 0
        self._state = self._start()
        self._refresh()

    @property
    def _width(self) -> int | None:
        """How long contexts are; None where they are not read."""
        return None

    @abstractmethod
    def _start(self) -> State:
        """Return what is known before anything was learned."""

    def _refresh(self) -> None:
        """Derive what is needed from the state; a ValueError where it does not fit."""

    @abstractmethod
    def _chances(self, contexts: Floats, arms: Numbers, real: Mask) -> Floats:
        """Return how probable each arm (b, k) is, 0 where it is not real; contexts (1, 0) where they are not read."""

    @abstractmethod
    def _expected(self, contexts: Floats, arms: Numbers) -> Floats:
        """Return the expected rewards of arms (b, k)."""

    @abstractmethod
    def _learn(self, contexts: Floats, arms: Numbers, rewards: Floats) -> None:
        """Take rewards (b,) of arms (b,) into the state."""

    def _check_rewards(self, rewards: Floats) -> None:
        """Raise a DataError where rewards (b,), which are finite, are none that the policy understands."""

    def chances(self, contexts: ArrayLike, arms: ArrayLike) -> Floats:
        """Return how probable the policy makes each arm, (b, k); 0 in the padding.

        Args:
            contexts: (b, d); only their number counts where the policy reads none.
            arms: (k,) for all rows, or (b, k) right-padded with -1.

        Raises:
            DataError: contexts or arms do not fit the policy, or a row has no arm.
        """
        known, asked = self._checked(contexts, arms)
        if self._width is None and len(asked) and (asked == asked[0]).all():  # the same for all
            return np.broadcast_to(self._chances(known[:1], asked[:1], asked[:1] >= 0), asked.shape)
        return self._chances(known, asked, asked >= 0)

    def expected(self, contexts: ArrayLike, arms: ArrayLike) -> Floats:
        """Return the reward that is expected of each arm, (b, k), NaN in the padding; see ``chances``."""
        known, asked = self._checked(contexts, arms)
        return np.where(asked >= 0, self._expected(known, np.maximum(asked, 0)), np.nan)

    def choose(self, contexts: ArrayLike, arms: ArrayLike) -> Choices:
        """Return a choice for each context, with its propensity; see ``chances``."""
        chances = self.chances(contexts, arms)
        generator = np.random.default_rng([self.seed, self.draws])
        self.draws += 1
        places, rows = draw(chances, generator.random(len(chances))), np.arange(len(chances))
        asked = np.broadcast_to(np.asarray(arms, np.int32), chances.shape)
        return Choices(asked[rows, places], chances[rows, places])

    def update(self, contexts: ArrayLike, arms: ArrayLike, rewards: ArrayLike) -> None:
        """Learn the rewards (b,) of arms (b,) in contexts (b, d).

        Raises:
            DataError: they do not fit together or the policy, or a reward is none that it understands.
        """
        chosen, found = np.asarray(arms, np.int32), np.asarray(rewards, np.float64)
        if chosen.ndim != 1 or found.shape != chosen.shape:
            raise DataError(
                f"rewards of shape {found.shape} for arms of shape {chosen.shape}",
                expected="one reward for each chosen arm",
                cure="pass both as (b,)",
            )
        known, asked = self._checked(contexts, chosen[:, None])
        if not np.isfinite(found).all():
            raise DataError(f"a reward of {found[~np.isfinite(found)][0]}", expected="finite rewards", cure="mend it")
        self._check_rewards(found)
        if len(found):
            self._learn(known, asked[:, 0], found)

    def _checked(self, contexts: ArrayLike, arms: ArrayLike) -> tuple[Floats, Numbers]:
        """Return contexts (b, d), which are (b, 0) where none are read, and arms (b, k)."""
        known, asked = np.asarray(contexts, np.float64), np.asarray(arms, np.int32)
        if known.ndim != 2 or self._width not in {None, known.shape[1]} or not np.isfinite(known).all():
            wrong = int((~np.isfinite(known)).sum())
            raise DataError(
                f"contexts of shape {known.shape}, {wrong} numbers of them not finite",
                expected=f"(b, {'d' if self._width is None else self._width}), all finite",
                cure="pass a row for each choice",
            )
        if asked.ndim == 1:
            asked = np.broadcast_to(asked, (len(known), len(asked)))
        if asked.ndim != 2 or len(asked) != len(known) or not (asked >= 0).any(axis=1).all():
            raise DataError(
                f"arms of shape {np.shape(arms)} for {len(known)} contexts",
                expected="at least one arm for each context",
                cure="pass (k,) for all, or (b, k) right-padded with -1",
            )
        if asked.size and (asked.min() < -1 or asked.max() >= self.config.arms):
            raise DataError(
                f"arm number {asked.min() if asked.min() < -1 else asked.max()}",
                expected=f"0 to {self.config.arms - 1}, or -1 for none",
                cure="make the policy with more arms",
            )
        return known if self._width is not None else np.zeros((len(known), 0)), asked

    def save(self, folder: Path) -> Path:
        """Write ``config.json`` and ``weights.npz``, whole or not at all."""
        about = {"kind": KIND, "schema_version": SCHEMA_VERSION, "name": self.name}
        parameters = self.config.model_dump(mode="json")
        with atomic_folder(folder) as temporary:
            write_json(
                temporary / "config.json", {**about, "parameters": parameters, "seed": self.seed, "draws": self.draws}
            )
            save_arrays(temporary / "weights.npz", **self._state)
        return folder

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder that ``save`` wrote; its next choice is what that of the saved policy would have been.

        Raises:
            ModelError: a file is missing or damaged, the weights are not finite, or another policy was saved there.
        """
        about = read_about(folder, name=cls.name, kind=KIND)
        seed, draws = about.get("seed"), about.get("draws")
        if not (isinstance(seed, int) and isinstance(draws, int)):
            raise ModelError(
                f"{str(folder / 'config.json')!r} does not say how many draws were made",
                expected="seed and draws, whole numbers",
                cure=AGAIN,
            )
        policy = cls(cast("C", read_config(folder, about, cls.config_class)), seed=seed)
        policy.draws = draws
        arrays = read_arrays(folder / "weights.npz")
        try:
            policy._adopt(arrays)
        except (KeyError, ValueError) as error:
            raise ModelError(
                f"{str(folder / 'weights.npz')!r} does not fit its config.json ({error})",
                expected=f"the weights of {cls.name}",
                cure=AGAIN,
            ) from None
        return policy

    def _adopt(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what was saved; a ValueError or KeyError where it does not fit."""
        for name, start in self._state.items():
            self._fit(name, arrays[name], start.shape)
        self._refresh()

    def _fit(self, name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
        if array.shape != shape:
            raise ValueError(f"{name} of shape {array.shape}")
        self._state[name] = np.array(array, np.float64)


def make_policy(part: Part, *, seed: int = 0) -> Bandit[Any]:
    """Return a new policy; a ConfigError or UnknownNameError where the part is none."""
    kind: type[Bandit[Any]] = POLICIES.get(part.name)
    return kind(make_config(kind.config_class, part.parameters), seed=seed)


def load_policy(folder: Path) -> Bandit[Any]:
    """Return the policy in a folder, whichever it is, through the registry.

    Raises:
        ModelError: the folder is none that a policy wrote, or is damaged.
        UnknownNameError: its policy is not registered.
    """
    kind: type[Bandit[Any]] = POLICIES.get(read_about(folder, kind=KIND)["name"])
    return kind.load(folder)
