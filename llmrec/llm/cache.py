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
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, astuple, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from llmrec.llm.store import AnswerStore
from llmrec.protocols import Completion, Engine, FloatArray, Prompt, Sampling, Usage

Progress = Callable[[int, int], None]
"""Called with how many prompts are done, and how many there are."""

_FIRST_LENGTH, _LONGEST, _SECONDS = 64, 8192, 10.0
"""Prompts of the first chunk and of the longest, and how long one should take, where nobody says how many."""


class CachedEngine:
    """An engine that answers from a store and computes what is missing, committing as it goes.

    Args:
        engine: what computes.
        path: the store's file.
        commit_every: prompts between two commits, which may be computed again after a kill; None for as many as take
            some ten seconds, so that an engine which is fast gets long batches and one which is slow loses little.
        progress: called after each commit.
        dry_run: compute and store nothing: misses are only counted in tokens, scores come back NaN and texts empty.

    Attributes:
        usage: what was spent, with hits and misses.
        first_error: why the first prompt failed that did; empty if none.
    """

    def __init__(
        self,
        engine: Engine,
        path: Path,
        *,
        commit_every: int | None = None,
        progress: Progress | None = None,
        dry_run: bool = False,
    ) -> None:
        self.engine, self.commit_every, self.progress, self.dry_run = engine, commit_every, progress, dry_run
        self.path = path
        self.usage = Usage()
        self.first_error = ""
        self._length = _FIRST_LENGTH
        self._encode = json.JSONEncoder(ensure_ascii=False).encode

    @cached_property
    def store(self) -> AnswerStore:
        """The store, opened at first use; a dry run makes no new file."""
        return AnswerStore(None if self.dry_run and not self.path.exists() else self.path)

    @cached_property
    def _foreseen(self) -> AnswerStore:
        """What a real run would have stored by now, for a dry run."""
        return AnswerStore(None)

    def close(self) -> None:
        """Close the store, if it was opened."""
        for name in ("store", "_foreseen"):
            if name in vars(self):
                getattr(self, name).close()

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

    def _chunks(self, n: int) -> Iterator[slice]:
        """Yield what is computed between two commits; its length follows how long such a one takes to compute."""
        start = 0
        while start < n:
            before, end = self.usage, start + (self.commit_every or self._length)
            yield slice(start, end)
            spent, start = self.usage - before, end
            if spent.cache_misses:
                # What the store held says nothing of how long the model takes.
                seconds = spent.seconds * (spent.cache_hits + spent.cache_misses) / spent.cache_misses
                if seconds > 2 * _SECONDS and self._length > 1:
                    self._length //= 2
                elif seconds < _SECONDS and self._length < _LONGEST and end <= n:
                    self._length *= 2

    def _score_chunk(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[FloatArray]:
        begin = time.perf_counter()
        keys = [self._keys(prompt, row) for prompt, row in zip(prompts, answers, strict=True)]
        known = self._known([key for row in keys for key in row], float("nan"))
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
            fresh = [(key, float("nan")) for row in missing for key, _ in row]
            self._foreseen.put((key, "") for key, _ in fresh)
            known.update(fresh)
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
        numbers = sorted(row for row in fresh if not math.isnan(row[1]))
        self.store.put(numbers)
        if len(numbers) < len(fresh):
            self.first_error = self.first_error or "a score that is no number"
        known.update(fresh)
        return self.engine.usage - before

    def _generate_chunk(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        begin = time.perf_counter()
        keys = [self._key(prompt, "generate", *astuple(sampling)) for prompt in prompts]
        found = {key: _read(value) for key, value in self._known(keys, _EMPTY).items()}
        missing = list({key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in found}.items())
        spent = Usage()
        if missing and self.dry_run:
            spent = self._estimate(
                [prompt for _, prompt in missing], [sampling.max_tokens] * len(missing), [1] * len(missing)
            )
            self._foreseen.put((key, "") for key, _ in missing)
            found.update({key: Completion("") for key, _ in missing})
        elif missing:
            before = self.engine.usage
            computed = self.engine.generate([prompt for _, prompt in missing], sampling)
            fresh = {key: completion for (key, _), completion in zip(missing, computed, strict=True)}
            self.store.put((key, json.dumps(asdict(one))) for key, one in fresh.items() if one.finish != "error")
            errors = (one.error or "an error" for one in fresh.values() if one.finish == "error")
            self.first_error = self.first_error or next(errors, "")
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

    def _known(self, keys: Sequence[bytes], foreseen: float | str) -> dict[bytes, float | str]:
        """Return what is stored of ``keys``; in a dry run ``foreseen`` for what would be by now."""
        known = self.store.get(keys)
        return known | dict.fromkeys(self._foreseen.get(keys), foreseen) if self.dry_run else known

    def _key(self, prompt: Prompt, *what: object) -> bytes:
        return self._digest(self.identity, prompt.system, prompt.user, *what).digest()

    def _keys(self, prompt: Prompt, answers: Sequence[str]) -> list[bytes]:
        """Return the keys of answers to be scored; the prompt, which is long, is read once."""
        begin, keys = self._digest(self.identity, prompt.system, prompt.user, "score"), []
        for answer in answers:
            digest = begin.copy()
            digest.update(answer.encode("utf-8", "surrogatepass"))
            keys.append(digest.digest())
        return keys

    def _digest(self, *what: object) -> hashlib.blake2b:
        return hashlib.blake2b(self._encode(what).encode("utf-8", "surrogatepass"), digest_size=16)

    def _report(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(done, total)


_EMPTY = json.dumps({"text": ""})


def _read(value: float | str) -> Completion:
    return Completion(**json.loads(str(value)))
