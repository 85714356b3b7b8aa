"""A batch that is killed goes on where it stopped: real processes, SIGKILL, and no answer computed twice."""

import sys

import pytest
from killing import kill_when_stored, n_stored, run

from llmrec.rank.batch import RankRecipe, rank_batch

DELAY = 0.05


def command(prepared, folder, strategy, commit_every):
    """``llmrec rank`` with a slow engine, its cache and output in ``folder``."""
    return [
        *(sys.executable, "-m", "llmrec", "rank", str(prepared / "candidates.parquet")),
        *("--dataset", str(prepared / "films"), "--out", str(folder / "out" / "ranked.parquet")),
        *("--cache", str(folder / "answers.sqlite"), "--strategy", strategy, "--engine", "fake"),
        *("--set", f"engine.delay={DELAY}", "--set", f"commit_every={commit_every}"),
    ]


def rank_at_once(prepared, folder, strategy):
    """The same, uninterrupted, in this process, with a cache and an output of its own."""
    recipe = RankRecipe(
        candidates=prepared / "candidates.parquet",
        dataset=prepared / "films",
        out=folder / "ranked.parquet",
        cache=folder / "answers.sqlite",
        strategy=strategy,
        engine="fake",
    )
    return rank_batch(recipe), recipe.out.read_bytes()


@pytest.mark.parametrize(
    ("strategy", "commit_every", "n_answers", "kills"),
    [("likelihood", 1, 178, (30,)), ("likelihood", 4, 178, (1, 90)), ("listwise", 2, 30, (4, 16))],
)
def test_a_killed_batch_resumes_where_it_stopped(prepared, tmp_path, strategy, commit_every, n_answers, kills):
    rank, store, out = (
        command(prepared, tmp_path, strategy, commit_every),
        tmp_path / "answers.sqlite",
        tmp_path / "out",
    )
    held = [0]
    for n in kills:
        held.append(kill_when_stored(rank, store, max(n, held[-1] + 1)))
        assert not (out / "ranked.parquet").exists()
    assert held[-1] < n_answers

    resumed = run(rank, out)
    whole, expected = rank_at_once(prepared, tmp_path / "whole", strategy)
    assert whole.usage.cache_misses == n_answers
    # The record is that of a run which nobody killed; what a kill left no time to note down is taken for known.
    unnoted = -(-n_answers // 30) * commit_every * len(kills)
    assert n_answers - unnoted <= resumed["usage"]["cache_misses"] <= n_answers
    assert resumed["usage"]["cache_hits"] + resumed["usage"]["cache_misses"] == n_answers
    assert resumed["usage"]["prompts"] == whole.usage.prompts
    assert n_stored(store) == n_answers
    assert (out / "ranked.parquet").read_bytes() == expected
    assert sorted(path.name for path in out.iterdir()) == ["ranked.parquet", "ranked.run.json"]
    assert resumed["counts"] == whole.counts
