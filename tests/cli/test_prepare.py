"""Each kind of raw files through the command line: a folder, its split, its record; or one line and nothing."""

import inspect
import json
from pathlib import Path

import polars as pl
import pytest
from pydantic_core import PydanticUndefined

from llmrec.config import load_config
from llmrec.data import Dataset, Split
from llmrec.data_prep import recipes
from llmrec.data_prep.amazon import load_amazon
from llmrec.data_prep.examples import ExamplesRecipe
from llmrec.data_prep.jobs import load_jobs
from llmrec.data_prep.mind import load_mind
from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.sequences import load_sequences
from llmrec.data_prep.table import load_table

NEWS = "".join(f"N{n}\tnews\tlocal\tNews {n}\tAbout {n}\thttps://x/{n}\t[]\t[]\n" for n in range(6))


def reviews(folder):
    rows = [
        {"reviewerID": f"A{user}", "asin": f"B{(user + step) % 4}", "overall": 4.0, "unixReviewTime": 1000 + 10 * step}
        for user in range(5)
        for step in range(4)
    ]
    path = folder / "Toys_5.json"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    about = [{"asin": f"B{n}", "title": f"Toy {n} &amp; Co", "brand": "x", "category": ["Toys"]} for n in range(5)]
    (folder / "meta_Toys.json").write_text("".join(json.dumps(row) + "\n" for row in about))
    return path


def impressions(folder):
    source = folder / "MINDsmall_train"
    source.mkdir()
    (source / "news.tsv").write_text(NEWS)
    lines = [
        f"{n}\tU{n % 3}\t11/{9 + n // 10}/2019 9:{n % 10:02}:00 AM\tN5\tN{n % 5}-1 N{(n + 1) % 5}-0\n"
        for n in range(20)
    ]
    (source / "behaviors.tsv").write_text("".join(lines))
    return source


def test_amazon(llmrec, tmp_path):
    path = reviews(tmp_path)
    out = tmp_path / "toys"
    code, said, _ = llmrec("prepare", "amazon", path, "--metadata", tmp_path / "meta_Toys.json", "--out", out)
    assert code == 0
    assert "5 users, 4 items, 20 interactions" in said
    assert Dataset.load(out).titles() == [f"Toy {n} & Co" for n in range(4)]
    assert len(Split.load(out / "split").test) == 5
    record = json.loads((out / "run.json").read_text())
    assert record["recipe"]["metadata"] == str(tmp_path / "meta_Toys.json")
    assert record["rejected"] == 0
    assert not (out / "rejected.jsonl").exists()
    more = ("--set", "catalogue=all", "--split", "global-time-cut", "--set", "train=0.5", "--set", "valid=0.25")
    code, said, _ = llmrec("prepare", "amazon", path, "--metadata", tmp_path / "meta_Toys.json", "--out", out, *more)
    assert code == 0
    assert "5 users, 5 items" in said
    assert Split.load(out / "split").rule["name"] == "global-time-cut"
    assert len(Split.load(out / "split").train.interactions) == 10
    run = ("prepare", "amazon", path, "--out", tmp_path / "x", "--split", "per-user-ratio", "--set", "train=0")
    code, _, error = llmrec(*run)
    assert code == 2
    assert "train = 0" in error  # nothing to train on is asked for, which is no default


def test_an_edition_is_a_year_and_has_to_fit(llmrec, tmp_path):
    run = ("prepare", "amazon", reviews(tmp_path), "--out", tmp_path / "toys", "--set")
    code, _, error = llmrec(*run, "edition=2023")
    assert code == 2
    assert "has the keys asin, overall, reviewerID, unixReviewTime" in error
    assert "read it as edition" in error
    assert llmrec(*run, "edition=2018")[0] == 0


def test_bad_rows_are_left_out_up_to_a_number_and_written_down(llmrec, tmp_path):
    path = reviews(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], '{"reviewerID": "A1", "asi', *lines[1:], lines[0].replace("4.0", "40")]))
    run = ("prepare", "amazon", path, "--out", tmp_path / "toys")
    code, _, error = llmrec(*run)
    assert code == 2
    assert "Toys_5.json line 2" in error
    assert not (tmp_path / "toys").exists()
    code, _, error = llmrec(*run, "--skip-bad-rows", 1)
    assert code == 2
    assert "Toys_5.json line 22" in error
    assert {each.name for each in tmp_path.iterdir()} == {"Toys_5.json", "meta_Toys.json"}
    code, said, _ = llmrec(*run, "--skip-bad-rows", 2)
    assert code == 0
    assert "2 bad rows left out" in said
    rejected = [json.loads(line) for line in (tmp_path / "toys" / "rejected.jsonl").read_text().splitlines()]
    assert [row["line"] for row in rejected] == [2, 22]
    assert rejected[0]["text"] == '{"reviewerID": "A1", "asi'
    assert len(Dataset.load(tmp_path / "toys").interactions) == 20


def test_mind_and_what_was_shown(llmrec, tmp_path):
    source, out = impressions(tmp_path), tmp_path / "mind"
    code, said, _ = llmrec("prepare", "mind", source, "--out", out)
    assert code == 0
    assert "3 users, 6 items, 23 interactions, 20 impressions" in said
    split = Split.load(out / "split")
    assert (len(split.valid), len(split.test)) == (2, 2)
    assert len(split.train.impressions) == 16
    code, said, _ = llmrec("recall", "shown", "--dataset", out, "--out", tmp_path / "shown.parquet")
    assert code == 0
    assert "2 queries, 4 candidates" in said
    rows = pl.read_parquet(tmp_path / "shown.parquet").select("user", "rank", "item").rows()
    assert rows == [("U0", 1, "N3"), ("U0", 2, "N4"), ("U1", 1, "N4"), ("U1", 2, "N0")]
    rank = ("rank", tmp_path / "shown.parquet", "--dataset", out, "--out", tmp_path / "llm.parquet")
    code, said, _ = llmrec(*rank, "--engine", "fake", "--cache", tmp_path / "answers.sqlite")
    assert code == 0
    assert "2 queries ranked" in said
    llm = (f"llm={tmp_path / 'llm.parquet'}", f"shown={tmp_path / 'shown.parquet'}")
    assert llmrec("evaluate", *llm, "--dataset", out, "--out", tmp_path / "report")[0] == 0


def test_a_table(llmrec, tmp_path):
    rows = [f"u{user},i{item},{100 * user + item},{item}" for user in range(3) for item in range(4)]
    (tmp_path / "plays.csv").write_text("who,what,when,much\n" + "\n".join(rows))
    (tmp_path / "songs.csv").write_text("what,name,artist\n" + "".join(f"i{n},Song {n},A\n" for n in range(5)))
    out = tmp_path / "songs"
    columns = ("--user", "who", "--item", "what", "--time", "when", "--value", "much", "--set", "title=name")
    table = ("prepare", "table", tmp_path / "plays.csv", "--items", tmp_path / "songs.csv")
    code, said, _ = llmrec(*table, "--out", out, *columns)
    assert code == 0
    assert "3 users, 5 items, 12 interactions" in said
    data = Dataset.load(out)
    assert data.titles() == [f"Song {n}" for n in range(5)]
    assert data.clock
    assert data.interactions.values.tolist() == [0, 1, 2, 3] * 3
    code, _, error = llmrec(*table, "--out", tmp_path / "x", *columns[2:])
    assert code == 2
    assert "no column 'user'" in error
    assert not (tmp_path / "x").exists()


def test_a_headless_layout_in_a_recipe(llmrec, tmp_path):
    (tmp_path / "ratings.dat").write_text("1::7::3::10\n1::8::4::11\n1::9::5::12\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"interactions: {tmp_path / 'ratings.dat'}\nout: {tmp_path / 'out'}\ntime: when\nvalue: stars\n"
        "layout: {separator: '::', header: [user, item, stars, when], quoted: false}\n"
    )
    assert llmrec("prepare", "table", "--config", recipe)[0] == 0
    assert Dataset.load(tmp_path / "out").items.ids.to_list() == [7, 8, 9]
    code, _, error = llmrec("prepare", "table", "--config", recipe, "--set", "layout.separater=x")
    assert code == 2
    assert "unknown key 'layout.separater'" in error


def test_sequences_know_no_clock(llmrec, tmp_path):
    (tmp_path / "s.tsv").write_text("u1\t5 6 7 8\nu2\t6 5 9\n")
    out = tmp_path / "out"
    code, said, _ = llmrec("prepare", "sequences", tmp_path / "s.tsv", "--out", out, "--set", "header=false")
    assert code == 0
    assert "2 users, 5 items, 7 interactions" in said
    assert not Dataset.load(out).clock
    code, _, error = llmrec(
        *("prepare", "sequences", tmp_path / "s.tsv", "--out", tmp_path / "cut", "--set", "header=false"),
        *("--split", "global-time-cut"),
    )
    assert code == 2
    assert "order" in error
    assert not (tmp_path / "cut").exists()


def test_jobs(llmrec, tmp_path, caplog):
    (tmp_path / "cvs.csv").write_text('id,cv\n1,"Baker,\nten years"\n2,Driver\n3,driver \n')
    (tmp_path / "posts.jsonl").write_text('{"id": 7, "title": "Baker", "description": "Bread."}\n')
    (tmp_path / "fits.csv").write_text("cv,posting,label\n1,7,1\n3,7,0\n")
    out = tmp_path / "jobs"
    files = ("--cvs", tmp_path / "cvs.csv", "--postings", tmp_path / "posts.jsonl", "--matches", tmp_path / "fits.csv")
    columns = ("--set", "columns={cv_id: id, cv_text: [cv], posting_id: id}")
    code, said, _ = llmrec("prepare", "jobs", *files, *columns, "--out", out)
    assert code == 0
    assert "1 repeated CVs" in caplog.text
    assert "2 users, 1 items, 2 interactions" in said
    assert Dataset.load(out).user_table["text"].to_list() == ["Baker,\nten years", "Driver"]
    assert not (out / "split").exists()


def test_lint_names_leaks_and_says_so_by_its_exit_code(llmrec, prepared):
    code, said, _ = llmrec("lint-split", prepared / "ml")
    assert code == 0
    assert "0 leaks" in said
    path = prepared / "ml" / "split" / "train" / "interactions.parquet"
    train = pl.read_parquet(path)
    late = train.with_columns(time=pl.lit(10**6, pl.Int64)).tail(1)
    pl.concat([train, late]).write_parquet(path)
    events = prepared / "ml" / "interactions.parquet"
    pl.concat([pl.read_parquet(events), late]).write_parquet(events)
    code, said, _ = llmrec("lint-split", prepared / "ml", "--out", prepared / "lint.json")
    assert code == 1
    assert "future-in-training" in "".join(said.split())
    found = json.loads((prepared / "lint.json").read_text())["findings"]
    assert [(each["rule"], each["count"]) for each in found if each["severity"] == "leak"] == [
        ("future-in-training", 1)
    ]
    code, _, error = llmrec("lint-split", prepared)
    assert code == 2
    assert "no file" in error


def test_examples(llmrec, prepared):
    out = prepared / "rows.jsonl"
    code, said, _ = llmrec("examples", prepared / "ml", "--kind", "next-item", "--out", out, "--set", "last=10")
    assert code == 0
    assert "10 examples" in said
    assert len(out.read_text().splitlines()) == 10
    assert json.loads((prepared / "rows.run.json").read_text())["rows"] == 10
    code, _, error = llmrec(
        "examples", prepared / "ml", "--kind", "next-item", "--out", prepared / "x", "--form", "csv"
    )
    assert code == 2
    assert "'columns' or 'tallrec'" in error
    code, _, error = llmrec("examples", prepared / "ml", "--kind", "yes-no-ratings", "--out", prepared / "x")
    assert code == 2
    assert not (prepared / "x").exists()


@pytest.mark.parametrize(
    ("recipe", "load"),
    [
        (recipes.MovieLensRecipe, load_movielens),
        (recipes.MindRecipe, load_mind),
        (recipes.AmazonRecipe, load_amazon),
        (recipes.JobsRecipe, load_jobs),
        (recipes.TableRecipe, load_table),
        (recipes.SequencesRecipe, load_sequences),
    ],
)
def test_recipes_and_functions_have_the_same_defaults(recipe, load):
    shared = 0
    for name, parameter in inspect.signature(load).parameters.items():
        field = recipe.model_fields.get(name)
        if field is None or field.default is PydanticUndefined or name == "columns":
            continue
        shared += 1
        assert field.default == parameter.default, name
    assert shared


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("prepare-amazon", recipes.AmazonRecipe),
        ("prepare-mind", recipes.MindRecipe),
        ("examples-tallrec", ExamplesRecipe),
    ],
)
def test_the_recipes_that_come_with_it_are_valid(name, kind):
    load_config(kind, Path(__file__).parents[2] / "configs" / f"{name}.yaml")
