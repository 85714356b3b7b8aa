"""The recipes that are shipped: each is understood, and its rows can be made of data that is prepared as it says."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from llmrec.config import load_config
from llmrec.data import Dataset, Impressions, Interactions, Vocabulary
from llmrec.data_prep.split import impression_time_cut, leave_last_out
from llmrec.llm.models import EMBEDDED_MODEL
from llmrec.rank.batch import RankRecipe
from llmrec.train.recipe import TallrecRecipe
from llmrec.train.sources import join_rows, load_rows

CONFIGS = Path(__file__).parents[2] / "configs"
COMMAND = "# llmrec train tallrec configs/"
RECIPES = sorted(path for path in CONFIGS.glob("*.yaml") if path.read_text().startswith(COMMAND))
DATA = {"ml": "ratings", "gift": "ratings", "mind": "impressions"}


def titled(events, users, items, **more):
    return Dataset(
        name="made",
        interactions=events,
        users=Vocabulary(range(users)),
        items=Vocabulary(range(items)),
        item_table=pl.DataFrame({"title": [f"T{item}" for item in range(items)]}),
        **more,
    )


def ratings():
    """Six users with twenty ratings each, good and bad."""
    user, place = np.divmod(np.arange(120), 20)
    return leave_last_out(
        titled(Interactions.sort(user, (place * 7 + user) % 60, place, 1 + (place + user) % 5), 6, 60)
    )


def impressions():
    """Forty lists of four news, the second one clicked, each click an event."""
    number = np.arange(40)
    lists = Impressions(
        users=number % 5,
        times=number,
        offsets=np.arange(41) * 4,
        items=(number[:, None] * 4 + np.arange(4)).ravel() % 90,
        clicked=np.tile([False, True, False, False], 40),
        labelled=np.ones(40, np.bool_),
    )
    clicks = Interactions.sort(number % 5, (number * 4 + 1) % 90, number)
    return impression_time_cut(titled(clicks, 5, 90, impressions=lists), valid=0.2, test=0.2)


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """A folder with data sets and files under the names that the recipes have for theirs."""
    monkeypatch.chdir(tmp_path)
    for name, kind in DATA.items():
        (ratings() if kind == "ratings" else impressions()).save(tmp_path / "data" / name / "split")
    rows = [{"instruction": "Say.", "input": f'Is "{n}" good?', "output": "Yes." if n % 2 else "No."} for n in range(8)]
    for path in ("alpaca_data.json", *(f"TALLRec/data/movie/{part}.json" for part in ("train", "valid", "test"))):
        file = tmp_path / "downloads" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(rows))
    return tmp_path


def test_there_is_a_recipe_for_each_kind_of_data():
    names = {path.stem for path in RECIPES}
    assert names >= {"tallrec-movielens", "tallrec-mind", "tallrec-amazon", "tallrec-two-stages", "tallrec-json"}
    assert "next-item-movielens" in names


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_its_rows_can_be_made(path, prepared, tokens):
    recipe = load_config(TallrecRecipe, path)
    assert recipe.out == Path("runs") / path.stem
    assert recipe.model == EMBEDDED_MODEL

    def load(source):
        few = source.model_copy(update={"rows": source.rows and 4})
        return load_rows(few, tokens, 512, recipe.seed)

    for stage in recipe.stages:
        rows = join_rows([load(each) for each in stage.train])
        assert rows.labels is None or rows.labels.any() > rows.labels.all()
        if stage.valid is not None:
            assert (load(stage.valid).labels is None) == (rows.labels is None)
    if recipe.test is not None:
        test = load(recipe.test)
        assert test.labels.any() > test.labels.all()
        past = set(rows.frame.select("user", "item").rows()) if "user" in rows.frame.columns else set()
        assert recipe.test.file or past.isdisjoint(test.frame.select("user", "item").rows())


def test_the_next_item_recipe_asks_what_likelihood_asks():
    recipe = load_config(TallrecRecipe, CONFIGS / "next-item-movielens.yaml")
    ranking = load_config(RankRecipe, CONFIGS / "rank-movielens.yaml").strategy.parameters
    made = recipe.stages[0].train[0].examples
    assert made.template == ranking["template"]
    assert made.history <= ranking["history"] < made.history + made.titles, "a history of a length that was learnt"
    valid = recipe.stages[0].valid.examples
    assert (valid.template, valid.history) == (ranking["template"], ranking["history"])
