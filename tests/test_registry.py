"""Names of parts."""

import importlib.metadata

import pytest

from llmrec.errors import UnknownNameError
from llmrec.registry import ENGINES, LEARNED_RANKERS, POLICIES, RANKERS, RECOMMENDERS, RERANKERS, TASTES, Registry, Row
from llmrec.testing import expect_error


@pytest.mark.parametrize(
    "registry",
    [RECOMMENDERS, RANKERS, LEARNED_RANKERS, RERANKERS, POLICIES, ENGINES, TASTES],
    ids=lambda registry: registry.kind,
)
def test_every_built_in_name_leads_to_a_class_with_a_recipe(registry):
    for name in registry.rows:
        assert registry.get(name).config_class.__doc__, name


def test_an_unknown_name_is_answered_with_the_closest():
    expect_error(UnknownNameError, lambda: RECOMMENDERS.get("item-kn"), "unknown recommender 'item-kn'", "'item-knn'?")
    expect_error(UnknownNameError, lambda: ENGINES.get("vlm"), "unknown engine 'vlm'", "did you mean 'vllm'?")


def test_outside_packages_add_names_but_replace_none(monkeypatch):
    points = [
        importlib.metadata.EntryPoint("mine", "collections:OrderedDict", "g"),
        importlib.metadata.EntryPoint("own", "collections:Counter", "g"),
    ]
    monkeypatch.setattr("llmrec.registry.table.entry_points", lambda group: points if group == "g" else [])
    registry = Registry("thing", "g", {"own": Row("collections:deque", "built in")})
    assert registry.get("mine").__name__ == "OrderedDict"
    assert registry.get("own").__name__ == "deque"
