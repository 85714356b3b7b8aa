"""From a recipe to a pipeline: models loaded or fitted, strategies on their engine, stages in their places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from llmrec.classic.recall.base.store import RecallModel
from llmrec.classic.recall.fused import FusedRecommender
from llmrec.config import Part, make_config
from llmrec.data import Split
from llmrec.errors import ModelError
from llmrec.pipeline.check import CHANNELS, FOLDERS, STAGES, asks_engine, find, kept_in, kind_of
from llmrec.pipeline.funnel import Pipeline
from llmrec.pipeline.limit import TimeLimit, Turn
from llmrec.pipeline.recipe import Model, PipelineRecipe, StageRecipe
from llmrec.pipeline.stages import Stage
from llmrec.pipeline.vectors import VectorRanker
from llmrec.protocols import Engine, Ranker, VectorModel, Watch
from llmrec.rank.make import make_ranker
from llmrec.registry import RECOMMENDERS, Registry


@dataclass(frozen=True)
class Materials:
    """What models are made of.

    Attributes:
        split: training events, and validation to stop early by.
        engine: what language-model stages ask; None where there is none.
        turn: one for all stages that ask the engine, where one of them has a time limit.
        seed: of everything random.
        report: how far a fit is.
    """

    split: Split
    engine: Engine | None = None
    turn: Turn | None = None
    seed: int = 0
    report: Callable[[int, int, str], None] | None = None

    def fit(self, part: Part, registries: tuple[Registry, ...]) -> Any:  # noqa: ANN401 - a recommender or a ranker
        """Return a model that was made by name and fitted on the training events."""
        kind: Any = find(part.name, registries).get(part.name)
        valid = self.split.valid if self.split.valid.labelled else None
        model = kind(make_config(kind.config_class, part.parameters))
        return model.fit(self.split.train, seed=self.seed, watch=Watch(valid, None, self.report))


def make_pipeline(recipe: PipelineRecipe, materials: Materials) -> Pipeline:
    """Return the pipeline of a recipe that was checked, with all that has to be fitted fitted.

    Raises:
        LlmrecError: a model cannot be loaded, fitted or made.
    """
    channels = [_recommender(channel, materials) for channel in recipe.recall.channels]
    recall = channels[0] if len(channels) == 1 else FusedRecommender(recipe.recall.fusion, channels)
    stages = [_stage(stage, materials) for stage in recipe.stages]
    return Pipeline(recall, recipe.recall.keep, tuple(stages))


def _recommender(model: Model, materials: Materials) -> RecallModel:
    found = _loaded(model) if model.part is None else materials.fit(model.part, CHANNELS)
    return cast("RecallModel", found)


def _loaded(model: Model) -> Any:  # noqa: ANN401 - a recommender or a ranker
    return kind_of(model).load(model.path)


def _stage(recipe: StageRecipe, materials: Materials) -> Stage:
    # An engine answers one call at a time, so a stage without a limit waits for another's late call to end.
    turn = materials.turn if asks_engine(recipe.ranker) else None
    limit = TimeLimit(recipe.timeout, turn) if recipe.timeout or turn else None
    return Stage(recipe.name, _ranker(recipe.ranker, materials), recipe.keep, recipe.weight, limit)


def _ranker(model: Model, materials: Materials) -> Ranker:
    if model.part is not None:
        if asks_engine(model):
            train = materials.split.train
            return make_ranker(model.part, cast("Engine", materials.engine), train.titles(), train)
        return cast("Ranker", materials.fit(model.part, STAGES))
    found = _loaded(model)
    if kept_in(model.path, FOLDERS)[0] is not RECOMMENDERS:
        return cast("Ranker", found)
    if not isinstance(found, VectorModel):
        raise ModelError(
            f"{model.shown!r} holds the recommender {found.name!r}",
            expected="one that scores by vectors, such as als or dssm, to rank with",
            cure="name a ranker, or recall with it",
        )
    return VectorRanker(found)
