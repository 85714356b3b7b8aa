"""Results of fitted recommenders, kept by what they depend on: a killed evaluation fits none twice."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec import __version__
from llmrec.classic.recall.base.store import RecallModel
from llmrec.coldstart.cuts import VALIDATION, Cut
from llmrec.coldstart.lessons import Lesson, learn
from llmrec.config import Config, Part, make_config
from llmrec.data import Candidates
from llmrec.data.files import atomic_file, read_parquet
from llmrec.errors import DataError
from llmrec.protocols import Watch
from llmrec.registry import RECOMMENDERS

Tell = Callable[[int, str], None]
"""Called with how many results there are so far, and a line on how it goes."""


@dataclass(frozen=True, eq=False)
class Result:
    """What a fitted recommender proposes.

    Attributes:
        candidates: (q, k) for the queries of a cut's test.
        epochs: after how many it was best on validation; 0 where it does not say.
        seconds: wall time of fitting and proposing.
    """

    candidates: Candidates
    epochs: int
    seconds: float


@runtime_checkable
class _Validated(Protocol):
    @property
    def validation_ndcg(self) -> NDArray[np.float64]: ...


class Results:
    """Fits recommenders and keeps what they propose.

    Args:
        folder: where results lie.
        k: how many items are proposed.
        tell: told of each fit.

    Attributes:
        known: keys of the results there are so far.
        fitted: how many of them were fitted, the others having been kept.
    """

    def __init__(self, folder: Path, k: int, tell: Tell | None = None) -> None:
        self.folder, self.k, self.tell = folder, k, tell
        self.known: set[str] = set()
        self.fitted = 0

    def get(self, name: str, cut: Cut, part: Part, lesson: Lesson | None = None, *, seed: int = 0) -> Result:
        """Return what a recommender proposes behind a cut, fitted now unless that was kept.

        Training stops by ``valid`` behind the validation cut; before the test nothing later than the cut is looked at,
        and it runs for all its epochs.

        Args:
            name: of the method, to be told.
            cut: which events and queries.
            part: the recommender.
            lesson: what it learns beside events.
            seed: of everything random.

        Raises:
            LlmrecError: it cannot be fitted.
        """
        about = [
            __version__,
            cut.digest,
            part.model_dump(mode="json"),
            lesson and lesson.digest,
            seed,
            self.k,
            cut.name,
        ]
        key = hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=12).hexdigest()
        path = self.folder / f"{key}.parquet"
        kept = _read(path)
        if kept is None:
            kept = self._fit(name, cut, part, lesson, seed)
            self.fitted += 1
            _write(path, kept)
        self.known.add(key)
        self._say(name)
        return kept

    def _say(self, text: str) -> None:
        if self.tell is not None:
            self.tell(len(self.known), text)

    def _fit(self, name: str, cut: Cut, part: Part, lesson: Lesson | None, seed: int) -> Result:
        def report(done: int, total: int, text: str) -> None:
            self._say(f"{name}, {done:,} of {total:,} {text}".rstrip())

        self._say(name)
        start, split = time.perf_counter(), cut.split
        valid = split.valid if cut.name == VALIDATION else None
        model = learn(part, split.train, lesson, seed=seed, watch=Watch(valid, report=report))
        found = model.recommend(split.test.queries, min(self.k, len(split.train.items)))
        return Result(found, best_epochs(model), time.perf_counter() - start)


def best_epochs(model: RecallModel) -> int:
    """Return after how many epochs a model was best on validation; 0 where it does not say."""
    if not isinstance(model, _Validated) or not len(model.validation_ndcg):
        return 0
    return int(np.argmax(model.validation_ndcg)) + 1


def for_epochs(part: Part, epochs: int) -> Part:
    """Return a recommender that trains for so many epochs; 0 changes nothing."""
    if not epochs:
        return part
    return Part(name=part.name, parameters={**part.parameters, "epochs": epochs})


def resolved(part: Part) -> Part:
    """Return a recommender with all its parameters, so that a changed default is another recommender.

    Raises:
        UnknownNameError: there is none of that name.
        ConfigError: a parameter that it does not have, or a value that does not fit.
    """
    kind: type[Config] = RECOMMENDERS.get(part.name).config_class
    return Part(name=part.name, parameters=make_config(kind, part.parameters).model_dump(mode="json"))


def _write(path: Path, result: Result) -> None:
    found = result.candidates
    frame = pl.DataFrame({"items": found.items, "scores": found.scores})
    with atomic_file(path) as temporary:
        frame.with_columns(epochs=pl.lit(result.epochs), seconds=pl.lit(result.seconds)).write_parquet(temporary)


def _read(path: Path) -> Result | None:
    """Return what was kept; None where nothing was, or a disk lost it."""
    if not path.exists():
        return None
    try:
        frame = read_parquet(path, ("items", "scores", "epochs", "seconds"))
    except DataError:
        return None
    candidates = Candidates(frame["items"].to_numpy(), frame["scores"].to_numpy())
    return Result(candidates, frame["epochs"][0], frame["seconds"][0])
