"""Examples answered by a text: the next title, the next item's description, a posting; alone or with rejected ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data import Dataset, Targets
from llmrec.data.files import require_columns
from llmrec.data_prep.examples.negatives import check_rule, draw_negatives
from llmrec.data_prep.examples.rows import Rows, check_choice, check_positive, moments_of
from llmrec.data_prep.examples.table import Examples
from llmrec.data_prep.examples.wording import Budget, Draft, Variables, cleaned, compose, history_texts, newest
from llmrec.errors import ConfigError, DataError
from llmrec.prompts.template import Template, load_template

TASKS = {"next-item": "likelihood-list", "describe-item": "describe-item", "cv-posting": "cv-posting"}
"""What can be answered, and the template that asks for it."""


def next_item(
    data: Dataset,
    *,
    targets: Targets | None = None,
    history: int = 20,
    like_above: float | None = None,
    ties: str = "strict",
    last: int | None = None,
    template: str = TASKS["next-item"],
    budget: Budget | None = None,
) -> Examples:
    """Return histories with the next title as the answer: what ranking by likelihood asks a model.

    Args:
        data: catalogue and events; of a split, the training part.
        targets: whose queries to take, a row for each relevant item; None takes each event of ``data`` that has an
            earlier one.
        history: at most so many newest items.
        like_above: only events with a value above it are targets; None takes all.
        ties: ``strict`` lets a history hold events of earlier seconds only; ``order`` those that stand earlier in the
            input too.
        last: only the last so many moments.
        template: sees ``history``; its answer is a continuation.
        budget: of tokens; the oldest items go first.

    Raises:
        DataError: no titles, or no row.
        ConfigError, UnknownNameError: an argument is out of range or unknown.
    """
    rows, counts = moments_of(data, targets, "random", history=history, like_above=like_above, ties=ties, last=last)
    rows, items = rows.one_each()
    task = _task(data, "next-item", rows, template)
    return compose(data, task.template, task.draft([items]), rows, items, budget=budget, counts=counts)


def describe_item(
    data: Dataset,
    *,
    targets: Targets | None = None,
    history: int = 20,
    like_above: float | None = None,
    ties: str = "strict",
    last: int | None = None,
    template: str = TASKS["describe-item"],
    text_limit: int = 1000,
    budget: Budget | None = None,
) -> Examples:
    """Return histories with the description of the next item as the answer (GIRL: Zheng et al., 2023).

    Rows whose item has no description are dropped and counted.

    Args:
        data: as in ``next_item``, with a column ``description`` in the item table.
        targets: as in ``next_item``.
        history: at most so many newest items.
        like_above: only events with a value above it are targets; None takes all.
        ties: as in ``next_item``.
        last: only the last so many moments.
        template: sees ``history``; its answer is a continuation.
        text_limit: at most so many characters of a description.
        budget: of tokens; the oldest items go first.

    Raises:
        DataError: no titles, no column ``description``, or no row.
        ConfigError, UnknownNameError: an argument is out of range or unknown.
    """
    rows, counts = moments_of(data, targets, "random", history=history, like_above=like_above, ties=ties, last=last)
    rows, items = rows.one_each()
    task = _task(data, "describe-item", rows, template, text_limit=text_limit)
    return compose(data, task.template, task.draft([items]), rows, items, budget=budget, counts=counts)


def cv_to_posting(
    data: Dataset,
    *,
    targets: Targets | None = None,
    like_above: float = 0.0,
    mismatches: bool = False,
    cv_column: str = "text",
    last: int | None = None,
    template: str = TASKS["cv-posting"],
    text_limit: int = 4000,
    budget: Budget | None = None,
) -> Examples:
    """Return CVs with a matching posting as the answer: its title, and its description below (GIRL).

    Args:
        data: users are CVs, items postings, events judgements; of a split, the training part.
        targets: whose relevant postings to take; None takes the events of ``data``.
        like_above: events with a value above it are matches.
        mismatches: also take the events that are none; ``label`` then says which is which.
        cv_column: the column of the user table with the CV.
        last: only the last so many.
        template: sees ``document``; its answer is a continuation.
        text_limit: at most so many characters of a CV, and of a description.
        budget: of tokens; a CV loses its last words first, a posting none.

    Raises:
        DataError: no titles, no such column, or no row.
        ConfigError, UnknownNameError: an argument is out of range or unknown.
    """
    if mismatches and targets is not None:
        raise ConfigError(
            "mismatches of targets", expected="targets, which hold matches only, or mismatches", cure="drop one of them"
        )
    above = None if mismatches else like_above
    rows, counts = moments_of(data, targets, "random", history=1, like_above=above, ties="order", last=last, at_least=0)
    rows, items = rows.one_each()
    labels = None if rows.values is None or not mismatches else rows.values > like_above
    task = _task(data, "cv-posting", rows, template, text_limit=text_limit, cv_column=cv_column)
    return compose(data, task.template, task.draft([items]), rows, items, budget=budget, counts=counts, labels=labels)


def preference_pairs(
    data: Dataset,
    *,
    task: str = "next-item",
    targets: Targets | None = None,
    negatives: str = "random",
    rejected: int = 1,
    history: int = 20,
    like_above: float | None = None,
    ties: str = "strict",
    cv_column: str = "text",
    last: int | None = None,
    seed: int = 0,
    template: str | None = None,
    text_limit: int = 1000,
    budget: Budget | None = None,
) -> Examples:
    """Return prompts with a chosen answer and rejected ones: what reward models and DPO learn from.

    Rejected texts that equal the chosen one are left out, and a row without any is dropped and counted.

    Args:
        data: catalogue and events; of a split, the training part.
        task: ``next-item``, ``describe-item`` or ``cv-posting``: what the answers are.
        targets: as in ``next_item``; with ``shown`` and without targets, each impression's clicks are chosen.
        negatives: the rule of ``draw_negatives``.
        rejected: how many; with 1 the column holds a text, with more a list of at most so many.
        history: at most so many newest items.
        like_above: only events with a value above it are chosen; None takes all. ``disliked`` needs it.
        ties: as in ``next_item``.
        cv_column: as in ``cv_to_posting``.
        last: only the last so many moments.
        seed: of the negatives.
        template: None takes that of the task.
        text_limit: at most so many characters of a description or CV.
        budget: of tokens, for the longest of the answers; the oldest items go first.

    Raises:
        DataError: no titles, a column is missing, or no row.
        ConfigError, UnknownNameError: an argument is out of range or unknown.
    """
    check_choice("task", task, tuple(TASKS))
    check_positive(rejected=rejected)
    check_rule(negatives)
    at_least = 0 if task == "cv-posting" else 1
    rows, counts = moments_of(
        data, targets, negatives, history=history, like_above=like_above, ties=ties, last=last, at_least=at_least
    )
    rows, items = rows.one_each()
    past = rows.history[:, :0] if task == "cv-posting" else rows.history
    no = draw_negatives(
        data,
        rows.users,
        exclude=np.concatenate([past, rows.chosen], axis=1),
        rule=negatives,
        n=rejected,
        like_above=like_above,
        shown=rows.shown,
        seed=seed,
    )
    made = _task(data, task, rows, template or TASKS[task], text_limit=text_limit, cv_column=cv_column)
    draft = made.draft([items, *no.T])
    return compose(data, made.template, draft, rows, items, budget=budget, counts=counts, rejected=rejected)


@dataclass(frozen=True, eq=False)
class _Task:
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


def _task(
    data: Dataset, name: str, rows: Rows, template: str, *, text_limit: int = 200, cv_column: str = "text"
) -> _Task:
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
        return _Task(
            wording,
            lambda row: cv(int(rows.users[row])).split()[::-1],
            lambda row, kept: {"document": " ".join(cv(int(rows.users[row])).split()[:kept])},
            lambda item: "\n".join(part for part in (title(item), about(item)) if part),
            needs_pieces=True,
        )
    text = title if name == "next-item" else cleaned(_texts(data, "item", "description"), limit=text_limit)
    return _Task(
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
