"""Examples answered by a text: the next title, the next item's description, a posting; alone or with rejected ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Dataset, Targets
from llmrec.data_prep.examples.negatives import check_rule, draw_negatives
from llmrec.data_prep.examples.rows import check_choice, check_positive, moments_of
from llmrec.data_prep.examples.tasks import TASKS, make_task
from llmrec.data_prep.examples.unwritten import Kind, Unwritten
from llmrec.data_prep.examples.wording import Budget
from llmrec.errors import ConfigError


@Kind
def next_item(
    data: Dataset,
    *,
    targets: Targets | None = None,
    titles: int = 1,
    history: int = 20,
    like_above: float | None = None,
    ties: str = "strict",
    last: int | None = None,
    template: str = TASKS["next-item"],
    budget: Budget | None = None,
) -> Unwritten:
    """Return histories with the next title as the answer: what ranking by likelihood asks a model.

    With more ``titles`` an answer goes on with those after it, a line each. Every event is still answered once, but a
    history is read once for many: as much is learnt from a fraction of the tokens.

    Args:
        data: catalogue and events; of a split, the training part.
        targets: whose queries to take, a row for each relevant item; None takes each event of ``data`` that has an
            earlier one.
        titles: how many an answer holds, fewer at a user's end; more than one are made of events only.
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
    check_positive(titles=titles)
    if titles > 1 and targets is not None:
        raise ConfigError(f"titles = {titles} with targets", expected="1: a target is one item", cure="drop titles")
    rows, counts = moments_of(data, targets, "random", history=history, like_above=like_above, ties=ties, last=last)
    rows, items = rows.one_each()
    if titles > 1:
        starts, following = _in_a_row(rows.users, items, titles)
        rows, items = rows.select(starts), following[:, 0]
    task = make_task(data, "next-item", rows, template)
    draft = task.draft([items])
    if titles > 1:
        draft = replace(draft, answers=task.lines(following))
    return Unwritten(data, task.template, draft, rows, items, budget=budget, counts=counts)


def _in_a_row(
    users: NDArray[np.int32], items: NDArray[np.int32], n: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return every n-th row (m,) of each user, and the n items (m, n) from it on, padded with -1 behind the last one.

    Args:
        users: (q,), each one's rows together.
        items: (q,).
        n: how many.
    """
    row = np.arange(len(users))
    first = np.maximum.accumulate(np.where(np.diff(users, prepend=-2) != 0, row, 0))
    starts = np.flatnonzero((row - first) % n == 0)
    place = starts[:, None] + np.arange(n)
    known = np.minimum(place, len(users) - 1)
    same = (place < len(users)) & (users[known] == users[starts, None])
    return starts, np.where(same, items[known], -1).astype(np.int32)


@Kind
def describe_item(
    data: Dataset,
    *,
    targets: Targets | None = None,
    history: int = 20,
    like_above: float | None = None,
    ties: str = "strict",
    last: int | None = None,
    template: str = TASKS["describe-item"],
    text_limit: int | None = None,
    budget: Budget | None = None,
) -> Unwritten:
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
        text_limit: at most so many characters of a description; None: 1,000.
        budget: of tokens; the oldest items go first.

    Raises:
        DataError: no titles, no column ``description``, or no row.
        ConfigError, UnknownNameError: an argument is out of range or unknown.
    """
    rows, counts = moments_of(data, targets, "random", history=history, like_above=like_above, ties=ties, last=last)
    rows, items = rows.one_each()
    task = make_task(data, "describe-item", rows, template, text_limit=text_limit)
    return Unwritten(data, task.template, task.draft([items]), rows, items, budget=budget, counts=counts)


@Kind
def cv_to_posting(
    data: Dataset,
    *,
    targets: Targets | None = None,
    like_above: float = 0.0,
    mismatches: bool = False,
    cv_column: str = "text",
    last: int | None = None,
    template: str = TASKS["cv-posting"],
    text_limit: int | None = None,
    budget: Budget | None = None,
) -> Unwritten:
    """Return CVs with a matching posting as the answer: its title, and its description below (GIRL).

    Args:
        data: users are CVs, items postings, events judgements; of a split, the training part.
        targets: whose relevant postings to take; None takes the events of ``data``.
        like_above: events with a value above it are matches.
        mismatches: also take the events (of targets: the items) that are none; ``label`` then says which is which.
        cv_column: the column of the user table with the CV.
        last: only the last so many.
        template: sees ``document``; its answer is a continuation.
        text_limit: at most so many characters of a CV, and of a description; None: 4,000.
        budget: of tokens; a CV loses its last words first, a posting none.

    Raises:
        DataError: no titles, no such column, or no row.
        ConfigError, UnknownNameError: an argument is out of range or unknown.
    """
    if mismatches and targets is not None and targets.values is None:
        raise ConfigError(
            "mismatches of targets without values", expected="values that say what fits", cure="drop mismatches"
        )
    above = None if mismatches else like_above
    rows, counts = moments_of(data, targets, "random", history=1, like_above=above, ties="order", last=last, at_least=0)
    rows, items = rows.one_each()
    labels = None if rows.values is None or not mismatches else rows.values[:, 0] > like_above
    task = make_task(data, "cv-posting", rows, template, text_limit=text_limit, cv_column=cv_column)
    return Unwritten(data, task.template, task.draft([items]), rows, items, budget=budget, counts=counts, labels=labels)


@Kind
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
    text_limit: int | None = None,
    budget: Budget | None = None,
) -> Unwritten:
    """Return prompts with a chosen answer and rejected ones: what reward models and DPO learn from.

    Rejected texts that equal the chosen one are left out, and a row without any is dropped and counted.

    Args:
        data: catalogue and events; of a split, the training part.
        task: ``next-item``, ``describe-item`` or ``cv-posting``: what the answers are.
        targets: as in ``next_item``; with ``shown`` and without targets, each impression's clicks are chosen.
        negatives: the rule of ``draw_negatives``.
        rejected: how many; with 1 the column holds a text, with more a list of at most so many.
        history: at most so many newest items.
        like_above: only events with a value above it are chosen; None takes all, but 0 where the task is
            ``cv-posting``. ``disliked`` needs it.
        ties: as in ``next_item``.
        cv_column: as in ``cv_to_posting``.
        last: only the last so many moments.
        seed: of the negatives.
        template: None takes that of the task.
        text_limit: at most so many characters of a description or CV; None takes what the task takes by itself.
        budget: of tokens, for the longest of the answers; the oldest items go first.

    Raises:
        DataError: no titles, a column is missing, or no row.
        ConfigError, UnknownNameError: an argument is out of range or unknown.
    """
    check_choice("task", task, tuple(TASKS))
    check_positive(rejected=rejected)
    check_rule(negatives)
    at_least = 0 if task == "cv-posting" else 1
    if like_above is None and task == "cv-posting":
        like_above = 0.0
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
    made = make_task(data, task, rows, template or TASKS[task], text_limit=text_limit, cv_column=cv_column)
    draft = made.draft([items, *no.T])
    return Unwritten(data, made.template, draft, rows, items, budget=budget, counts=counts, rejected=rejected)
