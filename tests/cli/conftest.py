"""A small MovieLens folder and the command line run in this process."""

import sys

import numpy as np
import pytest

from llmrec.cli import main


@pytest.fixture
def movielens(tmp_path):
    """A folder of official CSVs: 12 users with 6 to 9 of 15 films each."""
    folder = tmp_path / "ml-tiny"
    folder.mkdir()
    films = [f"{movie},Film {chr(64 + movie)} ({1980 + movie}),Drama" for movie in range(1, 16)]
    (folder / "movies.csv").write_text("\n".join(["movieId,title,genres", *films]) + "\n")
    rng = np.random.default_rng(0)
    rows = ["userId,movieId,rating,timestamp"]
    for user in range(1, 13):
        for place, movie in enumerate(rng.choice(15, rng.integers(6, 10), replace=False)):
            rows.append(f"{user},{movie + 1},4.0,{1000 * user + place}")
    (folder / "ratings.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def llmrec(monkeypatch, capsys):
    """Run the command line; return exit code, stdout and stderr."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["llmrec", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return stopped.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture
def prepared(llmrec, movielens, tmp_path):
    """A prepared data set folder with candidates of all its test users."""
    assert llmrec("prepare", "movielens", movielens, "--out", tmp_path / "ml")[0] == 0
    assert llmrec("recall", "fit", "item-knn", "--dataset", tmp_path / "ml", "--out", tmp_path / "knn")[0] == 0
    recommend = ("recall", "recommend", tmp_path / "knn", "--dataset", tmp_path / "ml", "-k", 5)
    assert llmrec(*recommend, "--out", tmp_path / "knn.parquet")[0] == 0
    return tmp_path
