"""The Amazon loader on small files made here, and on the official ones."""

import gzip
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from llmrec.data import Dataset
from llmrec.data_prep.amazon import load_amazon, read_reviews
from llmrec.data_prep.raw.reading import Reading
from llmrec.errors import ConfigError, DataError
from llmrec.testing import expect_error

YEARS = ("2014", "2018", "2023")
T = 1_400_000_000  # a moment in 2014, which counts as seconds and, times 1000, as milliseconds
# User, item, rating, seconds; file order is not time order, and u1 rates i1 three times.
ROWS = [
    ("u2", "i2", 3.0, T + 9),
    ("u1", "i1", 5.0, T + 5),
    ("u1", "i1", 2.0, T + 7),
    ("u1", "i3", 4.0, T + 6),
    ("u1", "i1", 5.0, T + 5),
]
LAST = [("u1", "i3", 4.0, T + 6), ("u1", "i1", 2.0, T + 7), ("u2", "i2", 3.0, T + 9)]


def line(edition: str, user: object, item: object, rating: object, seconds: float, **changes: object) -> bytes:
    """Return a review as an edition writes it, without the keys that ``changes`` sets to ``...``."""
    row: dict[str, object]
    if edition == "2023":
        row = {"rating": rating, "title": "Good", "text": "So\nso", "images": [{"small": "x"}], "asin": "other"}
        row |= {"parent_asin": item, "user_id": user, "timestamp": round(seconds * 1000), "verified_purchase": True}
    else:
        row = {"overall": rating, "reviewerID": user, "asin": item, "reviewText": 'So "so" \\ é'}
        row |= {"helpful": [0, 1]} if edition == "2014" else {"verified": True, "style": {"Size:": " 7 oz"}}
        row["unixReviewTime"] = seconds
    row |= changes
    return json.dumps({key: value for key, value in row.items() if value is not ...}, ensure_ascii=False).encode()


def content(edition: str = "2018", rows: list = ROWS) -> bytes:
    return b"".join(line(edition, *row) + b"\n" for row in rows)


def write(path: Path, text: bytes) -> Path:
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def events(data: Dataset) -> list[tuple[str, str, float, int]]:
    one = data.interactions
    users, items = data.users.decode(one.users).to_list(), data.items.decode(one.items).to_list()
    return list(zip(users, items, one.values.tolist(), one.times.tolist(), strict=True))


@pytest.mark.parametrize("edition", YEARS)
@pytest.mark.parametrize("asked", ["auto", "its own"])
def test_each_edition_is_read(tmp_path, edition, asked):
    path = write(tmp_path / "reviews_Gift_Cards_5.json", content(edition))
    data = load_amazon(path, edition="auto" if asked == "auto" else edition)
    assert events(data) == LAST
    assert data.users.ids.to_list() == ["u1", "u2"]
    assert data.items.ids.to_list() == ["i1", "i2", "i3"]
    assert data.item_table.to_dict(as_series=False) == {"title": [None] * 3}
    assert data.name == f"amazon-{edition}-gift-cards-5"
    assert data.clock
    assert data.licence.startswith("No licence is stated")
    assert {"2014": "jmcauley", "2018": "nijianmo", "2023": "amazon-reviews-2023"}[edition] in data.source


@pytest.mark.parametrize("edition", YEARS)
@pytest.mark.parametrize("form", ["gzip", "Windows line ends", "no last line end", "byte order mark", "blank lines"])
def test_how_a_file_is_written_does_no_harm(tmp_path, edition, form):
    text = content(edition)
    text = {
        "gzip": text,
        "Windows line ends": text.replace(b"\n", b"\r\n"),
        "no last line end": text.rstrip(b"\n"),
        "byte order mark": b"\xef\xbb\xbf" + text,
        "blank lines": text.replace(b"\n", b"\n\n"),
    }[form]
    path = write(tmp_path / ("a.json.gz" if form == "gzip" else "a.json"), text)
    assert events(load_amazon(path)) == LAST


def test_a_file_name_that_reads_as_a_pattern_is_one_file(tmp_path):
    assert events(load_amazon(write(tmp_path / "a[1]*.json", content()))) == LAST


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ("last", [("u1", "i1", 2.0, T + 7)]),
        ("first", [("u1", "i1", 5.0, T + 5)]),
        ("max", [("u1", "i1", 5.0, T + 5)]),
        ("all", [("u1", "i1", 5.0, T + 5), ("u1", "i1", 5.0, T + 5), ("u1", "i1", 2.0, T + 7)]),
    ],
)
def test_repeats_are_settled_by_the_rule_and_counted(tmp_path, rule, kept, caplog):
    with caplog.at_level(logging.INFO, logger="llmrec"):
        data = load_amazon(write(tmp_path / "a.json", content()), repeats=rule)
    assert [event for event in events(data) if event[:2] == ("u1", "i1")] == kept
    assert f"5 reviews, {3 - len(kept)} repeats of a user and an item left out ({rule})" in caplog.text


def test_milliseconds_order_the_events_of_one_second(tmp_path):
    rows = [("u", "a", 1, T + 2.9), ("u", "b", 2, T + 2.1), ("u", "c", 3, T + 2.5)]
    data = load_amazon(write(tmp_path / "a.jsonl", content("2023", rows)))
    assert [(item, seconds) for _, item, _, seconds in events(data)] == [("b", T + 2), ("c", T + 2), ("a", T + 2)]


def test_events_of_one_second_keep_the_order_of_the_file(tmp_path):
    rows = [("u", f"i{place * 71 % 200}", 5.0, T + place % 2) for place in range(200)]
    found = events(load_amazon(write(tmp_path / "a.json", content(rows=rows))))
    assert found == [*rows[::2], *rows[1::2]]


def test_the_k_core_comes_after_the_repeats(tmp_path, caplog):
    square = [(user, item, 5.0, 1) for user in ("a", "b") for item in ("x", "y")]
    # c has two events only as long as its repeat counts.
    path = write(tmp_path / "a.json", content(rows=[*square, ("c", "x", 1.0, 2), ("c", "x", 2.0, 3)]))
    with caplog.at_level(logging.INFO, logger="llmrec"):
        data = load_amazon(path, k_core=2)
    assert data.counts()["interactions"] == 4
    assert data.users.ids.to_list() == ["a", "b"]
    assert "1 outside the 2-core" in caplog.text
    assert load_amazon(path, k_core=2, repeats="all").users.ids.to_list() == ["a", "b", "c"]
    expect_error(
        DataError, lambda: load_amazon(path, k_core=3), "a.json has no event in its 3-core (5 before)", "lower"
    )


def test_columns_can_be_had_as_they_stand(tmp_path):
    table = read_reviews(write(tmp_path / "a.json", content("2023")))
    assert table.columns == ["user", "item", "rating", "time"]
    assert table.rows() == [(user, item, rating, 1000 * seconds) for user, item, rating, seconds in ROWS]


# What is wrong with line 3: the edition, the line, words of the message.
BAD = {
    "broken JSON": ("2018", b'{"overall": 5.0, "reviewerID": "A1", "asi', ["broken JSON", "one JSON object a line"]),
    "two objects": ("2018", line("2018", *ROWS[0]) * 2, ["broken JSON"]),
    "a list": ("2018", b"[1, 2]", ["JSON of type list"]),
    "not a number": ("2018", line("2018", "u", "i", float("nan"), 5), ["not strict", "RFC 8259"]),
    "latin-1": ("2018", line("2018", "é", "i", 5, 5).decode().encode("latin-1"), ["byte 0xe9 is no UTF-8"]),
    "latin-1 in 2023": ("2023", line("2023", "é", "i", 5, 5).decode().encode("latin-1"), ["byte 0xe9 is no UTF-8"]),
    "blank user": ("2018", line("2018", " ", "i", 5, 5), ["reviewerID = ' '", "an id"]),
    "empty item": ("2018", line("2018", "u", "", 5, 5), ["asin = ''", "an id"]),
    "null item": ("2018", line("2018", "u", None, 5, 5), ["no asin", "an id"]),
    "no user": ("2023", line("2023", "u", "i", 5, 5, user_id=...), ["no user_id", "an id"]),
    "blank item": ("2023", line("2023", "u", "\t", 5, 5), ["parent_asin = '\\t'"]),
    "rating 0": ("2018", line("2018", "u", "i", 0, 5), ["overall = 0.0", "a number from 1 to 5"]),
    "rating 6": ("2023", line("2023", "u", "i", 6, 5), ["rating = 6.0", "a number from 1 to 5"]),
    "rating in words": ("2018", line("2018", "u", "i", "good", 5), ["overall = 'good'", "a number"]),
    "no rating": ("2014", line("2014", "u", "i", 5, 5, overall=...), ["no overall"]),
    "no time": ("2014", line("2014", "u", "i", 5, 5, unixReviewTime=...), ["no unixReviewTime"]),
    "half a second": ("2018", line("2018", "u", "i", 5, 5, unixReviewTime=1.5), ["unixReviewTime = 1.5", "whole"]),
    "negative time": ("2018", line("2018", "u", "i", 5, -5), ["unixReviewTime = -5", "0 or later"]),
    "negative time in 2023": ("2023", line("2023", "u", "i", 5, -5), ["timestamp = -5000", "0 or later"]),
    "milliseconds": (
        "2018",
        line("2018", "u", "i", 5, 1_500_000_000_000),
        ["unixReviewTime = 1500000000000", "looks like milliseconds", "only the edition 2023", "divide by 1000"],
    ),
    "seconds": (
        "2023",
        line("2023", "u", "i", 5, 5, timestamp=1_500_000_000),
        ["timestamp = 1500000000", "looks like seconds", "only the editions 2014 and 2018", "multiply by 1000"],
    ),
}  # fmt: skip


def with_bad(edition: str, bad: bytes) -> bytes:
    lines = content(edition).splitlines()
    return b"\n".join([*lines[:2], bad, *lines[2:]]) + b"\n"


@pytest.mark.parametrize("packed", ["a.json", "a.json.gz"])
@pytest.mark.parametrize("case", BAD)
def test_bad_amazon(tmp_path, case, packed):
    edition, bad, words = BAD[case]
    path = write(tmp_path / packed, with_bad(edition, bad))
    expect_error(DataError, lambda: load_amazon(path), f"/{packed} line 3 (", *words, "--skip-bad-rows")
    reading = Reading(skip_bad_rows=1)
    assert events(load_amazon(path, reading=reading)) == LAST
    assert [(row.line, row.text) for row in reading.rejected] == [(3, bad.decode("utf-8", "replace"))]


def test_as_many_bad_rows_as_allowed_are_left_out_and_no_more(tmp_path):
    bad = [bad for edition, bad, _ in BAD.values() if edition == "2018"]
    lines = content().splitlines()
    path = write(tmp_path / "a.json", b"\n".join([*bad, *lines, *bad]))
    reading = Reading(skip_bad_rows=2 * len(bad))
    assert len(load_amazon(path, edition="2018", reading=reading).interactions) == 3
    second = len(bad) + len(lines) + 1
    assert [row.line for row in reading.rejected] == [*range(1, len(bad) + 1), *range(second, second + len(bad))]
    expect_error(
        DataError,
        lambda: load_amazon(path, edition="2018", reading=Reading(skip_bad_rows=2 * len(bad) - 1)),
        f"a.json line {second + len(bad) - 1} (",
        f"after {2 * len(bad) - 1} bad rows",
    )


def test_a_file_of_bad_rows_alone_is_refused(tmp_path):
    path = write(tmp_path / "a.json", line("2018", "u", "i", 9, 5))
    expect_error(DataError, lambda: load_amazon(path, reading=Reading(1)), "a.json has no good row")


def test_a_file_that_is_cut_off_is_named_with_its_line(tmp_path):
    packed = gzip.compress(content(rows=[(f"u{row * 7919 % 5000}", f"i{row}", 5.0, row) for row in range(5000)]))
    path = write(tmp_path / "a.json", packed[: len(packed) // 2])  # gzip is told by its content
    expect_error(DataError, lambda: load_amazon(path), "a.json line ", "cannot be unpacked", "fetch it again")
    expect_error(DataError, lambda: load_amazon(path, reading=Reading(9)), "a.json line ", "cannot be unpacked")
    path = write(tmp_path / "b.json", content()[:-30])
    expect_error(DataError, lambda: load_amazon(path), "b.json line 5 (", "broken JSON")


@pytest.mark.parametrize("empty", [b"", b"\n\n"])
@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_an_empty_file_is_named(tmp_path, empty, name):
    path = write(tmp_path / name, empty)
    expect_error(DataError, lambda: load_amazon(path), f"{name} is empty", "fetch the file again")


def test_a_path_without_a_file_is_named(tmp_path):
    expect_error(DataError, lambda: load_amazon(tmp_path / "no.json"), "no.json' is no readable file", "check the path")
    expect_error(DataError, lambda: load_amazon(tmp_path), "is a folder", "a file of Amazon reviews")


@pytest.mark.parametrize("edition", YEARS)
def test_keys_of_another_edition_are_named(tmp_path, edition):
    path = write(tmp_path / "a.json", content(edition))
    for other in set(YEARS) - {edition}:
        expect_error(
            DataError,
            lambda other=other: load_amazon(path, edition=other),
            "a.json has the keys",
            "timestamp" if edition == "2023" else "unixReviewTime",
            f"review keys of edition {other}: ",
            f"read it as edition {edition}",
        )


def test_keys_of_no_edition_are_named(tmp_path):
    path = write(tmp_path / "a.json", b'{"userId": 1, "movieId": 2}\n')
    words = ["a.json has the keys movieId, userId", "2018: reviewerID, asin, overall", "a file of Amazon review"]
    expect_error(DataError, lambda: load_amazon(path), *words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"edition": "2019"}, ["edition = '2019'", "auto, 2014, 2018, 2023"]),
        ({"repeats": "newest"}, ["repeats = 'newest'", "last, first, max, all"]),
        ({"catalogue": "al"}, ["catalogue = 'al'", "did you mean 'all'"]),
        ({"catalogue": "all"}, ["catalogue = 'all' without metadata", "name that file"]),
        ({"k_core": 0}, ["k_core = 0", "1 or more"]),
    ],
)
def test_options_are_checked_before_a_line_is_read(tmp_path, options, words):
    path = write(tmp_path / "a.json", b"no review\n")
    expect_error(ConfigError, lambda: load_amazon(path, **options), *words)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "reviews", "users", "items"),
    [
        ("Gift_Cards_5", 2972, 458, 148),
        ("Magazine_Subscriptions_5", 2375, 348, 157),
        ("All_Beauty_5", 5269, 991, 85),
        ("AMAZON_FASHION_5", 3176, 406, 31),
    ],
)
def test_official_files_hold_what_their_source_says(data_folder, name, reviews, users, items):
    path = data_folder / "amazon-2018" / f"{name}.json"
    data = load_amazon(path, repeats="all")
    assert data.counts() == {"users": users, "items": items, "interactions": reviews, "impressions": 0}
    # The same by a plain reader: one event of each pair, the last in time, then in the file.
    rows = [json.loads(row) for row in path.read_text("utf-8").splitlines()]
    last = {(row["reviewerID"], row["asin"]): row for row in sorted(rows, key=lambda row: row["unixReviewTime"])}
    expected = sorted((user, item, row["overall"], row["unixReviewTime"]) for (user, item), row in last.items())
    once = load_amazon(path)
    assert sorted(events(once)) == expected
    assert (np.diff(once.interactions.times) >= 0).all()
