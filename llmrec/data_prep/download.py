"""Fetch a file once, checked against the checksum that its server publishes beside it."""

from __future__ import annotations

import hashlib
import io
import re
import urllib.request
import zipfile
import zlib
from pathlib import Path

from llmrec.data.files import atomic_file
from llmrec.errors import DataError

NETWORK_SECONDS = 5.0  # to connect, and between two packets


def download(url: str, folder: Path) -> Path:
    """Return the path in ``folder`` of the zip at ``url``; it is fetched and checked unless it is there already.

    Raises:
        OSError, HTTPException: the server cannot be reached, answers with an error or breaks off.
        DataError: what came does not match ``url`` + ``.md5``, or is no whole zip; nothing is written then.
    """
    path = folder / url.rsplit("/", 1)[-1]
    if path.is_file():
        return path
    promised = re.search(r"\b[0-9a-f]{32}\b", _fetch(f"{url}.md5").decode("utf-8", "replace").lower())
    content = _fetch(url)
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    cure = "try again, or fetch the zip by hand and pass its path"
    if promised is None or promised[0] != found:
        raise DataError(
            f"{url} has the MD5 {found}",
            expected=f"{promised[0] if promised else 'an MD5'}, as in {url}.md5",
            cure=cure,
        )
    if not _is_whole_zip(content):
        raise DataError(f"{url} gives {len(content)} bytes that are no whole zip", expected="a zip", cure=cure)
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
    return path


def _fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=NETWORK_SECONDS) as answer:  # noqa: S310 - addresses are our constants
        content: bytes = answer.read()
    return content


def _is_whole_zip(content: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, EOFError):
        return False
