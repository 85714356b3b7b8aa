"""Bad MIND files: each bad row is named with its line, and left out where that is allowed."""

import gzip

import pytest
from news import FILES, PAIR, TEST, everything, pack, put, with_row

from llmrec.data_prep.mind import load_mind
from llmrec.data_prep.raw import rows
from llmrec.data_prep.raw.reading import Reading
from llmrec.errors import DataError
from llmrec.testing import expect_error

NOON = b"11/12/2019 12:00:00 PM"
MOMENT = "month/day/year and time as in '11/12/2019 2:14:46 PM'"
WITHOUT = "times='order'"
SPACE = "news ids with one space between them"
LABEL = "each with -0 or -1 behind it"
KEEP = ["an id that news.tsv has", "from one download", "unknown_items='keep'"]
TITLE = "a title: language models read news by their titles"


def shown(tokens: bytes) -> bytes:
    return b"9\tU7\t" + NOON + b"\tN2\t" + tokens


def clicked_before(tokens: bytes) -> bytes:
    return b"9\tU7\t" + NOON + b"\t" + tokens + b"\tN2-1"


def at_time(time: bytes) -> bytes:
    return b"9\tU7\t" + time + b"\tN2\tN2-1"


# file, the row, the line that it becomes, what the message says of it
ROWS = [
    ("behaviors.tsv", b"9\tU7\t" + NOON + b"\tN2-1", 2, ["4 fields", "5 fields (impression, user, time, history"]),
    ("behaviors.tsv", shown(b"N2-1\tN3-0"), 4, ["6 fields", "5 fields"]),
    ("behaviors.tsv", shown(b"N2-1").replace(b"U7", b""), 1, ["no user", "a user id"]),
    ("behaviors.tsv", shown(b"N2-1").replace(b"U7", b" "), 3, ["user = ' '", "a user id"]),
    ("behaviors.tsv", shown(b"N2-1").replace(b"U7", b"U\xff"), 2, ["byte 0xff is no UTF-8 text"]),
    ("behaviors.tsv", shown(b""), 2, ["no impressions", SPACE]),
    ("behaviors.tsv", shown(b" "), 2, ["impressions = ' '", SPACE]),
    ("behaviors.tsv", shown(b"N2-1  N3-0"), 2, ["token in impressions = ''", SPACE, LABEL]),
    ("behaviors.tsv", shown(b"N2-1 N3"), 2, ["token in impressions = 'N3'", LABEL]),
    ("behaviors.tsv", shown(b"N2 N3"), 4, ["token in impressions = 'N2'", LABEL]),
    ("behaviors.tsv", shown(b"N2-1 N3-2"), 3, ["token in impressions = 'N3-2'", LABEL]),
    ("behaviors.tsv", shown(b"N2-1 -1"), 3, ["token in impressions = '-1'", LABEL]),
    ("behaviors.tsv", shown(b"N2-1 N9-0 N8-0"), 1, ["news in impressions = 'N9-0'", *KEEP]),
    ("behaviors.tsv", clicked_before(b"N2 N99 N4"), 4, ["news in history = 'N99'", *KEEP]),
    ("behaviors.tsv", clicked_before(b"N2-1"), 4, ["news in history = 'N2-1'", *KEEP]),
    ("behaviors.tsv", clicked_before(b"N2  N4"), 4, ["token in history = ''", SPACE]),
    ("behaviors.tsv", at_time(b""), 2, ["no time", MOMENT, WITHOUT]),
    ("behaviors.tsv", at_time(b"2019-11-12 12:00:00"), 2, ["time = '2019-11-12 12:00:00'", MOMENT]),
    ("behaviors.tsv", at_time(b"13/12/2019 2:14:46 PM"), 2, ["time = '13/12/2019 2:14:46 PM'", MOMENT]),
    ("behaviors.tsv", at_time(b"11/12/19 2:14:46 PM"), 2, ["time = '11/12/19 2:14:46 PM'", MOMENT]),
    ("behaviors.tsv", at_time(b"-1573568086"), 2, ["time = '-1573568086'", MOMENT]),
    ("behaviors.tsv", at_time(b"1573568086000"), 2, ["time = '1573568086000'", MOMENT]),
    ("news.tsv", b"N7\tnews\tus\tTitle\t\t\t[]", 2, ["7 fields", "8 fields (id, category, subcategory, title"]),
    ("news.tsv", b"\tnews\tus\tTitle\t\t\t[]\t[]", 1, ["no id", "an id"]),
    ("news.tsv", b" \tnews\tus\tTitle\t\t\t[]\t[]", 5, ["id = ' '", "an id"]),
    ("news.tsv", b"N7\tnews\tus\t\tText\t\t[]\t[]", 3, ["no title", TITLE]),
    ("news.tsv", b"N7\tnews\tus\t  \tText\t\t[]\t[]", 3, ["title = ' '", TITLE]),
    ("news.tsv", b"N2\tnews\tus\tOther\t\t\t[]\t[]", 4, ["id = 'N2' stands on line 2 too", "each id once"]),
    ("news.tsv", b"N7\tnews\tus\tCaf\xe9\t\t\t[]\t[]", 2, ["byte 0xe9 is no UTF-8 text"]),
    ("news.tsv", b'N7\tnews\tus\tTitle\t\t\t[{"Label":\t[]', 2, ["title_entities = '[{\"Label\":'", "a JSON list"]),
    ("news.tsv", b"N7\tnews\tus\tTitle\t\t\t[]\tnone", 4, ["abstract_entities = 'none'", "a JSON list"]),
    ("news.tsv", b'N7\tnews\tus\tTitle\t\t\t[]\t{"Label": "x"}', 4, ["abstract_entities = '{", "a JSON list"]),
]  # fmt: skip


@pytest.mark.parametrize("chunk", [rows.CHUNK, 60])
@pytest.mark.parametrize(("name", "row", "line", "words"), ROWS)
def test_bad_mind(tmp_path, monkeypatch, name, row, line, words, chunk):
    monkeypatch.setattr(rows, "CHUNK", chunk)
    good = everything(load_mind(put(tmp_path / "good", FILES), entities=True))
    source = put(tmp_path / "mind", with_row(FILES, name, row, line))
    where = f"mind/{name} line {line} ("
    expect_error(DataError, lambda: load_mind(source, entities=True), where, *words, "--skip-bad-rows N")
    reading = Reading(skip_bad_rows=1)
    assert everything(load_mind(source, entities=True, reading=reading)) == good
    assert [(bad.file, bad.line) for bad in reading.rejected] == [(f"mind/{name}", line)]
    assert reading.rejected[0].text.rstrip("\n") == row.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("behaviors.tsv", (at_time(b""), 1), (shown(b"N9-1"), 5)),
        ("behaviors.tsv", (shown(b"N2-1 N3"), 2), (b"9", 3)),
        ("behaviors.tsv", (clicked_before(b"N9"), 2), (clicked_before(b"N9"), 4)),
        ("news.tsv", (b"N7\tnews", 1), (b"N7\tnews\tus\t\t\t\t[]\t[]", 6)),
        ("news.tsv", (b"N7\tnews", 2), (b"N3\tnews\tus\tOther\t\t\t[]\t[]", 6)),
    ],
)
def test_of_two_bad_rows_one_left_out_is_not_enough(tmp_path, name, first, second):
    source = put(tmp_path / "mind", with_row(with_row(FILES, name, *first), name, *second))
    words = (f"mind/{name} line {second[1]} (", "after 1 bad rows that were left out")
    expect_error(DataError, lambda: load_mind(source, reading=Reading(skip_bad_rows=1)), *words)
    reading = Reading(skip_bad_rows=2)
    good = load_mind(put(tmp_path / "good", FILES))
    assert everything(load_mind(source, reading=reading)) == everything(good)
    assert [bad.line for bad in reading.rejected] == [first[1], second[1]]


def test_impressions_of_news_that_were_left_out_are_bad_rows_too(tmp_path):
    files = with_row(FILES, "news.tsv", b"N7\tnews\tus\t\t\t\t[]\t[]", 2)
    files = with_row(files, "behaviors.tsv", shown(b"N7-0"), 3)
    source = put(tmp_path / "mind", files)
    reading = Reading(skip_bad_rows=2)
    good = load_mind(put(tmp_path / "good", FILES))
    assert everything(load_mind(source, reading=reading)) == everything(good)
    assert [(bad.file, bad.line) for bad in reading.rejected] == [("mind/news.tsv", 2), ("mind/behaviors.tsv", 3)]
    expect_error(DataError, lambda: load_mind(source, reading=Reading(1)), "mind/behaviors.tsv line 3", "after 1 bad")


def test_what_has_no_labels_has_none_anywhere(tmp_path):
    files = {**FILES, "behaviors.tsv": TEST}
    source = put(tmp_path / "mind", with_row(files, "behaviors.tsv", shown(b"N2 N3-1"), 2))
    words = ("line 2 (", "token in impressions = 'N3-1'", "none with -0 or -1 behind it, as the file begins")
    expect_error(DataError, lambda: load_mind(source), *words)
    reading = Reading(skip_bad_rows=1)
    good = load_mind(put(tmp_path / "good", files))
    assert everything(load_mind(source, reading=reading)) == everything(good)


def test_without_a_clock_no_time_is_bad(tmp_path):
    good = load_mind(put(tmp_path / "good", with_row(FILES, "behaviors.tsv", at_time(NOON), 2)), times="order")
    for number, time in enumerate((b"", b"some day", b"-1")):
        source = put(tmp_path / str(number), with_row(FILES, "behaviors.tsv", at_time(time), 2))
        assert everything(load_mind(source, times="order")) == everything(good)


@pytest.mark.parametrize("unknown", [shown(b"N2-1 N3"), clicked_before(b"N2  N4"), at_time(b""), shown(b"")])
def test_rows_that_are_bad_for_another_reason_stay_so_where_unknown_items_are_kept(tmp_path, unknown):
    source = put(tmp_path / "mind", with_row(FILES, "behaviors.tsv", unknown, 2))
    expect_error(DataError, lambda: load_mind(source, unknown_items="keep"), "mind/behaviors.tsv line 2 (")


def test_every_row_may_be_left_out(tmp_path):
    source = put(tmp_path / "mind", {**FILES, "behaviors.tsv": b"bad\nworse\n"})
    data = load_mind(source, reading=Reading(skip_bad_rows=2))
    assert data.counts() == {"users": 0, "items": 4, "interactions": 0, "impressions": 0}


@pytest.mark.parametrize("name", ["behaviors.tsv", "news.tsv"])
def test_missing_and_empty_files_are_named(tmp_path, name):
    without = put(tmp_path / "without", {other: content for other, content in FILES.items() if other != name})
    expect_error(DataError, lambda: load_mind(without), "without", f"does not hold {name}", "train, dev and test")
    put(tmp_path / "empty", {**FILES, name: b""})
    expect_error(DataError, lambda: load_mind(tmp_path / "empty"), f"empty/{name} is empty", "fetch the file again")
    put(tmp_path / "blank", {**FILES, name: b"\n\n"})
    expect_error(DataError, lambda: load_mind(tmp_path / "blank"), f"blank/{name} is empty", "fetch the file again")
    zipped = pack(tmp_path / "x.zip", {"MIND.md": b""})
    expect_error(DataError, lambda: load_mind(zipped), "does not hold behaviors.tsv")
    expect_error(DataError, lambda: load_mind(tmp_path / "nowhere"), "no file or folder", "nowhere")


@pytest.mark.parametrize("name", ["behaviors.tsv", "news.tsv"])
def test_truncated_archives_are_named(tmp_path, name):
    folder = put(tmp_path / "mind", {other: text for other, text in FILES.items() if other != name})
    (folder / f"{name}.gz").write_bytes(gzip.compress(FILES[name])[:-6])
    last = FILES[name].count(b"\n") + 1  # only the check sum at the end is cut off
    words = (f"mind/{name}.gz line {last} ", "cannot be unpacked", "cut off or damaged: fetch it again")
    expect_error(DataError, lambda: load_mind(folder), *words)
    zipped = pack(tmp_path / "mind.zip", FILES)
    zipped.write_bytes(zipped.read_bytes()[:-40])
    expect_error(DataError, lambda: load_mind(zipped), "mind.zip", "cannot be unpacked")


def test_a_part_without_news_and_a_mix_of_editions_are_refused(tmp_path):
    put(tmp_path / "a" / "MINDsmall_train", FILES)
    put(tmp_path / "a" / "MINDsmall_dev", {"behaviors.tsv": FILES["behaviors.tsv"]})
    expect_error(DataError, lambda: load_mind(tmp_path / "a"), "MINDsmall_dev", "does not hold news.tsv")
    put(tmp_path / "b" / "MINDsmall_train", FILES)
    put(tmp_path / "b" / "MINDlarge_dev", FILES)
    words = ("holds parts of 2 editions: 'MINDlarge', 'MINDsmall'", "give each edition a folder of its own")
    expect_error(DataError, lambda: load_mind(tmp_path / "b"), *words)
    two = pack(tmp_path / "two.zip", {f"{part}/{name}": b"" for part in ("train", "dev") for name in FILES})
    expect_error(DataError, lambda: load_mind(two), "train/behaviors.tsv and dev/behaviors.tsv", "one of them")


def test_bad_entities_do_no_harm_where_they_are_not_read(tmp_path):
    broken = FILES["news.tsv"].replace(PAIR.encode(), b"[{")
    source = put(tmp_path / "mind", {**FILES, "news.tsv": broken})
    assert everything(load_mind(source)) == everything(load_mind(put(tmp_path / "good", FILES)))
    expect_error(DataError, lambda: load_mind(source, entities=True), "mind/news.tsv line 1 ", "abstract_entities")
