"""The log of a policy: what it could choose, what it chose, how probable that was, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from llmrec.data.events import frozen_array
from llmrec.errors import DataError

SUM = 1e-6  # probabilities may miss 1 by so much

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Logged:
    """Choices that a policy made, with what came of them.

    Attributes:
        contexts: float64 (n, d), what was known; d may be 0.
        arms: int32 (n, k), what could be chosen, right-padded with -1; (k,) where it was the same for all rows.
        chosen: int32 (n,), what was.
        rewards: float64 (n,), what came of it.
        propensities: float64 (n,), how probable each choice was; or (n, k), how probable each arm was, which lets an
            arm that could never be chosen be found.

    Raises:
        DataError: the arrays do not fit together, a reward or context is not finite, or a propensity is not in (0, 1].
    """

    contexts: Floats
    arms: NDArray[np.int32]
    chosen: NDArray[np.int32]
    rewards: Floats
    propensities: Floats

    def __post_init__(self) -> None:
        for name in ("contexts", "rewards", "propensities"):
            object.__setattr__(self, name, frozen_array(getattr(self, name), np.float64))
        arms, n = np.asarray(self.arms, np.int32), len(self.rewards)
        if arms.ndim == 1:
            arms = np.broadcast_to(arms, (n, len(arms)))
        object.__setattr__(self, "arms", frozen_array(arms, np.int32))
        object.__setattr__(self, "chosen", frozen_array(self.chosen, np.int32))
        self._check_shapes(n)
        for name in ("contexts", "rewards"):
            check_finite(name, getattr(self, name))
        self._check_arms()
        self._check_propensities()

    def _check_arms(self) -> None:
        ordered = np.sort(self.arms, axis=1)
        twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)
        if twice.any():
            row = int(np.argmax(twice))
            raise DataError(
                f"an arm occurs twice in row {row} of the log", expected="each arm once", cure="drop repeated ones"
            )
        there = (self.arms == self.chosen[:, None]) & (self.arms >= 0)
        if not there.any(axis=1).all():
            row = int(np.argmin(there.any(axis=1)))
            raise DataError(
                f"arm {self.chosen[row]} was chosen in row {row} of the log",
                expected="one of the arms of that row",
                cure="log every arm that could be chosen",
            )

    def _check_propensities(self) -> None:
        if self.propensities.ndim == 2:
            check_chances(self.propensities, self.arms, "propensities")
        wrong = ~((self.chances > 0) & (self.chances <= 1 + SUM))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                f"propensity {self.chances[row]:g} in row {row} of the log ({int(wrong.sum())} such rows)",
                expected="a probability above 0 and at most 1, since that arm was chosen",
                cure="log the probability with which the choice was drawn",
            )

    def _check_shapes(self, n: int) -> None:
        shapes = {"rewards": (n,), "chosen": (n,), "contexts": (n, *self.contexts.shape[1:2])}
        wide = (n, *self.arms.shape[1:])
        shapes |= {"arms": wide, "propensities": (n,) if self.propensities.ndim == 1 else wide}
        for name, expected in shapes.items():
            found = getattr(self, name).shape
            if found != expected or (name in {"arms", "contexts"} and len(found) != 2) or not n:
                raise DataError(
                    f"{name} of shape {found} in a log of {n} rewards",
                    expected=f"{expected}, at least one row",
                    cure="pass one entry for each choice",
                )

    @cached_property
    def places(self) -> NDArray[np.intp]:
        """Where in ``arms`` the chosen one stands, (n,)."""
        found: NDArray[np.intp] = np.argmax(self.arms == self.chosen[:, None], axis=1)
        return found

    @property
    def chances(self) -> Floats:
        """How probable each choice was, (n,)."""
        return self.propensities if self.propensities.ndim == 1 else self.at_chosen(self.propensities)

    def at_chosen(self, values: Floats) -> Floats:
        """Return of values (n, k) those of the chosen arms, (n,)."""
        found: Floats = values[np.arange(len(values)), self.places]
        return found

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Logged:
        """Return some rows."""
        return Logged(
            self.contexts[rows], self.arms[rows], self.chosen[rows], self.rewards[rows], self.propensities[rows]
        )

    def __len__(self) -> int:
        return len(self.rewards)


def check_chances(chances: Floats, arms: NDArray[np.int32], name: str) -> None:
    """Raise a DataError unless each row of chances (n, k) is a distribution over its arms (n, k)."""
    wrong = ~((chances >= 0).all(axis=1) & (np.abs(chances.sum(axis=1) - 1) <= SUM))
    wrong |= ((chances > 0) & (arms < 0)).any(axis=1)
    if wrong.any():
        row = int(np.argmax(wrong))
        shown = ", ".join(f"{each:g}" for each in chances[row, :6]) + (", …" if chances.shape[1] > 6 else "")
        raise DataError(
            f"{name} {shown} in row {row}",
            expected="probabilities of the row's arms that sum to 1, none for padding",
            cure="divide them by their sum",
        )


def check_finite(name: str, values: Floats) -> None:
    """Raise a DataError that counts the values which are not finite, if there are any."""
    wrong = int((~np.isfinite(values)).sum())
    if wrong:
        raise DataError(
            f"{wrong} of {values.size} {name} are not finite", expected="finite numbers", cure="leave such rows out"
        )
