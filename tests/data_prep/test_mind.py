"""The MIND loader on small sets made here and on real impressions."""

import numpy as np
import pytest
from news import DEV, FILES, TEST, at, events, everything, lists, pack, put

from llmrec.data import Dataset
from llmrec.data_prep.mind import load_mind
from llmrec.data_prep.raw import rows
from llmrec.data_prep.raw.reading import Reading
from llmrec.errors import ConfigError, DataError
from llmrec.testing import expect_error

# The history, one second before the first impression of all, then the clicks.
HISTORY = [("U2", "N10", at(11) - 1), ("U2", "N2", at(11) - 1), ("U2", "N10", at(11) - 1)]
CLICKS = [("U1", "N10", at(11)), ("U1", "N4", at(11)), ("U2", "N3", at(12, 14, 14, 46))]


def assert_small_set(data: Dataset) -> None:
    assert data.items.ids.to_list() == ["N10", "N2", "N3", "N4"]
    assert data.users.ids.to_list() == ["U1", "U2"]
    assert data.item_table.to_dict(as_series=False) == {
        "title": ['The "Duke" said', "Élan wins", "Rain", "A car"],
        "description": ["What he said.", None, "It rains.", "It drives."],
        "categories": [["news", "world"], ["sports", "soccer"], ["news"], ["autos", "suv"]],
        "url": ["https://a/10", None, "https://a/3", "https://a/4"],
    }
    assert events(data) == HISTORY + CLICKS
    assert data.interactions.values.tolist() == [1.0] * 6
    assert lists(data) == [
        ("U2", at(12, 14, 14, 46), ["N3", "N2"], [True, False], True),
        ("U1", at(11), ["N4", "N10", "N4"], [False, True, True], True),
        ("U2", at(13, 12, 0, 1), ["N3"], [False], True),
    ]
    assert data.clock
    assert "msnews.github.io" in data.source
    assert "non-commercial" in data.licence


def test_a_folder_is_read(tmp_path):
    assert_small_set(load_mind(put(tmp_path / "mind", FILES)))
    assert_small_set(load_mind(str(tmp_path / "mind")))
    assert_small_set(load_mind(tmp_path / "mind" / "behaviors.tsv"))


@pytest.mark.parametrize("inside", ["", "MINDsmall_train/"])
def test_a_zip_is_read_whether_it_nests_or_not(tmp_path, inside):
    data = load_mind(pack(tmp_path / "MINDsmall_train.zip", FILES, inside=inside))
    assert_small_set(data)
    assert data.name == "mind-small-train"


def test_gzip_line_ends_blank_lines_and_a_byte_order_mark_do_no_harm(tmp_path):
    assert_small_set(load_mind(put(tmp_path / "gz", {f"{name}.gz": content for name, content in FILES.items()})))
    for name, change in {
        "crlf": lambda content: content.replace(b"\n", b"\r\n"),
        "cut": lambda content: content.removesuffix(b"\n"),
        "crlf-cut": lambda content: content.replace(b"\n", b"\r\n").removesuffix(b"\r\n"),
        "blank": lambda content: content.replace(b"\n", b"\n\n"),
        "bom": lambda content: b"\xef\xbb\xbf" + content,
    }.items():
        assert_small_set(load_mind(put(tmp_path / name, {file: change(content) for file, content in FILES.items()})))


def test_chunks_of_any_size_give_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "CHUNK", 40)  # each line is longer
    assert_small_set(load_mind(put(tmp_path / "mind", FILES)))


def test_a_saved_set_loads_again(tmp_path):
    data = load_mind(put(tmp_path / "mind", FILES), entities=True)
    assert everything(Dataset.load(data.save(tmp_path / "saved"))) == everything(data)


def test_entities_are_read_when_asked_for(tmp_path):
    table = load_mind(put(tmp_path / "mind", FILES), entities=True).item_table
    assert table.columns[-4:] == [
        "title_entity_ids", "title_entity_labels", "abstract_entity_ids", "abstract_entity_labels",
    ]  # fmt: skip
    assert table.rows()[0][-4:] == (["Q80976"], ["Prince Philip"], ["Q41", None], ["Greece", "no id"])
    assert table.rows()[1][-4:] == ([], [], [], [])
    assert table.rows()[2][-4:] == ([], [], [], [])  # the field is empty


def parts(inside: str = "") -> dict[str, dict[str, bytes]]:
    """Return three parts; those of later weeks hold news of their own and other words for old news."""
    later = FILES["news.tsv"].replace(b"Rain", b"Sun") + b"N5\tnews\tus\tLate\t\t\t[]\t[]\n"
    dev, test = ({"behaviors.tsv": content, "news.tsv": later} for content in (DEV, TEST))
    return {f"{inside}train": FILES, f"{inside}dev": dev, f"{inside}test": test}


def assert_three_parts(data: Dataset) -> None:
    assert data.items.ids.to_list() == ["N10", "N2", "N3", "N4", "N5"]
    assert data.titles()[2:] == ["Rain", "A car", "Late"]  # the first part's words
    dev, test = at(15, 8) - 1, at(16, 23, 59, 59) - 1
    assert events(data) == [
        *HISTORY,
        *CLICKS,
        ("U3", "N2", dev),
        ("U2", "N4", dev),  # of the history in dev, what neither the history nor a click of train has
        ("U2", "N4", dev),
        ("U2", "N10", at(15, 8)),
        ("U3", "N3", at(15, 9)),
        ("U1", "N2", test),
    ]
    assert [known for *_, known in lists(data)] == [True] * 5 + [False]
    assert lists(data)[3] == ("U3", at(15, 9), ["N3"], [True], True)
    assert lists(data)[5] == ("U1", at(16, 23, 59, 59), ["N3", "N2"], [False, False], False)


@pytest.mark.parametrize(
    ("inside", "folder", "name"),
    [
        ("", "week", "week"),
        ("MINDsmall_", "any", "mind-small"),
        ("MINDlarge_", "MIND", "mind-large"),
        ("MIND_", "x", "mind"),
    ],
)
def test_parts_are_read_in_the_order_train_dev_test(tmp_path, inside, folder, name):
    for part, files in parts(inside).items():
        put(tmp_path / folder / part, files)
    data = load_mind(tmp_path / folder)
    assert_three_parts(data)
    assert data.name == name


def test_parts_may_be_zips_and_their_folders_stand_in_for_them(tmp_path):
    for part, files in parts("MINDdemo_").items():
        pack(tmp_path / f"{part}.zip", files)
    assert_three_parts(load_mind(tmp_path))
    assert load_mind(tmp_path).name == "mind-demo"
    put(tmp_path / "MINDdemo_test", {**FILES, "behaviors.tsv": TEST.replace(b"U1", b"U9")})
    assert load_mind(tmp_path).users.ids.to_list() == ["U1", "U2", "U3", "U9"]


def test_parts_that_overlap_are_sorted(tmp_path):
    put(tmp_path / "train", FILES)
    put(tmp_path / "dev", {**FILES, "behaviors.tsv": b"1\tU3\t11/12/2019 12:00:00 PM\tN2 N4\tN3-1\n"})
    dev = [("U3", "N2", at(12, 12) - 1), ("U3", "N4", at(12, 12) - 1), ("U3", "N3", at(12, 12))]
    assert events(load_mind(tmp_path)) == [*HISTORY, *CLICKS[:2], *dev, CLICKS[2]]


def test_two_parts_and_one_part_are_enough(tmp_path):
    put(tmp_path / "two" / "dev", parts()["dev"])
    put(tmp_path / "two" / "test", parts()["test"])
    assert len(load_mind(tmp_path / "two").impressions) == 3
    put(tmp_path / "one" / "MINDsmall_dev", parts()["dev"])
    assert load_mind(tmp_path / "one").name == "one"


def test_without_a_clock_lines_give_the_order(tmp_path):
    for part, files in parts().items():
        content = files["behaviors.tsv"]
        without = b"".join(
            b"\t".join([*line.split(b"\t")[:2], b"", *line.split(b"\t")[3:]]) for line in content.splitlines(True)
        )
        put(tmp_path / part, {**files, "behaviors.tsv": without})
    train = load_mind(tmp_path / "train", times="order")
    assert not train.clock
    assert events(train) == [
        *((user, item, 0) for user, item, _ in HISTORY), ("U2", "N3", 1), ("U1", "N10", 2), ("U1", "N4", 2),
    ]  # fmt: skip
    data = load_mind(tmp_path, times="order")
    assert data.impressions.times.tolist() == [1, 2, 3, 4, 5, 6]
    assert events(data)[6:] == [
        ("U3", "N2", 3), ("U2", "N4", 3), ("U2", "N4", 3), ("U3", "N3", 4), ("U2", "N10", 5), ("U1", "N2", 5),
    ]  # fmt: skip


def test_of_different_histories_the_longest_counts_and_of_equal_ones_the_first(tmp_path):
    behaviors = (
        b"1\tU1\t11/11/2019 9:00:00 AM\tN2\tN4-0\n"
        b"2\tU1\t11/11/2019 9:00:00 AM\tN10 N3\tN4-0\n"
        b"3\tU1\t11/11/2019 9:00:00 AM\tN4 N2\tN4-0\n"
        b"4\tU1\t11/11/2019 9:00:00 AM\t\tN4-0\n"
    )
    data = load_mind(put(tmp_path / "mind", {**FILES, "behaviors.tsv": behaviors}))
    assert events(data) == [("U1", "N10", at(11, 9) - 1), ("U1", "N3", at(11, 9) - 1)]


def test_no_event_lies_before_1970(tmp_path):
    behaviors = b"1\tU1\t1/1/1970 12:00:00 AM\tN2\tN3-1\n"
    data = load_mind(put(tmp_path / "mind", {**FILES, "behaviors.tsv": behaviors}))
    assert events(data) == [("U1", "N2", 0), ("U1", "N3", 0)]


def test_unknown_items_are_kept_when_asked_for(tmp_path):
    for part, files in parts().items():
        put(tmp_path / part, {**files, "news.tsv": FILES["news.tsv"].splitlines(keepends=True)[0]})
    data = load_mind(tmp_path, unknown_items="keep", entities=True)
    assert data.items.ids.to_list() == ["N10", "N2", "N3", "N4"]
    assert data.item_table.rows()[0][:3] == ('The "Duke" said', "What he said.", ["news", "world"])
    assert data.item_table.rows()[1:] == [(None, None, [], None, [], [], [], [])] * 3
    for part in ("train", "dev", "test"):
        (tmp_path / part / "news.tsv").write_bytes(FILES["news.tsv"])
    whole = load_mind(tmp_path)
    assert (events(data), lists(data)) == (events(whole), lists(whole))
    again = load_mind(tmp_path, unknown_items="keep")  # nothing is unknown
    assert everything(again) == everything(whole)


def test_items_of_bad_rows_are_not_kept(tmp_path):
    bad = b"9\tU1\tsome day\tN77\tN78-1\n"
    source = put(tmp_path / "mind", {**FILES, "behaviors.tsv": FILES["behaviors.tsv"] + bad})
    data = load_mind(source, unknown_items="keep", reading=Reading(skip_bad_rows=1))
    assert_small_set(data)


def test_ids_may_end_as_labels_do(tmp_path):
    files = {**FILES, "behaviors.tsv": FILES["behaviors.tsv"].replace(b"N2", b"A-1")}
    data = load_mind(put(tmp_path / "mind", files), unknown_items="keep")
    assert data.items.ids.to_list() == ["N10", "N2", "N3", "N4", "A-1"]
    assert [item for _, item, _ in events(data)[:3]] == ["N10", "A-1", "N10"]
    assert lists(data)[0][2:4] == (["N3", "A-1"], [True, False])


def test_more_news_describe_what_news_tsv_lacks(tmp_path):
    first, *others = FILES["news.tsv"].splitlines(keepends=True)
    source = put(tmp_path / "mind", {**FILES, "news.tsv": first})
    extra = put(tmp_path / "extra", {"more.tsv.gz": first.replace(b"Duke", b"King") + b"".join(others)})
    assert_small_set(load_mind(source, more_news=[extra / "more.tsv.gz"]))
    expect_error(DataError, lambda: load_mind(source, more_news=[tmp_path / "none"]), "none", "MIND's news.tsv")


def test_unknown_choices_are_refused(tmp_path):
    source = put(tmp_path / "mind", FILES)
    expect_error(ConfigError, lambda: load_mind(source, times="clocks"), "times = 'clocks'", "did you mean 'clock'")
    expect_error(ConfigError, lambda: load_mind(source, unknown_items="drop"), "unknown_items = 'drop'", "'keep'")


@pytest.mark.data
def test_real_impressions_hold_what_their_source_says(data_folder):
    folder = data_folder / "mind-sample"
    data = load_mind(folder, unknown_items="keep", more_news=[folder / "news_extra_from_recprompt.tsv"], entities=True)
    assert data.name == "mind-sample"
    assert len(data.users) == 4637
    assert len(data.impressions) == 5000
    assert len(data.impressions.items) == 189_359
    assert data.impressions.clicked.sum() == 7542
    assert data.impressions.times.min() >= at(9)
    assert data.impressions.times.max() < at(15)
    assert data.item_table["title"].is_not_null().sum() == 2000 + 3785
    # The first line, and the first news.
    assert lists(data)[0][:2] == ("U81994", at(12, 14, 14, 46))
    assert lists(data)[0][2][:3] == ["N43266", "N58363", "N6975"]
    assert lists(data)[0][3][:3] == [False, False, True]
    assert data.items.ids[0] == "N34700"
    assert data.item_table["title_entity_ids"][0].to_list() == ["Q165972"]
    expect_error(DataError, lambda: load_mind(folder), "mind-sample/behaviors.tsv line 1 ", "unknown_items='keep'")


@pytest.mark.data
def test_real_impressions_without_times_are_read_in_their_order(data_folder):
    source = data_folder / "mind-sample" / "impressions-with-text" / "behaviors_valid.tsv"
    data = load_mind(source, times="order")
    assert data.name == "impressions-with-text"
    assert len(data.titles()) == 3625
    assert data.impressions.times.tolist() == list(range(1, 101))
    assert np.diff(data.impressions.offsets).tolist() == [10] * 100
    assert np.add.reduceat(data.impressions.clicked.astype(int), data.impressions.offsets[:-1]).tolist() == [1] * 100
    expect_error(DataError, lambda: load_mind(source), "behaviors_valid.tsv line 1 ", "no time", "times='order'")
