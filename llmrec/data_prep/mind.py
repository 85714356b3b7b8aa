"""MIND, the Microsoft News data set: news that people were shown, what they clicked, and what they clicked before."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data import Dataset, Impressions, Interactions, Vocabulary
from llmrec.data_prep.mind_behaviors import Behaviors, read_behaviors, unknown_news
from llmrec.data_prep.mind_news import read_news, with_unknown
from llmrec.data_prep.mind_tokens import offsets_of
from llmrec.data_prep.raw.files import ZIP, RawFile, find, look_for, magic, single
from llmrec.data_prep.raw.reading import Reading
from llmrec.errors import ConfigError, DataError, did_you_mean

SOURCE = "https://msnews.github.io/"
TERMS = "Microsoft Research Licence Terms for MIND: non-commercial research only; the data may not be redistributed"
STAGES = ("train", "dev", "test")
WHAT = "behaviors.tsv and news.tsv of MIND, or parts of it called train, dev and test"

Times = Literal["clock", "order"]
UnknownItems = Literal["error", "keep"]
Numbers = NDArray[np.int32]

PART = re.compile(r"(?:(?P<edition>MIND[a-z]*)_)?(?P<stage>train|dev|test)(?P<zip>\.zip)?", re.IGNORECASE)


def load_mind(
    source: Path | str,
    *,
    entities: bool = False,
    times: Times = "clock",
    unknown_items: UnknownItems = "error",
    more_news: Sequence[Path | str] = (),
    reading: Reading | None = None,
) -> Dataset:
    """Return MIND (Wu et al., ACL 2020): its impressions, and every click as an event of value 1.

    Each click of an impression is an event at the impression's time. What a user had clicked before, the history of the
    file, has an order but no times: it becomes events one second before the part's first impression, repeats included.
    Where a user's lines in one part have different histories, the longest counts. Where a user occurs in several
    parts, a later part adds only those items of the history that the user has no event with yet, one second before
    that part's first impression: the histories of dev and test hold the clicks of the training week again.

    Times are taken as UTC; MIND does not say where its clocks stood. Items are all news of news.tsv in that order; of
    several parts, the first that has an id describes it. The item table has ``title``, ``description`` (the
    abstract), ``categories`` (category, subcategory), ``url``, and with ``entities`` the lists ``title_entity_ids``,
    ``title_entity_labels``, ``abstract_entity_ids`` and ``abstract_entity_labels`` (Wikidata). Impressions stand in the
    order of the files; those of a file without labels, such as the official test, are not ``labelled``.

    Args:
        source: folder or zip with behaviors.tsv and news.tsv; a folder of such folders or zips that are called train,
            dev, test, or MINDsmall_train and so on (where a zip is unpacked beside itself, the folder is read); or
            a file in the format of behaviors.tsv with news.tsv beside it.
        entities: read the entities of titles and abstracts too.
        times: ``order`` for copies without times: the n-th impression has time n, and the data set has no clock.
        unknown_items: what becomes of news in an impression or a history that no file describes: ``error`` refuses the
            row, ``keep`` adds them behind the others without a title (the files are then read twice).
        more_news: further files in the format of news.tsv.
        reading: which rows may be left out, and who is told of progress.

    Raises:
        DataError: a file is missing or damaged, or a row is bad and may not be left out.
        ConfigError: ``times`` or ``unknown_items`` is none of the above.
    """
    source, reading = Path(source), reading or Reading()
    _check_choices(times, unknown_items)
    clock, pairs = times == "clock", _parts(source)
    news = read_news(_news_files(pairs, more_news), reading, entities=entities)
    if unknown_items == "keep":
        unknown = [unknown_news(behaviors, news["id"], clock=clock) for behaviors, _ in pairs]
        news = with_unknown(news, pl.concat(unknown).unique().sort())
    parts = [read_behaviors(behaviors, news["id"], reading, clock=clock) for behaviors, _ in pairs]
    users, numbers = Vocabulary.encode(pl.concat([part.users for part in parts]))
    moments = np.concatenate([part.times for part in parts]) if clock else np.arange(1, len(numbers) + 1)
    return Dataset(
        name=_name(source, [behaviors for behaviors, _ in pairs]),
        interactions=_interactions(parts, numbers, moments, news.height),
        users=users,
        items=Vocabulary(news["id"]),
        item_table=news.drop("id"),
        impressions=_impressions(parts, numbers, moments),
        source=SOURCE,
        licence=TERMS,
        clock=clock,
    )


def _check_choices(times: str, unknown_items: str) -> None:
    for name, value, known in (
        ("times", times, get_args(Times)),
        ("unknown_items", unknown_items, get_args(UnknownItems)),
    ):
        if value not in known:
            expected = " or ".join(map(repr, known))
            raise ConfigError(f"{name} = {value!r}", expected=expected, cure=did_you_mean(value, known))


def _parts(source: Path) -> list[tuple[RawFile, RawFile]]:
    """Return the files of impressions and of news of each part, in the order train, dev, test."""
    if source.is_file() and magic(source) != ZIP:
        return [(single(source, what=WHAT), find(source.parent, "news.tsv", what=WHAT))]
    places = [source]
    if source.is_dir() and look_for(source, "behaviors.tsv", what=WHAT) is None:
        places = _stages(source) or [source]
    return [(find(place, "behaviors.tsv", what=WHAT), find(place, "news.tsv", what=WHAT)) for place in places]


def _stages(source: Path) -> list[Path]:
    """Return the sub-folders and zips of a folder that are parts of one edition."""
    found: dict[str, Path] = {}
    editions = set()
    for path in sorted(source.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        part = PART.fullmatch(path.name)
        if part and path.is_dir() == (part["zip"] is None):
            found[part["stage"].lower()] = path  # folders come last, and so stand in for their zips
            editions.add(part["edition"] or "")
    if len(editions) > 1:
        raise DataError(
            f"{str(source)!r} holds parts of {len(editions)} editions: {', '.join(map(repr, sorted(editions)))}",
            expected="the train, dev and test of one",
            cure="give each edition a folder of its own",
        )
    return [found[stage] for stage in STAGES if stage in found]


def _news_files(pairs: Sequence[tuple[RawFile, RawFile]], more: Sequence[Path | str]) -> list[RawFile]:
    what = "a file in the format of MIND's news.tsv"
    return [*(news for _, news in pairs), *(single(Path(path), what=what) for path in more)]


def _name(source: Path, files: Sequence[RawFile]) -> str:
    """Return a short name: ``MINDsmall_train`` gives ``mind-small-train``, all parts of it ``mind-small``."""
    if source.is_dir():
        name = source.resolve().name
    else:
        name = source.stem if files[0].member else source.resolve().parent.name
    if len(files) > 1:
        first = files[0].path if files[0].member else files[0].path.parent
        part = PART.fullmatch(first.name)
        name = part["edition"] if part and part["edition"] else name
    return re.sub(r"^mind(?=small|large|demo)", "mind-", name.lower().replace("_", "-"))


def _interactions(parts: Sequence[Behaviors], users: Numbers, times: NDArray[np.int64], n_items: int) -> Interactions:
    """Return the histories and the clicks of all parts as events; ``users`` and ``times`` (m,) go over all of them."""
    bounds = offsets_of(np.array([len(part.users) for part in parts]))
    owners: list[Numbers] = []
    items: list[Numbers] = []
    moments: list[NDArray[np.int64]] = []
    for part, start, end in zip(parts, bounds[:-1], bounds[1:], strict=True):
        if start == end:
            continue
        user, item = _histories(part, users[start:end])
        if owners:
            known = pl.Series(np.concatenate(owners) * np.int64(n_items) + np.concatenate(items))
            new = ~pl.Series(user * np.int64(n_items) + item).is_in(known.implode()).to_numpy()
            user, item = user[new], item[new]
        row, clicked = _clicks(part, times[start:end])
        owners += [user, users[start + row]]
        items += [item, clicked]
        moments += [np.full(len(user), max(times[start:end].min() - 1, 0)), times[start + row]]
    if not owners:  # every row was left out
        return Interactions.sort([], [], [])
    user, item, moment = np.concatenate(owners), np.concatenate(items), np.concatenate(moments)
    if (moment[1:] < moment[:-1]).any():  # parts that overlap
        return Interactions.sort(user, item, moment)
    return Interactions(user, item, moment, np.ones(len(moment), np.float32))


def _histories(part: Behaviors, users: Numbers) -> tuple[Numbers, Numbers]:
    """Return the users and items of each user's longest history in a part, the first of those, in the file's order."""
    told = np.flatnonzero(part.history_lengths)
    lengths = part.history_lengths[told].astype(np.int64)
    order = np.lexsort((-lengths, users[told]))
    longest = np.zeros(len(told), np.bool_)
    longest[order[np.flatnonzero(np.diff(users[told][order], prepend=-1))]] = True
    return np.repeat(users[told[longest]], lengths[longest]), part.history[np.repeat(longest, lengths)]


def _clicks(part: Behaviors, times: NDArray[np.int64]) -> tuple[NDArray[np.int64], Numbers]:
    """Return the impressions (rows) and items of a part's clicks by time, those of one second in the file's order."""
    places = np.flatnonzero(part.clicked)
    rows = np.searchsorted(offsets_of(part.lengths), places, side="right") - 1
    order = np.argsort(times[rows], kind="stable")
    return rows[order], part.shown[places[order]]


def _impressions(parts: Sequence[Behaviors], users: Numbers, times: NDArray[np.int64]) -> Impressions:
    """Return all parts' impressions in their order."""
    return Impressions(
        users=users,
        times=times,
        offsets=offsets_of(np.concatenate([part.lengths for part in parts])),
        items=np.concatenate([part.shown for part in parts]),
        clicked=np.concatenate([part.clicked for part in parts]),
        labelled=np.repeat([part.labelled for part in parts], [len(part.users) for part in parts]),
    )
