"""The tags that MovieLens users wrote on movies: read, cleaned, and the commonest of each movie."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from llmrec.data_prep.movielens_files import MovieFiles, known
from llmrec.data_prep.raw.delimited import read_table
from llmrec.data_prep.raw.files import RawFile
from llmrec.data_prep.raw.reading import LATEST, Check, Reading, present, unix_seconds
from llmrec.data_prep.raw.rows import Format, read_chunks
from llmrec.errors import ConfigError, DataError

MOST = 10  # tags of a movie
COLUMNS = {"userId": pl.Int64, "movieId": pl.Int64, "tag": pl.String, "timestamp": pl.Int64}
_LINE = r"^(?<userId>\d+)::(?<movieId>\d+)::(?<tag>.*)::(?<timestamp>-?\d+)$"  # a tag may hold "::" itself


def check_before(before: int | None) -> None:
    """Raise a ConfigError unless ``before`` is None or a time in Unix seconds."""
    if before is not None and not 0 <= before < LATEST:
        raise ConfigError(
            f"tags_before = {before}", expected="Unix seconds", cure="divide it by 1000 if it counts milliseconds"
        )


def read_tags(files: MovieFiles, movies: pl.Series, reading: Reading) -> pl.DataFrame | None:
    """Return ``userId``, ``movieId``, ``timestamp`` (Int64) and ``tag`` as it is written, or None without such a file.

    Args:
        files: where they are.
        movies: ids that may be tagged.
        reading: which rows may be left out.
    """
    if files.tags is None:
        return None
    checks = [present("userId"), known("movieId", movies, files.movies), *unix_seconds("timestamp")]
    if files.kind == "ratings.dat":
        return _read_dat(files.tags, checks, reading)
    return read_table(files.tags, COLUMNS, reading, checks=checks)


def top_tags(tags: pl.DataFrame, movies: pl.Series, *, before: int | None = None) -> pl.Series:
    """Return for each movie the distinct tags that most users gave it, at most ``MOST``, ties in alphabetical order.

    Tags that differ in case, spaces or the composition of accents are one; blank ones are none.

    Args:
        tags: as ``read_tags`` gives them.
        movies: ids in the order wanted.
        before: Unix seconds; only tags earlier than that count. None counts all.
    """
    clean = pl.col("tag").str.normalize("NFC").str.replace_all(r"[\s\p{Cc}]+", " ").str.strip_chars()
    commonest = (
        (tags if before is None else tags.filter(pl.col("timestamp") < before))
        .select("movieId", "userId", clean.str.to_lowercase())
        .filter(pl.col("tag") != "")
        .group_by("movieId", "tag")
        .agg(pl.col("userId").n_unique().alias("users"))
        .sort("movieId", "users", "tag", descending=[False, True, False])
        .group_by("movieId")
        .agg(pl.col("tag").head(MOST).alias("tags"))
    )
    asked = movies.alias("movieId").to_frame()
    joined = asked.join(commonest, on="movieId", how="left", maintain_order="left")
    return joined["tags"].fill_null([])


def _read_dat(file: RawFile, checks: Sequence[Check], reading: Reading) -> pl.DataFrame:
    """Return a table of ``user::movie::tag::timestamp``: only the outer separators separate."""
    form = Format(parse=_parse, explain=_explain, checks=checks, empty=pl.DataFrame(schema=COLUMNS))
    table = pl.concat([form.empty, *read_chunks(file, form, reading)])
    if table.is_empty() and not reading.rejected:
        raise DataError(f"{file.name} is empty", expected="at least one row", cure="fetch the file again")
    return table


def _parse(content: bytes) -> pl.DataFrame:
    lines = pl.Series("line", [content.decode()]).str.split("\n").explode().str.strip_chars_end("\r")
    parts = lines.filter(lines.str.contains(r"\S")).str.extract_groups(_LINE).struct.unnest()
    if parts["timestamp"].null_count():
        raise ValueError("a row that is no tag")
    return parts.cast(pl.Schema(COLUMNS))


def _explain(content: bytes) -> tuple[str, str]:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return f"byte 0x{content[error.start]:02x} is no UTF-8 text", "text in that encoding"
    return "no tag as tags.dat has them", "userId::movieId::tag::timestamp, all but the tag whole numbers"
