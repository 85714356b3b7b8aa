"""A cache of answers on disk, so that a killed run resumes where it stopped and nothing is paid for twice.

SQLite in write-ahead mode: several processes may share a file, and what was committed survives a SIGKILL. Keys are
digests of the engine's identity, the prompt and either the answer that was scored or the sampling that generated; so
adding a candidate, a user or a template to a finished run computes only what is new.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, astuple, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from llmrec.errors import DataError
from llmrec.protocols import Completion, Engine, FloatArray, Prompt, Sampling, Usage

Progress = Callable[[int, int], None]
"""Called with how many prompts are done, and how many there are."""

_SCHEMA = "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, value NOT NULL) WITHOUT ROWID"
_LOOKUP = 500
_PATIENCE = 60.0
"""Seconds to wait for other processes that use the file."""


class AnswerStore:
    """Answers by key in one SQLite file.

    Args:
        path: the file; made if it is not there.

    Raises:
        DataError: the file is no answer store, or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
            _write_ahead(self._db)
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(_SCHEMA)
            self._db.execute("SELECT key, value FROM answers LIMIT 0")
        except (sqlite3.Error, OSError) as error:
            raise DataError(
                f"cache {str(path)!r} cannot be opened ({error})",
                expected="an SQLite file that llmrec wrote",
                cure="name another file, or delete this one",
            ) from None

    def get(self, keys: Sequence[bytes]) -> dict[bytes, float | str]:
        """Return what is stored of ``keys``."""
        found: dict[bytes, float | str] = {}
        for start in range(0, len(keys), _LOOKUP):
            some = keys[start : start + _LOOKUP]
            marks = ",".join("?" * len(some))
            found.update(self._db.execute(f"SELECT key, value FROM answers WHERE key IN ({marks})", some))  # noqa: S608
        return found

    def put(self, rows: Iterable[tuple[bytes, float | str]]) -> None:
        """Store rows in one transaction, all or none."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class CachedEngine:
    """An engine that answers from a store and computes what is missing, committing as it goes.

    Args:
        engine: what computes.
        path: the store's file.
        commit_every: prompts between two commits; so many may be computed again after a kill.
        progress: called after each commit.
        dry_run: compute and store nothing: misses are only counted in tokens, scores come back NaN and texts empty.
    """

    def __init__(
        self,
        engine: Engine,
        path: Path,
        *,
        commit_every: int = 64,
        progress: Progress | None = None,
        dry_run: bool = False,
    ) -> None:
        self.engine, self.commit_every, self.progress, self.dry_run = engine, commit_every, progress, dry_run
        self.path = path
        self.usage = Usage()

    @cached_property
    def store(self) -> AnswerStore:
        """The store, opened at first use; a dry run makes no new file."""
        return AnswerStore(Path(":memory:") if self.dry_run and not self.path.exists() else self.path)

    def close(self) -> None:
        """Close the store, if it was opened."""
        if "store" in vars(self):
            self.store.close()

    @property
    def identity(self) -> str:
        """The wrapped engine's identity."""
        return self.engine.identity

    @property
    def context(self) -> int | None:
        """The wrapped engine's context."""
        return self.engine.context

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has."""
        return self.engine.count_tokens(texts)

    def logprobs(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[FloatArray]:
        """Return the summed log-probability of each answer, from the store where it is there."""
        scores: list[FloatArray] = []
        for chunk in self._chunks(len(prompts)):
            scores += self._score_chunk(prompts[chunk], answers[chunk])
            self._report(len(scores), len(prompts))
        return scores

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """Return one completion for each prompt, from the store where it is there; failed rows are not stored."""
        completions: list[Completion] = []
        for chunk in self._chunks(len(prompts)):
            completions += self._generate_chunk(prompts[chunk], sampling)
            self._report(len(completions), len(prompts))
        return completions

    def _chunks(self, n: int) -> list[slice]:
        """Return what is computed between two commits; a dry run, which commits nothing, takes all at once."""
        size = max(1, n) if self.dry_run else self.commit_every
        return [slice(start, start + size) for start in range(0, n, size)]

    def _score_chunk(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[FloatArray]:
        begin = time.perf_counter()
        keys = [
            [self._key(prompt, "score", answer) for answer in row] for prompt, row in zip(prompts, answers, strict=True)
        ]
        known = self.store.get([key for row in keys for key in row])
        # Only what is missing is asked for, and once even if it stands twice: the second one counts as a hit.
        todo: list[list[tuple[bytes, str]]] = []
        asked: set[bytes] = set()
        for row, texts in zip(keys, answers, strict=True):
            missing = {key: text for key, text in zip(row, texts, strict=True) if key not in known and key not in asked}
            asked.update(missing)
            todo.append(list(missing.items()))
        rows = [row for row, missing in enumerate(todo) if missing]
        spent = self._compute_scores([prompts[row] for row in rows], [todo[row] for row in rows], known)
        n_hits = sum(map(len, keys)) - len(asked)
        self._spend(spent, len(prompts), n_hits, len(asked), begin)
        return [np.array([known[key] for key in row], np.float32) for row in keys]

    def _compute_scores(
        self, prompts: list[Prompt], missing: list[list[tuple[bytes, str]]], known: dict[bytes, float | str]
    ) -> Usage:
        texts = [[text for _, text in row] for row in missing]
        before = self.engine.usage
        if self.dry_run:
            known.update({key: float("nan") for row in missing for key, _ in row})
            return self._estimate(prompts, [sum(self.count_tokens(row)) for row in texts], list(map(len, texts)))
        if not prompts:
            return Usage()
        computed = self.engine.logprobs(prompts, texts)
        fresh = [
            (key, float(value))
            for row, values in zip(missing, computed, strict=True)
            for (key, _), value in zip(row, values, strict=True)
        ]
        # A score that is no number is a failure, to be tried again, not an answer.
        self.store.put((key, value) for key, value in fresh if not math.isnan(value))
        known.update(fresh)
        return self.engine.usage - before

    def _generate_chunk(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        begin = time.perf_counter()
        keys = [self._key(prompt, "generate", *astuple(sampling)) for prompt in prompts]
        found = {key: _read(value) for key, value in self.store.get(keys).items()}
        missing = list({key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in found}.items())
        spent = Usage()
        if missing and self.dry_run:
            spent = self._estimate(
                [prompt for _, prompt in missing], [sampling.max_tokens] * len(missing), [1] * len(missing)
            )
            found.update({key: Completion("") for key, _ in missing})
        elif missing:
            before = self.engine.usage
            computed = self.engine.generate([prompt for _, prompt in missing], sampling)
            fresh = {key: completion for (key, _), completion in zip(missing, computed, strict=True)}
            self.store.put((key, json.dumps(asdict(one))) for key, one in fresh.items() if one.finish != "error")
            found.update(fresh)
            spent = self.engine.usage - before
        self._spend(spent, len(prompts), len(keys) - len(missing), len(missing), begin)
        return [found[key] for key in keys]

    def _spend(self, spent: Usage, prompts: int, hits: int, misses: int, begin: float) -> None:
        seconds = time.perf_counter() - begin
        self.usage += replace(spent, prompts=prompts, cache_hits=hits, cache_misses=misses, seconds=seconds)

    def _estimate(self, prompts: Sequence[Prompt], output: Sequence[int], answers: Sequence[int]) -> Usage:
        """Return the tokens of prompts with ``answers`` answers each, of ``output`` tokens together."""
        read = [sum(self.count_tokens([prompt.system, prompt.user])) for prompt in prompts]
        submitted = sum(map(operator.mul, read, answers)) + sum(output)
        return Usage(prompt_tokens=sum(read), output_tokens=sum(output), submitted_tokens=submitted)

    def _key(self, prompt: Prompt, *what: object) -> bytes:
        text = json.dumps([self.identity, prompt.system, prompt.user, *what], ensure_ascii=False)
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    def _report(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(done, total)


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


def _read(value: float | str) -> Completion:
    return Completion(**json.loads(str(value)))
