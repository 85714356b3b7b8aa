"""``llmrec prompts``: list, show, render, compare; bad input gets one line."""

import json
from pathlib import Path

import polars as pl
import pytest

from llmrec.cli.console import console
from llmrec.data import Split
from llmrec.prompts import template as templates
from llmrec.prompts.template import load_template, template_names

BUILT_IN = Path(templates.__file__).parent / "templates"


def test_list_names_every_template_and_what_it_serves(llmrec, monkeypatch):
    monkeypatch.setattr(console, "width", 200)
    code, out, _ = llmrec("prompts", "list")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert set(template_names()) <= set(lines)
    assert "pointwise " in lines["pointwise-yes-no"]
    for name in ("setwise", "one-token", "tournament"):
        assert name in out
    assert "likelihood " in lines["likelihood-sentence"]
    assert "listwise " in lines["llmrank-recency"]
    assert "pointwise " in lines["tallrec-movie"]
    assert "none" in lines["cv-posting"]
    assert "pointwise" not in lines["likelihood-list"]


def test_show_prints_the_file(llmrec, tmp_path):
    code, out, _ = llmrec("prompts", "show", "choose-label")
    assert code == 0
    first, _, rest = out.partition("\n")
    assert first == f"# {BUILT_IN / 'choose-label.yaml'}"
    assert rest == (BUILT_IN / "choose-label.yaml").read_text(encoding="utf-8")
    mine = tmp_path / "mine.yaml"
    mine.write_bytes((BUILT_IN / "likelihood-list.yaml").read_bytes())
    assert llmrec("prompts", "show", mine)[1].startswith(f"# {mine}\nname: likelihood-list\n")


def render(llmrec, prepared, *more):
    cache = ("--set", f"cache={prepared / 'answers.sqlite'}")
    return llmrec("prompts", "render", *more, "--dataset", prepared / "ml", "--part", "test", *cache)


def test_render_prints_what_the_strategy_asks(llmrec, prepared):
    candidates = ("--candidates", prepared / "knn.parquet", "--user", "3", "--top", "4")
    code, out, error = render(llmrec, prepared, "pointwise-yes-no", *candidates, "--set", "strategy.history=2")
    assert code == 0, error
    assert out.startswith("# user 3, pointwise-yes-no, pointwise: 4 prompts\n")
    split = Split.load(prepared / "ml" / "split")
    titles = split.train.titles()
    (row,) = [n for n, user in enumerate(split.train.users.decode(split.test.queries.users)) if user == 3]
    history = [titles[item] for item in split.test.queries.lists()[row][-2:]]
    frame = pl.read_parquet(prepared / "knn.parquet").filter(pl.col("user") == 3).sort("rank").head(4)
    for number, item in enumerate(split.train.items.numbers(frame["item"]), 1):
        prompt = load_template("pointwise-yes-no").render(history=history, target=titles[item])
        assert f"--- prompt {number}\n{prompt.user}\n[answers scored]\n' no'\n' yes'\n" in out
    assert not (prepared / "answers.sqlite").exists()


def test_render_counts_tokens_of_a_named_engine_and_takes_popular_items_without_a_file(llmrec, prepared):
    code, out, _ = render(llmrec, prepared, "llmrank-sequential", "--engine", "fake")
    assert code == 0, out
    head = out.splitlines()[0]
    assert "llmrank-sequential, listwise: 1 prompt, " in head
    assert head.endswith(" tokens")
    assert "[system]\nYou are a recommender system." in out


def compare(llmrec, prepared, *more, out="out"):
    paths = ("--dataset", prepared / "ml", "--candidates", prepared / "knn.parquet", "--out", prepared / out)
    return llmrec("prompts", "compare", *more, *paths, "--part", "test", "--cache", prepared / "answers.sqlite")


def test_compare_writes_a_folder_with_a_report(llmrec, prepared):
    grid = ("--template", "likelihood-list", "--template", "likelihood-sentence", "--history", "1", "--history", "5")
    code, out, error = compare(llmrec, prepared, *grid, "--engine", "fake", "--users", "8")
    assert code == 0, error
    rows = json.loads((prepared / "out" / "leaderboard.json").read_text())["rows"]
    assert {row["variant"] for row in rows} == {
        "incoming order",
        *(f"likelihood-{kind}, history {n}" for kind in ("list", "sentence") for n in (1, 5)),
    }
    assert "report.html" in out.replace("\n", "")
    assert "8 queries" in out
    page = (prepared / "out" / "report.html").read_text("utf-8")
    assert "likelihood-sentence, history 5" in page
    recipe = prepared / "recipe.yaml"
    recipe.write_text("users: 8\ngrid:\n  engines: [fake]\n  strategies: [likelihood, pointwise]\n")
    assert compare(llmrec, prepared, recipe, "--set", "grid.histories=[1, 5]", out="two")[0] == 0
    rows = json.loads((prepared / "two" / "leaderboard.json").read_text())["rows"]
    computed = {row["variant"]: row["computed"] for row in rows}
    assert computed["likelihood, history 1"] == 0, "the first run asked that"
    assert computed["pointwise, history 1"] > 0


def test_compare_says_what_it_would_cost_first(llmrec, prepared, monkeypatch):
    monkeypatch.setattr(console, "width", 200)
    grid = ("--history", "1", "--history", "5", "--engine", "fake", "--users", "8")
    prices = ("--set", "prices={fake: {input: 1000000, output: 0}}")
    code, out, error = compare(llmrec, prepared, *grid, *prices, "--dry-run")
    assert code == 0, error
    assert not (prepared / "out").exists()
    lines = {line.split()[-7]: line.split()[-6:] for line in out.splitlines() if "history" in line}
    for prompts, answers, _, read, _, money in lines.values():
        assert prompts == "8"
        assert float(answers.replace(",", "")) > 8
        assert float(money.replace(",", "")) == float(read.replace(",", ""))
    assert len(lines) == 2


def wrong_template(text):
    def change(folder):
        (folder / "mine.yaml").write_text(f"name: mine\nversion: 1\ndescription: D.\n{text}")

    return change


def other_candidates(folder):
    pl.read_parquet(folder / "knn.parquet").with_columns(item=pl.lit(77)).write_parquet(folder / "knn.parquet")


GIVEN = ["--engine", "fake"]


@pytest.mark.parametrize(
    ("change", "more", "words"),
    [
        (None, [*GIVEN, "--template", "likelihod-list"], ["unknown template", "did you mean 'likelihood-list'?"]),
        (None, [*GIVEN, "--strategy", "listwize"], ["unknown ranking strategy", "did you mean 'listwise'?"]),
        (None, ["--engine", "fakes"], ["unknown engine", "did you mean 'fake'?"]),
        (None, [*GIVEN, "--template", "likelihood-list", "--template", "likelihood-list"], ["again", "drop one"]),
        (None, [], ["no variant", "a grid"]),
        (None, [*GIVEN, "--set", "grid.strategies=[]"], ["grid.strategies", "at least 1"]),
        (None, [*GIVEN, "--set", "grid.template=x"], ["unknown key 'grid.template'"]),
        (None, [*GIVEN, "--set", "users=0"], ["users = 0", "greater than or equal to 1"]),
        (None, [*GIVEN, "--baseline", "mine"], ["unknown baseline 'mine'", "choose from"]),
        (other_candidates, GIVEN, ["item 77", "items of data set"]),
        (
            wrong_template('user: "{{ histroy }}"\nanswer: continuation\ncontinuation: "{{ candidate }}"\n'),
            [*GIVEN, "--template", "mine.yaml"],
            ["'histroy' is undefined", "history", "mend its 'user'"],
        ),
        (wrong_template("user: x\nanswer: rankin\n"), [*GIVEN, "--template", "mine.yaml"], ["no parser", "'ranking'"]),
        (None, [*GIVEN, "no-recipe.yaml"], ["no file 'no-recipe.yaml'"]),
    ],
)
def test_bad_compare(llmrec, prepared, monkeypatch, change, more, words):
    monkeypatch.chdir(prepared)
    if change:
        change(prepared)
    check(compare(llmrec, prepared, *more), words)
    assert not (prepared / "out").exists()
    assert not (prepared / "answers.sqlite").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["show", "choose-labl"], ["unknown template", "did you mean 'choose-label'?"]),
        (["show", "no.yaml"], ["no template 'no.yaml'"]),
        (["render", "choose-labl"], ["unknown template", "did you mean 'choose-label'?"]),
        (["render", "choose-label", "--user", "999"], ["user '999'", "a user of part 'valid'"]),
        (["render", "choose-label", "--strategy", "likelihood"], ["'choose-label'", "undefined"]),
        (["render", "llmrank-recency", "--strategy", "pointwise"], ["answer 'ranking'", "'pointwise'"]),
        (["render", "cv-posting"], ["serves no ranking strategy", "llmrec prompts list"]),
        (["render", "tallrec-movie"], ["values from 4 to 4", "ratings on both sides", "pointwise-yes-no"]),
        (["render", "choose-label", "--candidates", "no.parquet"], ["no file 'no.parquet'"]),
        (["render", "choose-label", "--engine", "fake", "--set", "engine.context=5"], ["at most 5"]),
        (["render", "choose-label", "--part", "train"], ["part 'train'"]),
    ],
)
def test_bad_look(llmrec, prepared, monkeypatch, words, expected):
    monkeypatch.chdir(prepared)
    data = ["--dataset", "ml", "--set", "cache=answers.sqlite"] if words[0] == "render" else []
    check(llmrec("prompts", *words, *data), expected)


def check(result, words):
    code, _, error = result
    assert code == 2
    lines = [line for line in error.splitlines() if line.startswith("llmrec: error: ")]
    assert len(lines) == 1, error
    for word in words:
        assert word in lines[0]
    assert "Traceback" not in error
