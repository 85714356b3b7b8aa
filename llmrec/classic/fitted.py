"""What rankers and re-rankers that are fitted share: what they can be asked, and the folder that they are kept in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from llmrec.classic.recall.base.history import history_entries
from llmrec.classic.recall.base.store import (
    AGAIN,
    Arrays,
    Catalogue,
    read_about,
    read_catalogue,
    read_config,
    write_about,
)
from llmrec.config import Config
from llmrec.data import Candidates, Queries
from llmrec.data.files import atomic_folder
from llmrec.errors import DataError, ModelError, did_you_mean
from llmrec.registry import Registry

WEIGHTS = "weights.safetensors"
C = TypeVar("C", bound=Config)


def require_fitted(name: str, catalogue: Catalogue | None) -> Catalogue:
    """Return the catalogue that ``name`` was fitted on; a ModelError where there is none yet."""
    if catalogue is None:
        raise ModelError(f"{name} that is not fitted", expected="a fitted one", cure="call fit or load first")
    return catalogue


def require_finite(name: str, arrays: Arrays) -> None:
    """Raise a ModelError where a number of what ``name`` learned is not finite."""
    for each, array in arrays.items():
        if not np.isfinite(array).all():
            raise ModelError(
                f"{name} has NaN or infinity in {each!r}",
                expected="finite numbers",
                cure="fit it again, with a lower learning rate or without extreme values in the data",
            )


def require_rows(queries: Queries, candidates: Candidates, n_items: int) -> None:
    """Raise a DataError unless there is a row with candidates for each query, all of items below ``n_items``."""
    candidates.require_filled()
    history_entries(queries, n_items)
    if len(queries) != len(candidates) or candidates.items.max(initial=-1) >= n_items:
        raise DataError(
            f"{len(candidates)} rows of candidates up to item number {candidates.items.max(initial=-1)}",
            expected=f"{len(queries)} rows, one for each query, of items from 0 to {n_items - 1}",
            cure="use the data set that was fitted on, and the queries of the candidates",
        )


def write_fitted(folder: Path, name: str, config: Config, catalogue: Catalogue, arrays: Arrays, *, kind: str) -> Path:
    """Write ``config.json`` and ``weights.safetensors``, whole or not at all, and return the folder."""
    with atomic_folder(folder) as temporary:
        write_about(temporary, name, config, catalogue, kind=kind)
        save_file({each: np.asarray(array, order="C") for each, array in arrays.items()}, temporary / WEIGHTS)
    return folder


@dataclass(frozen=True, eq=False)
class Kept(Generic[C]):
    """What was read from a folder.

    Attributes:
        config: the hyper-parameters.
        catalogue: what it was fitted on.
        arrays: what it learned.
        origin: for messages, the file of the arrays and whose they are.
    """

    config: C
    catalogue: Catalogue
    arrays: Arrays
    origin: tuple[Path, str]

    @contextmanager
    def adopted(self) -> Iterator[None]:
        """Turn a ValueError or KeyError of who takes the arrays over into a ModelError: they do not fit the config."""
        path, name = self.origin
        try:
            yield
        except (KeyError, ValueError) as error:
            raise ModelError(
                f"{str(path)!r} does not fit its config.json ({error})",
                expected=f"what {name} wrote for {self.catalogue.n_items} items",
                cure=AGAIN,
            ) from None


def read_fitted(folder: Path, name: str, config_class: type[C], *, kind: str) -> Kept[C]:
    """Return what ``write_fitted`` wrote for ``name``.

    Raises:
        ModelError: a file is missing or damaged, or something else was saved there.
    """
    about, path = read_about(folder, name=name, kind=kind), folder / WEIGHTS
    config, catalogue = read_config(folder, about, config_class), read_catalogue(folder, about)
    return Kept(config, catalogue, _read_weights(path), (path, name))


def fitted_class(folder: Path, registry: Registry) -> Any:  # noqa: ANN401 - the registry's own
    """Return the class of what is kept in a folder.

    Raises:
        ModelError: the folder is of another kind than the registry's, is damaged, or its name is not registered.
    """
    name = read_about(folder, kind=registry.kind)["name"]
    known = registry.all()
    if name not in known:
        raise ModelError(
            f"{str(folder)!r} holds the {registry.kind} {name!r}",
            expected=f"a registered {registry.kind}",
            cure=f"install the package that brings it; {did_you_mean(name, known)}",
        )
    return registry.get(name)


def _read_weights(path: Path) -> Arrays:
    if not path.is_file():
        raise ModelError(f"no file {str(path)!r}", expected="its weights", cure=AGAIN)
    try:
        return cast("Arrays", load_file(path))
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{str(path)!r} cannot be read ({error})", expected="a whole file", cure=AGAIN) from None
