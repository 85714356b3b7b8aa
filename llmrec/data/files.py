"""Files written whole or not at all, and read with errors that a user understands."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llmrec.errors import DataError

MARKERS = ("dataset.json", "split.json", "config.json", "llmrec.json")
"""One of these lies in every folder that llmrec writes."""


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it there if the block ends well, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; it replaces ``path`` if the block ends well, else it goes.

    An existing ``path`` is moved aside first and removed last, so that at no moment half of one is there.

    Raises:
        DataError: ``path`` is a file, or a folder with content that llmrec did not write.
    """
    path = path.resolve()
    require_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            path.replace(old)
        try:
            temporary.replace(path)
        except BaseException:
            if old.exists():
                old.replace(path)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def require_replaceable(path: Path) -> None:
    """Raise a DataError rather than replace what somebody else keeps in ``path``."""
    ours = path.is_dir() and (not any(path.iterdir()) or any((path / marker).is_file() for marker in MARKERS))
    if path.exists() and not ours:
        raise DataError(
            f"{str(path)!r} exists and holds something else",
            expected="a new folder, an empty one, or one that llmrec wrote",
            cure="name another folder",
        )


def require_writable(path: Path) -> None:
    """Raise a DataError, before long work, if the file ``path`` could not be written at its end."""
    nearest = next(folder for folder in path.absolute().parents if folder.exists())
    if path.is_dir() or not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise DataError(
            f"{str(path)!r} cannot be written",
            expected="a file in a folder that can be written to",
            cure="name another file",
        )


@contextmanager
def resumable(path: Path) -> Iterator[None]:
    """Turn an error of writing, such as a full disk, into a DataError that says that nothing is lost."""
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"{str(path)!r} cannot be written ({str(error).splitlines()[0]})",
            expected="room on the disk and leave to write",
            cure="make room and run the same command again: what is done is kept",
        ) from None


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DataError: the file is missing or is no JSON object.
    """
    cure = "point at the folder that llmrec wrote, or write it again"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"no file {str(path)!r}", expected="a folder written by llmrec", cure=cure) from None
    except (ValueError, OSError) as error:
        raise DataError(f"{str(path)!r} ({error})", expected="readable JSON", cure=cure) from None
    if not isinstance(value, dict):
        raise DataError(f"{str(path)!r} holds a {type(value).__name__}", expected="a JSON object", cure=cure)
    return value


def read_parquet(path: Path, columns: Iterable[str] = ()) -> pl.DataFrame:
    """Read a Parquet file and check that it has ``columns``.

    Raises:
        DataError: the file is missing, truncated or lacks a column.
    """
    try:
        frame = pl.read_parquet(path, glob=False)
    except FileNotFoundError:
        raise DataError(
            f"no file {str(path)!r}", expected="a Parquet file", cure="check the path, or write it first"
        ) from None
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{str(path)!r} cannot be read ({reason})",
            expected="a whole Parquet file",
            cure="it may be truncated: write it again",
        ) from None
    require_columns(frame, columns, where=str(path))
    return frame


def require_columns(frame: pl.DataFrame, columns: Iterable[str], *, where: str) -> None:
    """Raise a DataError that names the columns which ``frame`` lacks."""
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DataError(
            f"{where} has no column {', '.join(map(repr, missing))} (it has {', '.join(frame.columns)})",
            expected=f"the columns {', '.join(columns)}",
            cure="rename or add it",
        )


def ragged_series(values: np.ndarray, offsets: np.ndarray) -> pl.Series:
    """Return m lists as a column: list i is ``values[offsets[i]:offsets[i + 1]]``; ``offsets`` has m + 1 rows."""
    if len(offsets) == 1:  # polars has no first of nothing
        return pl.Series([], dtype=pl.List(pl.Series(values).dtype))
    bounds = pl.DataFrame({"start": offsets[:-1], "length": np.diff(offsets)})
    everything = pl.lit(pl.Series([pl.Series(values)])).first()
    return bounds.select(everything.list.slice("start", "length")).to_series()


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays as an npz, never with pickle.

    They are not compressed: weights are noise to zlib, which takes minutes for a large model.

    Raises:
        DataError: an array holds Python objects.
    """
    # Older NumPy takes its own flag against pickle for one more array, so the check is ours.
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise DataError(f"array {name!r} of Python objects", expected="numbers or text", cure="convert it first")
    np.savez(path, **arrays)  # type: ignore[arg-type]


def cache_folder() -> Path:
    """Return where downloads, converted models and answers are kept: ``$LLMREC_CACHE``, else ``~/.cache/llmrec``."""
    return Path(os.environ.get("LLMREC_CACHE") or Path.home() / ".cache" / "llmrec")
