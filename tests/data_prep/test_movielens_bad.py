"""Bad MovieLens files: each bad row is named with its line, and left out where that is allowed."""

import gzip

import pytest
from films import EDITIONS, events, everything, put, with_row

from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.raw.reading import Reading
from llmrec.errors import DataError
from llmrec.testing import expect_error

TITLE = "a title for every movie"
SECONDS = "Unix seconds, 0 or later"
MILLISECONDS = ("Unix seconds; this looks like milliseconds", "divide the column by 1000")
HALVES, WHOLE = "half stars from 0.5 to 5", "whole stars from 1 to 5"
# edition, file, the row, the line that it becomes, what the message says of it
ROWS = [
    ("csv", "ratings.csv", b"u9,7,4.0,400", 3, ["userId = 'u9'", "a whole number"]),
    ("csv", "ratings.csv", b"9,7,good,400", 2, ["rating = 'good'", "a number"]),
    ("csv", "ratings.csv", b"9,7,nan,400", 4, ["rating = nan", HALVES]),
    ("csv", "ratings.csv", b"9,7,4.0,1.5", 6, ["timestamp = '1.5'", "a whole number"]),
    ("csv", "ratings.csv", b"9,7,4.", 6, ["3 fields", "4 fields (userId, movieId, rating, timestamp)"]),
    ("csv", "ratings.csv", b"9,7,4.0,400,1", 3, ["5 fields", "4 fields"]),
    ("csv", "ratings.csv", b",7,4.0,400", 3, ["no userId", "an id"]),
    ("csv", "ratings.csv", b"9,,4.0,400", 3, ["no movieId", "an id of ml/movies.csv"]),
    ("csv", "ratings.csv", b"9,8,4.0,400", 5, ["movieId = 8", "an id of ml/movies.csv", "from one download"]),
    ("csv", "ratings.csv", b"9,7,0.0,400", 5, ["rating = 0.0", HALVES]),
    ("csv", "ratings.csv", b"9,7,5.5,400", 5, ["rating = 5.5", HALVES]),
    ("csv", "ratings.csv", b"9,7,3.7,400", 5, ["rating = 3.7", HALVES]),
    ("csv", "ratings.csv", b"9,7,,400", 5, ["no rating", HALVES]),
    ("csv", "ratings.csv", b"9,7,4.0,-1", 2, ["timestamp = -1", SECONDS]),
    ("csv", "ratings.csv", b"9,7,4.0,", 2, ["no timestamp", SECONDS]),
    ("csv", "ratings.csv", b"9,7,4.0,1445714835000", 2, ["timestamp = 1445714835000", *MILLISECONDS]),
    ("csv", "ratings.csv", b"9,7,4.\xff,400", 2, ["byte 0xff is no UTF-8 text"]),
    ("csv", "movies.csv", b"x,Heat (1995),Action", 4, ["movieId = 'x'", "a whole number"]),
    ("csv", "movies.csv", b"3,Heat (1995),Action", 5, ["movieId = 3 stands on line 3 too", "each movieId once"]),
    ("csv", "movies.csv", b",Heat (1995),Action", 2, ["no movieId", "an id"]),
    ("csv", "movies.csv", b"11,,Action", 3, ["no title", TITLE]),
    ("csv", "movies.csv", b'11," ",Action', 5, ["title = ' '", TITLE]),
    ("csv", "movies.csv", b'11,"Heat (19', 5, ["a quote that does not close"]),
    ("csv", "movies.csv", "11,Cité (1995),Action".encode("latin-1"), 2, ["byte 0xe9 is no UTF-8 text"]),
    ("csv", "tags.csv", b"5,8,noir,700", 4, ["movieId = 8", "an id of ml/movies.csv"]),
    ("csv", "tags.csv", b",7,noir,700", 4, ["no userId", "an id"]),
    ("csv", "tags.csv", b"5,7,noir,-7", 8, ["timestamp = -7", SECONDS]),
    ("csv", "tags.csv", b"5,7,film, noir,7", 2, ["5 fields", "4 fields"]),
    ("100k", "u.data", b"22\t1\t3.5\t9", 2, ["rating = 3.5", WHOLE]),
    ("100k", "u.data", b"22\t1\t0\t9", 4, ["rating = 0.0", WHOLE]),
    ("100k", "u.data", b"22,1,3,9", 1, ["1 fields", "4 fields"]),
    ("100k", "u.data", b"22\t2\t3\t9", 1, ["movieId = 2", "an id of ml/u.item"]),
    ("100k", "u.data", b"23\t1\t3\t9", 1, ["userId = 23", "an id of ml/u.user"]),
    ("100k", "u.data", b"22\t1\t3\t881250949000", 1, ["timestamp = 881250949000", *MILLISECONDS]),
    ("100k", "u.item", b"2|GoldenEye (1995)|01-Jan-1995||x|0|1|1", 2, ["8 fields", "24 fields"]),
    ("100k", "u.item", b"2|GoldenEye (1995)|||x|0|2" + b"|0" * 17, 2, ["Action = 2", "0 or 1"]),
    ("100k", "u.item", b"2| |||x|0|1" + b"|0" * 17, 4, ["title = ' '", TITLE]),
    ("100k", "u.item", b"1|Heat (1995)|||x|0|1" + b"|0" * 17, 4, ["movieId = 1 stands on line 1 too"]),
    ("100k", "u.item", b"2|Cit\x82 (1995)|||x|0|1" + b"|0" * 17, 1, ["byte 0x82 is no UTF-8 text"]),  # DOS's é
    ("100k", "u.user", b"23|old|M|writer|1", 1, ["age = 'old'", "a whole number"]),
    ("100k", "u.user", b"23|0|M|writer|1", 1, ["age = 0", "a number from 1 to 120"]),
    ("100k", "u.user", b"23|24|M||1", 1, ["no occupation", "an occupation"]),
    ("100k", "u.user", b"22|24|M|writer|1", 3, ["userId = 22 stands on line 1 too", "each userId once"]),
    ("1m", "ratings.dat", b"4::1::3.5::9", 2, ["rating = 3.5", WHOLE]),
    ("1m", "ratings.dat", b"4:1:3:9", 2, ["1 fields", "4 fields"]),
    ("1m", "ratings.dat", b"3::1::3::9", 4, ["userId = 3", "an id of ml/users.dat"]),
    ("1m", "users.dat", b"3::F::1::21::1", 2, ["occupation = 21", "a number from 0 to 20"]),
    ("1m", "users.dat", b"3::X::1::2::1", 2, ["gender = 'X'", "M or F"]),
    ("1m", "movies.dat", b"2::Jumanji (1995)", 2, ["2 fields", "3 fields (movieId, title, genres)"]),
    ("10m", "ratings.dat", b"1::29::4.2::9", 2, ["rating = 4.2", HALVES]),
    ("10m", "ratings.dat", b"1::30::4.5::9", 2, ["movieId = 30", "an id of ml/movies.dat"]),
    ("10m", "movies.dat", "30::Cité (1995)::Drama".encode("latin-1"), 2, ["byte 0xe9 is no UTF-8 text"]),
    ("10m", "tags.dat", b"7::30::noir::9", 3, ["movieId = 30", "an id of ml/movies.dat"]),
    ("10m", "tags.dat", b"7::29::noir", 1, ["no tag as tags.dat has them", "userId::movieId::tag::timestamp"]),
    ("10m", "tags.dat", b"7::29::noir::-9", 6, ["timestamp = -9", SECONDS]),
    ("10m", "tags.dat", b"7::29::noir::1200000000000", 2, ["timestamp = 1200000000000", *MILLISECONDS]),
    ("10m", "tags.dat", b"7::29::no\xefr::9", 2, ["byte 0xef is no UTF-8 text"]),
    ("10m", "tags.dat", b"99999999999999999999::29::noir::9", 2, ["no tag as tags.dat has them"]),
]  # fmt: skip


@pytest.mark.parametrize(("edition", "name", "row", "line", "words"), ROWS)
def test_bad_movielens(tmp_path, edition, name, row, line, words):
    good = everything(load_movielens(put(tmp_path / "good", EDITIONS[edition])))
    source = put(tmp_path / "ml", with_row(EDITIONS[edition], name, row, line))
    expect_error(DataError, lambda: load_movielens(source), f"ml/{name} line {line} (", *words, "--skip-bad-rows N")
    reading = Reading(skip_bad_rows=1)
    assert everything(load_movielens(source, reading=reading)) == good
    assert [(bad.file, bad.line) for bad in reading.rejected] == [(f"ml/{name}", line)]
    assert reading.rejected[0].text.rstrip("\n") == row.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("edition", "name", "first", "second"),
    [
        ("csv", "ratings.csv", (b"9,7,4.0,-1", 2), (b"9,8,4.0,400", 7)),
        ("csv", "ratings.csv", (b"9,7,5.5,400", 4), (b"9,7,4.", 5)),  # one for its value, one for its form
        ("csv", "movies.csv", (b"x,Heat,", 2), (b'11,"Heat (19', 6)),
        ("csv", "tags.csv", (b"5,7,noir", 4), (b"5,8,noir,1", 5)),
        ("100k", "u.data", (b"22 1 3 9", 1), (b"22\t1\t9\t9", 5)),
        ("100k", "u.user", (b"22|24|X|writer|1", 1), (b"22|24|M|writer|1", 4)),
        ("10m", "tags.dat", (b"7::29::no\xefr::9", 2), (b"7::30::noir::9", 5)),
    ],
)
def test_of_two_bad_rows_one_left_out_is_not_enough(tmp_path, edition, name, first, second):
    files = with_row(with_row(EDITIONS[edition], name, *first), name, *second)
    source = put(tmp_path / "ml", files)
    words = (f"ml/{name} line {second[1]} (", "after 1 bad rows that were left out")
    expect_error(DataError, lambda: load_movielens(source, reading=Reading(skip_bad_rows=1)), *words)
    reading = Reading(skip_bad_rows=2)
    good = put(tmp_path / "good", EDITIONS[edition])
    assert everything(load_movielens(source, reading=reading)) == everything(load_movielens(good))
    assert [bad.line for bad in reading.rejected] == [first[1], second[1]]


def test_bad_rows_of_several_files_are_counted_together(tmp_path):
    files = with_row(EDITIONS["csv"], "movies.csv", b"11,,Action", 3)
    files = with_row(files, "tags.csv", b"5,11,noir,7", 2)  # tags and ratings of a movie that is left out go too
    files = with_row(files, "ratings.csv", b"9,11,4.0,400", 6)
    reading = Reading(skip_bad_rows=3)
    data = load_movielens(put(tmp_path / "ml", files), reading=reading)
    assert everything(data) == everything(load_movielens(put(tmp_path / "good", EDITIONS["csv"])))
    assert {(bad.file, bad.line) for bad in reading.rejected} == {
        ("ml/movies.csv", 3),
        ("ml/tags.csv", 2),
        ("ml/ratings.csv", 6),
    }
    expect_error(DataError, lambda: load_movielens(tmp_path / "ml", reading=Reading(2)), "after 2 bad rows")


def test_of_a_movie_on_several_lines_the_first_is_kept(tmp_path):
    files = dict(EDITIONS["csv"])
    for row, line in ((b"3,Heat (1995),Action", 5), (b"7,Heat (1995),Action", 6), (b"3,Heat,", 7), (b"x,Heat,", 2)):
        files = with_row(files, "movies.csv", row, line)
    reading = Reading(skip_bad_rows=4)
    data = load_movielens(put(tmp_path / "ml", files), reading=reading)
    assert data.item_table["title"].to_list()[:2] == ["The Usual Suspects (1995)", "Babylon 5"]
    assert [(bad.line, bad.reason) for bad in reading.rejected] == [
        (2, "movieId = 'x'"),
        (6, "movieId = 3 stands on line 4 too"),
        (7, "movieId = 7 stands on line 3 too"),
        (8, "movieId = 3 stands on line 4 too"),
    ]


def test_a_catalogue_of_one_movie_twice_can_be_read_with_one_row_left_out(tmp_path):
    ratings = b"userId,movieId,rating,timestamp\n1,3,4.0,5\n"
    files = {"movies.csv": b"movieId,title,genres\n3,Heat,\n3,Ran,\n", "ratings.csv": ratings}
    data = load_movielens(put(tmp_path / "ml", files), reading=Reading(1))
    assert data.titles() == ["Heat"]


@pytest.mark.parametrize(
    ("edition", "name"),
    [(edition, name) for edition, files in EDITIONS.items() for name in files],
)
def test_an_empty_file_is_named(tmp_path, edition, name):
    source = put(tmp_path / "ml", {**EDITIONS[edition], name: b""})
    expect_error(DataError, lambda: load_movielens(source), f"ml/{name} is empty", "fetch the file again")


@pytest.mark.parametrize("name", ["ratings.csv", "movies.csv", "tags.csv"])
def test_a_header_alone_is_named(tmp_path, name):
    header = EDITIONS["csv"][name].splitlines(keepends=True)[0]
    source = put(tmp_path / "ml", {**EDITIONS["csv"], name: header})
    expect_error(DataError, lambda: load_movielens(source), f"ml/{name} is empty below its header")


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("ratings.csv", b"timestamp", b"when", ["no column 'timestamp'", "it has userId, movieId, rating, when"]),
        ("movies.csv", b"title", b"name", ["no column 'title'", "it has movieId, name, genres", "rename or add it"]),
        ("tags.csv", b"tag,", b"word,", ["no column 'tag'"]),
        ("ratings.csv", b"rating,", b"userId,", ["each name once"]),
    ],
)
def test_a_wrong_header_is_named(tmp_path, name, old, new, words):
    source = put(tmp_path / "ml", {**EDITIONS["csv"], name: EDITIONS["csv"][name].replace(old, new, 1)})
    expect_error(DataError, lambda: load_movielens(source), f"ml/{name} has", *words)


@pytest.mark.parametrize(
    ("edition", "gone", "words"),
    [
        ("csv", "ratings.csv", ["does not hold u.data or ratings.dat or ratings.csv", "official archive"]),
        ("csv", "movies.csv", ["does not hold movies.csv", "movies.csv beside ratings.csv"]),
        ("100k", "u.item", ["does not hold u.item", "u.item beside u.data"]),
        ("1m", "movies.dat", ["does not hold movies.dat", "movies.dat beside ratings.dat"]),
    ],
)
def test_a_missing_file_of_a_pair_is_named(tmp_path, edition, gone, words):
    files = {name: text for name, text in EDITIONS[edition].items() if name != gone}
    expect_error(DataError, lambda: load_movielens(put(tmp_path / "ml", files)), "ml", *words)


def test_two_editions_in_one_folder_are_refused(tmp_path):
    source = put(tmp_path / "ml", {**EDITIONS["csv"], **EDITIONS["10m"]})
    expect_error(DataError, lambda: load_movielens(source), "holds ratings.dat and ratings.csv", "take one away")


def test_a_path_that_is_not_there_is_named(tmp_path):
    expect_error(DataError, lambda: load_movielens(tmp_path / "nowhere"), "no file or folder", "nowhere", "u.data")


@pytest.mark.parametrize(("edition", "name"), [("csv", "ratings.csv"), ("csv", "movies.csv"), ("10m", "tags.dat")])
def test_a_truncated_gzip_is_named_with_the_line(tmp_path, edition, name):
    files = dict(EDITIONS[edition])
    packed = gzip.compress(files.pop(name) * 50)
    source = put(tmp_path / "ml", {**files, f"{name}.gz": packed[:-12]})
    words = (f"ml/{name}.gz line ", "cannot be unpacked", "it is cut off or damaged: fetch it again")
    expect_error(DataError, lambda: load_movielens(source), *words)
    assert events(load_movielens(put(tmp_path / "good", EDITIONS[edition])))
