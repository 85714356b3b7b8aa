"""What a model may learn from, and what it is asked afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data.dataset import Dataset
from llmrec.data.events import frozen_array
from llmrec.data.files import atomic_folder, read_json, read_parquet, write_json
from llmrec.data.queries import Queries
from llmrec.errors import DataError


@dataclass(frozen=True, eq=False)
class Targets:
    """Queries with the items that turned out to be relevant.

    Attributes:
        queries: q queries; their history ends before the first relevant event.
        relevant: int32 (q, r), item numbers, padded with -1; at least one in each row.
    """

    queries: Queries
    relevant: NDArray[np.int32]

    def __post_init__(self) -> None:
        object.__setattr__(self, "relevant", frozen_array(self.relevant, np.int32))
        if self.relevant.ndim != 2 or len(self.relevant) != len(self.queries):
            raise DataError(
                f"relevant items of shape {self.relevant.shape} for {len(self.queries)} queries",
                expected="one row for each query",
                cure="pass relevant as (q, r), padded with -1",
            )
        without = ~(self.relevant >= 0).any(axis=1)
        if without.any():
            raise DataError(
                f"query {int(np.argmax(without))} has no relevant item",
                expected="at least one in each row",
                cure="leave queries without a target out",
            )

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Targets:
        """Return the targets of some queries."""
        return Targets(self.queries.select(rows), self.relevant[rows])

    def sample(self, n: int, *, seed: int = 0) -> Targets:
        """Return n queries drawn without replacement, in their order here; all of them if n is larger."""
        if n >= len(self):
            return self
        rows = np.random.default_rng(seed).choice(len(self), n, replace=False)
        return self.select(np.sort(rows))

    def __len__(self) -> int:
        return len(self.queries)


@dataclass(frozen=True, eq=False)
class Split:
    """A data set cut into training events and later targets.

    Attributes:
        train: the data set with its training events only; users and items are the whole vocabularies.
        valid: targets to choose hyper-parameters on; histories hold training events.
        test: targets to report on; histories hold training and validation events.
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
    def lists(padded: NDArray[np.int32]) -> pl.Series:
        return pl.Series([row[row >= 0] for row in padded], dtype=pl.List(pl.Int32))

    queries = targets.queries
    return pl.DataFrame({"user": queries.users, "history": lists(queries.history), "relevant": lists(targets.relevant)})


def _read_targets(path: Path) -> Targets:
    frame = read_parquet(path, ["user", "history", "relevant"])
    relevant = Queries.from_histories(frame["relevant"].to_list()).history
    return Targets(Queries.from_histories(frame["history"].to_list(), frame["user"].to_list()), relevant)
