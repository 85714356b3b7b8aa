"""A recipe is checked before anything is loaded: names, sizes, folders, parameters, and whose items models know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmrec.classic.recall.base.store import Catalogue, read_about, read_catalogue
from llmrec.classic.recall.fused import FusedConfig, FusedRecommender
from llmrec.classic.recall.popular import Popular
from llmrec.config import Part, make_config
from llmrec.data import Dataset
from llmrec.data.files import read_json
from llmrec.errors import ConfigError, DataError, ModelError, UnknownNameError, did_you_mean
from llmrec.pipeline.funnel import RECALL, check_sizes
from llmrec.pipeline.recipe import Model, PipelineRecipe
from llmrec.pipeline.stages import check_weight
from llmrec.registry import LEARNED_RANKERS, RANKERS, RECOMMENDERS, RERANKERS, Registry

CHANNELS = (RECOMMENDERS,)
"""What recall can name."""
STAGES = (LEARNED_RANKERS, RANKERS, RERANKERS)
"""What a stage can name."""
FOLDERS = (LEARNED_RANKERS, RERANKERS, RECOMMENDERS)
"""What saves to a folder; a stage ranks with a recommender that scores by vectors too."""


def find(name: str, registries: tuple[Registry, ...]) -> Registry:
    """Return the registry that has a name.

    Raises:
        UnknownNameError: none has; says which name is close.
    """
    for registry in registries:
        if name in registry.all():
            return registry
    kinds = " or ".join(registry.kind for registry in registries)
    known = [known for registry in registries for known in registry.all()]
    raise UnknownNameError(
        f"unknown {kinds} {name!r}", expected=f"a registered {kinds}", cure=did_you_mean(name, known)
    )


def asks_engine(model: Model) -> bool:
    """Return whether a stage's ranker asks a language model."""
    return model.part is not None and find(model.part.name, STAGES) is RANKERS


def kept_in(folder: Path, registries: tuple[Registry, ...]) -> tuple[Registry, str]:
    """Return the registry and the name of what a folder holds, by its ``config.json``.

    Raises:
        ModelError: there is none, or it is of something else.
        UnknownNameError: the package that brings it is not installed.
    """
    path, kinds = folder / "config.json", {registry.kind: registry for registry in registries}
    expected = f"the folder of a fitted {' or '.join(kinds)}"
    if not path.is_file():
        raise ModelError(f"no file {str(path)!r}", expected=expected, cure="check the path, or fit one")
    try:
        about = read_json(path)
    except DataError as error:
        raise ModelError(error.found, expected=expected, cure=error.cure) from None
    kind = about.get("kind")
    if kind not in kinds:
        raise ModelError(f"kind {kind!r} in {str(path)!r}", expected=expected, cure="name another folder")
    name = str(about.get("name"))
    return find(name, (kinds[kind],)), name


def kind_of(model: Model) -> Any:  # noqa: ANN401 - the class of a ranker or a recommender
    """Return the class of a stage's model, or of what is in a folder."""
    if model.part is not None:
        return find(model.part.name, STAGES).get(model.part.name)
    registry, name = kept_in(model.path, FOLDERS)
    return registry.get(name)


def check_recipe(recipe: PipelineRecipe) -> None:
    """See that a recipe can be run, as far as that shows without loading anything.

    Raises:
        UnknownNameError: a name is in no registry.
        ConfigError: a stage hands on more than the one before, two share a name, a parameter does not fit, or a weight
            would blur an order that must stand.
        ModelError: a folder is missing, or holds no model of that kind.
    """
    for part, registries in _parts(recipe):
        find(part.name, registries)
    check_sizes([(RECALL, recipe.recall.keep), *((stage.name, stage.keep) for stage in recipe.stages)])
    if recipe.recall.fusion.members != FusedConfig().members:
        raise ConfigError("members in recall.fusion", expected="recall.channels to say which", cure="move them there")
    if len(recipe.recall.channels) > 1:  # weights, quotas and names are one for each channel
        FusedRecommender(recipe.recall.fusion, [Popular() for _ in recipe.recall.channels])
    for folder, registries in _folders(recipe):
        kept_in(folder, registries)
    for part, registries in _parts(recipe):
        kind: Any = find(part.name, registries).get(part.name)
        make_config(kind.config_class, part.parameters)
    for stage in recipe.stages:
        check_weight(stage.name, stage.weight, kind_of(stage.ranker))


def check_items(recipe: PipelineRecipe, dataset: Dataset) -> None:
    """See that all fitted models know the items of a data set, in their order, and that a language model can read them.

    Raises:
        DataError: it asks for titles, and an item has none.
        ModelError: one was fitted on others.
        ConfigError: recall is asked for more candidates than there are items.
    """
    here = Catalogue.of(dataset)
    if recipe.recall.keep > here.n_items:
        raise ConfigError(
            f"recall.keep = {recipe.recall.keep}",
            expected=f"at most {here.n_items}, the items of {here.dataset!r}",
            cure="lower it",
        )
    if any(asks_engine(stage.ranker) for stage in recipe.stages):
        dataset.titles()
    for folder, registries in _folders(recipe):
        about = read_about(folder, kind=kept_in(folder, registries)[0].kind)
        there = read_catalogue(folder, about)
        if there.items_digest != here.items_digest:
            raise ModelError(
                f"{str(folder)!r} was fitted on {there.n_items} items of {there.dataset!r}",
                expected=f"the {here.n_items} items of {here.dataset!r}",
                cure="use the data set that it was fitted on, or fit it again",
            )


def _models(recipe: PipelineRecipe) -> Iterator[tuple[Model, tuple[Registry, ...], tuple[Registry, ...]]]:
    """Yield each model, what it can name and whose folders it can be."""
    yield from ((channel, CHANNELS, CHANNELS) for channel in recipe.recall.channels)
    yield from ((stage.ranker, STAGES, FOLDERS) for stage in recipe.stages)


def _parts(recipe: PipelineRecipe) -> Iterator[tuple[Part, tuple[Registry, ...]]]:
    yield from ((model.part, names) for model, names, _ in _models(recipe) if model.part is not None)


def _folders(recipe: PipelineRecipe) -> Iterator[tuple[Path, tuple[Registry, ...]]]:
    yield from ((model.folder, folders) for model, _, folders in _models(recipe) if model.folder is not None)
