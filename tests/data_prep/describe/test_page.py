import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from lxml import etree, html
from rich.console import Console

from llmrec.data import Dataset, Impressions, Interactions, Split, Targets, Vocabulary
from llmrec.data_prep.describe import describe
from llmrec.data_prep.describe.description import Description
from llmrec.data_prep.describe.page import print_description, write_description
from llmrec.data_prep.describe.plots import make_plots
from llmrec.testing import toy

EVIL = "<script>alert('x')</script> [red]"
ALL_PLOTS = ["Long tail", "Popularity by rank", "Events per user", "Events over time", "Values"]


def rated(**extra) -> Dataset:
    """Three users, four items, ten ratings on thirty days, with names that would like to be markup."""
    users, items = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2], [0, 1, 2, 3, 0, 1, 2, 0, 1, 0]
    return Dataset(
        name=f"rated {EVIL}",
        interactions=Interactions.sort(users, items, np.arange(10) * 280_000 + 1_577_836_800, np.arange(10) % 5 + 1),
        users=Vocabulary(["a", "b", "c"]),
        items=Vocabulary(range(4)),
        item_table=pl.DataFrame({f"title {EVIL}": ["A", "B", "", "D"]}),
        source=EVIL,
        **extra,
    )


def described(**extra) -> Description:
    data = rated(**extra)
    targets = Targets(data.queries([0]), [[3]])
    return describe(data, Split(data, targets, targets, {"name": EVIL}))


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    return write_description(described(), tmp_path_factory.mktemp("page") / "description.html").read_text("utf-8")


def cells(page: str) -> dict[str, list[str]]:
    """The numbers of each row by its name."""
    rows = html.document_fromstring(page).findall(".//tbody/tr")
    return {row.findtext("th/bdi"): [cell.text_content() for cell in row.findall("td")] for row in rows}


def test_it_needs_no_network_and_no_script(page):
    tree = html.document_fromstring(page)
    assert not tree.xpath("//script | //link | //img | //iframe | //object | //@onclick | //@onload | //*[@src]")
    links = [value for element in tree.iter() for name, value in element.attrib.items() if name.endswith("href")]
    assert links
    assert all(value.startswith("#") for value in links)
    assert not re.search(r"url\((?!#)|@import", page)
    assert "default-src 'none'" in page
    assert set(re.findall(r'(\S+)="https?://', page)) == {"xmlns", "xmlns:xlink"}


def test_names_from_the_data_stay_text(page):
    tree = html.document_fromstring(page)
    assert "<script" not in page.lower()
    assert tree.findtext(".//title") == f"rated {EVIL}"
    assert tree.findtext(".//h1/bdi") == f"rated {EVIL}"
    assert cells(page)["name"] == [EVIL]
    assert cells(page)[f"item: title {EVIL}"] == ["75.0 %", "1 character"]
    assert EVIL in [each.text for each in tree.findall(".//dd/bdi")]


def test_each_plot_is_there_once_with_its_text_as_text(page):
    tree = html.document_fromstring(page)
    assert [each.text for each in tree.findall(".//figcaption")] == ALL_PLOTS
    svgs = re.findall("<svg.*?</svg>", page, re.DOTALL)
    assert len(svgs) == len(ALL_PLOTS)
    for svg, title in zip(svgs, ALL_PLOTS, strict=True):
        assert etree.fromstring(svg).get("aria-label").startswith(title)
    ids = tree.xpath("//@id")
    assert len(ids) == len(set(ids))
    texts = ["".join(svg.itertext()) for svg in tree.findall(".//svg")]
    assert "share of items, most popular first" in texts[0]
    assert "events per day" in texts[3]
    assert "2020" in texts[3]
    assert not tree.xpath("//svg//text[contains(@style, 'fill')]"), "text in plots takes the page's colour"


def test_the_numbers_are_there(page):
    found = cells(page)
    assert found["users"] == ["3"]
    assert found["interactions"] == ["10"]
    assert found["repeats of a pair of user and item"] == ["1"]
    assert found["density"] == ["75.0 %"]  # nine of twelve cells
    assert found["sparsity"] == ["25.0 %"]
    assert found["events per user"] == ["3", "3", "3", "3.333", "3.5", "4"]
    assert found["events by the top 1 % of items"] == ["40.0 %"]
    assert found["items that make up 80 % of events"] == ["3 (75.0 %)"]
    assert found["first event (UTC)"] == ["2020-01-01"]
    assert found["5"] == ["2", "20.0 %"]
    assert found["test"] == ["", "1", "1", "0 %", "0 %"]
    tiles = {each.findtext("dt"): each.findtext("dd") for each in html.document_fromstring(page).findall(".//dl/div")}
    assert tiles == {
        "users": "3",
        "items": "4",
        "interactions": "10",
        "density": "75.0 %",
        "events by the top 20 % of items": "40.0 %",
    }


def test_it_is_made_for_phones_and_dark_screens(page):
    tree = html.document_fromstring(page)
    assert tree.xpath("//meta[@name='viewport']/@content") == ["width=device-width, initial-scale=1"]
    assert "prefers-color-scheme: dark" in page
    assert all(table.getparent().get("class") == "scroll" for table in tree.findall(".//table"))


def test_the_same_description_gives_the_same_bytes(tmp_path: Path):
    one, two = (write_description(described(), tmp_path / f"{name}.html").read_bytes() for name in ("one", "two"))
    assert one == two
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.html", "two.html"]


def test_a_failure_leaves_the_old_page(tmp_path: Path):
    path = tmp_path / "description.html"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_description(replace(described(), name="half a pair: \ud800"), path)
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["description.html"]


def plotted(data: Dataset) -> list[str]:
    return [plot.title for plot in make_plots(describe(data))]


def test_a_plot_that_would_show_nothing_is_left_out():
    data = rated()
    events = data.interactions
    assert plotted(data) == ALL_PLOTS
    assert plotted(rated(clock=False)) == [title for title in ALL_PLOTS if title != "Events over time"]
    alike = Interactions(events.users, events.items, events.times, np.full(10, 3))
    assert plotted(data.with_interactions(alike)) == ALL_PLOTS[:-1]
    once = Interactions.sort([0, 1], [0, 1], [7, 8])  # one minute, one value, equal users, equal items
    assert plotted(data.with_interactions(once)) == ["Long tail"]
    assert plotted(data.with_interactions(once.select([0]))) == []
    assert plotted(data.with_interactions(once.select([]))) == []


def test_many_values_are_drawn_as_a_histogram():
    data = rated()
    n = 40
    events = Interactions.sort(np.zeros(n), np.zeros(n), np.zeros(n), [*range(1, n), 5000])
    values = make_plots(describe(data.with_interactions(events)))[-1]
    assert values.title == "Values"
    assert values.svg.count("fill: #0082c8") == 20
    assert "1k" in "".join(etree.fromstring(str(values.svg)).itertext())


def printed(description: Description) -> str:
    out = io.StringIO()
    print_description(description, Console(file=out, width=100))
    return out.getvalue()


def test_the_console_shows_the_same_numbers():
    text = printed(described())
    assert text.splitlines()[0] == f"rated {EVIL}"
    lines = {re.split(r"\s{2,}", line.strip())[0]: line.split() for line in text.splitlines()}
    assert lines["interactions"][-1] == "10"
    assert lines["events per user"][-6:] == ["3", "3", "3", "3.333", "3.5", "4"]
    assert lines["Gini coefficient of item popularity"][-1] == "0.250"  # 4 3 2 1: 2 (1 + 4 + 9 + 16) / 40 - 5 / 4
    assert f"item: title {EVIL}" in lines
    assert "no training event" in text


def test_an_order_without_a_clock_is_called_that():
    assert re.search(r"times +order only", printed(describe(rated(clock=False))))


def test_impressions_have_their_rows():
    shown = Impressions(
        users=[0, 1], times=[1, 2], offsets=[0, 2, 5], items=[0, 1, 0, 1, 2], clicked=[True] + [False] * 4
    )
    lines = {" ".join(line.split()) for line in printed(describe(rated(impressions=shown))).splitlines()}
    assert {"impressions 2", "with known clicks 2", "click-through rate 20.0 %"} <= lines
    assert "items shown per impression 2 2.25 2.5 2.5 2.75 3" in lines


def test_an_empty_data_set_has_a_page_too(tmp_path):
    nobody = Dataset("empty", Interactions.sort([], [], []), Vocabulary([]), Vocabulary([]), pl.DataFrame())
    page = write_description(describe(nobody), tmp_path / "description.html").read_text("utf-8")
    assert cells(page)["density"] == ["\N{EN DASH}"]
    assert "<svg" not in page
    assert "At a glance" not in page
    assert printed(describe(nobody)).splitlines()[0] == "empty"


@pytest.mark.parametrize(
    ("filled", "items", "share"),
    [(1, 1, "100 %"), (0, 1, "0 %"), (1, 3, "33.3 %"), (1, 7000, "0.014 %"), (6999, 7000, "99.986 %")],
)
def test_a_share_is_never_rounded_to_nothing_or_all(filled, items, share):
    events = Interactions.sort([], [], [])
    table = pl.DataFrame({"text": ["x"] * filled + [""] * (items - filled)})
    data = Dataset("shares", events, Vocabulary([]), Vocabulary(range(items)), table)
    assert re.search(rf"item: text +{re.escape(share)} ", printed(describe(data)))


def test_the_toy_data_set_can_be_printed():
    assert "Gini" in printed(describe(toy()))
