"""``llmrec enhance``: from pairs and generated texts to matchers, metrics and reports."""

import json

import numpy as np
import polars as pl
import pytest
from enhancing import write_pairs, write_texts

from llmrec.eval.yes_no import Predictions
from llmrec.generate import enhance_vectors
from llmrec.generate.enhance import Matcher
from llmrec.llm.embedding import FakeEmbedder

SETTINGS = (
    *("--set", "embedder={name: fake, embedding_dim: 64}", "--set", "matcher.epochs=40", "--set", "samples=200"),
    *("--set", "matcher.hidden=[16]", "--set", "matcher.learning_rate=0.01", "--set", "matcher.dropout=0"),
    *("--set", "texts_by=user", "--set", "metrics=[recall@1]"),
)


@pytest.fixture
def run(llmrec, tmp_path, monkeypatch):
    """Run the command on three files of pairs, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    paths = write_pairs(tmp_path, users=24)
    write_texts(tmp_path / "texts.parquet", users=24, without=("test-5",))
    files = [word for part, path in paths.items() for word in (f"--{part}", path)]
    return lambda *more: llmrec("enhance", "--texts", "texts.parquet", "--out", "run", *files, *SETTINGS, *more)


def value(rows, method, metric, group="all"):
    return next(row["mean"] for row in rows if (row["method"], row["metric"], row["group"]) == (method, metric, group))


def test_a_run_leaves_what_it_found(run, tmp_path, monkeypatch) -> None:
    code, out, _ = run()
    assert code == 0
    for words in ("mlp + texts", "dot (baseline)", "auc", "gauc", "log-loss", "recall by texts"):
        assert words in out
    assert "test contexts without a text: 1" in " ".join(out.split())
    folder = tmp_path / "run"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    report = {"report.html", "metrics.json", "metrics.parquet", "per_query.parquet"}
    matching = report | {"calibration.parquet"}
    names = ("mlp", "mlp-texts", "dot", "dot-texts")
    assert files == {
        *("config.json", "run.json", "vectors.safetensors"),
        *(f"matchers/{name}/{file}" for name in names for file in ("config.json", "model.safetensors")),
        *(f"matchers/{name}.parquet" for name in names),
        *(f"matching/{form}/{file}" for form in ("mlp", "dot") for file in matching),
        *(f"recall/{name}/{file}" for name in ("texts", "mlp", "dot") for file in report),
    }
    record = json.loads((folder / "run.json").read_text())
    assert record["counts"]["contexts without a text"] == 1
    assert record["counts"]["test pairs"] == 72
    for form in ("mlp", "dot"):  # a CV says nothing, the text all
        rows = record["matching"][form]
        assert value(rows, f"{form} + texts", "auc") > 0.95
        assert value(rows, form, "auc") < 0.7
        assert record["epochs"][form]["best"] <= len(record["epochs"][form]["losses"])
        assert value(record["recall"][form], f"{form} + texts", "recall@1") > 0.9
    # A text holds three of the four words of the posting that suits: all are found but the one without a text.
    assert value(record["recall"]["texts"], "generated", "recall@1") == pytest.approx(23 / 24)
    scored = Predictions.load(folder / "matchers" / "dot-texts.parquet")
    assert Matcher.load(folder / "matchers" / "dot-texts").embedder.parameters == {"embedding_dim": 64}
    assert scored.frame["user"].n_unique() == 24
    assert scored.frame["item"].to_list() == ["0", "1", "2"] * 24

    embedded = []
    monkeypatch.setattr(FakeEmbedder, "embed", lambda _, texts: embedded.append(texts))
    before = {path: path.read_bytes() for path in folder.rglob("*.safetensors")}
    assert run()[0] == 0
    assert not embedded  # the vectors were kept, and the same seed gives the same weights
    assert {path: path.read_bytes() for path in folder.rglob("*.safetensors")} == before


def test_other_texts_are_embedded_anew(run, tmp_path) -> None:
    assert run("--set", "forms=[dot]")[0] == 0
    kept = enhance_vectors._kept(tmp_path / "run" / "vectors.safetensors", "other")
    assert kept is None
    path = tmp_path / "run" / "vectors.safetensors"
    before = path.read_bytes()
    write_texts(tmp_path / "texts.parquet", users=24)
    assert run("--set", "forms=[dot]")[0] == 0
    assert path.read_bytes() != before
    after = path.read_bytes()
    path.write_bytes(after[:100])  # killed on a disk that lies
    assert run("--set", "forms=[dot]")[0] == 0
    assert path.read_bytes() == after


def test_several_texts_of_a_context_are_their_mean(tmp_path) -> None:
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    found = enhance_vectors._means(vectors, np.array([2, 0, 2]), 4)
    np.testing.assert_allclose(found, [[0, 1], [0, 0], [0.8, 0.4], [0, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--set", "texts_by=prompt", "--texts", "users.parquet"), "has no column 'prompt'"),
        (("--texts", "gone.parquet"), "no file 'gone.parquet'"),
        (("--set", "forms=[tree]"), "forms"),
        (("--set", "metrics=[recal@5]"), "recal"),
        (("--out", "mine"), "holds something else"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, words, expected) -> None:
    pl.DataFrame({"user": ["test-0"], "text": ["a"]}).write_parquet(tmp_path / "users.parquet")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not lose")
    code, _, err = run(*words)
    assert code == 2
    assert expected in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()
