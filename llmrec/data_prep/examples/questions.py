"""Examples with a known set of answers: yes or no on one item (TALLRec), or an order of candidates (LLMRank)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from llmrec.data import Dataset, Targets
from llmrec.data_prep.examples.negatives import check_rule, draw_negatives
from llmrec.data_prep.examples.rows import (
    Rows,
    check_choice,
    check_positive,
    moments_of,
    rated_events,
    rated_targets,
    rows_from_impressions,
    rows_from_targets,
)
from llmrec.data_prep.examples.unwritten import Kind, Unwritten
from llmrec.data_prep.examples.wording import Budget, Draft, Variables, cleaned, history_texts, newest
from llmrec.errors import ConfigError, DataError
from llmrec.prompts.template import Template, load_template

Answer = Literal["ranking", "choice"]
LISTWISE = {"ranking": "llmrank-recency", "choice": "choose-next"}
"""The template of each answer."""


@Kind
def yes_no_from_ratings(
    data: Dataset,
    *,
    targets: Targets | None = None,
    window: int = 10,
    like_above: float = 3.0,
    ties: str = "order",
    only: NDArray[np.bool_] | None = None,
    last: int | None = None,
    template: str = "tallrec-item",
    budget: Budget | None = None,
) -> Unwritten:
    """Return TALLRec's instructions: will this user like the target, given what was liked and disliked before.

    Every event with ``window`` earlier events of its user is a target; the lists hold those newest ``window``, oldest
    first. Rows come by user number, then in time order. The paper takes MovieLens-100K in its file's order of users and
    the last 10,000 rows (Bao et al., TALLRec, RecSys 2023); its text is that of the template ``tallrec-movie``.

    Args:
        data: ratings as values; of a split, the training part.
        targets: of a split: each relevant item is a target behind its query's history; ``ties`` and ``only`` say
            nothing then. None takes each event of ``data``.
        window: events before the target, and how many it needs.
        like_above: values above it are likes.
        ties: ``order`` lets the input's order decide between events of one second, as TALLRec does; ``strict`` lets a
            history hold events of earlier seconds only.
        only: (n_events,) which events may be targets, such as those after a cut; histories hold all earlier ones.
        last: only the last so many rows.
        template: sees ``liked``, ``disliked`` and ``target``, and has two labels.
        budget: of tokens; the oldest events of the window go first.

    Raises:
        DataError: no titles, or the values are no ratings.
        ConfigError: an argument is out of range, or the template has no labels.
    """
    check_positive(window=window)
    wording, answers = _yes_no_template(template)
    _check_ratings(data, like_above)
    if targets is None:
        rated = rated_events(data, window=window, ties=ties, only=only, last=last)
    else:
        rated = rated_targets(targets, window=window, last=last)
    liked, past_liked, text = rated.values > like_above, rated.past_values > like_above, cleaned(data.titles())

    def variables(row: int, kept: int) -> Variables:
        past, yes = (array[row, window - kept :] for array in (rated.past, past_liked))
        return {
            "liked": [text(item) for item in past[yes].tolist()],
            "disliked": [text(item) for item in past[~yes].tolist()],
            "target": text(int(rated.items[row])),
        }

    draft = Draft(
        lambda row: [text(item) for item in rated.past[row].tolist()],
        variables,
        lambda row: [answers[int(liked[row])]],
    )
    rows = Rows(rated.users, rated.past, rated.items[:, None], rated.times)
    counts = {"short_history": rated.short}
    return Unwritten(data, wording, draft, rows, rated.items, budget=budget, counts=counts, labels=liked)


@Kind
def yes_no_from_impressions(
    data: Dataset,
    *,
    targets: Targets | None = None,
    negatives: str = "shown",
    per_click: int = 1,
    history: int = 20,
    last: int | None = None,
    seed: int = 0,
    template: str = "click-yes-no",
    budget: Budget | None = None,
) -> Unwritten:
    """Return a yes for each clicked item and a no for each negative: impressions in order, a list's clicks first.

    Args:
        data: a data set with impressions; histories hold its events before the impression's second.
        targets: of a split by impressions: their lists are taken instead; None takes those of ``data``.
        negatives: the rule of ``draw_negatives``; ``shown`` takes what was shown and not clicked.
        per_click: negatives for each click, fewer where the rule has no more; none is twice in one impression.
        history: at most so many newest items.
        last: only the last so many impressions.
        seed: of the negatives.
        template: sees ``history`` and ``target``, and has two labels.
        budget: of tokens; the oldest items of the history go first.

    Raises:
        DataError: no titles, or no impression with labels.
        ConfigError: an argument is out of range, the template has no labels, or ``targets`` do not say what was shown.
        UnknownNameError: no such rule.
    """
    check_positive(history=history, per_click=per_click)
    check_rule(negatives)
    wording, answers = _yes_no_template(template)
    if targets is None:
        moments, counts = rows_from_impressions(data, history=history, last=last)
    else:
        moments, counts = rows_from_targets(targets, history=history, last=last)
    clicks = (moments.chosen >= 0).sum(axis=1)
    no = draw_negatives(
        data,
        moments.users,
        exclude=np.concatenate([moments.history, moments.chosen], axis=1),
        rule=negatives,
        n=clicks * per_click,
        shown=moments.shown,
        seed=seed,
    )
    together = np.concatenate([moments.chosen, no], axis=1)
    at, place = np.nonzero(together >= 0)
    items, labels = together[at, place], place < moments.chosen.shape[1]
    rows, text = moments.select(at), cleaned(data.titles())
    draft = Draft(
        lambda row: history_texts(rows, row, text),
        lambda row, kept: {
            "history": newest(history_texts(rows, row, text), kept),
            "target": text(int(items[row])),
        },
        lambda row: [answers[int(labels[row])]],
    )
    return Unwritten(data, wording, draft, rows, items, budget=budget, counts=counts, labels=labels)


@Kind
def listwise(
    data: Dataset,
    *,
    targets: Targets | None = None,
    answer: str = "ranking",
    candidates: int = 20,
    negatives: str = "random",
    history: int = 20,
    like_above: float | None = None,
    ties: str = "strict",
    last: int | None = None,
    seed: int = 0,
    template: str | None = None,
    budget: Budget | None = None,
) -> Unwritten:
    """Return a history with shuffled candidates; the answer ranks them, or names those that were chosen.

    A ranking has what was chosen first and the others in the order of the prompt, since nothing is known of them. It is
    the form that ``llmrec.prompts.answers.parse_ranking`` reads. Candidates of one title count once.

    Args:
        data: catalogue and events; of a split, the training part.
        targets: whose queries to take; None takes each event of ``data``, or with ``shown`` each impression.
        answer: ``ranking`` or ``choice``.
        candidates: how many, at most one fewer of them chosen; fewer where the rule has no more.
        negatives: the rule of ``draw_negatives``.
        history: at most so many newest items.
        like_above: only events with a value above it are targets; None takes all. ``disliked`` needs it.
        ties: as in ``next_item``.
        last: only the last so many rows.
        seed: of negatives and order.
        template: sees ``history`` and ``candidates``; None takes that of the answer.
        budget: of tokens; the oldest items of the history go first.

    Raises:
        DataError: no titles, no impressions for ``shown``, or no row.
        ConfigError, UnknownNameError: an argument is out of range or unknown.
    """
    check_choice("answer", answer, get_args(Answer))
    wording = load_template(template or LISTWISE[answer])
    if wording.answer != "ranking" or candidates < 2:
        raise ConfigError(
            f"template {wording.name!r} with the answer {wording.answer!r} and candidates = {candidates}",
            expected="a template with the answer 'ranking', and at least 2 candidates",
            cure="change the one that does not fit",
        )
    rows, counts = moments_of(data, targets, negatives, history=history, like_above=like_above, ties=ties, last=last)
    shuffled, is_chosen = _candidates(data, rows, negatives, candidates, like_above, seed)
    text = cleaned(data.titles())

    def titles(row: int, *, chosen: bool | None = None) -> list[str]:
        both = zip(shuffled[row].tolist(), is_chosen[row].tolist(), strict=True)
        return list(dict.fromkeys(text(item) for item, yes in both if item >= 0 and chosen in {None, yes}))

    def answers(row: int) -> list[str]:
        first, every = titles(row, chosen=True), titles(row)
        whole = [*first, *(title for title in every if title not in first)]
        return [write_ranking(whole if answer == "ranking" else first)] if len(every) > len(first) else []

    draft = Draft(
        lambda row: history_texts(rows, row, text),
        lambda row, kept: {"history": newest(history_texts(rows, row, text), kept), "candidates": titles(row)},
        answers,
    )
    first = np.take_along_axis(rows.chosen, np.argmax(rows.chosen >= 0, axis=1)[:, None], 1)[:, 0]
    return Unwritten(data, wording, draft, rows, first, budget=budget, counts=counts)


def write_ranking(titles: Sequence[str]) -> str:
    """Return titles as the numbered list that ``parse_ranking`` reads, behind a line break."""
    return "".join(f"\n{place}. {title}" for place, title in enumerate(titles, start=1))


def _candidates(
    data: Dataset, rows: Rows, rule: str, n: int, like_above: float | None, seed: int
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return the candidates of each row in random order, -1 among them, and which of them were chosen."""
    real = np.take_along_axis(rows.chosen, np.argsort(rows.chosen < 0, axis=1, kind="stable"), 1)
    chosen = real[:, : n - 1]
    no = draw_negatives(
        data,
        rows.users,
        exclude=np.concatenate([rows.history, rows.chosen], axis=1),
        rule=rule,
        n=n - (chosen >= 0).sum(axis=1),
        like_above=like_above,
        shown=rows.shown,
        seed=seed,
    )
    together = np.concatenate([chosen, no], axis=1)
    order = np.argsort(np.random.default_rng([seed, 1]).random(together.shape), axis=1)
    return np.take_along_axis(together, order, 1), order < chosen.shape[1]


def _yes_no_template(name: str) -> tuple[Template, tuple[str, str]]:
    """Return the template, and how it answers no and yes."""
    template = load_template(name)
    if template.labels is None:
        raise ConfigError(
            f"template {name!r} has no labels", expected="the words for no and yes", cure="add labels: [No., Yes.]"
        )
    no, yes = (template.render_answer(label) for label in template.labels)
    return template, (no, yes)


def _check_ratings(data: Dataset, like_above: float) -> None:
    values = data.interactions.values
    if len(np.unique(values > like_above)) < 2:
        span = f"values from {values.min():g} to {values.max():g}" if len(values) else "no events"
        raise DataError(
            f"{data.name!r} has {span} with like_above = {like_above:g}",
            expected="ratings on both sides of it",
            cure="change like_above; for data without ratings take yes_no_from_impressions or next_item",
        )
