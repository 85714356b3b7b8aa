"""Calls that go on after a kill: what is done is not done again, and what is of another recipe is never taken."""

import numpy as np
import pytest
from funnels import Stopped, read, stop_at, written
from polars.testing import assert_frame_equal

from llmrec.classic.recall.neighbours import ItemKNN
from llmrec.config import make_config
from llmrec.data import Split
from llmrec.pipeline.recipe import PipelineRecipe
from llmrec.pipeline.run import recommend_batch


def test_a_call_that_was_stopped_goes_on_and_ends_the_same(make_recipe, tmp_path):
    recipe = make_recipe()
    with pytest.raises(Stopped):
        recommend_batch(recipe, progress=stop_at(14))
    assert written(recipe) == ["candidates.parquet.parts"]
    seen = []
    again = recommend_batch(recipe, progress=lambda *told: seen.append(told))
    assert seen[0][0] == 7  # two blocks are there: no stage is entered for them
    clean = make_recipe(out=str(tmp_path / "clean"), cache=str(tmp_path / "clean.sqlite"))
    whole = recommend_batch(clean)
    assert (recipe.out / "candidates.parquet").read_bytes() == (clean.out / "candidates.parquet").read_bytes()
    for mine, its in zip(again.stages, whole.stages, strict=True):
        assert {**mine.to_dict(), "seconds": 0} == {**its.to_dict(), "seconds": 0}
    assert again.total.usage.prompts == whole.total.usage.prompts == 30
    assert again.total.usage.cache_misses == whole.total.usage.cache_misses == 240


def test_a_block_whose_stage_was_skipped_is_done_again_after_a_kill(make_recipe, unsteady):
    unsteady(0)
    recipe = make_recipe(engine="unsteady")
    with pytest.raises(Stopped):
        recommend_batch(recipe, progress=stop_at(14))
    unsteady()
    assert [stage.skipped for stage in recommend_batch(recipe).stages] == [0, 0, 0]


@pytest.mark.parametrize("change", ["keep", "weight", "wording", "engine", "model", "data"])
def test_shards_of_another_recipe_are_never_taken(change, make_recipe, make_values, tmp_path, films, funnel_folder):
    wording, model, data = tmp_path / "mine.yaml", tmp_path / "knn", tmp_path / "films"
    wording.write_text(
        "name: mine\nversion: 1\ndescription: x\nanswer: continuation\n"
        'user: "{{ history | join(\', \') }}"\ncontinuation: " {{ candidate }}"\n'
    )
    ItemKNN().fit(films).save(model)
    split = Split.load(funnel_folder / "films" / "split")
    split.save(data / "split")
    values = make_values(dataset=str(data))
    values["recall"] = {**values["recall"], "channels": [{"folder": str(model)}, "popular"]}
    values["stages"][1]["ranker"] = {"name": "likelihood", "template": str(wording)}
    with pytest.raises(Stopped):
        recommend_batch(make_config(PipelineRecipe, values), progress=stop_at(14))
    if change == "keep":
        values["stages"][0]["keep"] = 6
    elif change == "weight":
        values["stages"][1]["weight"] = 0.5
    elif change == "wording":
        wording.write_text(wording.read_text().replace("', '", "'; '"))
    elif change == "engine":
        values["engine"] = {"name": "fake", "model": "other"}
    elif change == "model":
        ItemKNN(ItemKNN.config_class(neighbours=1)).fit(films).save(model)
    else:
        fewer = films.with_interactions(films.interactions.select(np.arange(100)))
        Split(fewer, split.valid, split.test, split.rule).save(data / "split")
    recommend_batch(recipe := make_config(PipelineRecipe, values))
    fresh = make_config(PipelineRecipe, {**values, "out": str(tmp_path / "fresh"), "cache": str(tmp_path / "f.sqlite")})
    recommend_batch(fresh)
    assert_frame_equal(read(recipe), read(fresh))


def test_another_limit_leaves_finished_blocks_as_they_are(make_recipe, make_values):
    with pytest.raises(Stopped):
        recommend_batch(make_recipe(), progress=stop_at(14))
    stages, seen = make_values()["stages"], []
    stages[1]["timeout"] = 60
    recommend_batch(make_recipe(stages=stages), progress=lambda *told: seen.append(told))
    assert seen[0][0] == 7
