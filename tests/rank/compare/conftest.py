"""A function that makes a recipe on the small prepared folder, for the fake engine."""

import pytest

from llmrec.config import make_config
from llmrec.rank.compare.recipe import CompareRecipe


@pytest.fixture
def make_recipe(prepared, tmp_path):
    def make(**values):
        defaults = {
            "candidates": prepared / "candidates.parquet",
            "dataset": prepared / "films",
            "out": tmp_path / "out",
            "cache": tmp_path / "answers.sqlite",
            "part": "test",
            "grid": {"templates": ["likelihood-list", "likelihood-sentence"], "engines": ["fake"]},
        }
        return make_config(CompareRecipe, defaults | values)

    return make
