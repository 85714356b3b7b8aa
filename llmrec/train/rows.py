"""Examples as tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data_prep.examples.table import prompts_of
from llmrec.errors import DataError
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
        rejected: token ids of the answers that each one was preferred to; None where there is nothing of the kind.
    """

    prompts: list[list[int]]
    answers: list[list[int]]
    frame: pl.DataFrame
    counts: Counter[str]
    rejected: list[list[list[int]]] | None = None

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
        rejected = None if self.rejected is None else [self.rejected[place] for place in places]
        return TokenRows(prompts, answers, self.frame[list(places)], self.counts, rejected)

    def pairs(self) -> TokenRows:
        """Return a row for each rejected answer, which has it alone."""
        every = self.rejected or []
        found = self.select([place for place, those in enumerate(every) for _ in those])
        return replace(found, rejected=[[one] for those in every for one in those])

    def digest(self) -> str:
        """Return what tells these rows from others: a hash of their tokens and labels."""
        found = blake2b(digest_size=8)
        for prompt, answer in zip(self.prompts, self.answers, strict=True):
            found.update(np.asarray([len(prompt), len(answer), *prompt, *answer], "<i4").tobytes())
        for those in self.rejected or []:
            for one in those:
                found.update(np.asarray([len(one), *one], "<i4").tobytes())
            found.update(b"\xff")
        labels = labels_of(self.frame)
        if labels is not None:
            found.update(labels.cast(pl.Int8).fill_null(2).to_numpy().tobytes())
        return found.hexdigest()

    def require_both(self) -> pl.Series:
        """Return the labels (n,), null where a row has none.

        Raises:
            DataError: there are no labels, or only one of them.
        """
        labels = labels_of(self.frame)
        if labels is None:
            raise DataError("rows without labels", expected="yes or no for each", cure="take yes-no examples")
        if labels.drop_nulls().n_unique() == 1:
            raise DataError(
                f"{len(labels.drop_nulls()):,} rows that all say {'yes' if labels.any() else 'no'}",
                expected="some of each",
                cure="draw more rows, or change like_above",
            )
        return labels

    def first_tokens(self) -> tuple[int, int]:
        """Return the tokens that a no and a yes begin with; rows without a label have no say.

        Raises:
            DataError: as ``require_both`` does; or the answers of a label begin in several ways, or both in the same.
        """
        labels = self.require_both()
        begins = [{self.answers[row][0] for row in (labels == label).arg_true()} for label in (False, True)]
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
    frame: pl.DataFrame, tokens: PromptTokenizer, max_length: int, *, source: str, cut: bool = False
) -> TokenRows:
    """Return examples as tokens in their order, those that are too long left out and counted; there may be none left.

    Prompt and answer are tokenised as engines do it, so that a tuned model is asked what it has learnt. An answer that
    does not end with a line break gets the model's end token. Rejected answers that equal the chosen one are left out,
    and a row without any other is counted.

    Args:
        frame: examples with completions, numbered in ``ROW``; ``rejected``, where there is such a column, has lists.
        tokens: the model's.
        max_length: most tokens of prompt and answer.
        source: what messages call the examples.
        cut: shorten prompts that are too long, as ``encode_text`` does, and read their instructions as text.
    """
    counts = Counter({"longer_than_max_length": 0})
    kept, prompts, answers = [], [], []
    asked = map(Prompt, frame["prompt"]) if cut else prompts_of(frame)
    for place, (prompt, texts) in enumerate(zip(asked, _texts(frame), strict=True)):
        if not texts:
            counts["equal_texts"] += 1
            continue
        found = encode_text(tokens, prompt, texts, max_length, cut=cut)
        if found is None:
            counts["longer_than_max_length"] += 1
            continue
        kept.append(place)
        prompts.append(found.prompt)
        answers.append(found.answers)
        counts["truncated"] += found.cut
    rejected = [those for _, *those in answers] if "rejected" in frame.columns else None
    named = frame[kept].with_columns(pl.lit(source).alias(SOURCE))
    return TokenRows(prompts, [first for first, *_ in answers], named, counts, rejected)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt with its answers as tokens, and whether the prompt was cut."""

    prompt: list[int]
    answers: list[list[int]]
    cut: bool


def encode_text(
    tokens: PromptTokenizer, prompt: Prompt, answers: Sequence[str], max_length: int, *, cut: bool = False
) -> Encoded | None:
    """Return a prompt and its answers as tokens; None where they are too long.

    Args:
        tokens: the model's.
        prompt: what stands before each answer.
        answers: texts; an empty one is nothing but its end.
        max_length: most tokens of the prompt and the longest answer.
        cut: let a prompt that is too long lose its last tokens, down to one; an answer is never cut.
    """
    found = iter(tokens.encode_answers(prompt, [text for text in answers if text]))
    ids = [(next(found) if text else []) + _end(tokens, text) for text in answers]
    whole = tokens.encode_whole(prompt)
    room = min(max_length, tokens.context or max_length) - max(map(len, ids))
    if room < (1 if cut else len(whole)):
        return None
    return Encoded(whole[:room], ids, len(whole) > room)


def _texts(frame: pl.DataFrame) -> Iterator[list[str]]:
    """Yield the answers of each row, the chosen one first; none where no rejected one differs from it."""
    chosen = frame["completion"].to_list()
    if "rejected" not in frame.columns:
        yield from ([text] for text in chosen)
        return
    for text, rejected in zip(chosen, frame["rejected"].to_list(), strict=True):
        others = [other for other in rejected if other and other.strip() and other.strip() != text.strip()]
        yield [text, *others] if others else []


def labels_of(frame: pl.DataFrame) -> pl.Series | None:
    """Return the column of labels; None where there is none or nothing in it."""
    if "label" not in frame.columns or frame["label"].null_count() == frame.height:
        return None
    return frame["label"]


def _end(tokens: PromptTokenizer, text: str) -> list[int]:
    end = tokens.tokenizer.eos_token_id
    return [] if text.endswith("\n") or end is None else [end]
