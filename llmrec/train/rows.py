"""Examples as tokens, drawn, checked and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data_prep.examples import Examples
from llmrec.errors import DataError, EngineError
from llmrec.llm.tokens import PromptTokenizer
from llmrec.protocols import Prompt

ROW, SOURCE = "_row", "_source"
"""Columns that say where a row comes from: its number in its source, from 0, and what that is called."""
_NAMED = 10
"""Rows that a message names."""


@dataclass(frozen=True, eq=False)
class TokenRows:
    """Rows that a model learns from or is asked.

    Attributes:
        prompts: token ids of each prompt, special ones too.
        answers: token ids of each answer, with an end where the text has none of its own.
        frame: the examples that they are of, in the same order.
        counts: what was left out, by reason.
    """

    prompts: list[list[int]]
    answers: list[list[int]]
    frame: pl.DataFrame
    counts: Counter[str]

    @property
    def labels(self) -> NDArray[np.bool_] | None:
        """Yes or no of each row (n,); None where one has none."""
        found = labels_of(self.frame)
        if found is None or found.null_count():
            return None
        values: NDArray[np.bool_] = found.to_numpy()
        return values

    def __len__(self) -> int:
        return len(self.prompts)

    def first_tokens(self) -> tuple[int, int]:
        """Return the tokens that a no and a yes begin with; rows without a label have no say.

        Raises:
            DataError: there are no labels or only one of them, or the answers of a label begin in several ways or both
                in the same one.
        """
        labels = labels_of(self.frame)
        if labels is None:
            raise DataError("rows without labels", expected="yes or no for each", cure="take yes-no examples")
        begins = [{self.answers[row][0] for row in (labels == label).arg_true()} for label in (False, True)]
        if not all(begins):
            raise DataError(
                f"{len(labels.drop_nulls()):,} rows that all say {'no' if begins[0] else 'yes'}",
                expected="some of each",
                cure="draw more rows, or change like_above",
            )
        if any(len(each) > 1 for each in begins) or begins[0] == begins[1]:
            words = sorted(set(self.frame.filter(labels.is_not_null())["completion"].to_list()))[:4]
            raise DataError(
                f"answers {', '.join(map(repr, words))}",
                expected="one first token for yes and another one for no",
                cure="change the labels of the template",
            )
        return begins[0].pop(), begins[1].pop()

    def name(self, numbers: Sequence[int]) -> str:
        """Return which rows of which sources these are, for a message."""
        rows = self.frame[list(numbers[:_NAMED])]
        by_source: dict[str, list[str]] = {}
        for source, row in rows.select(SOURCE, ROW).iter_rows():
            by_source.setdefault(source, []).append(str(row + 1))
        named = ", ".join(f"{', '.join(those)} of {source}" for source, those in by_source.items())
        return named + (f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else "")


def encode_rows(
    examples: Examples,
    tokens: PromptTokenizer,
    max_length: int,
    *,
    wanted: int | None = None,
    seed: int = 0,
    source: str = "the examples",
) -> TokenRows:
    """Return examples as tokens in their order, those that are too long left out and counted.

    Prompt and answer are tokenised as engines do it, so that a tuned model is asked what it has learnt. An answer that
    does not end with a line break gets the model's end token.

    Args:
        examples: prompts and completions.
        tokens: the model's.
        max_length: most tokens of prompt and answer.
        wanted: only so many, drawn at random; where there are labels as many yes as no (one more no if odd), and none
            without one. One that is too long is replaced by another draw.
        seed: of the draw.
        source: what messages call the examples.

    Raises:
        DataError: rows have pairs instead of completions, a row has no answer, too few rows are short enough.
    """
    frame = examples.frame
    if "completion" not in frame.columns:
        raise DataError("rows of chosen and rejected answers", expected="completions", cure="take another kind of rows")
    if ROW not in frame.columns:
        frame = frame.with_row_index(ROW)
    frame = frame.with_columns(pl.lit(source).alias(SOURCE))
    _require_answers(frame, source)
    encoder = _Encoder(Examples(frame).prompts(), frame["completion"].to_list(), tokens, max_length)
    if wanted is None:
        kept = [number for number in range(len(frame)) if encoder.fits(number)]
    else:
        kept = _draw(frame, wanted, seed, encoder.fits)
    if not kept:
        raise _none_fits(len(frame), max_length)
    counts = Counter({**examples.counts, "longer_than_max_length": encoder.too_long})
    prompts, answers = ([encoder.encoded[number][part] for number in kept] for part in (0, 1))
    return TokenRows(prompts, answers, frame[kept], counts)


def labels_of(frame: pl.DataFrame) -> pl.Series | None:
    """Return the column of labels; None where there is none or nothing in it."""
    if "label" not in frame.columns or frame["label"].null_count() == frame.height:
        return None
    return frame["label"]


@dataclass
class _Encoder:
    """Encodes rows as they are asked for, and counts those that are too long."""

    prompts: list[Prompt]
    texts: list[str]
    tokens: PromptTokenizer
    max_length: int
    encoded: dict[int, tuple[list[int], list[int]]] = field(default_factory=dict)
    too_long: int = 0

    def fits(self, number: int) -> bool:
        """Return whether a row is short enough; it is encoded then."""
        prompt, text = self.prompts[number], self.texts[number]
        answer = self.tokens.encode_answers(prompt, [text])[0] + _end(self.tokens, text)
        with suppress(EngineError):  # longer than the model's context
            before = self.tokens.encode(prompt, room=len(answer))
            if len(before) + len(answer) <= self.max_length:
                self.encoded[number] = before, answer
                return True
        self.too_long += 1
        return False


def _draw(frame: pl.DataFrame, n: int, seed: int, fits: Callable[[int], bool]) -> list[int]:
    """Return n row numbers drawn at random from those that fit, sorted.

    Raises:
        DataError: there are not so many, in all or of a label.
    """
    rng, labels = np.random.default_rng(seed), labels_of(frame)
    if labels is None:
        parts = {"": (np.arange(frame.height), n)}
    else:
        parts = {
            " that say no": ((labels == False).arg_true().to_numpy(), n - n // 2),  # noqa: E712 - a column
            " that say yes": ((labels == True).arg_true().to_numpy(), n // 2),  # noqa: E712
        }
    drawn: list[int] = []
    for which, (rows, count) in parts.items():
        first = rng.choice(rows, min(count, len(rows)), replace=False)
        kept = [row for row in first.tolist() if fits(row)]
        others = iter(rng.permutation(np.setdiff1d(rows, first)).tolist())
        while len(kept) < count:
            other = next(others, None)
            if other is None:
                raise _too_few(len(rows), len(kept), which, n, count)
            kept += [other] if fits(other) else []
        drawn += kept
    return sorted(drawn)


def _none_fits(n: int, max_length: int) -> DataError:
    return DataError(
        f"no row of {n:,} has at most {max_length:,} tokens",
        expected="some that fit",
        cure="raise max_length, or make examples with a shorter history",
    )


def _too_few(there: int, fitting: int, which: str, n: int, count: int) -> DataError:
    long = f", {there - fitting:,} of them longer than max_length" if fitting < there else ""
    return DataError(
        f"{there:,} rows{which}{long}",
        expected=f"at least {count:,} to draw from (rows = {n:,})",
        cure="lower rows, or give more data",
    )


def _require_answers(frame: pl.DataFrame, source: str) -> None:
    blank = frame.filter(pl.col("completion").fill_null("").str.strip_chars() == "")
    if len(blank):
        raise DataError(
            f"row {blank[ROW][0] + 1} of {source} has no answer"
            + (f", nor have {len(blank) - 1:,} more" if len(blank) > 1 else ""),
            expected="a text in each",
            cure="mend or drop what has none",
        )


def _end(tokens: PromptTokenizer, text: str) -> list[int]:
    end = tokens.tokenizer.eos_token_id
    return [] if text.endswith("\n") or end is None else [end]
