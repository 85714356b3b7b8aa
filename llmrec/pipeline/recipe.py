"""The recipe of a pipeline: which models, in which order, how many candidates each hands on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from pydantic import Field, model_validator

from llmrec.classic.recall.fused import FusedConfig
from llmrec.config import Config, Part
from llmrec.llm.make import EngineRecipe


class Model(Config):
    """A fitted model, in YAML ``{folder: runs/als}``, or one to make: ``als``, ``{name: als, factors: 64}``."""

    folder: Path | None = None
    """Folder of a fitted model."""
    part: Part | None = None
    """Or a part, fitted on the training events where it learns from them."""

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: object) -> object:
        if isinstance(value, str) or (isinstance(value, Mapping) and not {"folder", "part"} & value.keys()):
            return {"part": value}
        return value

    @model_validator(mode="after")
    def _check(self) -> Model:
        if (self.folder is None) == (self.part is None):
            raise ValueError("a folder or a name, one of the two")
        return self

    @property
    def shown(self) -> str:
        """What reports call it."""
        return str(self.folder) if self.part is None else self.part.name

    @property
    def path(self) -> Path:
        """The folder, where it is one."""
        return cast("Path", self.folder)


class RecallRecipe(Config):
    """Who proposes candidates."""

    channels: tuple[Model, ...] = Field(min_length=1)
    """Recommenders; several are fused."""
    fusion: FusedConfig = FusedConfig()
    """How several are fused: method, weights, depth, …; its members are the channels."""
    keep: int = Field(200, ge=1)
    """Candidates handed on, for each query."""


class StageRecipe(Config):
    """One stage: who ranks what comes in, and how much of it goes on."""

    name: str = Field(min_length=1)
    """What reports call it."""
    ranker: Model
    """A ranker by name (learned, a strategy of the language model, a re-ranker), or a folder of a fitted one; also of a
    recommender that scores by vectors."""
    keep: int = Field(ge=1)
    """Candidates handed on, for each query; at most as many as come in."""
    weight: float = Field(1.0, gt=0, le=1)
    """Of the ranker's scores against those that come in, both standardised; 1 for the ranker's order alone."""
    timeout: float | None = Field(None, gt=0)
    """Seconds for the queries of a block, after which the stage is skipped for them; null for any time."""


class PipelineRecipe(EngineRecipe):
    """Recall and stages, whom they serve, and what is written."""

    dataset: Path
    """Data set folder from ``llmrec prepare``."""
    out: Path
    """Folder to write: candidates.parquet, run.json and report.html."""
    part: str = "test"
    """``valid`` or ``test``: whom to recommend to."""
    recall: RecallRecipe
    """Who proposes candidates."""
    stages: tuple[StageRecipe, ...] = ()
    """Rankers, in their order."""
    block: int = Field(default=1024, ge=1)
    """Queries that are held in memory, served together and written as one shard."""
    seed: int = 0
    """Of everything random that is fitted here."""
