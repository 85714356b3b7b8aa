"""What a recommender learns beside events, and the command's fit: by hand, saved, killed input."""

import cold_run
import numpy as np
import pytest

from llmrec.classic.recall.base.store import load_recommender, make_recommender
from llmrec.coldstart.fit import FitRecipe, fit
from llmrec.coldstart.funnel import SimulatedInteractions
from llmrec.coldstart.lessons import Pairwise, Taken, learn, with_events
from llmrec.config import Part
from llmrec.data import Split
from llmrec.data.preferences import Preferences
from llmrec.errors import ConfigError, DataError
from llmrec.testing import assert_same, expect_error, toy

TAKEN = SimulatedInteractions([0, 3], [6, 6], [1.0, -1.0])


def test_simulated_interactions_stand_behind_all_events():
    data = toy()
    found = with_events(data, TAKEN).interactions
    assert len(found) == 18
    assert found.users[-2:].tolist() == [0, 3]
    assert found.items[-2:].tolist() == [6, 6]
    assert found.times[-2:].tolist() == [40, 40]  # of the newest event
    assert found.values[-2:].tolist() == [1, 1]
    np.testing.assert_array_equal(found.items[:16], data.interactions.items)
    nothing = SimulatedInteractions([], [], [])
    expect_error(DataError, lambda: with_events(data, nothing), "no simulated interaction for 'toy'")
    expect_error(DataError, lambda: with_events(data, SimulatedInteractions([9], [6], [0])), "user number 9")


@pytest.mark.parametrize("name", ["bpr", "item-knn"])
def test_interactions_bring_an_untouched_item_into_recall(name):
    """bpr has room for it; item-knn learns it as events, of users 0 and 3, who share Alien and Dune."""
    part, data = Part(name=name), toy()
    plain, taught = (learn(part, data, lesson, seed=1) for lesson in (None, Taken(TAKEN)))
    assert_same(
        plain.recommend(data.queries([4]), 3), make_recommender(part).fit(data, seed=1).recommend(data.queries([4]), 3)
    )
    before, after = (
        each.recommend(data.queries([0]), 7, exclude_seen=False).items[0].tolist() for each in (plain, taught)
    )
    assert before.index(6) == 6
    assert after.index(6) < 6


def test_lessons_are_told_apart():
    one = Preferences([0], [6], [5], [1.0])
    digests = [
        Pairwise(one, 1.0).digest,
        Pairwise(one, 0.5).digest,
        Pairwise(Preferences([0], [5], [6], [1.0]), 1.0).digest,
        Taken(TAKEN).digest,
        Taken(SimulatedInteractions([0, 3], [6, 6], [1.0, -2.0])).digest,
    ]
    assert len(set(digests)) == 5
    assert Pairwise(Preferences([0], [6], [5], [1.0]), 1.0).digest == digests[0]


@pytest.fixture
def shop(tmp_path):
    cold_run.save_shop(tmp_path / "shop")
    Preferences([0, 1, 2], [50, 51, 50], [51, 50, 51], [1.0, 2.0, 0.5]).save(tmp_path / "pairs.parquet")
    SimulatedInteractions([0, 2, 1], [50, 50, 51], [1.0, 0.5, 1.0]).save(tmp_path / "taken.parquet")
    return tmp_path


@pytest.mark.parametrize("what", ["pairs", "interactions"])
def test_a_fitted_model_is_one_of_the_ordinary_store(shop, what):
    files = {"pairs": shop / "pairs.parquet", "interactions": shop / "taken.parquet"}
    part = Part(name="bpr", parameters={"factors": 4, "epochs": 5})
    recipe = FitRecipe(dataset=shop / "shop", out=shop / "model", model=part, seed=3, **{what: files[what]})
    done = fit(recipe)
    assert (done.simulated, done.cold) == (3, 2)
    queries = Split.load(shop / "shop" / "split").test.queries
    back = load_recommender(shop / "model")
    assert_same(back.recommend(queries, 5), done.model.recommend(queries, 5))
    assert back.servable[[50, 51]].all()
    assert (shop / "model" / "run.json").is_file()


def test_one_of_both_files_is_needed(shop):
    files = {"pairs": shop / "pairs.parquet", "interactions": shop / "taken.parquet"}
    given = {"dataset": shop / "shop", "out": shop / "model"}
    expect_error(ConfigError, lambda: fit(FitRecipe(**given)), "neither pairs nor interactions", "recall fit")
    expect_error(
        ConfigError, lambda: fit(FitRecipe(**given, **files)), "pairs.parquet", "taken.parquet", "one of the two"
    )
    wrong = {"pairs": shop / "taken.parquet"}
    expect_error(DataError, lambda: fit(FitRecipe(**given, **wrong)), "no column")
    assert not (shop / "model").exists()
