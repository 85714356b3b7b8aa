"""Examples as tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data_prep.examples.table import prompts_of
from llmrec.errors import DataError, EngineError
from llmrec.llm.tokens import PromptTokenizer

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

    def select(self, places: Sequence[int]) -> TokenRows:
        """Return some rows, in this order."""
        prompts, answers = ([each[place] for place in places] for each in (self.prompts, self.answers))
        return TokenRows(prompts, answers, self.frame[list(places)], self.counts)

    def digest(self) -> str:
        """Return what tells these rows from others: a hash of their tokens and labels."""
        found = blake2b(digest_size=8)
        for prompt, answer in zip(self.prompts, self.answers, strict=True):
            found.update(np.asarray([len(prompt), len(answer), *prompt, *answer], "<i4").tobytes())
        labels = labels_of(self.frame)
        if labels is not None:
            found.update(labels.cast(pl.Int8).fill_null(2).to_numpy().tobytes())
        return found.hexdigest()

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


def encode_rows(frame: pl.DataFrame, tokens: PromptTokenizer, max_length: int, *, source: str) -> TokenRows:
    """Return examples as tokens in their order, those that are too long left out and counted; there may be none left.

    Prompt and answer are tokenised as engines do it, so that a tuned model is asked what it has learnt. An answer that
    does not end with a line break gets the model's end token.

    Args:
        frame: examples with completions, numbered in ``ROW``.
        tokens: the model's.
        max_length: most tokens of prompt and answer.
        source: what messages call the examples.
    """
    kept, prompts, answers = [], [], []
    texts = frame["completion"].to_list()
    for place, prompt in enumerate(prompts_of(frame)):
        answer = tokens.encode_answers(prompt, [texts[place]])[0] + _end(tokens, texts[place])
        with suppress(EngineError):  # longer than the model's context
            before = tokens.encode(prompt, room=len(answer))
            if len(before) + len(answer) <= max_length:
                kept.append(place)
                prompts.append(before)
                answers.append(answer)
    counts = Counter({"longer_than_max_length": frame.height - len(kept)})
    return TokenRows(prompts, answers, frame[kept].with_columns(pl.lit(source).alias(SOURCE)), counts)


def labels_of(frame: pl.DataFrame) -> pl.Series | None:
    """Return the column of labels; None where there is none or nothing in it."""
    if "label" not in frame.columns or frame["label"].null_count() == frame.height:
        return None
    return frame["label"]


def _end(tokens: PromptTokenizer, text: str) -> list[int]:
    end = tokens.tokenizer.eos_token_id
    return [] if text.endswith("\n") or end is None else [end]
