"""What a model may learn from, and what it is asked afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data.candidates import Candidates
from llmrec.data.dataset import Dataset
from llmrec.data.events import frozen_array
from llmrec.data.files import atomic_folder, ragged_series, read_json, read_parquet, write_json
from llmrec.data.queries import Queries, pad_ragged
from llmrec.errors import DataError


@dataclass(frozen=True, eq=False)
class Targets:
    """Queries with the items that turned out to be relevant.

    Attributes:
        queries: q queries; their history ends before the first relevant event.
        relevant: int32 (q, r), item numbers, padded with -1; at least one in each row. (q, 0) where the labels are
            kept by somebody else, as those of a leaderboard are.
        shown: int32 (q, s), item numbers that the user was shown, in that order, right-padded with -1; None where
            that is not known.
        values: float32 (q, r), what the user gave each relevant item, 0 in the padding; None where that is not known.
    """

    queries: Queries
    relevant: NDArray[np.int32]
    shown: NDArray[np.int32] | None = None
    values: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "relevant", frozen_array(self.relevant, np.int32))
        if self.relevant.ndim != 2 or len(self.relevant) != len(self.queries):
            raise DataError(
                f"relevant items of shape {self.relevant.shape} for {len(self.queries)} queries",
                expected="one row for each query",
                cure="pass relevant as (q, r), padded with -1",
            )
        without = ~(self.relevant >= 0).any(axis=1)
        if without.any() and self.relevant.shape[1]:
            raise DataError(
                f"query {int(np.argmax(without))} has no relevant item",
                expected="at least one in each row",
                cure="leave queries without a target out",
            )
        if self.shown is not None:
            object.__setattr__(self, "shown", frozen_array(self.shown, np.int32))
            if self.shown.ndim != 2 or len(self.shown) != len(self.queries):
                raise DataError(
                    f"shown items of shape {self.shown.shape} for {len(self.queries)} queries",
                    expected="one row for each query",
                    cure="pass shown as (q, s), right-padded with -1",
                )
        if self.values is not None:
            object.__setattr__(self, "values", frozen_array(self.values, np.float32))
            if self.values.shape != self.relevant.shape:
                raise DataError(
                    f"values of shape {self.values.shape} for relevant items of shape {self.relevant.shape}",
                    expected="one for each place",
                    cure="pass values as (q, r), 0 in the padding",
                )

    @property
    def labelled(self) -> bool:
        """Whether the relevant items are known."""
        return self.relevant.shape[1] > 0 or len(self) == 0

    def candidates(self) -> Candidates:
        """Return what was shown as candidates without scores, (q, s) in the order shown; rankers rank them.

        An item that was shown twice in one list counts where it came first.

        Raises:
            DataError: it is not known what was shown.
        """
        if self.shown is None:
            raise DataError(
                "targets without shown items",
                expected="impressions: lists of items that users were shown",
                cure="split a data set with impressions by 'impression-time', or recall candidates",
            )
        items = first_in_row(self.shown)
        return Candidates(items, np.full(items.shape, np.nan, np.float32))

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Targets:
        """Return the targets of some queries."""
        shown = None if self.shown is None else self.shown[rows]
        values = None if self.values is None else self.values[rows]
        return Targets(self.queries.select(rows), self.relevant[rows], shown, values)

    def sample(self, n: int, *, seed: int = 0) -> Targets:
        """Return n queries drawn without replacement, in their order here; all of them if n is larger."""
        if n >= len(self):
            return self
        rows = np.random.default_rng(seed).choice(len(self), n, replace=False)
        return self.select(np.sort(rows))

    def __len__(self) -> int:
        return len(self.queries)


def first_in_row(items: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return each row of (q, s) with an item's repeats taken out, the others moved up, right-padded with -1."""
    order = np.argsort(items, axis=1, kind="stable")
    ordered = np.take_along_axis(items, order, 1)
    repeat = np.zeros(items.shape, np.bool_)
    np.put_along_axis(repeat, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], 1)
    kept = np.where(repeat, -1, items)
    return np.take_along_axis(kept, np.argsort(kept < 0, axis=1, kind="stable"), 1)


@dataclass(frozen=True, eq=False)
class Split:
    """A data set cut into training events and later targets.

    Attributes:
        train: the data set with its training events only; users and items are the whole vocabularies.
        valid: targets to choose hyper-parameters on; histories hold training events.
        test: targets to report on; histories hold what came before each target: training and validation events, and
            where a query is a moment (an impression), the user's earlier ones of the test too.
        rule: the rule that cut it with its parameters and what it left out.
    """

    train: Dataset
    valid: Targets
    test: Targets
    rule: Mapping[str, str | int | float] = field(default_factory=dict)

    def part(self, name: str) -> Targets:
        """Return the targets called ``valid`` or ``test``.

        Raises:
            DataError: another name.
        """
        if name == "valid":
            return self.valid
        if name == "test":
            return self.test
        raise DataError(f"part {name!r}", expected="'valid' or 'test'", cure="choose one of the two")

    def save(self, folder: Path | str) -> Path:
        """Write ``train/``, ``valid.parquet``, ``test.parquet`` and ``split.json``, whole or not at all."""
        folder = Path(folder)
        with atomic_folder(folder) as temporary:
            self.train.save(temporary / "train")
            for name in ("valid", "test"):
                _targets_frame(self.part(name)).write_parquet(temporary / f"{name}.parquet")
            write_json(temporary / "split.json", dict(self.rule))
        return folder

    @classmethod
    def load(cls, folder: Path | str) -> Split:
        """Read a folder that ``save`` wrote.

        Raises:
            DataError: a file is missing or truncated.
        """
        folder = Path(folder)
        rule = read_json(folder / "split.json")
        train = Dataset.load(folder / "train")
        return cls(train, _read_targets(folder / "valid.parquet"), _read_targets(folder / "test.parquet"), rule)


def _targets_frame(targets: Targets) -> pl.DataFrame:
    queries = targets.queries
    columns = {"user": queries.users, "history": _lists(queries.history), "relevant": _lists(targets.relevant)}
    for name, padded in (("values", queries.values), ("times", queries.times)):
        if padded is not None:
            columns[name] = _lists(padded, queries.history >= 0)
    if targets.values is not None:
        columns["relevant_values"] = _lists(targets.values, targets.relevant >= 0)
    return pl.DataFrame(columns if targets.shown is None else {**columns, "shown": _lists(targets.shown)})


def _lists(padded: NDArray[Any], real: NDArray[np.bool_] | None = None) -> pl.Series:
    """Return the rows of a padded array as lists without the padding: the places that are ``real``."""
    real = padded >= 0 if real is None else real
    return ragged_series(padded[real], np.concatenate([[0], np.cumsum(real.sum(axis=1))]))


def _read_targets(path: Path) -> Targets:
    frame = read_parquet(path, ["user", "history", "relevant"])
    values, times = (_padded(frame[name], fill=0) if name in frame.columns else None for name in ("values", "times"))
    queries = Queries(frame["user"].to_numpy(), _padded(frame["history"]), values, times)
    shown = _padded(frame["shown"].list.reverse())[:, ::-1] if "shown" in frame.columns else None
    relevant = _padded(frame["relevant"])
    given = _padded(frame["relevant_values"], fill=0) if "relevant_values" in frame.columns else None
    return Targets(queries, relevant, shown, given)


def _padded(lists: pl.Series, fill: int = -1) -> NDArray[Any]:
    rows = np.repeat(np.arange(len(lists)), lists.list.len().to_numpy())
    return pad_ragged(rows, lists.explode(empty_as_null=False).to_numpy(), len(lists), fill=fill)
