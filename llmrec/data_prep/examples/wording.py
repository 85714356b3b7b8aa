"""Examples put into words: templates filled in, and histories cut at their old end until prompt and answer fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from llmrec.data_prep.examples.rows import Rows, real
from llmrec.errors import ConfigError
from llmrec.prompts.template import Template, clean_text
from llmrec.protocols import Prompt

TokenCounter = Callable[[Sequence[str]], Sequence[int]]
Variables = Mapping[str, str | Sequence[str]]
_BLOCK = 4096
"""Rows that are rendered and counted together."""


@dataclass(frozen=True, eq=False)
class Budget:
    """How long prompt and answer may be together.

    Attributes:
        max_tokens: tokens of both; what a chat template and special tokens add must be left out of it.
        count_tokens: how many tokens each text has: an engine's ``count_tokens``, or ``PromptTokenizer(...).count``.

    Raises:
        ConfigError: ``max_tokens`` is below 1.
    """

    max_tokens: int
    count_tokens: TokenCounter

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens = {self.max_tokens}", expected="at least 1", cure="change it")


@dataclass(frozen=True, eq=False)
class Draft:
    """Rows before they are written.

    Attributes:
        pieces: what a row's prompt can lose, first to go first: titles from the oldest, or words from the last.
        variables: what the template sees of a row with so many pieces kept (the last ones of ``pieces``).
        answers: the texts, ready to stand behind the prompt, of which each must fit; none drops the row.
        needs_pieces: whether a prompt without any piece says nothing.
    """

    pieces: Callable[[int], Sequence[str]]
    variables: Callable[[int, int], Variables]
    answers: Callable[[int], list[str]]
    needs_pieces: bool = False


@dataclass(frozen=True, eq=False)
class Written:
    """What came of a draft's rows.

    Attributes:
        rows: (m,) numbers of the rows that were kept.
        prompts: m of them.
        answers: m lists.
        counts: rows dropped and histories cut.
    """

    rows: NDArray[np.int64]
    prompts: list[Prompt]
    answers: list[list[str]]
    counts: dict[str, int]


def write(template: Template, draft: Draft, numbers: NDArray[np.int64], budget: Budget | None) -> Written:
    """Render some rows, in this order; with a budget, each loses as few pieces as it must, and answers are never cut.

    A row that does not fit without any piece is dropped (``too_long`` in the counts); so is one without an answer
    (``no_answer``), and one whose prompt says nothing (``no_prompt``). Prompt and answer are counted as one text.
    """
    kept: list[int] = []
    prompts: list[Prompt] = []
    answers: list[list[str]] = []
    counts = {"no_answer": 0, "no_prompt": 0, "too_long": 0, "truncated": 0}
    fitter = None if budget is None else _Fitter(template, draft, budget)
    for begin in range(0, len(numbers), _BLOCK):
        rows = numbers[begin : begin + _BLOCK].tolist()
        sizes = {row: len(draft.pieces(row)) for row in rows}
        if draft.needs_pieces:
            sizes = {row: size for row, size in sizes.items() if size}
        texts = {row: answer for row in sizes if (answer := draft.answers(row))}
        whole = {row: sizes[row] for row in texts}
        if fitter is None:
            found = {row: (size, template.render_cleaned(draft.variables(row, size))) for row, size in whole.items()}
        else:
            found = fitter.fit(whole, texts)
        said = {row: pair for row, pair in found.items() if pair[1].user and (pair[0] or not draft.needs_pieces)}
        counts["no_prompt"] += len(rows) - len(sizes) + len(found) - len(said)
        counts["no_answer"] += len(sizes) - len(texts)
        counts["too_long"] += len(texts) - len(found)
        counts["truncated"] += sum(said[row][0] < sizes[row] for row in said)
        for row in said:
            kept.append(row)
            prompts.append(said[row][1])
            answers.append(texts[row])
    return Written(np.asarray(kept, np.int64), prompts, answers, counts)


@dataclass
class _Search:
    """Where one row stands: ``low`` pieces are known to fit (-1: none is known), ``high`` not to.

    Attributes:
        room: tokens to spare with ``low`` pieces.
        excess: tokens too many with ``high`` pieces.
    """

    low: int
    high: int
    probe: int
    prompt: Prompt | None = None
    room: int = 0
    excess: int = 0


@dataclass(frozen=True, eq=False)
class _Fitter:
    template: Template
    draft: Draft
    budget: Budget
    lengths: dict[str, int] = field(default_factory=dict)

    def fit(self, sizes: Mapping[int, int], answers: Mapping[int, list[str]]) -> dict[int, tuple[int, Prompt]]:
        """Return for each row that fits how many pieces it keeps and its prompt.

        All rows are searched at once, each between what is known to fit and what is known not to.
        """
        searches = {row: _Search(-1, size + 1, size) for row, size in sizes.items()}
        pending, turn = list(searches), 0
        while pending:
            self._probe(searches, pending, answers)
            pending = [row for row in pending if searches[row].high - searches[row].low > 1]
            self._count(row for row in pending if searches[row].low < 0)
            for row in pending:
                found = searches[row]
                found.probe = min(max(self._guess(row, found, turn), found.low + 1), found.high - 1)
            turn += 1
        return {row: (found.low, found.prompt) for row, found in searches.items() if found.prompt is not None}

    def _probe(self, searches: Mapping[int, _Search], pending: list[int], answers: Mapping[int, list[str]]) -> None:
        """Try each pending row's probe."""
        prompts = [self.template.render_cleaned(self.draft.variables(row, searches[row].probe)) for row in pending]
        texts = [
            full_text(prompt) + answer for row, prompt in zip(pending, prompts, strict=True) for answer in answers[row]
        ]
        counts = np.asarray(self.budget.count_tokens(texts), np.int64)
        ends = np.cumsum([len(answers[row]) for row in pending])
        longest = np.maximum.reduceat(counts, np.concatenate([[0], ends[:-1]]))
        for row, prompt, room in zip(pending, prompts, (self.budget.max_tokens - longest).tolist(), strict=True):
            found = searches[row]
            if room >= 0:
                found.low, found.room, found.prompt = found.probe, room, prompt
            else:
                found.high, found.excess = found.probe, -room

    def _guess(self, row: int, found: _Search, turn: int) -> int:
        """Return what a row tries next.

        Without anything that fits, the oldest pieces go until their own lengths make up for the excess; then the line
        between both ends tells, which is exact but for pieces of unlike lengths; each third time the half does.
        """
        if turn % 3 == 2:
            return (found.low + found.high) // 2
        if found.low < 0:
            pieces = self.draft.pieces(row)
            lost = np.cumsum([self.lengths[piece] for piece in pieces[len(pieces) - found.high :]])
            return found.high - 1 - int(np.searchsorted(lost, found.excess))
        return found.low + found.room * (found.high - found.low) // (found.room + found.excess)

    def _count(self, rows: Iterable[int]) -> None:
        """Count the tokens of the rows' pieces, where they are new."""
        new = {piece: None for row in rows for piece in self.draft.pieces(row) if piece not in self.lengths}
        if new:
            self.lengths.update(zip(new, self.budget.count_tokens(list(new)), strict=True))


def full_text(prompt: Prompt) -> str:
    """Return a prompt as a model without a chat template reads it."""
    return "\n\n".join(part for part in (prompt.system, prompt.user) if part)


def cleaned(texts: Sequence[str | None], *, limit: int = 200) -> Callable[[int], str]:
    """Return the text of a number, through ``clean_text`` once; empty where there is none."""
    return cache(lambda number: clean_text(texts[number] or "", limit=limit))


def history_texts(rows: Rows, row: int, text: Callable[[int], str]) -> list[str]:
    """Return a row's history as titles, oldest first."""
    return [text(item) for item in real(rows.history[row]).tolist()]


def newest(texts: Sequence[str], kept: int) -> Sequence[str]:
    """Return the last ``kept`` texts."""
    return texts[len(texts) - kept :]
