"""The recipes of generation and feedback that are shipped: each is understood, and its rows can be made."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from llmrec.config import load_config
from llmrec.data import Dataset, Interactions, Vocabulary
from llmrec.data_prep.split import leave_last_out
from llmrec.llm.models import EMBEDDED_MODEL
from llmrec.train.contexts import load_contexts
from llmrec.train.feedback_recipe import DpoRecipe, GroupRecipe, RewardRecipe
from llmrec.train.recipe import TallrecRecipe
from llmrec.train.sources import load_rows

CONFIGS = Path(__file__).parents[2] / "configs"


def made(users, items):
    """Users with CVs who rate or suit items with descriptions, six each."""
    user, place = np.divmod(np.arange(users * 6), 6)
    return leave_last_out(
        Dataset(
            name="made",
            interactions=Interactions.sort(user, (place * 5 + user) % items, place, np.full(len(user), 5)),
            users=Vocabulary(range(users)),
            items=Vocabulary(range(items)),
            item_table=pl.DataFrame(
                {"title": [f"T{n}" for n in range(items)], "description": [f"About {n}." for n in range(items)]}
            ),
            user_table=pl.DataFrame({"text": [f"A person {n}." for n in range(users)]}),
        )
    )


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """A folder with data sets under the names that the recipes have for theirs."""
    monkeypatch.chdir(tmp_path)
    for name in ("jobs", "gift"):
        made(5, 30).save(tmp_path / "data" / name / "split")


def load(name, kind, command):
    path = CONFIGS / f"{name}.yaml"
    assert path.read_text().splitlines()[0] == f"# llmrec train {command} configs/{name}.yaml"
    recipe = load_config(kind, path)
    assert (recipe.out, recipe.model) == (Path("runs") / name, EMBEDDED_MODEL)
    return recipe


@pytest.mark.parametrize("name", ["sft-jobs", "sft-amazon"])
def test_descriptions(name, prepared, tokens):
    (stage,) = load(name, TallrecRecipe, "sft").stages
    for source in (*stage.train, stage.valid):
        rows = load_rows(source, tokens, 500, 0)
        assert len(rows) >= 5
        assert all("About" in text for text in rows.frame["completion"])


@pytest.mark.parametrize(("name", "kind"), [("reward-jobs", RewardRecipe), ("dpo-jobs", DpoRecipe)])
def test_preferences(name, kind, prepared, tokens):
    recipe = load(name, kind, name.removesuffix("-jobs"))
    for source in (*recipe.stage.train, recipe.stage.valid, recipe.test):
        rows = load_rows(source, tokens, 500, 0, pairs=True, cut=kind is RewardRecipe)
        assert {len(those) for those in rows.rejected} == {4}
    assert len(rows) == 5


def test_prompts(prepared, tokens):
    recipe = load("grpo-jobs", GroupRecipe, "grpo")
    rows = load_contexts(recipe.prompts, tokens, max_length=500, room=recipe.max_tokens, seed=0)
    assert len(rows) == 5  # a CV each, however many postings suit it
