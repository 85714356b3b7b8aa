"""A prepared folder of films with fitted models, and recipes on them."""

import numpy as np
import pytest
from funnels import N_ITEMS, N_USERS, Unsteady, made

from llmrec.classic.recall.factorization import ALS, ALSConfig
from llmrec.classic.recall.neighbours import ItemKNN
from llmrec.config import make_config
from llmrec.data import Split, Targets
from llmrec.pipeline.recipe import PipelineRecipe
from llmrec.registry import ENGINES, Row


@pytest.fixture(scope="session")
def films():
    return made()


@pytest.fixture(scope="session")
def funnel_folder(tmp_path_factory, films):
    """A folder with ``films`` (prepared), ``knn`` and ``als`` fitted on them, ``other`` fitted on one film more."""
    folder = tmp_path_factory.mktemp("funnel")
    queries = films.queries(np.arange(N_USERS))
    targets = Targets(queries, ((queries.history[:, -1:] + 1) % N_ITEMS).astype(np.int32))
    Split(films, targets.select(slice(0, 10)), targets, {"name": "by hand"}).save(folder / "films" / "split")
    ItemKNN().fit(films).save(folder / "knn")
    ALS(ALSConfig(factors=4, iterations=2)).fit(films).save(folder / "als")
    ItemKNN().fit(made(N_ITEMS + 1)).save(folder / "other")
    return folder


@pytest.fixture
def make_values(funnel_folder, tmp_path):
    """A function that returns a recipe as YAML has it, with an output and a store of its own."""

    def make(**values):
        llm = {"name": "llm", "ranker": {"name": "likelihood", "history": 2}, "keep": 5}
        defaults = {
            "dataset": str(funnel_folder / "films"),
            "out": str(tmp_path / "out"),
            "cache": str(tmp_path / "store" / "answers.sqlite"),
            "engine": "fake",
            "recall": {"channels": [{"folder": str(funnel_folder / "knn")}, "popular"], "keep": 20},
            "stages": [{"name": "pre-rank", "ranker": {"folder": str(funnel_folder / "als")}, "keep": 8}, llm],
            "block": 7,
        }
        return defaults | values

    return make


@pytest.fixture
def make_recipe(make_values):
    return lambda **values: make_config(PipelineRecipe, make_values(**values))


@pytest.fixture
def unsteady(monkeypatch):
    """An engine called unsteady; a function says which of its calls fail."""
    monkeypatch.setitem(ENGINES.rows, "unsteady", Row("funnels:Unsteady", "fails now and then"))

    def fail(*calls, sleeps=0.0):
        for name, value in (("calls", 0), ("down", calls), ("sleeps", sleeps)):
            monkeypatch.setattr(Unsteady, name, value)

    fail()
    return fail
