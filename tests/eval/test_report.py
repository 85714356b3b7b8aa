import io
import re
from pathlib import Path

import numpy as np
import pytest
from lxml import etree, html
from rich.console import Console

from llmrec.data import Candidates, Targets
from llmrec.eval.evaluate import Evaluation, evaluate
from llmrec.eval.report import Example, Listed, pick_examples, print_examples, print_table, write_report
from llmrec.protocols import Usage
from llmrec.testing import TOY_HISTORIES, toy

METRICS = ("hr@3", "ndcg@3", "coverage@3")
EVIL = "<script>alert('x')</script>"


def evaluation(*, baseline: str | None = "popular $x_1$ 流行") -> Evaluation:
    """40 queries of one relevant item: the first method never finds it, the second does at rank 1."""
    data = toy()
    targets = Targets(data.queries(np.zeros(40)), np.full((40, 1), 5))
    poor = Candidates(np.tile([4, 6, 0], (40, 1)), np.zeros((40, 3)))
    good = Candidates(np.tile([5, 6, 0], (40, 1)), np.zeros((40, 3)))
    methods = {"popular $x_1$ 流行": poor, f"tuned {EVIL}": good}
    nobody = {"nobody": np.zeros(40, bool)}
    return evaluate(methods, targets, n_items=7, metrics=METRICS, baseline=baseline, groups=nobody)


def written(path: Path, **extra: object) -> str:
    example = Example(
        user=EVIL,
        history=("Alien", EVIL),
        truth=("Fargo",),
        before=(Listed("Heat"), Listed(EVIL), Listed("Fargo", relevant=True)),
        after=(Listed("Fargo", relevant=True, move=2), Listed(EVIL, move=0), Listed("Heat", move=-2), Listed("Dune")),
    )
    asked = {"title": f"A {EVIL}", "notes": {"split": EVIL, "seed": "0"}, "examples": [example]} | extra
    return write_report(evaluation(), path, **asked).read_text("utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("report") / "report.html", usage={"tuned": Usage(40, 12345, 80, 3, 77, 1.5)})


def test_it_needs_no_network_and_no_script(page: str) -> None:
    tree = html.document_fromstring(page)
    assert not tree.xpath("//script | //link | //img | //iframe | //object | //@onclick | //@onload | //*[@src]")
    links = [value for element in tree.iter() for name, value in element.attrib.items() if name.endswith("href")]
    assert links
    assert all(value.startswith("#") for value in links)
    assert not re.search(r"url\((?!#)|@import", page)
    assert "default-src 'none'" in page
    # Names of XML languages are the only addresses, and nothing loads those.
    assert set(re.findall(r'(\S+)="https?://', page)) == {"xmlns", "xmlns:xlink"}
    assert len(re.findall("https?://", page)) == 2 * len(METRICS)


def test_untrusted_text_is_escaped_everywhere(page: str) -> None:
    assert "<script" not in page.lower()
    tree = html.document_fromstring(page)
    # Title, heading, note, user, history, before, after; the method: six table rows and more.
    assert page.count("&lt;script&gt;alert(") >= 7
    assert tree.findtext(".//h1") == f"A {EVIL}"
    assert EVIL in [element.text for element in tree.findall(".//bdi")]


def test_there_is_one_plot_for_each_metric_with_its_text_as_text(page: str) -> None:
    tree = html.document_fromstring(page)
    labels = [svg.get("aria-label") for svg in tree.findall(".//svg")]
    assert labels == [f"{metric}: mean and 95 % interval of each method" for metric in METRICS]
    text = "".join(tree.find(".//svg").itertext())
    assert "popular $x_1$ 流行" in text
    assert "tuned <script>" in text
    ids = tree.xpath("//@id")
    assert len(ids) == len(set(ids))
    for svg in re.findall("<svg.*?</svg>", page, re.DOTALL):
        etree.fromstring(svg)


def test_numbers_marks_and_moves_are_there(page: str) -> None:
    tree = html.document_fromstring(page)
    tables = ["".join(table.itertext()) for table in tree.findall(".//table")]
    assert "all: 40 queries" in tables[0]
    assert "▲ 1.0000" in re.sub(r"\s+", " ", tables[0])
    assert "p<0.001" in tables[0]
    assert "nobody: 0 queries" in tables[1]
    assert "0.0000" not in tables[1]
    assert "+1.0000" in tables[2]
    assert "1.0000 to 1.0000" in tables[2]
    assert "12,345" in tables[3]
    after = [" ".join("".join(item.itertext()).split()) for item in tree.findall(".//ol")[1]]
    assert after == ["Fargo ✓ relevant ▲2", f"{EVIL} =", "Heat ▼2", "Dune new"]
    assert [item.get("class") for item in tree.findall(".//ol")[1]] == ["hit", None, None, None]


def test_it_is_made_for_phones_and_dark_screens(page: str) -> None:
    tree = html.document_fromstring(page)
    assert tree.xpath("//meta[@name='viewport']/@content") == ["width=device-width, initial-scale=1"]
    assert "prefers-color-scheme: dark" in page
    assert all("scroll" in table.getparent().get("class") for table in tree.findall(".//table"))
    assert not tree.xpath("//svg//text[contains(@style, 'fill')]"), "text in plots takes the page's colour"


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    assert written(tmp_path / "one.html") == written(tmp_path / "two.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.html", "two.html"]


def test_a_failure_leaves_the_old_page(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_report(evaluation(), path, title="half a pair: \ud800", notes={})
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_parts_that_are_not_asked_for_are_left_out(tmp_path: Path) -> None:
    alone = evaluation(baseline=None)
    page = write_report(alone, tmp_path / "report.html", title="Bare", notes={}).read_text("utf-8")
    assert "Example users" not in page
    assert "usage" not in page
    assert "How it was made" not in page
    assert 'badge">' not in page


def printed(found: Evaluation, width: int) -> str:
    out = io.StringIO()
    print_table(found, Console(file=out, width=width))
    return out.getvalue()


def test_the_printed_table_has_the_numbers() -> None:
    text = printed(evaluation(), 120)
    assert "all: 40 queries" in text
    assert "popular $x_1$ 流行 (baseline)" in text
    row = next(line for line in text.splitlines() if EVIL in line)
    assert row.split()[-5:] == ["▲", "1.0000", "▲", "1.0000", "0.4286"]
    assert "1.0000\N{EN DASH}1.0000" in text
    assert "p<0.001" in text


def test_a_narrow_console_gets_more_tables_and_no_cut_number() -> None:
    text = printed(evaluation(), 60)
    assert text.count("all: 40 queries") > 1
    assert "…" not in text
    assert all(metric in text for metric in METRICS)


def test_markup_in_a_method_s_name_is_no_markup() -> None:
    targets = Targets(toy().queries([0]), np.array([[5]]))
    found = evaluate({"[bold]x[/bold]": Candidates(np.array([[5]]), np.zeros((1, 1)))}, targets, n_items=7)
    assert "[bold]x[/bold]" in printed(found, 200)


def test_examples_are_drawn_where_there_is_something_to_see() -> None:
    data = toy()
    targets = Targets(data.queries([0, 1, 4]), np.array([[4, 6], [3, -1], [6, -1]]))
    before = Candidates(np.array([[5, 4, 6], [4, 5, 6], [0, 1, 6]]), np.zeros((3, 3)))
    after = Candidates(np.array([[6, 5, 4], [6, 5, 4], [6, 3, 0]]), np.zeros((3, 3)))
    one, two = pick_examples(data, targets, before, after, count=5, k=2, history=2)
    assert (one.user, two.user) == ("u0", "u4")  # user 1's film is in no list
    assert one.history == ("Casablanca", "Dune")
    assert len(TOY_HISTORIES[0]) == 4
    assert one.truth == ("Heat", "Gattaca")
    assert one.before == (Listed("Fargo"), Listed("Heat", relevant=True))
    assert one.after == (Listed("Gattaca", relevant=True, move=2), Listed("Fargo", move=-1))
    assert two.after == (Listed("Gattaca", relevant=True, move=2), Listed("Dune"))
    again = pick_examples(data, targets, before, after, count=1, seed=3)
    assert again == pick_examples(data, targets, before, after, count=1, seed=3)
    assert len(again) == 1


def test_printed_examples_show_moves_and_hits_and_no_markup() -> None:
    before = (Listed("[red]Alien[/red]"), Listed("Heat", relevant=True))
    after = (Listed("Heat", relevant=True, move=1), Listed("[red]Alien[/red]", move=-1))
    output = io.StringIO()
    example = Example("u7", ("Dune", "Brazil"), ("Heat",), before, after)
    print_examples([example], Console(file=output, width=100, color_system=None))
    text = output.getvalue()
    assert "user u7, after Dune | Brazil" in text
    rows = [line.split() for line in text.splitlines() if line.strip()[:1] in {"1", "2"}]
    assert rows == [["1", "[red]Alien[/red]", "Heat", "✓", "▲1"], ["2", "Heat", "✓", "[red]Alien[/red]", "▼1"]]


def test_a_table_of_one_group_can_be_printed_alone() -> None:
    candidates = Candidates(np.array([[0, 1]]), np.array([[2.0, 1.0]]))
    targets = Targets(toy().queries([0]), np.array([[1]]))
    evaluation = evaluate({"a": candidates}, targets, n_items=7, metrics=["hr@2"], groups={"some": np.array([True])})
    output = io.StringIO()
    print_table(evaluation, Console(file=output, width=100, color_system=None), groups=["all"])
    assert "all: 1 query" in output.getvalue()
    assert "some" not in output.getvalue()
