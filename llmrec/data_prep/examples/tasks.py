"""What an answer's text is and what its prompt sees: a title, a description, a posting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data import Dataset
from llmrec.data.files import require_columns
from llmrec.data_prep.examples.rows import Rows, check_positive, real
from llmrec.data_prep.examples.wording import Draft, Variables, cleaned, history_texts, newest
from llmrec.errors import ConfigError, DataError
from llmrec.prompts.template import Template, load_template

TASKS = {"next-item": "likelihood-list", "describe-item": "describe-item", "cv-posting": "cv-posting"}
"""What can be answered, and the template that asks for it."""
TEXT_LIMITS = {"next-item": 1000, "describe-item": 1000, "cv-posting": 4000}
"""Characters of a description or CV."""


@dataclass(frozen=True, eq=False)
class Task:
    """How the rows of a task are put into words: what a prompt can lose, what it sees, and the text of an item."""

    template: Template
    pieces: Callable[[int], Sequence[str]]
    variables: Callable[[int, int], Variables]
    text: Callable[[int], str]
    needs_pieces: bool = False

    def draft(self, items: Sequence[NDArray[np.int32]]) -> Draft:
        """Return the draft whose row has these items (each (n,)) as answers, the chosen one first."""
        rendered = cache(self.template.render_cleaned_answer)

        def answers(row: int) -> list[str]:
            asked = [int(column[row]) for column in items]
            first, *others = dict.fromkeys(self.text(item) for item in asked if item >= 0)
            kept = [first, *(other for other in others if other)]
            enough = first and len(kept) >= min(len(items), 2)
            return [rendered(text) for text in kept] if enough else []

        return Draft(self.pieces, self.variables, answers, self.needs_pieces)

    def lines(self, items: NDArray[np.int32]) -> Callable[[int], list[str]]:
        """Return the answers of a draft whose row has these items (n, r), padded with -1, in one text.

        Raises:
            ConfigError: the template puts no line break behind an answer.
        """
        if not self.template.render_answer("x").endswith("\n"):
            raise ConfigError(
                f"several titles with template {self.template.name!r}",
                expected="a continuation that ends its line",
                cure="take likelihood-list, or one title",
            )
        rendered = cache(self.template.render_cleaned_answer)

        def answers(row: int) -> list[str]:
            texts = [self.text(item) for item in real(items[row]).tolist()]
            return ["".join(map(rendered, filter(None, texts)))] if texts[0] else []

        return answers


def make_task(
    data: Dataset, name: str, rows: Rows, template: str, *, text_limit: int | None = None, cv_column: str = "text"
) -> Task:
    """Return how the rows of one of ``TASKS`` are put into words.

    Args:
        data: titles and descriptions.
        name: of the task.
        rows: who and when.
        template: its answer is a continuation.
        text_limit: at most so many characters of a description or CV; None takes the task's own.
        cv_column: the column of the user table with the CV.

    Raises:
        ConfigError: the template's answer is another one.
        DataError: a column is missing.
    """
    text_limit = TEXT_LIMITS[name] if text_limit is None else text_limit
    check_positive(text_limit=text_limit)
    wording = load_template(template)
    if wording.answer != "continuation":
        raise ConfigError(
            f"template {wording.name!r} has the answer {wording.answer!r}",
            expected="answer 'continuation': the text itself is learnt",
            cure="choose another template",
        )
    title = cleaned(data.titles())
    if name == "cv-posting":
        cv = cleaned([*_texts(data, "user", cv_column), None], limit=text_limit)  # user -1 has none
        about = cleaned(_texts(data, "item", "description"), limit=text_limit)
        # A prompt loses its last words first, so they stand in front.
        return Task(
            wording,
            lambda row: cv(int(rows.users[row])).split()[::-1],
            lambda row, kept: {"document": " ".join(cv(int(rows.users[row])).split()[:kept])},
            lambda item: "\n".join(part for part in (title(item), about(item)) if part),
            needs_pieces=True,
        )
    text = title if name == "next-item" else cleaned(_texts(data, "item", "description"), limit=text_limit)
    return Task(
        wording,
        lambda row: history_texts(rows, row, title),
        lambda row, kept: {"history": newest(history_texts(rows, row, title), kept)},
        text,
    )


def _texts(data: Dataset, kind: str, column: str) -> list[str | None]:
    """Return a text column of the item or user table.

    Raises:
        DataError: there is no such column of texts.
    """
    table = data.item_table if kind == "item" else data.user_table
    where = f"the {kind} table of {data.name!r}"
    if table is None:
        raise DataError(f"{data.name!r} has no {kind} table", expected=f"a column {column!r} in it", cure="add one")
    require_columns(table, (column,), where=where)
    if table[column].dtype != pl.String:
        raise DataError(f"{where} has {column!r} of type {table[column].dtype}", expected="texts", cure="join them")
    return table[column].to_list()
