"""Amazon reviews: the editions of 2014, 2018 and 2023, as their authors' JSON lines."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data import Dataset, Interactions, Vocabulary
from llmrec.data_prep.amazon_edition import Edition, EditionName, find_edition
from llmrec.data_prep.amazon_items import Metadata, read_items
from llmrec.data_prep.core import Repeats, check_core, k_core, stable_order, without_repeats
from llmrec.data_prep.raw.files import RawFile, single
from llmrec.data_prep.raw.jsonlines import read_json_lines
from llmrec.data_prep.raw.reading import Reading, between, not_blank
from llmrec.errors import ConfigError, DataError, did_you_mean

logger = logging.getLogger(__name__)

Catalogue = Literal["interacted", "all"]


def load_amazon(
    reviews: Path | str,
    metadata: Path | str | None = None,
    *,
    edition: EditionName = "auto",
    k_core: int = 1,
    repeats: Repeats = "last",
    catalogue: Catalogue = "interacted",
    reading: Reading | None = None,
) -> Dataset:
    """Return one category of Amazon reviews: every review as an event whose value is the rating, 1 to 5.

    In this order: bad rows are refused, of repeated user-item pairs the one that ``repeats`` names stays (exact
    copies are repeats too), the k-core is taken, and the catalogue is made. The log counts what each step leaves out.

    With metadata, the item table has ``title``, ``brand`` (the store in 2023), ``categories`` (a list),
    ``description`` (paragraphs joined by a space) and ``price`` (Float32, US dollars), cleaned as ``read_items`` says;
    an item that it lacks has nulls and no categories. Without, a ``title`` column of nulls is all. Times are Unix
    seconds; those of 2023, in milliseconds, are cut to seconds but keep their order.

    Args:
        reviews: JSON lines, plain or gzipped.
        metadata: the file of the same category; JSON lines, or Python dictionaries in 2014; plain or gzipped.
        edition: ``auto`` tells it by the keys of the first lines.
        k_core: fewest events of each user and item that stays.
        repeats: see ``without_repeats``.
        catalogue: ``interacted`` keeps items with events, ``all`` those of the metadata as well.
        reading: which rows may be left out; None for none.

    Raises:
        ConfigError: an option is unknown, or asks for a catalogue without metadata.
        DataError: a file is missing, damaged, of another edition, or holds a bad row; or nothing is left.
    """
    _check_catalogue(catalogue, metadata)
    check_core(repeats, k_core)
    reading = reading or Reading()
    file = single(Path(reviews), what="a file of Amazon reviews")
    about = None if metadata is None else single(Path(metadata), what="a file of Amazon metadata")
    kind = find_edition(file, about, edition)
    events, users, items = _encode(_read(file, kind, reading), milliseconds=kind.milliseconds)
    events = _reduce(events, file.name, repeats, k_core)
    user_numbers, users = _present(events.users, users)
    item_numbers, items = _present(events.items, items)
    table = pl.DataFrame({"title": pl.Series([None] * len(items), dtype=pl.String)})
    if about is not None:
        described = read_items(
            Metadata(about, kind.metadata, kind.literals), reading, None if catalogue == "all" else items.ids
        )
        if catalogue == "all":
            whole = Vocabulary.of(pl.concat([items.ids, described["id"]]))
            item_numbers, items = whole.numbers(items.ids)[item_numbers], whole
        table = _join(items, described, about.name)
    return Dataset(
        name=f"amazon-{kind.name}-{_slug(file.path.name)}",
        interactions=Interactions(user_numbers, item_numbers, events.times, events.values),
        users=users,
        items=items,
        item_table=table,
        source=kind.source,
        licence=f"No licence is stated: its authors offer the data for research and ask to cite {kind.paper}",
    )


def read_reviews(reviews: Path | str, *, edition: EditionName = "auto", reading: Reading | None = None) -> pl.DataFrame:
    """Return user, item, rating (Float32) and time of each review, in the file's order and with its repeats.

    Args:
        reviews: JSON lines, plain or gzipped.
        edition: as for ``load_amazon``; times of 2023 stay in milliseconds, others are in seconds.
        reading: which rows may be left out; None for none.

    Raises:
        DataError: the file is missing, damaged, of another edition, or holds a bad row.
    """
    file = single(Path(reviews), what="a file of Amazon reviews")
    return _read(file, find_edition(file, None, edition), reading or Reading())


def _check_catalogue(catalogue: str, metadata: Path | str | None) -> None:
    known = ("interacted", "all")
    if catalogue not in known:
        raise ConfigError(f"catalogue = {catalogue!r}", expected=", ".join(known), cure=did_you_mean(catalogue, known))
    if catalogue == "all" and metadata is None:
        raise ConfigError(
            "catalogue = 'all' without metadata",
            expected="the metadata file, which has the items that nobody reviewed",
            cure="name that file, or choose 'interacted'",
        )


def _read(file: RawFile, edition: Edition, reading: Reading) -> pl.DataFrame:
    """Return what ``read_reviews`` does, of a file whose edition is known."""
    user, item, rating, time = edition.review
    table = read_json_lines(
        file,
        {user: pl.String, item: pl.String, rating: pl.Float32, time: pl.Int64},
        reading,
        checks=[not_blank(user), not_blank(item), between(rating, 1, 5), *edition.time_checks()],
    )
    return table.rename(dict(zip(edition.review, ("user", "item", "rating", "time"), strict=True)))


def _encode(table: pl.DataFrame, *, milliseconds: bool) -> tuple[Interactions, Vocabulary, Vocabulary]:
    """Return the events by time with their users and items, and leave ``table`` without its texts.

    Milliseconds order the events of one second.
    """
    # Each column goes once it is encoded, so that its texts need not be held along with the numbers.
    users, user_numbers = Vocabulary.encode(table.drop_in_place("user"))
    items, item_numbers = Vocabulary.encode(table.drop_in_place("item"))
    times = table["time"].to_numpy()
    order = stable_order(times)
    seconds = times[order] // 1000 if milliseconds else times[order]
    return (
        Interactions(user_numbers[order], item_numbers[order], seconds, table["rating"].to_numpy()[order]),
        users,
        items,
    )


def _reduce(events: Interactions, name: str, repeats: Repeats, k: int) -> Interactions:
    """Return the events that the repeats' rule and the k-core leave."""
    once = without_repeats(events, repeats)
    core = once if k == 1 else once.select(k_core(once.users, once.items, k))
    logger.info(
        "%s: %d reviews, %d repeats of a user and an item left out (%s), %d outside the %d-core",
        name, len(events), len(events) - len(once), repeats, len(once) - len(core), k,
    )  # fmt: skip
    if not len(core):
        raise DataError(
            f"{name} has no event in its {k}-core ({len(once)} before)" if len(once) else f"{name} has no good row",
            expected=f"users and items with at least {k} events",
            cure="lower k_core" if len(once) else "mend the rows that were left out",
        )
    return core


def _present(numbers: NDArray[np.int32], vocabulary: Vocabulary) -> tuple[NDArray[np.int32], Vocabulary]:
    """Return the numbers anew, and the vocabulary without the ids that no event has."""
    there = np.bincount(numbers, minlength=len(vocabulary)) > 0
    if there.all():
        return numbers, vocabulary
    new = (np.cumsum(there) - 1).astype(np.int32)
    return new[numbers], Vocabulary(vocabulary.ids.filter(pl.Series(there)))


def _join(items: Vocabulary, described: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return a row for each item; nulls and no categories where the metadata lacks it."""
    table = items.ids.to_frame("id").join(described, on="id", how="left", maintain_order="left").drop("id")
    missing = int((~items.ids.is_in(described["id"].implode())).sum())
    untitled = table["title"].null_count()
    logger.info("%s: %d of %d items have a title, %d are not in it", name, len(items) - untitled, len(items), missing)
    return table.with_columns(pl.col("categories").fill_null([]))


def _slug(name: str) -> str:
    """Return ``gift-cards-5`` for ``reviews_Gift_Cards_5.json.gz``."""
    stem = re.sub(r"(?i)(\.(jsonl?|gz))+$", "", name)
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?i)^reviews_", "", stem).lower()).strip("-")
