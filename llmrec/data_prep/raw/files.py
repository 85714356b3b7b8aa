"""Where a raw file's bytes come from: a file on disk, a gzip, or a member of a zip."""

from __future__ import annotations

import gzip
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from llmrec.errors import DataError

CHUNK = 16 << 20  # bytes; larger blocks leave the allocator's heap, and every new page then costs a fault
GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"
BROKEN = (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, NotImplementedError, RuntimeError)
"""What Python raises where compressed bytes are damaged, encrypted or packed by an unknown method."""


@dataclass(frozen=True)
class RawFile:
    """One file of a data set.

    Attributes:
        path: the file on disk; gzip is told by its content.
        member: name inside ``path`` where that is a zip.
    """

    path: Path
    member: str | None = None

    @property
    def name(self) -> str:
        """The file as a message names it: its folder or zip, and its own name."""
        return (
            f"{self.path.name}/{self.member}" if self.member else f"{self.path.absolute().parent.name}/{self.path.name}"
        )

    @property
    def compressed(self) -> bool:
        """Whether the bytes on disk are not the bytes of the file."""
        return self.member is not None or magic(self.path) == GZIP

    @contextmanager
    def open(self) -> Iterator[tuple[IO[bytes], Callable[[], int]]]:
        """Yield the file's own bytes, unpacked, and a function that says how far of ``size()`` they have been read.

        Raises:
            DataError: the archive is damaged or cut off.
        """
        try:
            if self.member is not None:
                with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as inside:
                    yield inside, inside.tell
                return
            with self.path.open("rb", buffering=0) as stream:
                if magic(self.path) == GZIP:
                    with gzip.GzipFile(fileobj=stream) as unpacked:
                        yield unpacked, stream.tell  # type: ignore[misc]  # a GzipFile reads as binary files do
                else:
                    yield stream, stream.tell
        except BROKEN as error:
            raise unpacking_failed(self.name, error) from None

    def size(self) -> int:
        """Return the number of bytes that progress is counted in: packed ones for gzip, the file's own otherwise."""
        if self.member is None:
            return self.path.stat().st_size
        with zipfile.ZipFile(self.path) as archive:
            return archive.getinfo(self.member).file_size


def magic(path: Path) -> bytes:
    """Return the first bytes of a file, which tell how it is packed: two for gzip, four otherwise."""
    with path.open("rb") as stream:
        first = stream.read(4)
    return first[:2] if first[:2] == GZIP else first


def unpacking_failed(name: str, error: Exception, line: int | None = None) -> DataError:
    """Return the error for an archive that cannot be unpacked, at a line where that is known."""
    where = f"{name} line {line}" if line else repr(name)
    return DataError(
        f"{where} cannot be unpacked ({error or type(error).__name__})",
        expected="a whole archive",
        cure="it is cut off or damaged: fetch it again",
    )


def find(source: Path, *names: str, what: str) -> RawFile:
    """Return the one file called one of ``names`` (or that with ``.gz``) in a folder, or in a zip at any depth.

    Raises:
        DataError: there is no such source, no such file in it, or two of them.
    """
    found = look_for(source, *names, what=what)
    if found is None:
        raise DataError(
            f"{str(source)!r} does not hold {' or '.join(names)}",
            expected=what,
            cure="point at the unpacked folder or the official archive",
        )
    return found


def look_for(source: Path, *names: str, what: str) -> RawFile | None:
    """Return what ``find`` does, or None where there is no such file.

    Raises:
        DataError: there is no such source, or two such files.
    """
    wanted = [*names, *(f"{name}.gz" for name in names)]
    if source.is_dir():
        found = [RawFile(source / name) for name in wanted if (source / name).is_file()]
    else:
        found = [RawFile(source, member) for member in members(source, what=what) if base(member) in wanted]
    if len(found) > 1:
        raise DataError(
            f"{str(source)!r} holds {' and '.join(each.member or each.path.name for each in found[:2])}",
            expected=f"one of them: {what}",
            cure="take one away, or point at the folder that holds the right one",
        )
    return found[0] if found else None


def members(source: Path, *, what: str) -> list[str]:
    """Return the names in a zip.

    Raises:
        DataError: there is no such file, or it is no whole zip.
    """
    if not source.is_file():
        raise DataError(f"no file or folder {str(source)!r}", expected=what, cure="check the path")
    try:
        with zipfile.ZipFile(source) as archive:
            return archive.namelist()
    except BROKEN as error:
        raise unpacking_failed(source.name, error) from None


def single(path: Path, *, what: str) -> RawFile:
    """Return the one file at ``path``, which may be gzipped.

    Raises:
        DataError: there is no such file, or it is a folder or a zip.
    """
    if not path.is_file() or not os.access(path, os.R_OK):
        found = "a folder" if path.is_dir() else "no readable file"
        raise DataError(f"{str(path)!r} is {found}", expected=what, cure="check the path")
    if magic(path) == ZIP:
        raise DataError(f"{str(path)!r} is a zip", expected=f"{what}, plain or gzipped", cure="unpack it first")
    return RawFile(path)


def base(name: str) -> str:
    """Return the last part of a name inside an archive."""
    return name.rsplit("/", 1)[-1]


def require_some(files: Sequence[RawFile], source: Path, *, what: str) -> None:
    """Raise a DataError where a folder has none of the files that were looked for."""
    if not files:
        raise DataError(f"{str(source)!r} holds no file to read", expected=what, cure="point at the folder that does")
