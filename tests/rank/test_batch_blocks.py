"""Blocks of a file are what the whole file is, wherever it is cut, and what is wrong at its end is known at once."""

import json

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from llmrec.config import Part
from llmrec.data import Candidates, Split
from llmrec.errors import DataError
from llmrec.rank import blocks
from llmrec.rank.batch import RankRecipe, rank_batch
from llmrec.rank.blocks import read_blocks
from llmrec.testing import expect_error


@pytest.fixture
def recipe(prepared, tmp_path):
    """A function that returns a recipe for the fake engine with a store and an output of its own."""
    files = {"candidates": prepared / "candidates.parquet", "dataset": prepared / "films", "engine": "fake"}
    places = {"out": tmp_path / "out" / "ranked.parquet", "cache": tmp_path / "answers.sqlite"}
    return lambda **values: RankRecipe(**{**files, **places, **values})


@pytest.mark.parametrize("rows", [1, 4, 13, 1000])
@pytest.mark.parametrize("size", [1, 4, 29, 30, 31])
def test_blocks_are_the_whole_file(monkeypatch, prepared, films, targets, candidates, rows, size):
    monkeypatch.setattr(blocks, "_ROWS", rows)
    found = list(read_blocks(prepared / "candidates.parquet", films, targets.queries, size))
    assert [block.first for block in found] == list(range(0, 30, size))
    assert [block.number for block in found] == list(range(len(found)))
    assert sum(map(len, found)) == 30
    for block in found:
        k = block.candidates.items.shape[1]
        rest = slice(block.first, block.first + len(block))
        np.testing.assert_array_equal(block.candidates.items, candidates.items[rest, :k])
        np.testing.assert_array_equal(block.candidates.scores, candidates.scores[rest, :k])
        assert (candidates.items[rest, k:] == -1).all()
        np.testing.assert_array_equal(block.queries.history, targets.queries.history[rest])


@pytest.mark.parametrize("strategy", ["likelihood", "listwise", "setwise", "bootstrap"])
def test_the_length_of_a_block_changes_nothing(recipe, tmp_path, strategy):
    whole = recipe(strategy=strategy)
    expected = rank_batch(whole)
    for size in (1, 7, 29):
        cut = recipe(strategy=strategy, block=size, out=tmp_path / f"{size}.parquet", cache=tmp_path / f"{size}.sqlite")
        run = rank_batch(cut)
        assert_frame_equal(pl.read_parquet(cut.out), pl.read_parquet(whole.out))
        assert (run.counts, run.queries, run.first_error) == (expected.counts, 30, "")
        for name in ("prompts", "prompt_tokens", "output_tokens", "cache_misses", "cache_hits"):
            assert getattr(run.usage, name) == getattr(expected.usage, name)
        record = json.loads(cut.out.with_suffix(".run.json").read_text())
        assert record["usage"]["prompts"] == run.usage.prompts
        assert record["counts"] == dict(run.counts)


def test_a_dry_run_knows_what_a_former_block_asks_too(recipe):
    calibrated = Part(name="likelihood", parameters={"score": "calibrated"})
    given = recipe(strategy=calibrated, block=5)
    dry, real = rank_batch(given, dry_run=True).usage, rank_batch(given).usage
    assert dry.cache_hits == real.cache_hits > 0
    assert (dry.cache_misses, dry.prompts, dry.output_tokens) == (real.cache_misses, real.prompts, real.output_tokens)


LATE = {
    "an unknown item": (pl.when(pl.col("query") == 29).then(7).otherwise("item").alias("item"), "item 7"),
    "another user": (pl.when(pl.col("query") == 29).then(pl.lit("x")).otherwise("user").alias("user"), "at query 29"),
    "an item twice": (
        pl.when(pl.col("query") == 29).then(pl.col("item").first().over("query")).otherwise("item").alias("item"),
        "twice at query 29",
    ),
    "a query too many": (pl.when(pl.col("query") == 29).then(30).otherwise("query").alias("query"), "query 30"),
}


@pytest.mark.parametrize("name", LATE)
def test_what_is_wrong_in_the_last_block_is_known_before_the_first_prompt(recipe, prepared, tmp_path, name):
    change, words = LATE[name]
    path = tmp_path / "late.parquet"
    pl.read_parquet(prepared / "candidates.parquet").with_columns(change).write_parquet(path)
    given = recipe(candidates=path, block=4)
    expect_error(DataError, lambda: rank_batch(given), "late.parquet", words)
    assert not given.cache.exists()
    assert not given.out.parent.exists()


@pytest.mark.parametrize("empty", [0, 10, 29])
def test_a_query_without_rows_is_named_by_its_own_number(recipe, prepared, tmp_path, empty):
    path = tmp_path / "gap.parquet"
    pl.read_parquet(prepared / "candidates.parquet").filter(pl.col("query") != empty).write_parquet(path)
    expect_error(DataError, lambda: rank_batch(recipe(candidates=path, block=4)), f"row {empty} is empty")


def test_no_queries_are_no_rows(recipe, films, targets, tmp_path):
    none = targets.select(slice(0, 0))
    Split(films, none, none, {"name": "by hand"}).save(tmp_path / "none" / "split")
    empty = Candidates(np.zeros((0, 3), np.int32), np.zeros((0, 3), np.float32)).to_frame(films, none.queries)
    empty.write_parquet(tmp_path / "empty.parquet")
    given = recipe(candidates=tmp_path / "empty.parquet", dataset=tmp_path / "none")
    assert rank_batch(given).queries == 0
    assert pl.read_parquet(given.out).height == 0


def test_a_place_that_shards_cannot_be_written_to_is_one_clear_line(recipe):
    given = recipe(block=10)
    given.out.parent.mkdir()
    shards = given.out.with_name("ranked.parquet.parts")
    shards.write_text("somebody else's")
    expect_error(DataError, lambda: rank_batch(given), "ranked.parquet.parts", "run the same command again")
    assert shards.read_text() == "somebody else's"
    assert not given.out.exists()


def test_only_what_is_ours_is_removed(recipe):
    given = recipe(block=10)
    folder = given.out.with_name("ranked.parquet.parts")
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    (folder / "part-00001.parquet").write_bytes(b"half a shard")
    (folder / "part-00002.json").write_text("{")
    rank_batch(given)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
