"""A pipeline for a whole part: the file, the record, the page, skipped stages, and calls that go on after a kill."""

import time
from collections import Counter

import numpy as np
import polars as pl
import pytest
from funnels import read, record, written
from lxml import html
from polars.testing import assert_frame_equal

from llmrec.classic.recall.base.store import load_recommender
from llmrec.classic.recall.fused import FusedRecommender
from llmrec.classic.recall.popular import Popular
from llmrec.config import Config, make_config
from llmrec.data import Split
from llmrec.llm.fake import FakeEngine
from llmrec.pipeline.funnel import Pipeline
from llmrec.pipeline.recipe import PipelineRecipe
from llmrec.pipeline.run import recommend_batch
from llmrec.pipeline.stages import Stage
from llmrec.pipeline.vectors import VectorRanker
from llmrec.rank.likelihood import LikelihoodConfig, LikelihoodRanker
from llmrec.registry import ENGINES, RERANKERS, Row


@pytest.fixture
def by_hand(films, funnel_folder):
    """The default recipe's pipeline, put together by hand."""
    llm = LikelihoodRanker(FakeEngine(), films.titles(), LikelihoodConfig(history=2))
    return Pipeline(
        FusedRecommender(None, [load_recommender(funnel_folder / "knn"), Popular().fit(films)]),
        20,
        (Stage("pre-rank", VectorRanker(load_recommender(funnel_folder / "als")), 8), Stage("llm", llm, 5)),
    )


def test_the_file_holds_what_comes_out_in_memory(make_recipe, by_hand, films, funnel_folder):
    recipe = make_recipe()
    run = recommend_batch(recipe)
    targets = Split.load(funnel_folder / "films" / "split").test
    funnel = by_hand.run(targets.queries, relevant=targets.relevant)
    assert_frame_equal(read(recipe), funnel.candidates.to_frame(films, targets.queries))
    assert read(recipe).height == 30 * 5
    assert written(recipe) == ["candidates.parquet", "report.html", "run.json"]
    # Five blocks add up to what one call does.
    for ours, whole in zip(run.stages, funnel.runs, strict=True):
        mine, its = ours.to_dict(), whole.to_dict()
        assert {**mine, "seconds": 0} == {**its, "seconds": 0}
    assert run.relevant == 30
    assert run.total.queries == 30
    assert run.total.usage.cache_misses == 30 * 8


def test_the_record_repeats_the_run(make_recipe):
    recipe = make_recipe(input_price=2.0)
    run = recommend_batch(recipe)
    found = record(recipe)
    assert make_config(PipelineRecipe, found["recipe"]) == recipe
    assert found["engine"] == "fake/fake"
    assert found["queries"] == 30
    assert found["usage"]["prompts"] == 30
    assert found["money"] == pytest.approx(2 * run.total.usage.prompt_tokens / 1e6)
    assert [(stage["stage"], stage["in"], stage["out"]) for stage in found["stages"]] == [
        ("recall", 40, 20),
        ("pre-rank", 20, 8),
        ("llm", 8, 5),
    ]
    assert found["stages"][0]["moved"] is None
    assert found["errors"] == {}
    assert found["seconds_to_prepare"] > 0


def test_the_table_is_of_means(make_recipe):
    run = recommend_batch(make_recipe())
    table = run.table()
    llm = run.stages[2]
    row = table.row(2, named=True)
    assert (row["moved"], row["overlap"]) == (llm.moved / 150, llm.stayed / 150)
    assert (row["changed"], row["relevant"], row["skipped"]) == (llm.firsts / 30, llm.found / 30, 0)
    assert 0 < row["overlap"] < 1
    assert table["relevant"].is_sorted(descending=True)  # a funnel loses, it finds nothing


def test_without_labels_nothing_is_said_of_relevant_items(make_recipe, make_values, tmp_path, funnel_folder):
    split = Split.load(funnel_folder / "films" / "split")
    bare = type(split.test)(split.test.queries, np.zeros((30, 0), np.int32))
    Split(split.train, split.valid, bare, split.rule).save(tmp_path / "bare" / "split")
    run = recommend_batch(make_recipe(dataset=str(tmp_path / "bare")))
    assert run.relevant is None
    assert "relevant" not in run.table().columns


def test_a_pipeline_without_a_language_model_opens_no_engine(make_recipe, monkeypatch):
    monkeypatch.setitem(ENGINES.rows, "fake", Row("no.such:Engine", "cannot be made"))
    recipe = make_recipe(stages=[])
    run = recommend_batch(recipe)
    assert not recipe.cache.exists()
    assert (run.total.usage.prompts, run.total.usage.seconds) == (0, 0)
    assert read(recipe).height == 30 * 20
    assert record(recipe)["engine"] == ""


def test_the_page_shows_the_funnel_and_nothing_from_outside(make_recipe):
    name = "<script>alert(1)</script>"
    stages = [{"name": name, "ranker": {"name": "likelihood"}, "keep": 5}]
    recipe = make_recipe(stages=stages)
    recommend_batch(recipe)
    text = (recipe.out / "report.html").read_text(encoding="utf-8")
    page = html.fromstring(text)
    assert not page.xpath("//script")
    assert "http:" not in text.replace("http://www.w3.org", "").replace("http://purl.org", "")
    assert [row.text_content().strip() for row in page.xpath("//tbody/tr/th")] == ["recall", name]
    assert [cell.text_content() for cell in page.xpath("//tbody/tr[2]/td")][:2] == ["20", "5"]
    assert len(page.xpath("//svg")) == 2
    assert {"catalogue", "40", "20"} <= set(page.xpath("//svg//text()[normalize-space()]"))


def test_a_stage_that_fails_is_skipped_for_its_block_and_counted(make_recipe, unsteady, by_hand, films, funnel_folder):
    unsteady(1)
    recipe = make_recipe(engine="unsteady")
    run = recommend_batch(recipe)
    assert [stage.skipped for stage in run.stages] == [0, 0, 7]
    found = record(recipe)
    assert found["stages"][2]["skipped"] == 7
    assert found["errors"] == {"llm": "no route to host"}
    assert "no route to host" in (recipe.out / "report.html").read_text(encoding="utf-8")
    # The second block keeps the order that came in, the others that of the model.
    targets = Split.load(funnel_folder / "films" / "split").test
    before, after = (one.to_frame(films, targets.queries) for one in by_hand.run(targets.queries).lists[1:])
    second = pl.col("query").is_between(7, 13)
    expected = pl.concat([after.filter(~second), before.filter(second, pl.col("rank") <= 5)]).sort("query", "rank")
    assert_frame_equal(read(recipe), expected)


def test_a_stage_that_is_late_is_skipped_and_the_run_goes_on(make_recipe, make_values, unsteady):
    unsteady(0, sleeps=1.5)
    stages = make_values()["stages"]
    stages[1]["timeout"] = 0.3
    recipe = make_recipe(engine="unsteady", stages=stages, block=15)
    start = time.monotonic()
    run = recommend_batch(recipe)
    assert time.monotonic() - start < 60
    # The second block waits for its turn in vain: the first call still runs.
    assert [stage.skipped for stage in run.stages] == [0, 0, 30]
    assert "no result after 0.3 s" in run.stages[2].error
    stages[1]["timeout"] = 60
    assert [stage.skipped for stage in recommend_batch(make_recipe(engine="unsteady", stages=stages)).stages] == [0] * 3


def test_another_stage_of_a_late_engine_waits_for_its_turn(make_recipe, make_values, unsteady):
    unsteady(0, sleeps=1.0)
    llm = make_values()["stages"][1]
    stages = [{**llm, "name": "first", "keep": 6, "timeout": 0.2}, {**llm, "name": "second"}]
    run = recommend_batch(make_recipe(engine="unsteady", stages=stages, block=30))
    assert [stage.skipped for stage in run.stages] == [0, 30, 0]
    assert run.stages[2].seconds > 0.5


def test_a_dry_run_writes_nothing_and_foresees_the_prompts(make_recipe):
    recipe = make_recipe()
    dry = recommend_batch(recipe, dry_run=True)
    assert not recipe.out.exists()
    assert not recipe.cache.exists()
    real = recommend_batch(recipe)
    for name in ("prompts", "prompt_tokens", "output_tokens", "cache_misses"):
        assert getattr(dry.total.usage, name) == getattr(real.total.usage, name)


class RotatedConfig(Config):
    by: int = 1


class Rotated:
    """A re-ranker that is made and fitted as those of the registry are."""

    config_class = RotatedConfig

    def __init__(self, config):
        self.config, self.counts = config, Counter()

    def fit(self, data, *, seed=0, watch=None):
        self.seed, self.events = seed, len(data.interactions)
        return self

    def rank(self, queries, candidates):
        self.counts["rotated"] += len(candidates)
        assert (self.seed, self.events) == (3, 120)
        width = candidates.items.shape[1]
        return candidates.with_scores(
            np.broadcast_to(-((np.arange(width) - self.config.by) % width), candidates.items.shape)
        )


def test_a_ranker_of_the_registry_is_fitted_on_the_training_part(make_recipe, monkeypatch):
    monkeypatch.setitem(RERANKERS.rows, "rotated", Row(f"{__name__}:Rotated", "for this test"))
    recall = {"channels": ["popular"], "keep": 5}
    stages = [{"name": "turn", "ranker": {"name": "rotated", "by": 2}, "keep": 3}]
    recipe = make_recipe(recall=recall, stages=stages, seed=3)
    run = recommend_batch(recipe)
    plain = make_recipe(recall=recall, stages=[], out=str(recipe.out) + "-plain")
    recommend_batch(plain)
    rows = [list(group["item"]) for _, group in read(plain).group_by("query", maintain_order=True)]
    found = [list(group["item"]) for _, group in read(recipe).group_by("query", maintain_order=True)]
    assert found == [row[2:5] for row in rows]
    assert record(recipe)["counts"]["turn"] == {"rotated": 30}
    assert run.stages[1].counts["rotated"] == 30
