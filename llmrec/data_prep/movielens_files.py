"""The files of every MovieLens edition, found in a folder or zip and read into tables of one form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from llmrec.data_prep.raw.delimited import CSV, Layout, read_table
from llmrec.data_prep.raw.files import RawFile, base, find, look_for
from llmrec.data_prep.raw.reading import Check, Reading, between, not_blank, present, unix_seconds
from llmrec.data_prep.raw.rows import Columns
from llmrec.data_prep.raw.second_look import read_distinct

SETS = (
    "one MovieLens set: u.data and u.item (100K), ratings.dat and movies.dat (1M, 10M), or ratings.csv and movies.csv"
)
# ratings -> movies, users, tags
PARTNERS: dict[str, tuple[str, str | None, str | None]] = {
    "u.data": ("u.item", "u.user", None),
    "ratings.dat": ("movies.dat", "users.dat", "tags.dat"),
    "ratings.csv": ("movies.csv", None, "tags.csv"),
}
RATING_COLUMNS = ("userId", "movieId", "rating", "timestamp")
NO_GENRES = "(no genres listed)"
GENRES_100K = (
    *("Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
ITEM_COLUMNS_100K = ("movieId", "title", "released", "video", "url", "unknown", *GENRES_100K)
OCCUPATIONS_1M = (
    *("other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service"),
    *("doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer", "programmer"),
    *("retired", "sales/marketing", "scientist", "self-employed", "technician/engineer", "tradesman/craftsman"),
    *("unemployed", "writer"),
)


@dataclass(frozen=True)
class MovieFiles:
    """Where the files of one set are.

    Attributes:
        ratings: ``u.data``, ``ratings.dat`` or ``ratings.csv``; its name tells the edition.
        movies: the catalogue.
        users: who rated, or None (100K and 1M have it).
        tags: what users wrote on movies, or None (10M and later have it).
    """

    ratings: RawFile
    movies: RawFile
    users: RawFile | None
    tags: RawFile | None

    @property
    def kind(self) -> str:
        """The name of the ratings file, without what it is packed in."""
        return _plain(self.ratings)

    @property
    def whole_stars(self) -> bool:
        """Whether ratings are whole stars, as in 100K and 1M: the editions that describe their users."""
        return self.kind == "u.data" or self.users is not None


def find_files(source: Path) -> MovieFiles:
    """Return the files of the one set in a folder, or in a zip at any depth.

    Raises:
        DataError: there is no such source, no set in it, half a set or two.
    """
    ratings = find(source, *PARTNERS, what=SETS)
    movies, users, tags = PARTNERS[_plain(ratings)]
    return MovieFiles(
        ratings=ratings,
        movies=find(source, movies, what=f"{movies} beside {_plain(ratings)}: {SETS}"),
        users=look_for(source, users, what=SETS) if users else None,
        tags=look_for(source, tags, what=SETS) if tags else None,
    )


def read_movies(files: MovieFiles, reading: Reading) -> pl.DataFrame:
    """Return ``movieId`` (Int64, distinct), ``title`` as it is written and ``categories`` (list of genres)."""
    checks = [
        present("movieId"),
        not_blank("title", "a title for every movie: language models read movies by their titles"),
    ]
    if files.kind == "u.data":
        layout = Layout(separator="|", header=ITEM_COLUMNS_100K, quoted=False, latin=True)
        columns: Columns = {"movieId": pl.Int64, "title": pl.String, **dict.fromkeys(GENRES_100K, pl.Int64)}
        checks += [Check(genre, ~pl.col(genre).is_in([0, 1]), "0 or 1") for genre in GENRES_100K]
        flags = [pl.when(pl.col(genre) == 1).then(pl.lit(genre)) for genre in GENRES_100K]
        genres = pl.concat_list(flags).list.drop_nulls()
    else:
        # 1M is latin-1 and has no tags; 10M is UTF-8.
        layout = _dat("movieId", "title", "genres", latin=files.tags is None) if files.kind == "ratings.dat" else CSV
        columns = {"movieId": pl.Int64, "title": pl.String, "genres": pl.String}
        genres = split_genres(pl.col("genres"))
    table = _read_distinct(files.movies, columns, reading, key="movieId", checks=checks, layout=layout)
    return table.select("movieId", "title", categories=genres)


def split_genres(genres: pl.Expr) -> pl.Expr:
    """Return the lists in a column as ``Crime|Drama``; what stands for no genre gives an empty one."""
    named = pl.element().filter(~pl.element().is_in(["", NO_GENRES]))
    return genres.fill_null("").str.split("|").list.eval(named)


def read_users(files: MovieFiles, reading: Reading) -> pl.DataFrame | None:
    """Return ``userId``, ``age`` (Int32), ``gender`` (M or F), ``occupation`` and ``zip`` as text, or None.

    1M gives the lowest age of a bracket (1, 18, 25, 35, 45, 50, 56) and a number for the occupation, which becomes
    the text of its README.
    """
    if files.users is None:
        return None
    old = files.kind == "u.data"
    columns: Columns = {
        "userId": pl.Int64,
        "age": pl.Int32,
        "gender": pl.String,
        "occupation": pl.String if old else pl.Int32,
        "zip": pl.String,
    }
    checks = [
        present("userId"),
        between("age", 1, 120),
        Check("gender", ~pl.col("gender").is_in(["M", "F"]), "M or F"),
        not_blank("occupation", "an occupation") if old else between("occupation", 0, len(OCCUPATIONS_1M) - 1),
    ]
    if old:
        layout = Layout(separator="|", header=tuple(columns), quoted=False)
    else:
        layout = _dat("userId", "gender", "age", "occupation", "zip")
    table = _read_distinct(files.users, columns, reading, key="userId", checks=checks, layout=layout)
    if old:
        return table
    return table.with_columns(pl.col("occupation").replace_strict(dict(enumerate(OCCUPATIONS_1M))))


def read_ratings(files: MovieFiles, movies: pl.Series, users: pl.Series | None, reading: Reading) -> pl.DataFrame:
    """Return ``userId``, ``movieId`` and ``timestamp`` (Int64) and ``rating`` (Float64), in the file's order.

    Args:
        files: where they are.
        movies: ids that may be rated.
        users: ids that may rate; None for any.
        reading: which rows may be left out.
    """
    step = 1.0 if files.whole_stars else 0.5
    stars = pl.col("rating")
    checks = [
        present("userId") if users is None or files.users is None else known("userId", users, files.users),
        known("movieId", movies, files.movies),
        Check(
            "rating",
            ~(stars.is_between(step, 5.0) & (stars % step == 0)),
            "whole stars from 1 to 5" if files.whole_stars else "half stars from 0.5 to 5",
        ),
        *unix_seconds("timestamp"),
    ]
    columns = {"userId": pl.Int64, "movieId": pl.Int64, "rating": pl.Float64, "timestamp": pl.Int64}
    layouts = {"u.data": Layout(separator="\t", header=RATING_COLUMNS, quoted=False), "ratings.csv": CSV}
    layout = layouts.get(files.kind, _dat(*RATING_COLUMNS))
    return read_table(files.ratings, columns, reading, checks=checks, layout=layout)


def known(column: str, ids: pl.Series, where: RawFile) -> Check:
    """Refuse missing ids, and those that another file lacks."""
    cure = "take all files from one download, or mend that line"
    return Check(column, ~pl.col(column).is_in(ids.implode()), f"an id of {where.name}", cure)


def _read_distinct(
    file: RawFile, columns: Columns, reading: Reading, *, key: str, checks: Sequence[Check], layout: Layout
) -> pl.DataFrame:
    def read(rules: Reading, more: Sequence[Check]) -> pl.DataFrame:
        return read_table(file, columns, rules, checks=[*checks, *more], layout=layout)

    return read_distinct(read, key, reading)


def _dat(*header: str, latin: bool = False) -> Layout:
    return Layout(separator="::", header=header, quoted=False, latin=latin)


def _plain(file: RawFile) -> str:
    return base(file.member or file.path.name).removesuffix(".gz")
