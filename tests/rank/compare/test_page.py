"""The report: one file, no network, nothing unescaped, one script whose digest the page names."""

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace

import polars as pl
import pytest
from lxml import etree, html
from rich.console import Console

from llmrec.data import Split
from llmrec.rank.compare.experiment import compare
from llmrec.rank.compare.page import print_leaderboard, write_comparison
from llmrec.rank.compare.plots import pareto

EVIL = "</pre ><script >alert('x')</script >"
GRID = {
    "strategies": ["likelihood", "one-token", {"name": "listwise", "template": "llmrank-recency"}],
    "engines": ["fake", {"name": "fake", "context": 5}],
    "histories": [1, 3],
}


@pytest.fixture(scope="module")
def evil(tmp_path_factory, prepared, films, targets):
    """The prepared folder with a script in the title of every third film."""
    folder = tmp_path_factory.mktemp("evil")
    titles = [f"{title} {EVIL}" if number % 3 == 0 else title for number, title in enumerate(films.titles())]
    changed = replace(films, item_table=pl.DataFrame({"title": titles}))
    Split(changed, targets, targets, {}).save(folder / "split")
    return folder


@pytest.fixture
def found(make_recipe, evil):
    return compare(make_recipe(dataset=evil, grid=GRID, prices={"fake": {"input": 1}}, examples=3))


@pytest.fixture
def page(found, tmp_path):
    return write_comparison(found, tmp_path / "report.html").read_text("utf-8")


def test_nothing_is_loaded_and_only_our_script_may_run(page):
    tree = html.document_fromstring(page)
    assert not tree.xpath("//link | //img | //iframe | //object | //@onclick | //@onload | //*[@src] | //a")
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttp|import\(", page)
    assert set(re.findall(r'(\S+)="https?://', page)) == {"xmlns", "xmlns:xlink"}
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = tree.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_titles_that_are_markup_stay_text(page):
    assert page.lower().count("<script") == 1
    assert page.count("&lt;/pre &gt;&lt;script &gt;alert(") > 10
    tree = html.document_fromstring(page)
    assert any(EVIL in pre.text for pre in tree.findall(".//pre"))
    assert any(EVIL in (bdi.text or "") for bdi in tree.findall(".//li/bdi"))


def test_the_leaderboard_has_a_row_for_each_variant_and_sortable_numbers(page, found):
    tree = html.document_fromstring(page)
    (table,) = tree.xpath("//table[@id='leaderboard']")
    heads = [head.text_content().strip() for head in table.xpath("./thead//th")]
    assert heads[:4] == ["variant", "ndcg@10", "difference", "p (Holm)"]
    assert "money" in heads
    assert all(len(head) == 1 and head[0].tag == "button" for head in table.xpath("./thead//th"))
    rows = table.xpath("./tbody/tr")
    assert len(rows) == 13
    assert [row.xpath("./th/@data-value")[0] for row in rows] == found.leaderboard["variant"].to_list()
    values = [float(row.xpath("./td[1]/@data-value")[0]) for row in rows if not row.xpath("./td[@class='failed']")]
    assert len(values) == 7
    assert values == sorted(values, reverse=True)
    failed = [row.text_content() for row in rows if row.xpath("./td[@class='failed']")]
    assert len(failed) == 6
    assert all("at most 5" in text for text in failed)
    assert table.text_content().count("baseline") == 1


def test_tables_have_headers_and_plots_have_labels(page):
    tree = html.document_fromstring(page)
    assert all(table.get("aria-label") for table in tree.findall(".//table"))
    assert all(head.get("scope") == "col" for head in tree.xpath("//thead//th"))
    labels = [svg.get("aria-label") for svg in tree.findall(".//svg")]
    assert len(labels) == len(set(labels)) == 3 + 6 + 6 + 1
    ids = tree.xpath("//@id")
    assert len(ids) == len(set(ids))
    for svg in re.findall("<svg.*?</svg>", page, re.DOTALL):
        etree.fromstring(svg)
    assert tree.xpath("//label/@for") == ["filter"]


def test_prompts_and_raw_answers_stand_side_by_side(page, found):
    tree = html.document_fromstring(page)
    users = tree.xpath("//section[contains(@class, 'user')]")
    assert len(users) == 3
    for user, expected in zip(users, found.differing, strict=True):
        sides = user.xpath(".//div[@class='sides']/div")
        for side, of in zip(sides, expected.sides, strict=True):
            texts = [pre.text for pre in side.findall(".//pre")]
            for exchange in of.exchanges:
                # A line break behind <pre> is no text to a browser.
                assert exchange.prompt.user.lstrip("\n") in [text.lstrip("\n") for text in texts]
                assert not exchange.written or exchange.written.lstrip("\n") in [text.lstrip("\n") for text in texts]
            answers = [cell.text for cell in side.findall(".//code")]
            assert answers == [answer for exchange in of.exchanges for answer in exchange.answers]


def test_it_is_made_for_phones_and_dark_screens(page):
    tree = html.document_fromstring(page)
    assert tree.xpath("//meta[@name='viewport']/@content") == ["width=device-width, initial-scale=1"]
    assert "prefers-color-scheme: dark" in page
    wide = tree.xpath("//table[not(ancestor::section)]")
    assert all("scroll" in table.getparent().get("class") for table in wide)


def test_the_same_experiment_gives_the_same_bytes(found, tmp_path):
    one, two = (write_comparison(found, tmp_path / f"{name}.html").read_bytes() for name in ("one", "two"))
    assert one == two


def test_the_printed_leaderboard_names_what_failed(found):
    out = io.StringIO()
    print_leaderboard(found, Console(file=out, width=200))
    text = out.getvalue()
    assert "likelihood, history 1, fake (baseline)" in text
    assert text.count("at most 5") == 6
    assert f"{found.leaderboard['ndcg@10 mean'][0]:.4f}" in text


def test_the_front_holds_what_nothing_cheaper_equals():
    assert pareto(pl.Series([5.0, 1, 3, 2, 1]).to_numpy(), pl.Series([0.9, 0.2, 0.5, 0.1, 0.4]).to_numpy()) == [4, 2, 0]


CHECK = """
const rows = () => [...document.querySelectorAll("#leaderboard tbody tr")].filter((row) => !row.hidden)
  .map((row) => row.cells[0].dataset.value);
const click = (column) => document.querySelectorAll("#leaderboard thead button")[column].click();
const seen = {first: rows()};
click(0); seen.names = rows();
click(0); seen.turned = rows();
click(1); seen.best = rows();
document.getElementById("filter").value = "ONE-token 3";
document.getElementById("filter").dispatchEvent(new Event("input"));
seen.filtered = rows(); seen.found = document.getElementById("found").textContent;
seen.figures = document.querySelectorAll("figure[data-words]:not([hidden])").length;
seen.wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
document.title = JSON.stringify(seen);
"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
def test_a_browser_sorts_and_filters(page, found, tmp_path):
    """In headless Chromium; only the check itself is let in beside our script."""
    digest = base64.b64encode(hashlib.sha256(CHECK.encode()).digest()).decode()
    checked = page.replace("; script-src ", f"; script-src 'sha256-{digest}' ")
    checked = checked.replace(
        "</body>", f"<script>alert = null; document.title = 'unsafe'</script><script>{CHECK}</script></body>"
    )
    (tmp_path / "checked.html").write_text(checked, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    browser = ["chromium", *options, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=500,900"]
    command = [*browser, "--dump-dom", f"file://{tmp_path / 'checked.html'}"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    seen = json.loads(html.document_fromstring(ran.stdout).findtext(".//title"))
    board = found.leaderboard["variant"].to_list()
    assert seen["first"] == board
    failed = set(found.leaderboard.filter(pl.col("error").is_not_null())["variant"])
    assert seen["names"] == sorted(board, key=str.lower)
    assert seen["turned"] == sorted(board, key=str.lower, reverse=True)
    means = dict(found.leaderboard.select("variant", "ndcg@10 mean").iter_rows())
    assert [means[name] for name in seen["best"][:7]] == [means[name] for name in board[:7]]
    assert set(seen["best"][7:]) == failed
    assert sorted(seen["filtered"]) == ["one-token, history 3, fake", "one-token, history 3, fake context=5"]
    assert seen["found"] == "2 of 13"
    assert seen["figures"] == 2
    assert not seen["wide"], "the page scrolls sideways on a phone"
