"""Items of Amazon's metadata: three editions, scraped texts, and files that are damaged."""

import gzip
import html
import json
import logging
from itertools import product
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data import Dataset
from llmrec.data_prep.amazon import load_amazon
from llmrec.data_prep.amazon_items import Metadata, clean, prices, read_items
from llmrec.data_prep.raw.files import RawFile
from llmrec.data_prep.raw.reading import Reading
from llmrec.errors import DataError
from llmrec.testing import expect_error

STUB = '<span class="a-size-medium a-color-secondary"'
KEYS = {"id": "asin", "title": "title", "brand": "brand", "categories": "category", "description": "description",
        "price": "price"}  # fmt: skip

# id, title, brand, categories, description, price: one item as each edition writes it.
CAP = ("cap", "Men&#39;s Cap\n", "Hats &amp; Co", ["Clothing", "Hats &amp; Caps"], ["Warm.", "<b>Soft</b> wool"])
CAP_TABLE = {
    "title": "Men's Cap",
    "brand": "Hats & Co",
    "categories": ["Clothing", "Hats & Caps"],
    "description": "Warm. Soft wool",
    "price": 12.5,
}


def meta(edition: str, item: str, title: object, brand: object, categories: list, description: list) -> dict:
    """Return an item of 12.50 dollars as an edition writes it."""
    if edition == "2014":
        paths = [categories, categories[:1]]
        row = {"asin": item, "title": title, "brand": brand, "categories": paths, "description": " ".join(description)}
        return row | {"price": 12.5, "imUrl": "http://x/y.jpg", "related": {"also_bought": ["x"]}}
    if edition == "2018":
        row = {"asin": item, "title": title, "brand": brand, "category": categories, "description": description}
        return row | {"price": "$12.50", "details": {"ASIN: ": "x"}, "image": [], "also_buy": ["x"]}
    row = {"parent_asin": item, "title": title, "store": brand, "categories": categories, "description": description}
    return row | {"price": 12.5, "main_category": "Hats", "features": [], "images": [{"large": "x"}], "videos": []}


def lines(edition: str, rows: list[dict]) -> bytes:
    return "".join((repr(row) if edition == "2014" else json.dumps(row)) + "\n" for row in rows).encode()


def reviews(edition: str, items: str) -> bytes:
    """Return a review of each item."""
    if edition == "2023":
        row = {"user_id": "u", "rating": 5.0, "timestamp": 1_600_000_000_000}
    else:
        row = {"reviewerID": "u", "overall": 5.0, "unixReviewTime": 5}
        row |= {"helpful": [0, 0]} if edition == "2014" else {"verified": True}
    key = "parent_asin" if edition == "2023" else "asin"
    return b"".join(json.dumps(row | {key: item}).encode() + b"\n" for item in items.split())


def load(folder: Path, edition: str, items: str, rows: list[dict] | bytes, **options: object) -> Dataset:
    (folder / "reviews.json").write_bytes(reviews(edition, items))
    (folder / "meta.json").write_bytes(rows if isinstance(rows, bytes) else lines(edition, rows))
    return load_amazon(folder / "reviews.json", folder / "meta.json", **options)


@pytest.mark.parametrize("edition", ["2014", "2018", "2023"])
def test_metadata_of_each_edition_joins_on_the_id(tmp_path, edition, caplog):
    rows = [meta(edition, "a new one", "Never bought", None, [], []), meta(edition, *CAP)]
    with caplog.at_level(logging.INFO, logger="llmrec"):
        data = load(tmp_path, edition, "cap lost", rows)
    assert data.items.ids.to_list() == ["cap", "lost"]
    nothing = {"title": None, "brand": None, "categories": [], "description": None, "price": None}
    assert data.item_table.to_dicts() == [CAP_TABLE, nothing]
    assert data.item_table.schema["price"] == pl.Float32
    assert "meta.json: 1 of 2 items have a title, 1 are not in it" in caplog.text
    whole = load(tmp_path, edition, "lost cap", rows, catalogue="all")
    assert whole.items.ids.to_list() == ["a new one", "cap", "lost"]
    assert whole.items.decode(whole.interactions.items).to_list() == ["lost", "cap"]
    assert whole.item_table["title"].to_list() == ["Never bought", "Men's Cap", None]
    assert whole.name.startswith(f"amazon-{edition}")


@pytest.mark.parametrize(
    ("edition", "form"),
    [
        *product(["2014", "2018", "2023"], ["gzip", "Windows line ends", "no last line end"]),
        *product(["2018", "2023"], ["byte order mark"]),  # those of 2014 have none
    ],
)
def test_how_metadata_is_written_does_no_harm(tmp_path, edition, form):
    text = lines(edition, [meta(edition, "other", "x", None, [], []), meta(edition, *CAP)])
    written = {
        "gzip": gzip.compress(text),
        "Windows line ends": text.replace(b"\n", b"\r\n"),
        "no last line end": text.rstrip(b"\n"),
        "byte order mark": b"\xef\xbb\xbf" + text,
    }[form]
    assert load(tmp_path, edition, "cap", written).item_table.to_dicts() == [CAP_TABLE]


def test_of_an_item_described_twice_the_first_with_a_title_stays(tmp_path):
    rows = [meta("2018", item, title, brand, [], []) for item, title, brand in
            [("a", STUB, "1"), ("b", "", "1"), ("a", "Alpha", "2"), ("a", "Beta", "3"), ("b", None, "2")]]  # fmt: skip
    table = load(tmp_path, "2018", "a b", rows).item_table
    assert table["title"].to_list() == ["Alpha", None]
    assert table["brand"].to_list() == ["2", "1"]


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        ("Plain title", "Plain title"),
        (" Maggiano&#39;s\tGift\r\n  Card ", "Maggiano's Gift Card"),
        ("AT&amp;T", "AT&T"),
        ("AT&amp;amp;T", "AT&T"),
        ("cr&ecirc;pe", "crêpe"),
        ("Q&A", "Q&A"),
        ("a\u00a0b\x00c", "a b c"),
        (STUB, None),
        (f"Kept {STUB}", "Kept"),
        ("Kept <span", "Kept"),
        ('<img src="x" <br>after', "after"),
        ("Traveller <I>offers</I> more<br />than <b>this</b>, too", "Traveller offers more than this, too"),
        ("<ul><li>one</li><li>two</li></ul>", "one two"),
        ("a<!-- hidden -->b", "a b"),
        ("<script type='x'>var a = '<b>';</script>text", "text"),
        ("<STYLE>p {}</STYLE>text<script>cut off", "text"),
        ("&lt;b&gt;bold&lt;/b&gt;", "bold"),
        ("&amp;lt;p&amp;gt;text", "text"),
        ("I &lt;3 cats", "I <3 cats"),
        ("3 < 4 > 2", "3 < 4 > 2"),
        ("&gt;&gt;&gt; Trading", ">>> Trading"),
        ("Rolling Stone {the Country Issue}", "Rolling Stone {the Country Issue}"),
        ("var aPageStart = (new Date()).getTime();\nvar ue_t0", None),
        ("\n  .a-box-inner{background-color:#fff}", None),
        ("function(){}", None),
        ("Function of the Heart", "Function of the Heart"),
        (".hack//Sign", ".hack//Sign"),
        ("   ", None),
        ("", None),
        (None, None),
    ],
)
def test_texts_read_as_they_stood_on_the_page(raw, seen):
    assert clean(pl.Series(["first", raw, "last"])).to_list() == ["first", seen, "last"]


def test_no_text_at_all_is_no_trouble():
    assert clean(pl.Series([], dtype=pl.String)).to_list() == []
    assert clean(pl.Series([None], dtype=pl.String)).to_list() == [None]


@given(st.lists(st.text(st.characters(exclude_characters="<", exclude_categories=["Cs"])), max_size=5))
def test_without_a_tag_only_entities_and_white_space_change(texts):
    expected = [html.unescape(html.unescape(text)) for text in texts]
    found = clean(pl.Series(texts, dtype=pl.String)).to_list()
    for text, one in zip(expected, found, strict=True):
        if "<" not in text and "{" not in text and "=" not in text and "(" not in text:
            assert "".join((one or "").split()) == "".join(
                c for c in text if not c.isspace() and c >= " " and c != "\x7f"
            )


@pytest.mark.parametrize(
    ("raw", "price"),
    [
        ("$12.99", 12.99),
        ("12.99", 12.99),
        ("12", 12),
        (" $1,299.99\n", 1299.99),
        ("$5.00 - $9.99", 5),
        ("$19.99 - $9.99", 9.99),
        ("from 11.5", 11.5),
        ("$.99", 0.99),
        ("", None),
        (None, None),
        ("None", None),
        ("\u2014", None),
        ("1.299,99", None),
        (".a-box-inner{width:160px}", None),
        ("2 for $5", None),
    ],
)
def test_prices(raw, price):
    found = prices(pl.Series([raw], dtype=pl.String))
    assert found.dtype == pl.Float32
    assert found.to_list() == [price if price is None else pytest.approx(price)]


@given(
    texts=st.lists(st.text(st.characters(exclude_characters="<&=({", exclude_categories=["Cs"])), max_size=4),
    plain=st.sampled_from(["A text", '["looks like a list"]', "[Discontinued] Cap", "C:\\new", ""]),
)
def test_lists_and_plain_texts_may_be_mixed(tmp_path_factory, texts, plain):
    rows = [meta("2018", "list", "x", "", [], texts), meta("2018", "text", "x", "", [], []) | {"description": plain}]
    path = tmp_path_factory.getbasetemp() / "mixed.json"
    path.write_bytes(lines("2018", rows))
    items = read_items(Metadata(RawFile(path), KEYS, literals=False), Reading())
    path.write_bytes(lines("2018", rows[:1]))  # a list alone, which polars reads by itself
    alone = read_items(Metadata(RawFile(path), KEYS, literals=False), Reading())
    folded = [" ".join("".join(c if c > " " and c != "\x7f" else " " for c in text).split()) for text in texts]
    expected = " ".join(dict.fromkeys(text for text in folded if text)) or None
    assert alone["description"].to_list() == [expected]
    assert items["description"].to_list() == [expected, plain or None]


CURES = "--skip-bad-rows"
GOOD_JSON, GOOD_LITERAL = (lines(edition, [meta(edition, *CAP)]).strip() for edition in ("2018", "2014"))


@pytest.mark.parametrize(
    ("edition", "bad", "words"),
    [
        ("2018", GOOD_JSON[:-9], ["broken JSON"]),
        ("2018", b'"text"', ["JSON of type str"]),
        ("2018", GOOD_JSON.replace(b"Soft", b"S\xf6ft"), ["byte 0xf6 is no UTF-8"]),
        ("2018", GOOD_JSON.replace(b'"cap"', b'" "'), ["asin = ' '", "an id"]),
        ("2018", GOOD_JSON.replace(b'"asin"', b'"isbn"'), ["no asin", "an id"]),
        ("2014", GOOD_LITERAL[:-9], ["no Python literal"]),
        ("2014", b"['cap']", ["no Python literal (a Python list)", "one Python dictionary a line"]),
        ("2014", GOOD_LITERAL.replace(b"Soft", b"S\xf6ft"), ["byte 0xf6 is no UTF-8"]),
        ("2014", GOOD_LITERAL.replace(b"'cap'", b"''"), ["a dictionary with a value that does not fit"]),
        ("2014", GOOD_LITERAL.replace(b"12.5", b"price()"), ["no Python literal"]),
    ],
)
def test_bad_amazon_items(tmp_path, edition, bad, words):
    other = lines(edition, [meta(edition, "other", "x", None, [], [])])
    text = other + bad + b"\n" + lines(edition, [meta(edition, *CAP)])
    expect_error(DataError, lambda: load(tmp_path, edition, "cap", text), "/meta.json line 2 (", *words, CURES)
    reading = Reading(skip_bad_rows=1)
    assert load(tmp_path, edition, "cap", text, reading=reading).item_table.to_dicts() == [CAP_TABLE]
    assert [(row.line, row.text) for row in reading.rejected] == [(2, bad.decode("utf-8", "replace"))]
    twice = text + bad
    expect_error(
        DataError,
        lambda: load(tmp_path, edition, "cap", twice, reading=Reading(skip_bad_rows=1)),
        "/meta.json line 4 (",
        "after 1 bad rows",
    )


@pytest.mark.parametrize("edition", ["2014", "2018"])
def test_metadata_that_is_cut_off_or_empty_is_named(tmp_path, edition):
    rows = [meta(edition, f"item{row * 7919 % 5000}", f"Title {row}", None, [], []) for row in range(500)]
    packed = gzip.compress(lines(edition, rows))
    cut = packed[: len(packed) // 2]
    expect_error(DataError, lambda: load(tmp_path, edition, "cap", cut), "meta.json line ", "cannot be unpacked")
    expect_error(DataError, lambda: load(tmp_path, edition, "cap", b"\n"), "meta.json is empty", "fetch the file again")


def test_a_pair_must_be_whole_and_of_one_edition(tmp_path):
    (tmp_path / "reviews.json").write_bytes(reviews("2018", "cap"))
    missing = tmp_path / "no.json"
    words = ["no.json' is no readable file", "a file of Amazon metadata"]
    expect_error(DataError, lambda: load_amazon(tmp_path / "reviews.json", missing), *words)
    newer = lines("2023", [meta("2023", *CAP)])
    words = ["reviews.json is of edition 2018", "meta.json of 2023", "two files of one edition"]
    expect_error(DataError, lambda: load(tmp_path, "2018", "cap", newer), *words)
    (tmp_path / "meta.json").write_bytes(lines("2014", [meta("2014", *CAP)]))
    pair = (tmp_path / "reviews.json", tmp_path / "meta.json")
    words = ["meta.json has the keys asin, brand, categories", "metadata keys of edition 2018: asin", "edition 2014"]
    expect_error(DataError, lambda: load_amazon(*pair, edition="2018"), *words)


@pytest.mark.data
def test_every_gift_card_has_its_title(data_folder):
    folder = data_folder / "amazon-2018"
    path = folder / "meta_Gift_Cards.json"
    data = load_amazon(folder / "Gift_Cards_5.json", path, repeats="all")
    rows = {row["asin"]: row for row in map(json.loads, path.read_text("utf-8").splitlines())}
    expected = [" ".join(html.unescape(rows[item]["title"]).split()) for item in data.items.ids]
    assert data.titles() == expected
    assert len(expected) == 148
    dollars = [rows[item]["price"].replace(",", "") for item in data.items.ids]
    assert data.item_table["price"].to_list() == [float(text[1:]) if text[:1] == "$" else None for text in dollars]
    assert not data.item_table["description"].str.contains("<|&#|&amp;").any()
    assert load_amazon(folder / "Gift_Cards_5.json", path, catalogue="all").counts()["items"] == 1547


@pytest.mark.data
def test_stubs_of_magazines_are_no_titles(data_folder):
    folder = data_folder / "amazon-2018"
    path = folder / "meta_Magazine_Subscriptions.json"
    data = load_amazon(folder / "Magazine_Subscriptions_5.json", path, repeats="all")
    rows = [json.loads(row) for row in path.read_text("utf-8").splitlines()]
    titled = {row["asin"] for row in rows if row["title"].strip() and not row["title"].startswith("<span")}
    has_title = data.item_table["title"].is_not_null()
    assert set(data.items.ids.filter(has_title)) == titled & set(data.items.ids)
    assert 0 < has_title.sum() < len(data.items) == 157
