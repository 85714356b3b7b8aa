"""Any table: each format gives the same data set; bad rows are named; the real files hold what their sources say."""

import gzip
import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tabular import (
    BY_TIME,
    EVENT_KEYS,
    EVENTS,
    FORMATS,
    ITEM_KEYS,
    ITEMS,
    events,
    json_lines,
    lines,
    put,
)

from llmrec.data import Dataset
from llmrec.data_prep.raw.delimited import Layout
from llmrec.data_prep.table import load_table
from llmrec.errors import ConfigError, DataError
from llmrec.testing import expect_error


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_gives_the_same_data_set(tmp_path, kind, packed):
    end = f"{kind}.gz" if packed else kind
    pack = gzip.compress if packed else bytes
    ratings = put(tmp_path, f"ratings.{end}", pack(FORMATS[kind](EVENT_KEYS, EVENTS, tmp_path / "scratch")))
    films = put(tmp_path, f"films.{end}", pack(FORMATS[kind](ITEM_KEYS, ITEMS, tmp_path / "scratch")))
    data = load_table(ratings, films, time="time", value="value")
    assert events(data) == BY_TIME
    assert data.items.ids.to_list() == [9, 3, 7]
    assert data.users.ids.to_list() == [5, 20]
    assert data.item_table["title"].to_list() == ["Heat", None, "Toy Story"]
    genres = (
        [["Action", "Crime"], [], ["Comedy"]]
        if kind in {"jsonl", "json", "parquet"}
        else ["Action;Crime", None, "Comedy"]
    )
    assert data.item_table["genres"].to_list() == genres
    assert (data.name, data.clock) == ("ratings", True)


@pytest.mark.parametrize(
    "content",
    [
        lines(EVENT_KEYS, EVENTS).replace(b"\n", b"\r\n"),
        lines(EVENT_KEYS, EVENTS).rstrip(b"\n"),
        b"\xef\xbb\xbf" + lines(EVENT_KEYS, EVENTS),
        b",".join([b"", *(key.encode() for key in EVENT_KEYS)])
        + b"\n"
        + b"".join(b"%d,%s,%s,%d,%.1f\n" % (n, u.encode(), i.encode(), t, v) for n, (u, i, t, v) in enumerate(EVENTS)),
    ],
    ids=["crlf", "no last newline", "byte order mark", "an index without a name"],
)
def test_ways_to_write_a_csv(tmp_path, content):
    assert events(load_table(put(tmp_path, "a.csv", content), time="time", value="value")) == BY_TIME


def test_a_layout_says_what_a_name_does_not(tmp_path):
    ratings = put(tmp_path, "ratings.dat", "20::7::300\n5::9::100\n")
    films = put(tmp_path, "films.dat", "7::Amélie\n9::Heat\n".encode("latin-1"))
    data = load_table(
        ratings,
        films,
        time="when",
        layout=Layout(separator="::", header=["user", "item", "when"], quoted=False),
        item_layout=Layout(separator="::", header=["item", "title"], quoted=False, latin=True),
    )
    assert events(data) == [(5, 9, 100, 1.0), (20, 7, 300, 1.0)]
    assert data.titles() == ["Amélie", "Heat"]


def test_without_times_the_rows_are_in_order(tmp_path):
    data = load_table(put(tmp_path, "clicks.csv", "u,i\n2,9\n1,9\n2,4\n"), user="u", item="i")
    assert not data.clock
    assert events(data) == [(2, 9, 0, 1.0), (1, 9, 1, 1.0), (2, 4, 2, 1.0)]
    assert data.item_table.shape == (2, 0)
    saved = Dataset.load(data.save(tmp_path / "saved"))
    assert saved.items.ids.to_list() == [4, 9]
    assert not saved.clock


@pytest.mark.parametrize(
    ("unit", "times", "seconds"),
    [
        ("s", ["1700000000.9", "1700000000.1", "1699999999"], [1699999999, 1700000000, 1700000000]),
        ("ms", ["1700000000900", "1700000000100", "1699999999000"], [1699999999, 1700000000, 1700000000]),
        (
            "iso",
            ["2023-11-14T22:13:20.9Z", "2023-11-15 00:13:20.1+02:00", "2023-11-14T22:13:19"],
            [1699999999, 1700000000, 1700000000],
        ),
        ("iso", ["2023-11-16", "2023-11-15T00:01", "1970-01-01"], [0, 1700006460, 1700092800]),
    ],
)
def test_times_in_each_unit_order_events_within_a_second(tmp_path, unit, times, seconds):
    # Rows c, b, a by time: the fraction decides where the second is the same.
    rows = "".join(f"{user},1,{time}\n" for user, time in zip("cba", times, strict=True))
    data = load_table(put(tmp_path, "a.csv", "user,item,time\n" + rows), time="time", time_unit=unit)
    assert [row[0] for row in events(data)] == ["a", "b", "c"]
    assert data.interactions.times.tolist() == seconds


def test_moments_in_parquet_are_iso_times(tmp_path):
    moment = pl.Series(["2023-11-14T23:13:20"]).str.to_datetime().dt.replace_time_zone("Europe/Berlin")
    pl.DataFrame({"user": [1], "item": [2], "time": moment}).write_parquet(tmp_path / "a.parquet")
    data = load_table(tmp_path / "a.parquet", time="time", time_unit="iso")
    assert data.interactions.times.tolist() == [1700000000]


@pytest.mark.parametrize(
    ("ratings", "films", "users", "items"),
    [
        (["10", "9", "-1"], ["10", "9", "-1"], [-1, 9, 10], [10, 9, -1]),
        (["007", "7"], ["007", "7"], ["007", "7"], ["007", "7"]),
        (["1"], ["1", "x"], [1], ["1", "x"]),  # the table alone has a text
        (["+1"], ["+1"], ["+1"], ["+1"]),
        (["1.0"], ["1.0"], ["1.0"], ["1.0"]),
        (["9" * 19], ["9" * 19], ["9" * 19], ["9" * 19]),  # no int64 holds it
        (["-0"], ["-0"], ["-0"], ["-0"]),
    ],
)
def test_ids_are_integers_only_if_all_are_written_so(tmp_path, ratings, films, users, items):
    table = put(tmp_path, "a.csv", "user,item\n" + "".join(f"{one},{one}\n" for one in ratings))
    about = put(tmp_path, "b.csv", "item,title\n" + "".join(f"{one},t\n" for one in films))
    data = load_table(table, about)
    assert data.users.ids.to_list() == users
    assert data.items.ids.to_list() == items


def test_ids_in_json_are_the_same_as_numbers_or_texts(tmp_path):
    table = put(tmp_path, "a.jsonl", '{"user": 1, "item": 7}\n{"user": "2", "item": "9"}\n')
    about = put(tmp_path, "b.json", '{"9": {"title": "Heat"},\n "7": {"title": "Babe", "id": 5}}')
    data = load_table(table, about, item_id="id")
    assert events(data) == [(1, 7, 0, 1.0), (2, 9, 1, 1.0)]
    assert data.items.ids.to_list() == [9, 7]
    assert data.item_table.to_dict(as_series=False) == {"title": ["Heat", "Babe"]}


def test_an_object_of_objects_on_one_line_is_a_table(tmp_path):
    about = put(tmp_path, "b.json", '{"9": {"title": "Heat"}, "7": {"title": "Babe"}}')
    data = load_table(put(tmp_path, "a.csv", "user,item\n1,7\n"), about, item_id="id")
    assert data.items.ids.to_list() == [9, 7]


def test_nested_values_are_kept_as_text_and_taken_names_move(tmp_path):
    about = put(
        tmp_path,
        "b.jsonl",
        '{"asin": "x", "name": "Babe", "title": "Dr", "id": 4, "size": {"w": 1}, "price": 2.5}\n'
        '{"asin": "y", "name": "Heat", "none": null, "tags": ["a", "b"], "more": [{"k": 1}]}\n',
    )
    data = load_table(put(tmp_path, "a.csv", "user,item\n1,x\n"), about, item_id="asin", title="name")
    assert data.item_table.to_dict(as_series=False) == {
        "title": ["Babe", "Heat"],
        "title_in_file": ["Dr", None],
        "id_in_file": [4, None],
        "size": ['{"w": 1}', None],
        "price": [2.5, None],
        "none": [None, None],
        "tags": [None, ["a", "b"]],
        "more": [None, '[{"k": 1}]'],
    }
    assert Dataset.load(data.save(tmp_path / "saved")).item_table.equals(data.item_table)


def test_an_index_without_a_name_is_no_column(tmp_path):
    about = put(tmp_path, "b.csv", ",item,title\n0,9,Heat\n")
    data = load_table(put(tmp_path, "a.csv", "user,item\n1,9\n"), about)
    assert data.item_table.columns == ["title"]


def test_a_table_of_users_is_kept(tmp_path):
    data = load_table(
        put(tmp_path, "a.csv", "user,item\nu2,1\n"),
        users=put(tmp_path, "u.csv", "name,age\nu2,30\nu1,40\n"),
        user_id="name",
    )
    assert data.users.ids.to_list() == ["u2", "u1"]
    assert data.user_table.to_dict(as_series=False) == {"age": ["30", "40"]}


def test_the_core_is_taken_after_repeats(tmp_path):
    # Of user 1 and item 1 the newest stays; 9 is rated once, so goes, and with it nobody else falls below two.
    table = put(
        tmp_path, "a.csv", "user,item,time,value\n1,1,10,1\n1,1,30,2\n1,2,20,3\n2,1,5,4\n2,2,6,5\n2,9,7,1\n3,1,8,1\n"
    )
    about = put(tmp_path, "b.csv", "item,title\n9,I\n2,B\n1,A\n4,D\n")
    people = put(tmp_path, "u.csv", "user,age\n3,30\n2,20\n1,10\n")
    data = load_table(table, about, users=people, time="time", value="value", repeats="last", k_core=2)
    assert events(data) == [(2, 1, 5, 4.0), (2, 2, 6, 5.0), (1, 2, 20, 3.0), (1, 1, 30, 2.0)]
    assert data.items.ids.to_list() == [2, 1]
    assert data.titles() == ["B", "A"]
    assert data.user_table["age"].to_list() == ["20", "10"]
    whole = load_table(table, about, time="time", repeats="first")
    assert len(whole.interactions) == 6
    assert whole.items.ids.to_list() == [9, 2, 1, 4]
    bare = load_table(table, k_core=2)
    assert bare.item_table.shape == (2, 0)
    expect_error(
        DataError, lambda: load_table(table, k_core=5), "a has no event in its 5-core (7 before)", "lower k_core"
    )


def test_options_that_cannot_be(tmp_path):
    table = put(tmp_path, "a.csv", "user,item\n1,2\n")
    expect_error(ConfigError, lambda: load_table(table, user="item"), "the columns item, item", "name each once")
    expect_error(ConfigError, lambda: load_table(table, time_unit="h"), "time_unit = 'h'", "s, ms, iso")
    expect_error(ConfigError, lambda: load_table(table, k_core=0), "k_core = 0")


rows = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 5)), min_size=1, max_size=40)


@settings(deadline=None)  # files are written and read
@given(rows)
def test_events_agree_with_a_sort_of_python(tmp_path_factory, rows):
    table = put(tmp_path_factory.mktemp("t"), "a.jsonl", json_lines(("user", "item", "time"), rows))
    expected = [(user, item, time, 1.0) for user, item, time in sorted(rows, key=lambda row: row[2])]
    assert events(load_table(table, time="time")) == expected


def test_items_may_be_an_object_of_lists(tmp_path):
    (tmp_path / "events.csv").write_text("user,item\nann,8\nbob,9\n")
    (tmp_path / "tokens.json").write_text('{"9": ["<a_1>", "<b_2>"], "8": ["<a_1>"]}')
    data = load_table(tmp_path / "events.csv", tmp_path / "tokens.json", item_id="id", title=None)
    assert data.items.ids.to_list() == [9, 8]
    assert data.item_table["values"].to_list() == [["<a_1>", "<b_2>"], ["<a_1>"]]


@pytest.mark.data
def test_semantic_ids_are_three_tokens_an_item(data_folder):
    folder = data_folder / "amazon-industrial"
    table = folder / "test" / "Industrial_and_Scientific_5_2016-10-2018-11.csv"
    tokens = folder / "index" / "Industrial_and_Scientific.index.json"
    data = load_table(table, tokens, user="user_id", item="item_id", item_id="id", title=None)
    assert data.item_table["values"].list.len().to_list() == [3] * 3686


@pytest.mark.data
@pytest.mark.parametrize(("part", "n"), [("test", 4533), ("valid", 4532)])
def test_amazon_industrial_holds_what_its_source_says(data_folder, part, n):
    folder = data_folder / "amazon-industrial"
    table = folder / part / "Industrial_and_Scientific_5_2016-10-2018-11.csv"
    about = folder / "index" / "Industrial_and_Scientific.item.json"
    data = load_table(table, about, user="user_id", item="item_id", item_id="id")
    assert len(data.interactions) == n
    assert len(data.titles()) == 3686
    assert data.item_table.columns == ["title", "description", "brand", "categories"]
    known = json.loads(about.read_text(encoding="utf-8"))
    assert data.titles() == [each["title"] for each in known.values()]
    row = pl.read_csv(table).row(n - 1, named=True)
    last = data.items.decode(data.interactions.items[-1:])[0]
    assert (last, known[str(last)]["title"]) == (row["item_id"], row["item_title"])


@pytest.mark.data
def test_a_headless_catalogue_is_read(data_folder, tmp_path):
    folder = data_folder / "amazon-industrial"
    about = folder / "info" / "Industrial_and_Scientific_5_2016-10-2018-11.txt"
    layout = Layout(separator="\t", header=["semantic", "title", "item"], quoted=False)
    data = load_table(put(tmp_path, "a.csv", "user,item\n1,0\n"), about, item_layout=layout)
    assert len(data.titles()) == 3686
    assert data.item_table["semantic"][0] == "<a_236><b_231><c_226>"


@pytest.mark.data
@pytest.mark.parametrize(("part", "n", "users"), [("train", 8000, None), ("valid", 1000, 14), ("test", 1000, 16)])
def test_tallrec_movie_holds_what_its_source_says(data_folder, part, n, users):
    path = data_folder / "tallrec-movie" / "baseline" / f"{part}.csv"
    data = load_table(path, user="user_id", item="movie_id", value="rating", time="timestamp")
    assert len(data.interactions) == n
    assert users in {None, len(data.users)}
    assert set(data.interactions.values.tolist()) == {0.0, 1.0}
    if part == "train":
        assert data.interactions.values.sum() == 4457  # answers Yes of train.rebuilt.json
    assert np.all(np.diff(data.interactions.times) >= 0)
