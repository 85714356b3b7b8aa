"""The page of yes/no predictions: the same as that of rankings, with a calibration plot and its own words."""

import io
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from lxml import etree, html
from rich.console import Console

from llmrec.eval.report import print_table
from llmrec.eval.yes_no import Predictions
from llmrec.eval.yes_no_compare import YesNoEvaluation, evaluate_yes_no
from llmrec.eval.yes_no_report import about, write_yes_no_report

EVIL = "<script>alert('x')</script> $x_1$"
N = 400


def evaluation() -> YesNoEvaluation:
    """A coin, a method that is right and sure, and one that is wrong and sure; the last users have one label each."""
    random = np.random.default_rng(0)
    users = np.arange(N) % 40
    labels = np.where(users < 38, random.random(N) < 0.5, users == 39)
    sure = np.where(labels, 2.0, -2.0) + random.normal(size=N) / 2

    def made(scores: np.ndarray) -> Predictions:
        rows = np.arange(N)
        return Predictions(pl.DataFrame({"row": rows, "user": users, "item": rows, "label": labels, "score": scores}))

    holes = np.where(rows_failed(), np.nan, -sure)
    methods = {"coin": made(random.normal(size=N)), f"right {EVIL}": made(sure), "wrong": made(holes)}
    return evaluate_yes_no(methods, baseline="coin", samples=500, skip_failed=True)


def rows_failed() -> np.ndarray:
    return np.isin(np.arange(N), [1, 2, 3])


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    return write_yes_no_report(evaluation(), path, title=f"Yes {EVIL}", notes={"seed": "0"}).read_text("utf-8")


def test_it_needs_no_network_and_no_script(page: str) -> None:
    tree = html.document_fromstring(page)
    assert not tree.xpath("//script | //link | //img | //iframe | //object | //@onclick | //*[@src]")
    assert "<script" not in page.lower()
    assert not re.search(r"url\((?!#)|@import", page)
    assert set(re.findall(r'(\S+)="https?://', page)) == {"xmlns", "xmlns:xlink"}
    assert tree.xpath("//meta[@name='viewport']/@content") == ["width=device-width, initial-scale=1"]
    assert all("scroll" in table.getparent().get("class") for table in tree.findall(".//table"))


def test_there_is_a_plot_of_each_metric_and_one_of_the_calibration(page: str) -> None:
    tree = html.document_fromstring(page)
    assert [caption.text for caption in tree.findall(".//figcaption")] == [
        *("auc", "gauc", "log-loss", "ece", "calibration")
    ]
    *_, last = re.findall("<svg.*?</svg>", page, re.DOTALL)
    etree.fromstring(last)
    text = "".join(tree.findall(".//svg")[-1].itertext())
    for words in ("coin", "right <script>", "wrong", "share of yes", "mean probability of yes"):
        assert words in text
    assert not tree.xpath("//svg//text[contains(@style, 'fill')]")
    ids = tree.xpath("//@id")
    assert len(ids) == len(set(ids))


def test_marks_say_what_is_better_whichever_way_a_metric_runs(page: str) -> None:
    tree = html.document_fromstring(page)
    coin, right, wrong = tree.findall(".//table")[0].findall(".//tbody/tr")

    def marks(line: etree._Element) -> list[str]:
        return ["".join(cell.itertext()).strip()[:1] for cell in line.findall("td")]

    assert marks(right) == ["▲"] * 4
    assert marks(wrong) == ["▼"] * 4
    assert not set(marks(coin)) & {"▲", "▼"}
    assert [len(line.xpath(".//*[@class='best']")) for line in (coin, right, wrong)] == [0, 4, 0]
    everything = tree.findall(".//table")[1].findall(".//tbody/tr")
    last = ["".join(line.findall("td")[-1].itertext())[:1] for line in everything]
    assert [each for each in last if each] == ["▲", "▼"] * 4


def test_words_are_of_questions_not_of_rankings(page: str) -> None:
    text = " ".join(html.document_fromstring(page).text_content().split())
    assert "A query is one yes/no question." in text
    assert "randomisation" not in text
    assert "40 users, 2 of them with one label only and so left out of gauc" in text
    assert "wrong 3; left out for all methods" in text
    assert "whole users drawn anew" in text
    assert "all: 397 queries" in text


def test_what_is_not_known_is_said() -> None:
    made = evaluation()
    rows = YesNoEvaluation(made.evaluation, made.calibration, made.yes, "rows", 0, 0, {"coin": 0})
    said = about(rows)
    assert said["users"] == "not known"
    assert "as if independent" in said["intervals"]
    assert "without a score" not in said


def test_the_console_marks_alike() -> None:
    out = io.StringIO()
    print_table(evaluation().evaluation, Console(file=out, width=160))
    line = next(line for line in out.getvalue().splitlines() if line.strip().startswith("right"))
    assert line.count("▲") == 4


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = (
        write_yes_no_report(evaluation(), tmp_path / name, title="A", notes={}).read_bytes() for name in ("1", "2")
    )
    assert one == two
