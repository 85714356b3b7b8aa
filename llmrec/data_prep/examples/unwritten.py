"""Examples before they are put into words: who is asked about what is known, and any of them can be written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import update_wrapper
from typing import Any, Generic, ParamSpec

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data import Dataset
from llmrec.data_prep.examples.rows import Counts, Rows
from llmrec.data_prep.examples.table import Examples, make_frame
from llmrec.data_prep.examples.wording import Budget, Draft, full_text, write
from llmrec.prompts.template import Template

Options = ParamSpec("Options")


@dataclass(frozen=True, eq=False)
class Unwritten:
    """Examples of a draft: row i is of ``rows`` i and item ``items[i]``.

    Attributes:
        data: the vocabularies.
        template: the wording.
        draft: the texts.
        rows: (n,) who and when.
        items: int32 (n,), item numbers.
        budget: of tokens, or None.
        counts: what was dropped before.
        labels: bool (n,), yes or no, or None.
        rejected: how many answers behind the first are rejected ones, at most; 0 where answers are completions.
    """

    data: Dataset
    template: Template
    draft: Draft
    rows: Rows
    items: NDArray[np.int32]
    budget: Budget | None
    counts: Mapping[str, int]
    labels: NDArray[np.bool_] | None = None
    rejected: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def write(self) -> Examples:
        """Return all rows in words.

        Raises:
            DataError: none is left.
        """
        frame, _, counts = self.write_rows(np.arange(len(self)))
        return Examples(frame, {**self.counts, **counts})

    def without_answers(self) -> Unwritten:
        """Return the same prompts for somebody else to answer: answers take no room, and rows without one are kept."""
        return replace(self, draft=replace(self.draft, answers=lambda _: [""]), rejected=0)

    def write_rows(self, numbers: NDArray[np.int64]) -> tuple[pl.DataFrame, NDArray[np.int64], Counts]:
        """Return some rows in words, the numbers (m,) of those that were kept, and how many were dropped or cut.

        Args:
            numbers: of the rows, in the order that is wanted.
        """
        written = write(self.template, self.draft, numbers, self.budget)
        at = written.rows
        columns: dict[str, Any] = {
            "prompt": [full_text(prompt) for prompt in written.prompts],
            "system": [prompt.system for prompt in written.prompts],
            "chosen" if self.rejected else "completion": [answers[0] for answers in written.answers],
        }
        if self.rejected:
            columns["rejected"] = [answers[1] if self.rejected == 1 else answers[1:] for answers in written.answers]
        if self.labels is not None:
            columns["label"] = self.labels[at]
        columns["user"] = self.data.users.decode(self.rows.users[at])
        columns["item"] = self.data.items.decode(self.items[at])
        columns["time"] = [None] * len(at) if self.rows.times is None else self.rows.times[at]
        return make_frame(columns), at, written.counts


class Kind(Generic[Options]):
    """A kind of examples: called it returns all of them in words, ``draft`` leaves them unwritten.

    Args:
        draft: from a data set and options to the examples.
    """

    def __init__(self, draft: Callable[Options, Unwritten]) -> None:
        self.draft = draft
        update_wrapper(self, draft)

    def __call__(self, *args: Options.args, **kwargs: Options.kwargs) -> Examples:
        """Return the examples in words."""
        return self.draft(*args, **kwargs).write()
