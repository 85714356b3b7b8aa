"""A recall model's folder: ``config.json`` and ``weights.npz``, never pickle."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from llmrec.config import Config, Part, make_config
from llmrec.data import Dataset
from llmrec.data.files import read_json, write_json
from llmrec.errors import DataError, ModelError, did_you_mean
from llmrec.protocols import Recommender, Storable, Trainable
from llmrec.registry import RECOMMENDERS

KIND = "recommender"
SCHEMA_VERSION = 1
AGAIN = "fit and save the model again"
Arrays = Mapping[str, NDArray[Any]]
C = TypeVar("C", bound=Config)


@dataclass(frozen=True)
class Catalogue:
    """The items that a model was fitted on.

    Attributes:
        dataset: name of the data set.
        n_items: size of its item vocabulary.
        items_digest: SHA-256 of the item ids in the order of their numbers.
    """

    dataset: str
    n_items: int
    items_digest: str

    @classmethod
    def of(cls, data: Dataset) -> Catalogue:
        """Return the catalogue of a data set."""
        ids = data.items.ids
        digest = hashlib.sha256(str(ids.dtype).encode())
        if ids.dtype.is_integer():
            digest.update(ids.to_numpy().astype("<i8").tobytes())
        else:  # the lengths keep "a", "bc" apart from "ab", "c"
            digest.update(ids.str.len_bytes().to_numpy().astype("<i8").tobytes())
            digest.update("".join(ids.to_list()).encode())
        return cls(data.name, len(data.items), digest.hexdigest())


class RecallModel(Recommender, Trainable, Storable, Protocol):
    """A recommender that can be made from its config, fitted, stored and fused."""

    name: ClassVar[str]
    config_class: ClassVar[type[Config]]

    def __init__(self, config: Any | None = None) -> None:  # noqa: ANN401 - of config_class
        ...

    @property
    def catalogue(self) -> Catalogue:
        """What it was fitted on; a ModelError before that."""
        ...


def make_recommender(part: Part) -> RecallModel:
    """Return an unfitted recommender; a ConfigError or UnknownNameError where the part is none."""
    kind: type[RecallModel] = RECOMMENDERS.get(part.name)
    return kind(make_config(kind.config_class, part.parameters))


def load_recommender(folder: Path) -> RecallModel:
    """Return the model in a folder, whichever it is, through the registry.

    Raises:
        ModelError: the folder is none that a recommender wrote, is damaged, or its recommender is not registered.
    """
    name = read_about(folder)["name"]
    known = RECOMMENDERS.all()
    if name not in known:
        raise ModelError(
            f"{str(folder)!r} holds the recommender {name!r}",
            expected="a registered recommender",
            cure=f"install the package that brings it; {did_you_mean(name, known)}",
        )
    return cast("RecallModel", RECOMMENDERS.get(name).load(folder))


def check_catalogue(folder: Path, dataset: Dataset) -> None:
    """Raise a ModelError unless the model in ``folder`` was fitted on the items of ``dataset``, in their order."""
    there, here = read_catalogue(folder, read_about(folder)), Catalogue.of(dataset)
    if there.items_digest != here.items_digest:
        raise ModelError(
            f"{str(folder)!r} was fitted on {there.n_items} items of {there.dataset!r}",
            expected=f"the {here.n_items} items of {here.dataset!r}",
            cure="use the data set that it was fitted on, or fit it again",
        )


def write_about(
    folder: Path, name: str, config: Config, catalogue: Catalogue, *, members: int = 0, kind: str = KIND
) -> None:
    """Write ``config.json``: the registry name, the parameters, the catalogue, how many member models lie within."""
    about = {"kind": kind, "schema_version": SCHEMA_VERSION, "name": name, "parameters": config.model_dump(mode="json")}
    write_json(folder / "config.json", {**about, **asdict(catalogue), "members": members})


def read_about(folder: Path, *, name: str | None = None, kind: str = KIND) -> dict[str, Any]:
    """Read ``config.json``, checked to be of a part of that kind, and of the one called ``name`` where that is given.

    Raises:
        ModelError: it is missing, unreadable, or of something else.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(
            f"no file {str(path)!r}", expected=f"the folder of a saved {kind}", cure="check the path, or fit one"
        )
    try:
        about = read_json(path)
    except DataError as error:
        raise ModelError(error.found, expected=error.expected, cure=AGAIN) from None
    for key, expected in (("kind", kind), ("schema_version", SCHEMA_VERSION)):
        if about.get(key) != expected:
            raise ModelError(f"{key} {about.get(key)!r} in {str(path)!r}", expected=repr(expected), cure=AGAIN)
    found = about.get("name")
    if not isinstance(found, str) or name not in {None, found}:
        raise ModelError(
            f"{str(folder)!r} holds the {kind} {found!r}", expected=repr(name or "a name"), cure="load that one"
        )
    return about


def read_config(folder: Path, about: Mapping[str, Any], kind: type[C]) -> C:
    """Return the hyper-parameters in what ``read_about`` read; a ModelError where they do not fit ``kind``."""
    try:
        return kind.model_validate(about.get("parameters"))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(["parameters", *map(str, first["loc"])])
        raise ModelError(
            f"{key} = {first['input']!r} in {str(folder / 'config.json')!r}", expected=first["msg"].lower(), cure=AGAIN
        ) from None


def read_catalogue(folder: Path, about: Mapping[str, Any]) -> Catalogue:
    """Return the catalogue in what ``read_about`` read; a ModelError where it is incomplete."""
    dataset, n_items, digest = (about.get(key) for key in ("dataset", "n_items", "items_digest"))
    if not (isinstance(dataset, str) and isinstance(n_items, int) and isinstance(digest, str)):
        raise ModelError(
            f"{str(folder / 'config.json')!r} does not say which items it is for",
            expected="dataset, n_items and items_digest",
            cure=AGAIN,
        )
    return Catalogue(dataset, n_items, digest)


def read_arrays(path: Path) -> Arrays:
    """Read ``weights.npz`` without pickle.

    Raises:
        ModelError: it is missing, truncated, or holds NaN or infinite numbers.
    """
    try:
        # Opened here, since np.load leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise ModelError(f"no file {str(path)!r}", expected="the model's weights", cure=AGAIN) from None
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelError(f"{str(path)!r} cannot be read ({error})", expected="a whole npz file", cure=AGAIN) from None
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ModelError(f"{name!r} in {str(path)!r} holds NaN or infinity", expected="finite weights", cure=AGAIN)
    return arrays
