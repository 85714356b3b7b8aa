"""Bad input gets one line (value, expectation, cure) and exit code 2; nothing half-written stays."""

import polars as pl
import pytest


def broken_ratings(folder, text):
    (folder / "ratings.csv").write_text(text)


def append(name, line):
    def change(folder):
        with (folder / name).open("a") as file:
            file.write(line)

    return change


def replace(name, old, new):
    def change(folder):
        (folder / name).write_text((folder / name).read_text().replace(old, new))

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (replace("ratings.csv", "timestamp", "when"), ["no column 'timestamp'", "rename or add it"]),
        (replace("movies.csv", "title", "name"), ["no column 'title'"]),
        (append("ratings.csv", "1,2,five,77\n"), ["five", "ratings.csv"]),
        (append("ratings.csv", "1,999,5,77\n"), ["999", "movies.csv"]),
        (
            append("movies.csv", "3,Again (1999),Drama\n"),
            ["movies.csv line 17", "movieId = 3 stands on line 4 too", "each movieId once"],
        ),
        (append("movies.csv", "99,,Drama\n"), ["movies.csv line 17", "no title", "a title for every movie"]),
        (append("ratings.csv", "99,3,4.0,77\n"), ["user 99", "1 event", "short_users"]),
        (lambda folder: (folder / "ratings.csv").unlink(), ["ratings.csv"]),
        (lambda folder: (folder / "ratings.csv").write_bytes(b""), ["ratings.csv"]),
    ],
)
def test_bad_films(llmrec, movielens, tmp_path, change, words):
    change(movielens)
    check(llmrec("prepare", "movielens", movielens, "--out", tmp_path / "ml"), words)
    assert {path.name for path in tmp_path.iterdir()} == {"ml-tiny"}


def test_a_truncated_zip(llmrec, tmp_path):
    (tmp_path / "ml.zip").write_bytes(b"PK\x03\x04 and then nothing")
    check(llmrec("prepare", "movielens", tmp_path / "ml.zip", "--out", tmp_path / "ml"), ["ml.zip"])
    assert {path.name for path in tmp_path.iterdir()} == {"ml.zip"}


def test_a_folder_of_somebody_else_is_not_replaced(llmrec, movielens):
    (movielens / "thesis.tex").write_text("kept")
    check(llmrec("prepare", "movielens", movielens, "--out", movielens), ["holds something else", "another folder"])
    assert (movielens / "thesis.tex").read_text() == "kept"


def duplicate_item(folder):
    items = pl.read_parquet(folder / "ml" / "split" / "train" / "items.parquet")
    pl.concat([items, items.head(1)]).write_parquet(folder / "ml" / "split" / "train" / "items.parquet")


def blank_title(folder):
    path = folder / "ml" / "split" / "train" / "items.parquet"
    items = pl.read_parquet(path)
    items.with_columns(title=pl.when(pl.col("id") == 3).then(None).otherwise("title")).write_parquet(path)


def drop_query(folder):
    path = folder / "knn.parquet"
    pl.read_parquet(path).filter(pl.col("query") != 4).write_parquet(path)


def change_candidates(**columns):
    def change(folder):
        path = folder / "knn.parquet"
        pl.read_parquet(path).with_columns(**columns).write_parquet(path)

    return change


def truncate(name):
    def change(folder):
        (folder / name).write_bytes((folder / name).read_bytes()[:-20])

    return change


@pytest.mark.parametrize(
    ("change", "more", "words"),
    [
        (duplicate_item, [], ["duplicate id 1", "every id once"]),
        (blank_title, [], ["item 3 has no title", "a title for every item"]),
        (drop_query, [], ["candidate row 4 is empty", "at least one candidate"]),
        (truncate("knn.parquet"), [], ["knn.parquet", "truncated"]),
        (truncate("ml/split/test.parquet"), [], ["test.parquet", "truncated"]),
        (change_candidates(item=pl.lit(77)), [], ["item 77", "items of data set"]),
        (change_candidates(user=pl.lit(1)), [], ["has user 1 at query", "the candidates were recalled for"]),
        (lambda folder: (folder / "knn.parquet").unlink(), [], ["no file", "knn.parquet"]),
        (None, ["--engine", "vlm"], ["unknown engine 'vlm'", "did you mean 'vllm'?"]),
        (None, ["--strategy", "likelyhood"], ["unknown ranking strategy", "did you mean 'likelihood'?"]),
        (None, ["--template", "likelihod-list"], ["unknown template", "did you mean 'likelihood-list'?"]),
        (None, ["--template", "llmrank-recency"], ["'llmrank-recency'", "answer 'continuation'"]),
        (None, ["--set", "strategy.histroy=3"], ["unknown key 'histroy'", "did you mean 'history'?"]),
        (None, ["--part", "train"], ["part 'train'", "'valid' or 'test'"]),
        (None, ["--engine", "transformers", "--model", "MODEL"], ["has no weights", "*.safetensors"]),
        (None, ["--engine", "transformers", "--model", "/no/such/model"], ["no model '/no/such/model'"]),
        (None, ["--set", "cache=CACHE"], ["cache", "SQLite"]),
    ],
)
def test_bad_rank(llmrec, prepared, change, more, words):
    (prepared / "model").mkdir()
    (prepared / "model" / "config.json").write_text("{}")
    (prepared / "cache.sqlite").write_text("this is no database, it only looks like a file")
    more = [
        one.replace("MODEL", str(prepared / "model")).replace("CACHE", str(prepared / "cache.sqlite")) for one in more
    ]
    if change:
        change(prepared)
    engine = [] if "--engine" in more else ["--engine", "fake"]
    rank = ("rank", prepared / "knn.parquet", "--dataset", prepared / "ml", "--out", prepared / "llm.parquet")
    cache = [] if "--set" in more else ["--cache", prepared / "answers.sqlite"]
    check(llmrec(*rank, *cache, *engine, *more), words)
    assert not list(prepared.glob("*llm*"))


def test_an_engine_whose_package_is_missing(llmrec, prepared, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "vllm", None)
    rank = ("rank", prepared / "knn.parquet", "--dataset", prepared / "ml", "--out", prepared / "llm.parquet")
    check(llmrec(*rank, "--engine", "vllm"), ["package 'vllm' is not installed", "pip install 'llmrec[vllm]'"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["recall", "fit", "item-kn", "--out", "new"], ["unknown recommender 'item-kn'", "did you mean 'item-knn'?"]),
        (["recall", "fit", "ease", "--out", "new", "--set", "factors=3"], ["unknown key 'factors'"]),
        (["recall", "fit", "als", "--out", "new", "--set", "factors=many"], ["factors = 'many'", "integer"]),
        (["recall", "recommend", "knn", "--out", "new", "-k", "16"], ["k = 16", "1 to 15"]),
        (["recall", "recommend", "knn", "--out", "new", "-k", "0"], ["k = 0", "1 to 15"]),
        (["recall", "recommend", "ml", "--out", "new"], ["ml", "config.json"]),
        (["recall", "recommend", "half", "--out", "new"], ["half", "weights.npz"]),
        (["evaluate", "knn.parquet", "--out", "new", "--set", "metrics=[ndgc@10]"], ["ndgc@10"]),
        (["evaluate", "knn.parquet", "--out", "new", "--baseline", "als"], ["'als'"]),
        (["evaluate", "knn.parquet", "x/knn.parquet", "--out", "new"], ["two rankings called 'knn'", "name=path"]),
        (["evaluate", "--out", "new"], ["no 'methods'"]),
    ],
)
def test_bad_steps(llmrec, prepared, monkeypatch, words, expected):
    monkeypatch.chdir(prepared)
    half = prepared / "half"
    half.mkdir()
    (half / "config.json").write_bytes((prepared / "knn" / "config.json").read_bytes())
    check(llmrec(*words, "--dataset", "ml"), expected)
    assert not (prepared / "new").exists()
    assert not list(prepared.glob(".new*"))


def check(result, words):
    code, _, error = result
    assert code == 2
    lines = [line for line in error.splitlines() if line.startswith("llmrec: error: ")]
    assert len(lines) == 1, error
    assert error.splitlines()[-1] == lines[0]
    for word in words:
        assert word in lines[0]
    assert "Traceback" not in error
