"""Answers on disk: SQLite in write-ahead mode, so that several processes share a file and what is committed stays."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from llmrec.errors import DataError

_SCHEMA = "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, value NOT NULL) WITHOUT ROWID"
_LOOKUP = 500
_PATIENCE = 60.0
"""Seconds to wait for other processes that use the file."""


class AnswerStore:
    """Answers by key in one SQLite file.

    Args:
        path: the file; made if it is not there. None for one of its own that goes when it is closed.

    Raises:
        DataError: the file is no answer store, or cannot be opened.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            # Whoever asks an engine from several threads takes care that they take turns.
            self._db = sqlite3.connect(path or "", timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
            _write_ahead(self._db)
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(_SCHEMA)
            self._db.execute("SELECT key, value FROM answers LIMIT 0")
        except (sqlite3.Error, OSError) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
                raise _no_room(path, error) from None
            raise DataError(
                f"cache {str(path)!r} cannot be opened ({error})",
                expected="an SQLite file that llmrec wrote",
                cure="name another file, or delete this one",
            ) from None

    def get(self, keys: Sequence[bytes]) -> dict[bytes, float | str]:
        """Return what is stored of ``keys``."""
        found: dict[bytes, float | str] = {}
        with self._usable():
            for start in range(0, len(keys), _LOOKUP):
                some = keys[start : start + _LOOKUP]
                marks = ",".join("?" * len(some))
                found.update(self._db.execute(f"SELECT key, value FROM answers WHERE key IN ({marks})", some))  # noqa: S608
        return found

    def put(self, rows: Iterable[tuple[bytes, float | str]]) -> None:
        """Store rows in one transaction, all or none.

        Raises:
            DataError: the disk is full, or another process holds the file for too long.
        """
        with self._usable(), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _no_room(self.path, error) from None


def _no_room(path: Path | None, error: Exception) -> DataError:
    return DataError(
        f"cache {str(path)!r} cannot be used ({error})",
        expected="room on the disk, and a file that nothing else holds or spoils",
        cure="make room and run the same command again: what was committed is kept",
    )


def _write_ahead(db: sqlite3.Connection) -> None:
    """Turn on write-ahead mode; connections that do so at once on a new file are refused without a wait: try again."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
