"""What is wrong with a recipe is said before anything is loaded, and nothing is written."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from llmrec.config import load_config
from llmrec.data import Split
from llmrec.errors import ConfigError, DataError, ModelError, UnknownNameError
from llmrec.pipeline.check import check_recipe
from llmrec.pipeline.recipe import PipelineRecipe
from llmrec.pipeline.run import recommend_batch
from llmrec.testing import expect_error


def stage(name="rank", ranker="likelihood", keep=5, **values):
    return {"name": name, "ranker": ranker, "keep": keep, **values}


def recall(*channels, keep=20, **values):
    return {"channels": list(channels), "keep": keep, **values}


NAMES = {
    "ranker": ({"stages": [stage(ranker="likelihod")]}, ("'likelihod'", "did you mean 'likelihood'?")),
    "re-ranker": ({"stages": [stage(ranker={"name": "mmmr"})]}, ("'mmmr'", "did you mean 'mmr'?")),
    "learned ranker": ({"stages": [stage(ranker="widedeep")]}, ("'widedeep'", "did you mean 'wide-deep'?")),
    "channel": ({"recall": recall("itemknn")}, ("'itemknn'", "unknown recommender", "did you mean 'item-knn'?")),
    "a recommender by name": ({"stages": [stage(ranker="ease")]}, ("unknown ranker or", "'ease'")),
}
SETTINGS = {
    "sizes that grow": (
        {"stages": [stage("a", keep=5), stage("b", keep=6)]},
        ("stage 'b' keeps 6", "at most 5, what 'a'"),
    ),
    "a first stage above recall": ({"stages": [stage(keep=21)]}, ("keeps 21", "at most 20, what 'recall'")),
    "a name twice": ({"stages": [stage("a"), stage("a")]}, ("two stages called 'a'",)),
    "members": ({"recall": recall("ease", "als", fusion={"members": ["als", "ease"]})}, ("recall.channels",)),
    "weights": ({"recall": recall("ease", "als", fusion={"weights": [1]})}, ("weights = [1.0]", "2 of them")),
    "a strategy's parameter": (
        {"stages": [stage(ranker={"name": "likelihood", "histroy": 3})]},
        ("'histroy'", "did you mean 'history'?"),
    ),
    "a recommender's parameter": ({"recall": recall({"name": "als", "factor": 3})}, ("'factor'", "'factors'?")),
    "more candidates than items": ({"recall": recall("popular", keep=41)}, ("recall.keep = 41", "at most 40")),
}


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_name_is_an_error(name, make_recipe):
    values, words = NAMES[name]
    refused(UnknownNameError, make_recipe(**values), *words)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_wrong_setting_is_an_error(name, make_recipe):
    values, words = SETTINGS[name]
    refused(ConfigError, make_recipe(**values), *words)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"recall": {"channels": [], "keep": 5}}, ("recall.channels",)),
        ({"recall": recall({"folder": "x", "part": "als"})}, ("a folder or a name",)),
        ({"stages": [stage(keep=0)]}, ("stages.0.keep = 0",)),
        ({"stages": [stage(timeout=0)]}, ("timeout = 0",)),
        ({"stages": [stage(weight=1.5)]}, ("weight = 1.5",)),
        ({"stages": [{"name": "a", "keep": 3}]}, ("no 'stages.0.ranker'",)),
    ],
)
def test_what_does_not_fit_the_recipe_is_an_error(values, words, make_recipe):
    expect_error(ConfigError, lambda: make_recipe(**values), *words)


def refused(kind, recipe, *words):
    expect_error(kind, lambda: recommend_batch(recipe), *words)
    assert not recipe.out.exists()
    assert not recipe.cache.exists()


def test_a_missing_folder_is_an_error(make_recipe, tmp_path):
    for values in ({"recall": recall({"folder": "no/model"})}, {"stages": [stage(ranker={"folder": "no/model"})]}):
        refused(ModelError, make_recipe(**values), "no file 'no/model/config.json'", "recommender", "check the path")
    assert not list(tmp_path.iterdir())


def test_what_can_be_read_off_the_recipe_comes_before_the_data_set(make_recipe):
    wrong = {"dataset": "no/data", "stages": [stage(ranker="likelihod")]}
    refused(UnknownNameError, make_recipe(**wrong), "'likelihod'")
    refused(DataError, make_recipe(dataset="no/data"), "no/data")
    # A name that is wrong is told of before a folder that is missing: it takes no disk.
    refused(UnknownNameError, make_recipe(**wrong, recall=recall({"folder": "no/model"})), "'likelihod'")


def test_a_model_of_other_items_is_an_error_in_any_place(make_recipe, funnel_folder):
    other = {"folder": str(funnel_folder / "other")}
    for values in ({"recall": recall(other)}, {"stages": [stage(ranker=other)]}):
        refused(ModelError, make_recipe(**values), "was fitted on 41 items", "the 40 items of 'films'", "fit it again")


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ("{", ("config.json", "write it again")),
        ("{}", ("kind None", "the folder of a fitted")),
        ('{"kind": "dataset"}', ("kind 'dataset'", "the folder of a fitted")),
    ],
)
def test_a_folder_of_something_else_is_an_error(about, words, make_recipe, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(about)
    refused(ModelError, make_recipe(stages=[stage(ranker={"folder": str(folder)})]), *words)


def test_a_folder_of_an_unknown_recommender_is_an_error(make_recipe, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"kind": "recommender", "name": "alss"}))
    refused(UnknownNameError, make_recipe(recall=recall({"folder": str(folder)})), "'alss'", "did you mean 'als'?")


def test_a_ranker_is_no_channel_and_a_recommender_without_vectors_ranks_nothing(make_recipe, funnel_folder):
    knn = {"folder": str(funnel_folder / "knn")}
    expect_error(
        ModelError, lambda: recommend_batch(make_recipe(stages=[stage(ranker=knn)])), "'item-knn'", "scores by vectors"
    )


def test_items_without_titles_are_no_matter_unless_they_are_read(make_recipe, funnel_folder, tmp_path):
    split = Split.load(funnel_folder / "films" / "split")
    bare = replace(split.train, item_table=split.train.item_table.rename({"title": "name"}))
    Split(bare, split.valid, split.test, split.rule).save(tmp_path / "bare" / "split")
    refused(DataError, make_recipe(dataset=str(tmp_path / "bare")), "a column 'title'")
    assert recommend_batch(make_recipe(dataset=str(tmp_path / "bare"), stages=[])).total.queries == 30


def test_the_recipes_that_are_shipped_pass():
    for path in sorted((Path(__file__).parents[2] / "configs").glob("pipeline-*.yaml")):
        recipe = load_config(PipelineRecipe, path)
        if path.stem == "pipeline-recall":
            expect_error(ModelError, lambda recipe=recipe: check_recipe(recipe), "no file 'runs/ease/config.json'")
        else:
            check_recipe(recipe)


def test_a_place_that_cannot_be_written_is_known_before_the_work(make_recipe, tmp_path):
    Path(tmp_path / "a file").write_text("")
    recipe = make_recipe(out=str(tmp_path / "a file" / "out"))
    expect_error(DataError, lambda: recommend_batch(recipe), "cannot be written")
    assert not recipe.cache.exists()
