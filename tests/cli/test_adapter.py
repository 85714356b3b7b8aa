"""``llmrec rank --adapter``: ranked with the adapter, cached apart from the plain model, refused in one line."""

import json

import polars as pl
import pytest
from lora import add_by_hand, make_adapter


@pytest.fixture
def rank(llmrec, prepared, tiny_model):
    def run(*more, out="llm.parquet", model=tiny_model):
        return llmrec(
            *("rank", prepared / "knn.parquet", "--dataset", prepared / "ml", "--out", prepared / out),
            *("--model", model, "--cache", prepared / "answers.sqlite", "--set", "engine.device=cpu", *more),
        )

    return run


@pytest.fixture
def adapter(tiny_model, tmp_path):
    return make_adapter(tiny_model, tmp_path / "adapter")


def scores(path):
    return pl.read_parquet(path).sort("query", "item")["score"].to_numpy()


def test_candidates_are_ranked_as_by_a_model_changed_by_hand(rank, prepared, adapter, tiny_model):
    by_hand = add_by_hand(tiny_model, adapter, prepared / "by-hand", 2.0)
    for out, more in (("plain", {}), ("right", {"model": by_hand})):
        assert rank(out=f"{out}.parquet", **more)[0] == 0
    code, out, _ = rank("--adapter", adapter)
    assert code == 0
    assert "0 of 60" in out  # nothing that the plain model answered counts
    found, right, plain = (scores(prepared / f"{name}.parquet") for name in ("llm", "right", "plain"))
    assert abs(found - right).max() < 1e-3 < abs(found - plain).max()
    record = json.loads((prepared / "llm.run.json").read_text())
    assert record["recipe"]["engine"]["parameters"]["adapter"] == str(adapter)
    assert "+lora@" in record["engine"]
    code, out, _ = rank("--adapter", adapter, out="again.parquet")
    assert code == 0
    assert "60 of 60" in out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--adapter", "/no/such/folder"), ["no folder '/no/such/folder'", "the folder of a LoRA adapter"]),
        (("--adapter", "a", "--engine", "fake"), ["adapter = 'a' with the fake engine", "leave it out"]),
        (("--adapter", "a", "--engine", "openai"), ["adapter = 'a' with the openai engine", "--lora-modules"]),
    ],
)
def test_what_takes_no_adapter_is_one_line(rank, prepared, more, words):
    code, _, err = rank(*more)
    assert code == 2
    assert "Traceback" not in err
    for word in words:
        assert word in " ".join(err.split())
    assert not (prepared / "llm.parquet").exists()
