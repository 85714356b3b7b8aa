"""What a killed batch leaves for the next call: finished blocks as shards, and what an unfinished one has spent."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from llmrec.config import Config, Part, make_config
from llmrec.data import Dataset
from llmrec.data.files import resumable, write_json
from llmrec.data.parts import Parts
from llmrec.prompts.prompting import PromptConfig
from llmrec.prompts.template import load_template
from llmrec.protocols import Usage
from llmrec.rank.blocks import Block
from llmrec.registry import RANKERS

_KEY = "llmrec"


@dataclass(frozen=True, slots=True)
class RankRun:
    """What a batch, or a block of it, came to; ``+`` adds two.

    Attributes:
        queries: how many were ranked.
        usage: prompts, tokens, cache hits, seconds; what was spent before a kill counts.
        counts: how answers could be read; ``failed`` are prompts that the engine gave no answer to.
        seconds: wall time.
        first_error: what went wrong with the first prompt that failed.
    """

    queries: int = 0
    usage: Usage = field(default_factory=Usage)
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    first_error: str = ""

    def __add__(self, other: RankRun) -> RankRun:
        counts = Counter(self.counts)
        counts.update(other.counts)  # unlike +, keeps names that were counted zero times
        return RankRun(
            self.queries + other.queries,
            self.usage + other.usage,
            counts,
            self.seconds + other.seconds,
            self.first_error or other.first_error,
        )

    def after(self, spent: Usage) -> RankRun:
        """Return the run as it would have been without the interruption before which ``spent`` was spent."""
        found_again = min(self.usage.cache_hits, spent.cache_misses)
        return replace(self, usage=self.usage + replace(spent, prompts=0, cache_hits=-found_again))


class Shards:
    """Finished blocks in a folder beside the file that they become.

    A shard carries a digest of all that it was made from, so that another recipe, engine, wording or data set never
    takes it. One with prompts that failed is made again.

    Args:
        out: the file that they become.
        made_from: what ``describe`` and the engine say of how all blocks are ranked.

    Attributes:
        parts: where the shards are.
    """

    def __init__(self, out: Path, made_from: bytes) -> None:
        self.parts, self.made_from = Parts(out), made_from
        self._digests: dict[int, str] = {}

    def digest(self, block: Block) -> str:
        """Return what a block's ranking depends on, as a digest."""
        if block.number not in self._digests:
            self._digests = {block.number: self._of(block)}  # one block at a time is worked on
        return self._digests[block.number]

    def _of(self, block: Block) -> str:
        digest = hashlib.blake2b(self.made_from, digest_size=16)
        queries, candidates = block.queries, block.candidates
        for array in (candidates.items, candidates.scores, queries.users, queries.history, queries.values):
            if array is not None:
                digest.update(f"{array.dtype}{array.shape}".encode())
                digest.update(array.tobytes())
        return digest.hexdigest()

    def finished(self, block: Block) -> RankRun | None:
        """Return what a block came to if its shard is there and no prompt failed."""
        run = self._read(block)
        return None if run is None or run.counts["failed"] else run

    def spent(self, block: Block) -> Usage:
        """Return what calls that were stopped have spent on a block."""
        run = self._read(block)
        if run is not None:
            return run.usage
        try:
            noted = json.loads(self.parts.path(block.number, "json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return Usage()
        return Usage(**noted["usage"]) if noted["digest"] == self.digest(block) else Usage()

    def note(self, block: Block, usage: Usage) -> None:
        """Write what has been spent on a block that is not finished."""
        with resumable(self.parts.folder):
            write_json(self.parts.path(block.number, "json"), {"digest": self.digest(block), "usage": asdict(usage)})

    def write(self, block: Block, frame: pl.DataFrame, run: RankRun, *, more: Mapping[str, str] | None = None) -> None:
        """Write the shard of a block with further texts about it, whole or not at all."""
        record = {**asdict(replace(run, counts=Counter())), "counts": dict(run.counts)}  # asdict spoils a Counter
        about = json.dumps({"digest": self.digest(block), "run": record})
        self.parts.write(block.number, frame, {**(more or {}), _KEY: about})

    def more(self, block: Block) -> dict[str, str]:
        """Return all texts about a shard that is there."""
        return dict(pl.read_parquet_metadata(self.parts.path(block.number)))

    def _read(self, block: Block) -> RankRun | None:
        try:
            about = json.loads(pl.read_parquet_metadata(self.parts.path(block.number)).get(_KEY, "null"))
        except (OSError, ValueError, pl.exceptions.PolarsError):
            return None
        if about is None or about["digest"] != self.digest(block):
            return None
        run = about["run"]
        return RankRun(**{**run, "usage": Usage(**run["usage"]), "counts": Counter(run["counts"])})


def describe(part: Part) -> dict[str, Any]:
    """Return all that a strategy does by its recipe: every parameter, and the wording of its templates."""
    kind: Any = RANKERS.get(part.name)
    config: Config = make_config(kind.config_class, part.parameters)
    about = {"name": part.name, **config.model_dump(mode="json")}
    inner = {name: value for name, value in config if isinstance(value, Part)}
    about.update({name: describe(value) for name, value in inner.items()})
    if isinstance(config, PromptConfig):
        about["wording"] = load_template(config.template).model_dump(mode="json")
    return about


def made_from(strategy: Part, engine: str, top: int, dataset: Dataset) -> bytes:
    """Return a digest of all that rankings depend on besides queries and candidates.

    Args:
        strategy: name and parameters.
        engine: its identity.
        top: candidates ranked of each row.
        dataset: whose titles are read and whose users give examples.
    """
    about = [version("llmrec"), describe(strategy), engine, top, dataset.titles()]
    digest = hashlib.blake2b(json.dumps(about).encode(), digest_size=16)
    events = dataset.interactions
    for array in (events.users, events.items, events.times, events.values):
        digest.update(array.tobytes())
    return digest.digest()
