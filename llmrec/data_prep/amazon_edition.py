"""The editions of Amazon reviews: how each writes its files, and how a file's keys tell which one it is of."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from llmrec.data_prep.raw.files import RawFile
from llmrec.data_prep.raw.reading import Check, unix_milliseconds, unix_seconds
from llmrec.errors import ConfigError, DataError, did_you_mean

EditionName = Literal["auto", "2014", "2018", "2023"]
FIRST = 10  # lines whose keys tell the edition


@dataclass(frozen=True)
class Edition:
    """How one edition writes its files.

    Attributes:
        name: the year.
        review: keys of a review: user, item, rating, time.
        metadata: key of an item for each of id, title, brand, categories, description and price.
        foreign: keys that are in files of another edition only.
        source: the official page.
        paper: what the authors ask to cite.
        milliseconds: whether times count them rather than seconds.
        literals: whether a line of metadata is a Python dictionary.
    """

    name: str
    review: tuple[str, str, str, str]
    metadata: dict[str, str]
    foreign: frozenset[str]
    source: str
    paper: str
    milliseconds: bool = False
    literals: bool = False

    def time_checks(self) -> list[Check]:
        """Return the checks of the time column."""
        if self.milliseconds:
            return unix_milliseconds(self.review[3], "only the editions 2014 and 2018 count seconds: multiply by 1000")
        return unix_seconds(self.review[3], "only the edition 2023 counts milliseconds: divide by 1000")


_OLD = ("reviewerID", "asin", "overall", "unixReviewTime")
_COMMON = {"title": "title", "description": "description", "price": "price"}
EDITIONS = {
    "2014": Edition(
        name="2014",
        review=_OLD,
        metadata={"id": "asin", "brand": "brand", "categories": "categories", **_COMMON},
        foreign=frozenset({"verified", "category", "parent_asin"}),
        source="https://jmcauley.ucsd.edu/data/amazon/",
        paper="McAuley et al., SIGIR 2015, and He and McAuley, WWW 2016",
        literals=True,
    ),
    "2018": Edition(
        name="2018",
        review=_OLD,
        metadata={"id": "asin", "brand": "brand", "categories": "category", **_COMMON},
        foreign=frozenset({"helpful", "categories", "parent_asin"}),
        source="https://nijianmo.github.io/amazon/",
        paper="Ni, Li and McAuley, EMNLP 2019",
    ),
    "2023": Edition(
        name="2023",
        review=("user_id", "parent_asin", "rating", "timestamp"),
        metadata={"id": "parent_asin", "brand": "store", "categories": "categories", **_COMMON},
        foreign=frozenset(),
        source="https://amazon-reviews-2023.github.io/",
        paper="Hou et al., arXiv 2403.03952",
        milliseconds=True,
    ),
}


def find_edition(reviews: RawFile, metadata: RawFile | None, asked: str) -> Edition:
    """Return the edition of the files; the later one where the keys fit two.

    Raises:
        ConfigError: there is no such edition.
        DataError: a file has the keys of none, or of another one than asked for or than the other file.
    """
    if asked not in {"auto", *EDITIONS}:
        raise ConfigError(
            f"edition = {asked!r}", expected=f"auto, {', '.join(EDITIONS)}", cure=did_you_mean(asked, EDITIONS)
        )
    found = _possible(reviews, asked, "review", [edition.review for edition in EDITIONS.values()])
    if metadata is not None:
        ids = [(edition.metadata["id"],) for edition in EDITIONS.values()]
        described = _possible(metadata, asked, "metadata", ids)
        both = [name for name in found if name in described]
        if not both:
            raise DataError(
                f"{reviews.name} is of edition {' or '.join(found)}, {metadata.name} of {' or '.join(described)}",
                expected="two files of one edition",
                cure="fetch the metadata that belongs to the reviews",
            )
        found = both
    return EDITIONS[found[-1]]


def _possible(file: RawFile, asked: str, what: str, keys: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the editions that the first lines of a file fit; all of them where no line can be read."""
    names = list(EDITIONS) if asked == "auto" else [asked]
    seen = _first_keys(file)
    if not seen:
        return names
    fit = [
        name
        for name, (first, *_) in zip(EDITIONS, keys, strict=True)
        if first in seen and not EDITIONS[name].foreign & seen
    ]
    if found := [name for name in names if name in fit]:
        return found
    wanted = [f"{name}: {', '.join(some)}" for name, some in zip(EDITIONS, keys, strict=True) if name in names]
    raise DataError(
        f"{file.name} has the keys {', '.join(sorted(seen))}",
        expected=f"{what} keys of edition {'; '.join(wanted)}",
        cure=f"read it as edition {' or '.join(fit)}"
        if fit
        else f"point at a file of Amazon {what}, one object a line",
    )


def _first_keys(file: RawFile) -> set[str]:
    """Return the keys of the objects in the first lines; none where the file is damaged, which reading it will tell."""
    head = b""
    with suppress(DataError), file.open() as (stream, _):
        head = stream.read(1 << 20)
    keys: set[str] = set()
    for line in head.split(b"\n")[:FIRST]:
        keys |= _keys(line)
    return keys


def _keys(line: bytes) -> set[str]:
    with suppress(ValueError, RecursionError):
        value = json.loads(line)
        return set(map(str, value)) if isinstance(value, dict) else set()
    with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
        value = ast.literal_eval(line.decode().strip())
        return set(map(str, value)) if isinstance(value, dict) else set()
    return set()
