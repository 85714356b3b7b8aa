"""Files of any size in the official formats, made from a seed: what ``benchmarks/data.py`` reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl

BLOCK = 200_000  # rows written at a time
TEXT = (  # one word has JSON's escapes, as real texts do
    "this is one of the best that I have bought so far and it works well with my old set although the colour was not "
    "quite what the picture promised but shipping came early box intact would buy again for a friend who likes such "
    'things because price quality size feel smell taste sound screen \\"new\\" battery cable lid handle'
)


def amazon(path: Path, lines: int) -> Path:
    """Reviews as the 2018 edition writes them, some 590 bytes a line."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(TEXT.split(), rng.integers(20, 120))) for _ in range(5_000)]
    n_users, n_items = max(lines // 4, 10), max(lines // 20, 10)

    def block(size: int) -> pl.DataFrame:
        frame = pl.DataFrame(
            {
                "rating": rng.integers(1, 6, size),
                "user": (n_users * rng.random(size) ** 2).astype(np.int64),
                "item": (n_items * rng.random(size) ** 3).astype(np.int64),
                "text": pl.Series(texts).gather(rng.integers(0, len(texts), size)),
                "summary": pl.Series([" ".join(text.split()[:4]) for text in texts]).gather(
                    rng.integers(0, len(texts), size)
                ),
                "time": rng.integers(1_000_000_000, 1_538_000_000, size),
            }
        )
        form = (
            '{{"overall": {}.0, "verified": true, "reviewTime": "06 17, 2018", "reviewerID": "A{}", "asin": "B{}", '
            '"style": {{"Color:": " Black"}}, "reviewerName": "A. Customer", "reviewText": "{}", "summary": "{}", '
            '"unixReviewTime": {}}}'
        )
        ids = (pl.col("user").cast(pl.String).str.zfill(13), pl.col("item").cast(pl.String).str.zfill(9))
        return frame.select(pl.format(form, "rating", *ids, "text", "summary", "time"))

    return _write(path, lines, block)


def mind(folder: Path, impressions: int) -> Path:
    """``behaviors.tsv`` and ``news.tsv`` as MIND writes them: 37 shown and a history of 33 on average."""
    rng = np.random.default_rng(0)
    n_news, n_users = 100_000, max(impressions // 3, 10)
    folder.mkdir(parents=True, exist_ok=True)
    news = pl.DataFrame({"id": np.arange(n_news)}).select(
        pl.format(
            "N{}\tnews\tnewsworld\tTitle {}\tWhat happened in place {}.\thttps://example.org/{}\t[]\t[]", *["id"] * 4
        )
    )
    _write(folder / "news.tsv", n_news, news.head)
    lengths = rng.integers(1, 66, n_users)
    told = _join(pl.Series(rng.integers(0, n_news, lengths.sum())).cast(pl.String), lengths, "N", "")
    clock = pl.from_epoch(pl.Series(np.arange(6 * 86_400) + 1_573_257_600), time_unit="s")  # 9 November 2019
    times = clock.dt.strftime("%-m/%-d/%Y %-I:%M:%S %p")

    def block(size: int) -> pl.DataFrame:
        shown = rng.integers(2, 73, size)
        total = int(shown.sum())
        tokens = pl.Series(rng.integers(0, n_news, total)).cast(pl.String)
        tail = pl.Series(["-0", "-1"]).gather((rng.random(total) < 0.04).astype(np.int64))
        users = rng.integers(0, n_users, size)
        frame = pl.DataFrame(
            {
                "id": np.arange(1, size + 1),
                "user": users,
                "time": times.gather(np.sort(rng.integers(0, len(times), size))),
                "history": told.gather(users),
                "shown": _join(tokens + tail, shown, "N", ""),
            }
        )
        return frame.select(pl.format("{}\tU{}\t{}\t{}\t{}", "id", "user", "time", "history", "shown"))

    _write(folder / "behaviors.tsv", impressions, block)
    return folder


def movielens(folder: Path, ratings: int) -> Path:
    """``ratings.csv`` and ``movies.csv`` as MovieLens 32M has them: 200,948 users and 87,585 films."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    n_users, n_films = max(ratings // 159, 10), 87_585
    films = pl.DataFrame({"movieId": np.arange(1, n_films + 1) * 3}).with_columns(
        title=pl.format("Film Number {}, The ({})", "movieId", pl.col("movieId") % 100 + 1920),
        genres=pl.lit("Comedy|Drama"),
    )
    films.write_csv(folder / "movies.csv")
    users = np.sort(rng.integers(1, n_users + 1, ratings))
    done = 0

    def block(size: int) -> pl.DataFrame:
        nonlocal done
        some = users[done : done + size]
        done += size
        frame = pl.DataFrame(
            {
                "user": some,
                "film": (n_films * rng.random(size) ** 3).astype(np.int64) * 3 + 3,
                "rating": rng.integers(1, 11, size) / 2,
                "time": rng.integers(800_000_000, 1_700_000_000, size),
            }
        )
        return frame.select(pl.format("{},{},{},{}", "user", "film", "rating", "time"))

    _write(folder / "ratings.csv", ratings, block, header="userId,movieId,rating,timestamp")
    return folder


def _join(tokens: pl.Series, lengths: np.ndarray, before: str, after: str) -> pl.Series:
    """Return texts of so many tokens each, separated by spaces."""
    rows = np.repeat(np.arange(len(lengths)), lengths)
    frame = pl.DataFrame({"row": rows, "token": before + tokens + after})
    return frame.group_by("row", maintain_order=True).agg(pl.col("token").str.join(" "))["token"]


def _write(path: Path, rows: int, block: Callable[[int], pl.DataFrame], header: str = "") -> Path:
    """Write one text a row, blockwise, under a temporary name first."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        if header:
            file.write(f"{header}\n".encode())
        for size in _sizes(rows):
            file.write("\n".join(block(size).to_series().to_list()).encode() + b"\n")
    temporary.replace(path)
    return path


def _sizes(rows: int) -> Iterator[int]:
    for start in range(0, rows, BLOCK):
        yield min(BLOCK, rows - start)
