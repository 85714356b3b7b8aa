"""Every ranker that has a name stands as a stage: made and fitted by name, or loaded from its folder."""

import numpy as np
import polars as pl
import pytest

from llmrec.classic.ranking.losses import LossConfig
from llmrec.classic.ranking.teaching import teach
from llmrec.classic.reranking.prm import PRM, PRMConfig
from llmrec.config import make_config
from llmrec.data import Candidates, Dataset, Impressions, Interactions, Split, Targets, Vocabulary
from llmrec.errors import ConfigError, DataError
from llmrec.pipeline.recipe import PipelineRecipe
from llmrec.pipeline.run import recommend_batch
from llmrec.registry import LEARNED_RANKERS, RANKERS, RERANKERS
from llmrec.testing import expect_error

N_USERS, N_ITEMS = 24, 16
RULES = {"rules": [{"rule": "block", "items": [1003]}, {"rule": "quota", "category": "k1", "at_most": 1, "of": 3}]}
# What a name needs beside what keeps it small; strategies on another one take their inner one's defaults.
NEEDS = {"calibrated": {"column": "categories"}, "rules": RULES}
SMALL = {"epochs": 1, "embedding_dim": 4, "hidden": (4,), "batch_size": 64, "trees": 3, "heads": 1, "blocks": 1}
FITTED = {**LEARNED_RANKERS.rows, **RERANKERS.rows}


def rated() -> Dataset:
    """Users with ten ratings each and columns on both sides; some of it was shown and clicked."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(N_USERS), 10)
    items = np.concatenate([rng.permutation(N_ITEMS)[:10] for _ in range(N_USERS)])
    events = Interactions.sort(users, items, rng.permutation(len(users)) + 1000, rng.choice([2.0, 5.0], len(users)))
    shown = Impressions(
        users=np.arange(N_USERS),
        times=np.full(N_USERS, 1500) + np.arange(N_USERS),
        offsets=np.arange(N_USERS + 1) * 3,
        items=np.concatenate([rng.permutation(N_ITEMS)[:3] for _ in range(N_USERS)]),
        clicked=np.tile([True, False, False], N_USERS),
    )
    return Dataset(
        name="rated",
        interactions=events,
        users=Vocabulary([f"user {number}" for number in range(N_USERS)]),
        items=Vocabulary([1000 + number for number in range(N_ITEMS)]),
        item_table=pl.DataFrame(
            {
                "title": [f"Film {number}" for number in range(N_ITEMS)],
                "categories": [[f"k{number % 3}", f"l{number % 2}"] for number in range(N_ITEMS)],
            }
        ),
        user_table=pl.DataFrame({"age": [f"a{number % 4}" for number in range(N_USERS)]}),
        impressions=shown,
    )


@pytest.fixture(scope="module")
def data():
    return rated()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("kinds") / "rated"
    queries = data.queries(np.arange(12))
    free = np.array([sorted(set(range(N_ITEMS)) - set(row))[:3] for row in queries.history.tolist()], np.int32)
    targets = Targets(queries, free[:, :2], free, np.tile(np.float32([5, 2]), (12, 1)))
    Split(data, targets, targets, {"name": "by hand"}).save(folder / "split")
    return folder


@pytest.fixture
def serve(prepared, tmp_path):
    """A function that serves twelve users by popularity and one stage; what it was and what came out."""

    def run(ranker, **stage):
        values = {
            "dataset": str(prepared),
            "out": str(tmp_path / "out"),
            "cache": str(tmp_path / "answers.sqlite"),
            "engine": "fake",
            "recall": {"channels": ["popular"], "keep": 5},
            "stages": [{"name": "stage", "ranker": ranker, "keep": 4, **stage}],
        }
        run = recommend_batch(make_config(PipelineRecipe, values)).stages[1]
        found = pl.read_parquet(tmp_path / "out" / "candidates.parquet").group_by("query", maintain_order=True)
        return run, [group["item"].to_list() for _, group in found]

    return run


def kind_of(name):
    return (LEARNED_RANKERS if name in LEARNED_RANKERS.rows else RERANKERS).get(name)


def parameters(name):
    """What makes a ranker of a name a small one."""
    known = kind_of(name).config_class.model_fields
    return {**{key: value for key, value in SMALL.items() if key in known}, **NEEDS.get(name, {})}


def stands(run, rows):
    """Whether a stage did its work for all twelve queries."""
    assert (run.queries, run.skipped, run.error) == (12, 0, "")
    assert len(rows) == 12
    assert all(len(set(row)) == len(row) <= 4 for row in rows)


@pytest.mark.parametrize("name", RANKERS.rows)
def test_every_strategy_of_the_language_model_is_a_stage(name, serve):
    run, rows = serve(name)
    stands(run, rows)
    assert run.entered == 60
    assert run.left == 48


@pytest.mark.parametrize("name", FITTED)
def test_every_ranker_is_a_stage_by_name_and_by_folder(name, serve, prepared, tmp_path):
    made = {"name": name, **parameters(name)}
    run, rows = serve(made)
    stands(run, rows)
    kind, split = kind_of(name), Split.load(prepared / "split")
    kind(make_config(kind.config_class, parameters(name))).fit(split.train).save(tmp_path / "model")
    again, stored = serve({"folder": str(tmp_path / "model")})
    stands(again, stored)
    if name in {"mmr", "dpp", "calibrated", "rules", "explore", "lr"}:  # the others stop early by the validation part
        assert stored == rows
    if name == "rules":
        assert not any(1003 in row for row in rows)
        assert run.counts["blocked"] > 0


@pytest.mark.parametrize("name", ["rules", "explore"])
def test_a_weight_for_an_order_that_must_stand_is_an_error_by_name_and_by_folder(name, serve, data, tmp_path):
    said = (
        "stage 'stage' with weight = 0.5",
        "weight = 1 for a ranker that gives places on purpose",
        "drop the weight",
    )
    made = {"name": name, **parameters(name)}
    expect_error(ConfigError, lambda: serve(made, weight=0.5), *said)
    kind = RERANKERS.get(name)
    kind(make_config(kind.config_class, parameters(name))).fit(data).save(tmp_path / "model")
    expect_error(ConfigError, lambda: serve({"folder": str(tmp_path / "model")}, weight=0.5), *said)
    assert not (tmp_path / "out").exists()


def test_a_list_wise_model_that_was_fitted_on_lists_is_a_stage(serve, data, tmp_path):
    queries = data.queries(np.arange(8))
    items = np.tile(np.arange(5), (8, 1))
    lists, targets = Candidates(items, np.zeros((8, 5))), Targets(queries, np.full((8, 1), 2))
    config = PRMConfig(embedding_dim=4, blocks=1, heads=1, epochs=1)
    PRM(config).fit_lists(data, lists, targets).save(tmp_path / "prm")
    stands(*serve({"folder": str(tmp_path / "prm")}))


def test_a_student_is_a_stage_that_ranks_as_it_was_taught(serve, data, tmp_path):
    queries = data.queries(np.arange(N_USERS))
    items = np.tile(np.arange(N_ITEMS), (N_USERS, 1))
    teacher = Candidates(items, np.zeros(items.shape)).with_scores(-items / 4)  # the lowest number first
    kind = LEARNED_RANKERS.get("lr")
    config = make_config(kind.config_class, {"epochs": 100, "batch_size": 8, "learning_rate": 0.05})
    student = teach(kind(config), data, queries, teacher, LossConfig(loss="ranknet"))
    student.save(tmp_path / "student")
    run, rows = serve({"folder": str(tmp_path / "student")})
    stands(run, rows)
    assert sum(row == sorted(row) for row in rows) >= 10


def test_what_the_data_lacks_is_known_before_anything_is_written(serve, tmp_path):
    wrong = {"name": "rules", "rules": [{"rule": "block", "items": [7]}]}
    expect_error(DataError, lambda: serve(wrong), "item 7", "'rated'")
    assert not (tmp_path / "out").exists()
