"""What judges answers: functions with weights, and a check of every number that they return."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from numbers import Real
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmrec.config import Config
from llmrec.errors import ConfigError, TrainingError, did_you_mean
from llmrec.protocols import Reward
from llmrec.train.reward_model import RewardModel

Columns = Mapping[str, Sequence[object]]
_SHOWN = 40
"""Characters of a text that a message shows."""


class RewardPart(Config):
    """One reward of a weighted list: a function or a model."""

    function: str | None = Field(None, pattern=r"^[\w.]+:\w+$")
    """``module:function`` that takes prompts, completions and columns by name and returns a number for each row; the
    folder that the command is given in is searched too."""
    model: Path | None = None
    """Folder of a reward model, such as runs/reward/adapter."""
    weight: float = Field(1.0, allow_inf_nan=False)
    """What it is multiplied with; below 0 it is a penalty."""


@dataclass(frozen=True)
class Weighted:
    """A reward with its weight.

    Attributes:
        name: what logs call it.
        reward: the reward itself.
        weight: what it is multiplied with.
    """

    name: str
    reward: Reward
    weight: float = 1.0


class WeightedRewards:
    """The weighted sum of rewards, itself a reward, each number checked.

    Args:
        parts: the rewards, with names of their own.
        name_row: names a row of a batch in messages; None names its number, from 1.
    """

    def __init__(self, parts: Sequence[Weighted], name_row: Callable[[int], str] | None = None) -> None:
        self.parts, self.name_row = tuple(parts), name_row or (lambda row: f"row {row + 1}")
        _require_names(self.parts)

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Sequence[object]) -> list[float]:
        """Return one reward for each completion.

        Raises:
            TrainingError: a part does not return one finite number for each row.
        """
        parts = self.each(prompts, completions, columns)
        total: list[float] = self.total(parts).tolist()
        return total

    def each(
        self, prompts: Sequence[str], completions: Sequence[str], columns: Columns
    ) -> dict[str, NDArray[np.float64]]:
        """Return what each part says (n,), without its weight, by name.

        Raises:
            TrainingError: a part does not return one finite number for each row.
        """
        return {
            part.name: self._checked(part, part.reward(prompts, completions, **columns), completions)
            for part in self.parts
        }

    def total(self, parts: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the weighted sum (n,) of what ``each`` returned."""
        weighted: NDArray[np.float64] = np.sum([part.weight * parts[part.name] for part in self.parts], axis=0)
        return weighted

    def _checked(self, part: Weighted, found: object, completions: Sequence[str]) -> NDArray[np.float64]:
        values = _listed(found)
        if values is None or len(values) != len(completions):
            what = f"a {type(found).__name__}" if values is None else f"{len(values):,} rewards"
            raise TrainingError(
                f"reward {part.name!r} returned {what} for {len(completions):,} answers",
                expected="a list with one number for each",
                cure="mend the reward; the same command then goes on from the last checkpoint",
            )
        for row, value in enumerate(values):
            if not isinstance(value, Real) or not math.isfinite(value):
                raise TrainingError(
                    f"reward {part.name!r} returned {value!r} for {self.name_row(row)} "
                    f"(answer {_short(completions[row])!r})",
                    expected="a finite number",
                    cure="mend the reward, or let it return 0.0 where it has no opinion; the same command then goes on "
                    "from the last checkpoint",
                )
        return np.asarray(values, np.float64)


def load_rewards(parts: Sequence[RewardPart], *, device: str = "auto", dtype: str = "auto") -> list[Weighted]:
    """Return the rewards that a recipe names.

    Args:
        parts: of the recipe.
        device: of models.
        dtype: of models.

    Raises:
        ConfigError: there is none, or one twice; one names neither a function nor a model, or both; there is no such
            module, or nothing in it that can be called.
        ModelError: a model cannot be loaded.
    """
    found = [_load_part(part, device, dtype) for part in parts]
    _require_names(found)
    return found


def distinct_words(prompts: Sequence[str], completions: Sequence[str], **columns: Sequence[object]) -> list[float]:  # noqa: ARG001
    """Return the share of each answer's words that it has not said before, 0 for an answer without a word.

    By itself a reward to try PPO with; beside a reward model it keeps answers from repeating themselves.
    """
    said = [re.findall(r"\w+", text.lower()) for text in completions]
    return [len(set(words)) / len(words) if words else 0.0 for words in said]


def _require_names(parts: Sequence[Weighted]) -> None:
    names = [part.name for part in parts]
    if not names or len(set(names)) < len(names):
        raise ConfigError(
            f"rewards {', '.join(names) or 'none'}", expected="one or more, each once", cure="name or drop some"
        )


def _load_part(part: RewardPart, device: str, dtype: str) -> Weighted:
    if part.function is not None and part.model is None:
        return Weighted(part.function.partition(":")[2], _load(part.function), part.weight)
    if part.model is not None and part.function is None:
        return Weighted(str(part.model), RewardModel.load(part.model, device=device, dtype=dtype), part.weight)
    raise ConfigError(
        f"a reward with {'both function and model' if part.function else 'neither function nor model'}",
        expected="one of them",
        cure="write function: module:function, or model: folder",
    )


def _load(name: str) -> Reward:
    module, _, attribute = name.partition(":")
    try:
        there = vars(import_module(module))
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there and misses another one
        raise ConfigError(
            f"no module {module!r} for the reward {name!r}",
            expected="one that can be imported",
            cure="give the command in the folder of its file, or install it",
        ) from None
    if not callable(there.get(attribute)):
        known = [key for key, value in there.items() if callable(value) and not key.startswith("_")]
        raise ConfigError(
            f"no function {attribute!r} in module {module!r}", expected="a reward", cure=did_you_mean(attribute, known)
        )
    reward: Reward = there[attribute]
    return reward


def _listed(found: object) -> list[object] | None:
    """Return what a reward returned as a list; None where it is no row of numbers."""
    if isinstance(found, np.ndarray) and found.ndim == 1:
        return list(found.tolist())
    return list(found) if isinstance(found, list | tuple) else None


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
