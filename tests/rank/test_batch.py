"""Batch reranking: Parquet in, Parquet out, a record beside it, and nothing written when something is wrong."""

import json
from importlib.util import find_spec

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from llmrec.config import Part, make_config
from llmrec.errors import ConfigError, DataError, EngineError, MissingPackageError, ModelError, UnknownNameError
from llmrec.llm.fake import FakeConfig, FakeEngine
from llmrec.llm.make import make_engine
from llmrec.rank.batch import RankRecipe, make_ranker, rank_batch, rank_head
from llmrec.rank.likelihood import LikelihoodConfig, LikelihoodRanker
from llmrec.rank.listwise import ListwiseRanker
from llmrec.testing import expect_error

N_ANSWERS = 30 * 6 - 2


@pytest.fixture
def make_recipe(prepared, tmp_path):
    """A function that returns a recipe for the fake engine with a store and an output of its own."""

    def make(**values):
        defaults = {
            "candidates": prepared / "candidates.parquet",
            "dataset": prepared / "films",
            "out": tmp_path / "out" / "ranked.parquet",
            "cache": tmp_path / "store" / "answers.sqlite",
            "engine": "fake",
        }
        return make_config(RankRecipe, defaults | values)

    return make


def written(recipe):
    return sorted(path.name for path in recipe.out.parent.iterdir()) if recipe.out.parent.exists() else []


def test_the_file_holds_the_ranking_in_memory(make_recipe, films, targets, candidates):
    recipe = make_recipe(strategy={"name": "likelihood", "history": 2})
    run = rank_batch(recipe)
    ranker = LikelihoodRanker(FakeEngine(), films.titles(), LikelihoodConfig(history=2))
    expected = ranker.rank(targets.queries, candidates)
    assert run.queries == 30
    assert_frame_equal(pl.read_parquet(recipe.out), expected.to_frame(films, targets.queries))
    assert pl.read_parquet(recipe.out).height == N_ANSWERS
    assert written(recipe) == ["ranked.parquet", "ranked.run.json"]


def test_only_the_top_is_ranked(make_recipe, films, targets, candidates):
    recipe = make_recipe(top=3)
    run = rank_batch(recipe)
    expected = rank_head(LikelihoodRanker(FakeEngine(), films.titles()), targets.queries, candidates, 3)
    assert_frame_equal(pl.read_parquet(recipe.out), expected.to_frame(films, targets.queries))
    assert run.usage.cache_misses == 30 * 3


def test_the_order_of_a_querys_rows_in_the_file_does_not_matter(make_recipe, prepared, tmp_path):
    rank_batch(make_recipe())
    shuffled = pl.read_parquet(prepared / "candidates.parquet").sample(fraction=1.0, shuffle=True, seed=1)
    shuffled.sort("query", maintain_order=True).write_parquet(tmp_path / "shuffled.parquet")
    again = make_recipe(candidates=tmp_path / "shuffled.parquet", out=tmp_path / "again.parquet")
    assert rank_batch(again).usage.cache_hits == N_ANSWERS
    assert_frame_equal(pl.read_parquet(again.out), pl.read_parquet(make_recipe().out))


def test_the_record_repeats_the_run(make_recipe):
    recipe = make_recipe(input_price=2.0, output_price=10.0, engine={"name": "fake", "model": "mine"})
    run = rank_batch(recipe)
    record = json.loads(recipe.out.with_suffix(".run.json").read_text())
    assert make_config(RankRecipe, record["recipe"]) == recipe
    usage = run.usage
    assert record["engine"] == "fake/mine"
    assert record["usage"]["cache_misses"] == usage.cache_misses == N_ANSWERS
    assert record["usage"]["prompts"] == 30
    assert record["money"] == pytest.approx((2 * usage.prompt_tokens + 10 * usage.output_tokens) / 1e6)
    assert record["seconds"] == pytest.approx(run.seconds)
    assert {"python", "llmrec", "numpy", "torch", "transformers"} <= set(record["versions"])


def test_listwise_counts_go_into_the_record(make_recipe):
    recipe = make_recipe(strategy="listwise")
    run = rank_batch(recipe)
    record = json.loads(recipe.out.with_suffix(".run.json").read_text())
    assert record["counts"] == run.counts
    assert sum(run.counts[name] for name in ("read", "partial", "unread", "failed")) == 30
    assert run.counts["read"] == 30


def test_a_second_run_computes_nothing_and_writes_the_same(make_recipe, tmp_path):
    first, again = make_recipe(), make_recipe(out=tmp_path / "again.parquet")
    rank_batch(first)
    usage = rank_batch(again).usage
    assert (usage.cache_hits, usage.cache_misses, usage.prompt_tokens, usage.output_tokens) == (N_ANSWERS, 0, 0, 0)
    assert again.out.read_bytes() == first.out.read_bytes()


def test_progress_tells_queries_prompts_and_pace(make_recipe):
    seen = []
    rank_batch(make_recipe(commit_every=20), progress=lambda *told: seen.append(told))
    # A block is done when its shard is written, not when its last prompt is answered.
    assert [told[:2] for told in seen] == [(0, 30), (20, 30), (29, 30), (30, 30)]
    assert seen[1][2].startswith("20 prompts, ")
    assert seen[-1][2].endswith(" tokens/s")


@pytest.mark.parametrize("strategy", ["likelihood", "listwise"])
def test_a_dry_run_writes_nothing_and_foresees_the_real_run(make_recipe, strategy):
    recipe = make_recipe(strategy=strategy)
    dry = rank_batch(recipe, dry_run=True)
    assert written(recipe) == []
    assert not recipe.cache.exists()
    real = rank_batch(recipe).usage
    assert (dry.usage.prompts, dry.usage.prompt_tokens) == (real.prompts, real.prompt_tokens)
    assert (dry.usage.cache_hits, dry.usage.cache_misses) == (real.cache_hits, real.cache_misses)
    if strategy == "likelihood":
        assert dry.usage.output_tokens == real.output_tokens
    else:
        assert dry.usage.output_tokens == 30 * 400 > real.output_tokens


def test_a_dry_run_counts_what_the_store_holds(make_recipe):
    rank_batch(make_recipe(top=2))
    usage = rank_batch(make_recipe(), dry_run=True).usage
    assert (usage.cache_hits, usage.cache_misses) == (60, N_ANSWERS - 60)


def spoiled(tmp_path, frame):
    frame.write_parquet(tmp_path / "spoiled.parquet")
    return tmp_path / "spoiled.parquet"


SPOIL = {
    "a missing column": (lambda frame: frame.drop("score"), ("no column 'score'",)),
    "an unknown item": (lambda frame: frame.with_columns(item=pl.lit(7)), ("item 7", "'films'")),
    "a query without candidates": (lambda frame: frame.filter(pl.col("query") != 4), ("row 4 is empty",)),
    "no rows at all": (lambda frame: frame.clear(), ("row 0 is empty", "30 of 30")),
    "another part's query": (lambda frame: frame.with_columns(query=pl.col("query") + 1), ("query 30", "0 to 29")),
    "another user": (lambda frame: frame.with_columns(user=pl.lit("user 3")), ("'user 3'", "'user 0'")),
    "an item twice": (lambda frame: pl.concat([frame.head(1), frame]), ("item 1000 twice at query 0",)),
    "rows torn apart": (
        lambda frame: pl.concat([frame[3:], frame[:3]]),
        ("rows of query 0 behind those of query 29", "sort('query', 'rank')"),
    ),
    "a row without a query": (
        lambda frame: frame.with_columns(query=pl.when(pl.col("user") != "user 7").then("query")),
        ("a row without a query",),
    ),
    "queries that are no numbers": (
        lambda frame: frame.with_columns(pl.col("query").cast(pl.String)),
        ("column 'query' of String", "cast it"),
    ),
}


@pytest.mark.parametrize("name", SPOIL)
def test_spoiled_candidates_are_an_error_and_nothing_is_written(name, make_recipe, prepared, tmp_path):
    change, words = SPOIL[name]
    path = spoiled(tmp_path, change(pl.read_parquet(prepared / "candidates.parquet")))
    recipe = make_recipe(candidates=path)
    expect_error(DataError, lambda: rank_batch(recipe), *words)
    assert written(recipe) == []


WRONG = {
    "strategy name": ({"strategy": "likelihod"}, UnknownNameError, ("'likelihod'", "did you mean 'likelihood'?")),
    "engine name": ({"engine": "fke"}, UnknownNameError, ("'fke'", "did you mean 'fake'?")),
    "strategy parameter": (
        {"strategy": {"name": "likelihood", "histroy": 3}},
        ConfigError,
        ("'histroy'", "did you mean 'history'?"),
    ),
    "engine parameter": ({"engine": {"name": "fake", "dely": 1}}, ConfigError, ("'dely'", "did you mean 'delay'?")),
    "parameter value": ({"engine": {"name": "fake", "delay": "long"}}, ConfigError, ("delay = 'long'", "number")),
    "template name": ({"strategy": {"name": "listwise", "template": "llmrank"}}, UnknownNameError, ("'llmrank'",)),
    "template kind": ({"strategy": {"name": "listwise", "template": "likelihood-list"}}, ConfigError, ("'ranking'",)),
    "part": ({"part": "train"}, DataError, ("'train'", "'valid' or 'test'")),
    "the part recalled for": ({"part": "valid"}, DataError, ("query 29", "0 to 9")),
    "data set folder": ({"dataset": "/no/folder"}, DataError, ("/no/folder",)),
    "candidates path": ({"candidates": "/no/file.parquet"}, DataError, ("/no/file.parquet",)),
    "model": ({"engine": {"name": "transformers", "model": "/no/model"}}, ModelError, ("'/no/model'",)),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_is_an_error_and_nothing_is_written(name, make_recipe):
    values, kind, words = WRONG[name]
    recipe = make_recipe(**values)
    expect_error(kind, lambda: rank_batch(recipe), *words)
    assert written(recipe) == []
    assert not recipe.cache.exists()


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vllm is installed")
def test_an_engine_that_is_not_installed_names_the_cure(make_recipe):
    recipe = make_recipe(engine="vllm")
    expect_error(
        MissingPackageError, lambda: rank_batch(recipe), "'vllm' is not installed", "pip install 'llmrec[vllm]'"
    )
    assert written(recipe) == []


def test_a_prompt_longer_than_the_context_is_an_error_and_nothing_is_written(make_recipe, tiny_model):
    engine = {"name": "transformers", "model": str(tiny_model), "device": "cpu"}
    recipe = make_recipe(engine=engine, strategy={"name": "listwise"})
    expect_error(EngineError, lambda: rank_batch(recipe), "512", "fewer candidates")
    assert written(recipe) == []


def test_a_failed_run_leaves_the_former_output_alone(make_recipe):
    rank_batch(make_recipe())
    before = make_recipe().out.read_bytes()
    expect_error(UnknownNameError, lambda: rank_batch(make_recipe(strategy="nothing")), "nothing")
    assert make_recipe().out.read_bytes() == before
    assert written(make_recipe()) == ["ranked.parquet", "ranked.run.json"]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"query,item\n1,2\n"])
def test_a_file_that_is_no_parquet_is_an_error(make_recipe, tmp_path, content):
    (tmp_path / "no.parquet").write_bytes(content)
    recipe = make_recipe(candidates=tmp_path / "no.parquet")
    expect_error(DataError, lambda: rank_batch(recipe), "no.parquet", "a whole Parquet file")
    assert written(recipe) == []


def test_the_tiny_model_ranks_a_batch(make_recipe, tiny_model):
    recipe = make_recipe(engine={"name": "transformers", "model": str(tiny_model), "device": "cpu"}, top=2)
    run = rank_batch(recipe)
    assert run.usage.cache_misses == 60
    assert pl.read_parquet(recipe.out)["score"].drop_nulls().drop_nans().len() == 60


def test_parts_are_made_by_name():
    engine = make_engine(Part(name="fake", parameters={"model": "x"}))
    assert engine.config == FakeConfig(model="x")
    ranker = make_ranker(Part(name="listwise", parameters={"max_tokens": 5}), engine, ["a"])
    assert isinstance(ranker, ListwiseRanker)
    assert ranker.config.max_tokens == 5


def test_a_place_that_cannot_be_written_is_known_before_the_work(make_recipe, tmp_path):
    (tmp_path / "a file").write_text("")
    recipe = make_recipe(out=str(tmp_path / "a file" / "ranked.parquet"))
    expect_error(DataError, lambda: rank_batch(recipe), "cannot be written", "name another file")
    assert not recipe.cache.exists()
