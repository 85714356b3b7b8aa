"""Recipes: YAML with overrides, unknown keys refused."""

import json

import pytest
from pydantic import Field

from llmrec.config import Config, Part, describe_fields, load_config, make_config, write_run
from llmrec.errors import ConfigError
from llmrec.testing import expect_error


class Inner(Config):
    depth: int = 3
    """How deep."""


class Recipe(Config):
    users: int = Field(default=200, ge=1)
    """How many users."""
    names: tuple[str, ...] = ("a",)
    """Which names."""
    inner: Inner = Inner()
    """A section."""
    engine: Part = Part(name="transformers", parameters={"dtype": "auto"})
    """An engine."""


def test_defaults_yaml_and_overrides_lie_on_top_of_each_other(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("users: 5\ninner: {depth: 4}\n")
    assert load_config(Recipe).users == 200
    assert load_config(Recipe, path).inner.depth == 4
    recipe = load_config(Recipe, path, ["users=7", "inner.depth=9", "names=[x, y]"])
    assert (recipe.users, recipe.inner.depth, recipe.names) == (7, 9, ("x", "y"))


def test_recipes_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Recipe().users = 3


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["user=3"], ["unknown key 'user'", "did you mean 'users'?"]),
        (["users=many"], ["users = 'many'", "valid integer"]),
        (["users=0"], ["users = 0", "greater than or equal to 1"]),
        (["inner.dept=3"], ["unknown key 'inner.dept'"]),
        (["users"], ["'users'", "key=value"]),
        (["=3"], ["'=3'", "key=value"]),
        (["users.more=3"], ["users.more", "section"]),
        (["names=[a"], ["names=[a", "YAML"]),
    ],
)
def test_bad_overrides(tmp_path, overrides, words):
    (tmp_path / "a.yaml").write_text("users: 5")
    expect_error(ConfigError, lambda: load_config(Recipe, tmp_path / "a.yaml", overrides), *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["no file", "a.yaml"]),
        ("users: [1", ["a.yaml", "valid YAML"]),
        ("- 1\n- 2\n", ["holds a list"]),
        ("user: 3", ["unknown key 'user'"]),
    ],
)
def test_bad_files(tmp_path, text, words):
    if text is not None:
        (tmp_path / "a.yaml").write_text(text)
    expect_error(ConfigError, lambda: load_config(Recipe, tmp_path / "a.yaml"), *words)


def test_a_required_field_that_is_missing_is_named():
    class Needs(Config):
        path: str

    expect_error(ConfigError, lambda: load_config(Needs), "no 'path'", "add path=")


def test_a_part_is_a_name_or_flat_parameters():
    assert Part.model_validate("als") == Part(name="als")
    assert Part.model_validate({"name": "als", "factors": 64}) == Part(name="als", parameters={"factors": 64})
    assert Part.model_validate(Part(name="als", parameters={"factors": 2}).model_dump()).parameters == {"factors": 2}
    expect_error(ConfigError, lambda: make_config(Part, {"factors": 64}), "name")


def test_a_default_part_keeps_what_it_says_until_its_name_changes():
    assert load_config(Recipe, None, ["engine.model=x"]).engine == Part(
        name="transformers", parameters={"dtype": "auto", "model": "x"}
    )
    assert load_config(Recipe, None, ["engine.dtype=float32"]).engine.parameters == {"dtype": "float32"}
    assert load_config(Recipe, None, ["engine.name=vllm"]).engine == Part(name="vllm")


def test_another_name_drops_what_a_recipe_says_of_the_former_part(tmp_path):
    (tmp_path / "a.yaml").write_text("engine: {name: transformers, model: x}\nusers: 3\n")
    recipe = load_config(Recipe, tmp_path / "a.yaml", ["engine.name=fake", "engine.delay=1"])
    assert recipe.engine == Part(name="fake", parameters={"delay": 1})
    assert load_config(Recipe, tmp_path / "a.yaml", ["engine.name=transformers"]).engine.parameters["model"] == "x"


def test_fields_are_described_from_their_one_place():
    rows = {name: (kind, default, docstring) for name, kind, default, docstring in describe_fields(Recipe)}
    assert rows["users"] == ("int", "200", "How many users.")


def test_a_run_is_recorded_with_recipe_and_versions(tmp_path):
    write_run(tmp_path / "run.json", load_config(Recipe, None, ["users=3"]), seconds=1.5)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["recipe"]["users"] == 3
    assert record["seconds"] == 1.5
    assert {"python", "numpy", "torch"} <= set(record["versions"])
