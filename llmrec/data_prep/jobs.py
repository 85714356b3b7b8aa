"""CVs, postings and which fit: what job descriptions are written for and matching is trained on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from llmrec.config import Config
from llmrec.data import Dataset, Interactions, Vocabulary
from llmrec.data_prep.about import About, encode, known, require_good
from llmrec.data_prep.job_texts import Texts, merged, read_texts
from llmrec.data_prep.raw.anyfile import read_any
from llmrec.data_prep.raw.reading import Check, Reading
from llmrec.data_prep.table import LARGEST, time_checks

logger = logging.getLogger(__name__)


class JobColumns(Config):
    """Which column is what."""

    cv_id: str | None = None
    """Of a CV; null numbers the records from 1 (a folder of texts: the files' names)."""
    cv_text: tuple[str, ...] = Field(default=("text",), min_length=1)
    """One or more; the texts are joined with line breaks."""
    cv_title: str | None = None
    """Role or headline, or null."""
    posting_id: str | None = None
    """Of a posting; null numbers the records from 1."""
    posting_title: str | None = "title"
    """Its title, or null."""
    posting_text: tuple[str, ...] = Field(default=("description",), min_length=1)
    """One or more; the texts are joined with line breaks."""
    match_cv: str = "cv"
    """The CV's id in the table of matches."""
    match_posting: str = "posting"
    """The posting's."""
    match_label: str | None = "label"
    """How well they fit; null counts each match 1."""
    match_time: str | None = None
    """Unix seconds, or null."""


@dataclass(frozen=True)
class Duplicates:
    """What was left out because it was there already.

    Attributes:
        cvs: CVs whose text an earlier one has.
        postings: postings whose title and text an earlier one has.
        matches: matches of a pair that another match is of, once the former two are merged.
        conflicts: pairs whose matches differed in their label.
    """

    cvs: int
    postings: int
    matches: int
    conflicts: int


def log_duplicates(duplicates: Duplicates) -> None:
    """Write the counts to the log."""
    logger.info(
        "jobs: %d repeated CVs, %d repeated postings and %d repeated matches left out (%d pairs with several labels)",
        duplicates.cvs, duplicates.postings, duplicates.matches, duplicates.conflicts,
    )  # fmt: skip


def load_jobs(
    cvs: Path | str,
    postings: Path | str,
    matches: Path | str | None = None,
    *,
    columns: JobColumns | None = None,
    name: str = "jobs",
    source: str = "",
    licence: str = "",
    count: Callable[[Duplicates], None] = log_duplicates,
    reading: Reading | None = None,
) -> Dataset:
    """Return CVs as users, postings as items and matches as events whose value is the label.

    The user table has ``text`` and ``title`` (where mapped), the item table ``title`` and ``description``, and both the
    further columns of their files. CVs of one text (whatever its case and white space), and postings of one title and
    text, are merged into the first, so that no text is on both sides of a split; their matches are the first's. Of
    several matches of a pair the one with the highest label stays, of those the first. Without a time, events are in
    the order of the matches (``clock`` is False).

    Args:
        cvs: a table, a folder of tables with the same columns, or a folder of ``.txt`` files, whose names are the ids.
        postings: the same of postings.
        matches: a table of ids and labels; None: no events.
        columns: which column is what.
        name: of the data set.
        source: where the data came from.
        licence: under which terms.
        count: told how many duplicates were left out; the log by default.
        reading: which rows may be left out.

    Raises:
        DataError: a file is missing, empty or damaged, a column is absent, or a row is bad and may not be left out: a
            text or id is blank, an id is on an earlier line, a match names an unknown CV or posting, a label or time is
            out of range. Also where matches go by record numbers and a record was left out, which would shift them.
    """
    columns, reading = columns or JobColumns(), reading or Reading()
    cv_texts = Texts(columns.cv_id, columns.cv_title, columns.cv_text, "text")
    posting_texts = Texts(columns.posting_id, columns.posting_title, columns.posting_text, "description")
    numbered = matches is not None
    people = read_texts(Path(cvs), cv_texts, reading, numbered=numbered)
    jobs = read_texts(Path(postings), posting_texts, reading, numbered=numbered)
    user_of, kept_people = merged(people.table, ["text"])
    item_of, kept_jobs = merged(jobs.table, [name for name in ("title", "description") if name in jobs.table.columns])
    users, items = encode(people.ids, people)[0], encode(jobs.ids, jobs)[0]
    events = _Events.none() if matches is None else _read_matches(Path(matches), columns, people, jobs, reading)
    interactions, repeats, conflicts = events.merged(user_of, item_of)
    count(Duplicates(len(users) - len(kept_people), len(items) - len(kept_jobs), repeats, conflicts))
    return Dataset(
        name=name,
        interactions=interactions,
        users=Vocabulary(users.ids.gather(kept_people)),
        items=Vocabulary(items.ids.gather(kept_jobs)),
        item_table=jobs.table[kept_jobs],
        user_table=people.table[kept_people],
        source=source,
        licence=licence,
        clock=columns.match_time is not None and matches is not None,
    )


@dataclass(frozen=True)
class _Events:
    """Matches as they stand in their file, in the numbers of all CVs and postings."""

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    times: NDArray[np.int64]
    labels: NDArray[np.float64]

    @classmethod
    def none(cls) -> _Events:
        """Return no match."""
        return cls(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0))

    def merged(self, user_of: NDArray[np.int32], item_of: NDArray[np.int32]) -> tuple[Interactions, int, int]:
        """Return one event of each pair of merged texts, the matches left out and the pairs with several labels."""
        users, items = user_of[self.users], item_of[self.items]
        pairs = users.astype(np.int64) * (int(items.max(initial=0)) + 1) + items
        order = np.lexsort((self.times, -self.labels, pairs))  # stable: of equal ones the file's order stays
        same = pairs[order][1:] == pairs[order][:-1]
        several = same & (self.labels[order][1:] != self.labels[order][:-1])
        kept = np.sort(order[np.append(True, ~same)[: len(order)]])
        events = Interactions.sort(users[kept], items[kept], self.times[kept], self.labels[kept])
        return events, len(order) - len(kept), len(np.unique(pairs[order][1:][several]))


def _read_matches(path: Path, columns: JobColumns, people: About, jobs: About, reading: Reading) -> _Events:
    cv, posting, label, time = columns.match_cv, columns.match_posting, columns.match_label, columns.match_time
    wanted: dict[str, type[pl.DataType]] = {cv: pl.String, posting: pl.String}
    checks = [*known(cv, people), *known(posting, jobs)]
    if label is not None:
        wanted[label] = pl.Float64
        checks.append(Check(label, ~pl.col(label).is_between(-LARGEST, LARGEST), "a finite number"))
    if time is not None:
        wanted[time] = pl.Float64
        checks += time_checks(time, "s")
    frame = read_any(path, wanted, reading, checks=checks)
    require_good(frame, path)
    return _Events(
        users=encode(frame[cv], people)[1],
        items=encode(frame[posting], jobs)[1],
        times=np.arange(frame.height) if time is None else np.floor(frame[time].to_numpy()).astype(np.int64),
        labels=np.ones(frame.height) if label is None else frame[label].to_numpy(),
    )
