"""A run folder belongs to a recipe and its rows: what is begun goes on with these only; others are left alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmrec.data.files import read_json, write_json
from llmrec.errors import ConfigError, DataError
from llmrec.llm.models import model_identity, resolve_model
from llmrec.train.recipe import RunRecipe
from llmrec.train.record import ADAPTER, CHECKPOINTS

_CONFIG, _MODEL, _ROWS = "config.json", "model_identity", "rows"


def require_same(recipe: RunRecipe) -> None:
    """Raise an error if the run folder holds something else, or what was learnt by another recipe.

    Raises:
        ConfigError: another recipe's.
        DataError: somebody else's.
    """
    out = recipe.out
    before = _before(out)
    before.pop(_ROWS, None)
    if _MODEL not in before and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(
            f"{str(out)!r} exists and holds something else",
            expected="a new folder, an empty one, or one where tuning was begun",
            cure="name another folder",
        )
    differing = _difference(before, _values(recipe)) if _has_learnt(out) else None
    if differing is not None:
        key, old, new = differing
        raise ConfigError(
            f"{str(out)!r} was begun with {key} = {old!r}",
            expected=f"the same recipe (now {key} = {new!r})",
            cure="name another out folder, or remove this one",
        )


def require_same_rows(out: Path, rows: Mapping[str, str]) -> None:
    """Raise an error if what was learnt in the run folder was learnt from other rows, since a source has changed.

    Args:
        out: the run folder, of the same recipe.
        rows: the digest of each part's rows.

    Raises:
        DataError: so it was.
    """
    differing = _difference(_before(out).get(_ROWS, {}), rows) if _has_learnt(out) else None
    if differing is not None:
        part, old, new = differing
        raise DataError(
            f"{str(out)!r} was begun with other rows of {part} (digest {old}, now {new})",
            expected="files and data sets as they were",
            cure="put them back, name another out folder, or remove this one",
        )


def claim(recipe: RunRecipe, rows: Mapping[str, str]) -> None:
    """Write the recipe, its model and the digests of its rows into the run folder."""
    write_json(recipe.out / _CONFIG, {**_values(recipe), _ROWS: dict(rows)})


def _before(out: Path) -> dict[str, Any]:
    """Return what was claimed; empty where nothing was."""
    return read_json(out / _CONFIG) if (out / _CONFIG).is_file() else {}


def _has_learnt(out: Path) -> bool:
    return (out / ADAPTER).exists() or any((out / CHECKPOINTS).glob("*/*"))


def _values(recipe: RunRecipe) -> dict[str, Any]:
    # The folder may have been moved.
    values = recipe.model_dump(mode="json", exclude={"out"})
    return {**values, _MODEL: model_identity(resolve_model(recipe.model))}


def _difference(old: Any, new: Any, key: str = "") -> tuple[str, Any, Any] | None:  # noqa: ANN401 - of JSON
    """Return the first key whose values differ, with both."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*new, *(each for each in old if each not in new)]
        parts = [(f"{key}.{each}" if key else each, old.get(each), new.get(each)) for each in keys]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        parts = [(f"{key}.{place}", *pair) for place, pair in enumerate(zip(old, new, strict=True))]
    else:
        return None if old == new else (key, old, new)
    found = (_difference(one, two, where) for where, one, two in parts)
    return next((each for each in found if each is not None), None)
