"""A thousand users, killed three times: the same file and the same record, and no stored answer computed again."""

import sqlite3
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from killing import kill_when_stored, n_stored, run

from llmrec.data import Candidates, Dataset, Interactions, Split, Targets, Vocabulary
from llmrec.llm.store import AnswerStore
from llmrec.rank.batch import RankRecipe, rank_batch

N_USERS, N_ITEMS, N_CANDIDATES, BLOCK = 1000, 60, 3, 150


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A folder with a split of a thousand users and their candidates."""
    folder, rng = tmp_path_factory.mktemp("many"), np.random.default_rng(0)
    items = rng.permuted(np.tile(np.arange(N_ITEMS, dtype=np.int32), (N_USERS, 1)), axis=1)
    train = Dataset(
        name="many",
        interactions=Interactions.sort(np.repeat(np.arange(N_USERS), 3), items[:, :3].ravel(), np.arange(3 * N_USERS)),
        users=Vocabulary(list(range(N_USERS))),
        items=Vocabulary(list(range(N_ITEMS))),
        item_table=pl.DataFrame({"title": [f"Film {number}" for number in range(N_ITEMS)]}),
    )
    targets = Targets(train.queries(np.arange(N_USERS)), items[:, 3:4])
    Split(train, targets, targets, {"name": "by hand"}).save(folder / "many" / "split")
    shown = items[:, 3 : 3 + N_CANDIDATES]
    candidates = Candidates(shown, -np.tile(np.arange(N_CANDIDATES, dtype=np.float32), (N_USERS, 1)))
    candidates.to_frame(train, targets.queries).write_parquet(folder / "candidates.parquet")
    return folder


def values(many, folder):
    return {
        "candidates": many / "candidates.parquet",
        "dataset": many / "many",
        "out": folder / "out" / "ranked.parquet",
        "cache": folder / "answers.sqlite",
        "strategy": "pointwise",
        "engine": {"name": "fake", "delay": 0.0005},
        "block": BLOCK,
        "commit_every": 40,
    }


def command(many, folder):
    recipe = folder / "rank.yaml"
    recipe.write_text(RankRecipe(**values(many, folder)).model_dump_json())
    return [sys.executable, "-m", "llmrec", "rank", "--config", str(recipe)]


def watch_writes(path):
    """Make a store that notes down every answer that is written, twice if it is written twice."""
    AnswerStore(path).close()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE writes (key BLOB)")
        db.execute("CREATE TRIGGER watch AFTER INSERT ON answers BEGIN INSERT INTO writes VALUES (NEW.key); END")


def n_writes(path):
    with sqlite3.connect(path) as db:
        return db.execute("SELECT count(*), count(DISTINCT key) FROM writes").fetchone()


@pytest.fixture(scope="module")
def whole(many, tmp_path_factory):
    """An uninterrupted run: what it came to and its file."""
    recipe = RankRecipe(**{**values(many, tmp_path_factory.mktemp("whole")), "engine": "fake"})
    return rank_batch(recipe), recipe.out.read_bytes()


@pytest.mark.parametrize("seed", [0, 1])
def test_three_kills_at_random_change_nothing(many, whole, tmp_path, seed):
    expected, content = whole
    n_answers = expected.usage.cache_misses
    assert (
        n_answers > 1.9 * N_USERS * N_CANDIDATES
    )  # nearly all of yes and no for each candidate are asked of the model
    rank, store, out = command(many, tmp_path), tmp_path / "answers.sqlite", tmp_path / "out"
    watch_writes(store)
    moments = sorted(np.random.default_rng(seed).uniform(0.02, 0.9, 3).tolist())
    for moment in moments:
        kill_when_stored(rank, store, max(int(moment * n_answers), n_stored(store) + 1))
        assert not (out / "ranked.parquet").exists()
    shards = len(list(out.glob("ranked.parquet.parts/part-*.parquet")))
    assert shards >= int(moments[-1] * N_USERS / BLOCK) - 1

    record = run(rank, out)
    assert (out / "ranked.parquet").read_bytes() == content
    assert n_writes(store) == (n_answers, n_answers)
    assert sorted(path.name for path in out.iterdir()) == ["ranked.parquet", "ranked.run.json"]
    usage, unnoted = record["usage"], 3 * 2 * 40
    assert record["queries"] == N_USERS
    assert usage["prompts"] == expected.usage.prompts == N_USERS * N_CANDIDATES
    assert n_answers - unnoted <= usage["cache_misses"] <= n_answers
    assert usage["cache_misses"] + usage["cache_hits"] == 2 * N_USERS * N_CANDIDATES


def test_shards_that_are_there_need_neither_model_nor_cache(many, whole, tmp_path):
    rank, store = command(many, tmp_path), tmp_path / "answers.sqlite"
    kill_when_stored(rank, store, 4 * BLOCK * N_CANDIDATES + 2)
    shards = sorted((tmp_path / "out" / "ranked.parquet.parts").glob("part-*.parquet"))
    assert shards
    before = [path.stat().st_mtime_ns for path in shards]
    for path in tmp_path.glob("answers.sqlite*"):
        path.unlink()
    kill_when_stored(rank, store, 1)
    assert [path.stat().st_mtime_ns for path in shards] == before
    record = run(rank, tmp_path / "out")
    assert (tmp_path / "out" / "ranked.parquet").read_bytes() == whole[1]
    assert n_stored(store) <= whole[0].usage.cache_misses - 2 * BLOCK * N_CANDIDATES * len(shards) * 0.95
    assert record["usage"]["prompts"] == N_USERS * N_CANDIDATES


CHANGES = {
    "strategy": {"strategy": {"name": "pointwise", "history": 1}},
    "top": {"top": 2},
    "engine": {"engine": {"name": "fake", "model": "other"}},
    "block": {"block": BLOCK + 1},
}


@pytest.mark.parametrize("name", [*CHANGES, "wording", "candidates"])
def test_shards_of_another_recipe_are_never_taken(many, whole, tmp_path, name):
    """A run is killed; another recipe with the same output gives what it gives in an empty folder."""
    wording = tmp_path / "mine.yaml"
    mine = {"strategy": {"name": "pointwise", "template": str(wording)}} if name == "wording" else {}
    text = (Path(__file__).parents[2] / "llmrec/prompts/templates/pointwise-yes-no.yaml").read_text()
    wording.write_text(text)
    folder = tmp_path / "killed"
    folder.mkdir()
    config = {**values(many, folder), **mine}
    (folder / "rank.yaml").write_text(RankRecipe(**config).model_dump_json())
    rank = [sys.executable, "-m", "llmrec", "rank", "--config", str(folder / "rank.yaml")]
    kill_when_stored(rank, config["cache"], 3 * BLOCK * N_CANDIDATES)
    assert list(folder.glob("out/ranked.parquet.parts/part-*.parquet"))

    wording.write_text(text.replace("what I choose next", "what I would choose"))
    if name == "candidates":
        frame = pl.read_parquet(many / "candidates.parquet").with_columns(rank=N_CANDIDATES + 1 - pl.col("rank"))
        frame.sort("query", "rank").write_parquet(tmp_path / "turned.parquet")
        CHANGES["candidates"] = {"candidates": tmp_path / "turned.parquet"}
    changed = {**config, **CHANGES.get(name, {}), "cache": tmp_path / "new.sqlite"}
    changed["engine"] = changed["engine"] if name == "engine" else "fake"
    run_, recipe = rank_batch(RankRecipe(**changed)), RankRecipe(**changed)
    fresh = RankRecipe(**{**changed, "out": tmp_path / "fresh" / "ranked.parquet", "cache": tmp_path / "f.sqlite"})
    alone = rank_batch(fresh)
    assert recipe.out.read_bytes() == fresh.out.read_bytes()
    assert run_.usage.prompts == alone.usage.prompts
    assert run_.usage.cache_misses == alone.usage.cache_misses
    assert n_stored(tmp_path / "new.sqlite") == alone.usage.cache_misses
