"""What all re-rankers share: folders, and calls that cannot be."""

import json

import numpy as np
import pytest
from kinds import kinds, nobody, ranked
from safetensors.numpy import load_file, save_file

from llmrec.classic.reranking.base import load_reranker
from llmrec.classic.reranking.calibrated import Calibrated
from llmrec.classic.reranking.dpp import DPP
from llmrec.classic.reranking.mmr import MMR
from llmrec.classic.reranking.rules import Rules, RulesConfig
from llmrec.config import make_config
from llmrec.data import Queries
from llmrec.errors import DataError, ModelError
from llmrec.registry import RERANKERS
from llmrec.testing import assert_same, expect_error

RULES = {"rules": [{"rule": "distance", "apart": 2}, {"rule": "block", "items": [101]}]}
WEIGHTS = "weights.safetensors"


@pytest.fixture(params=["mmr", "dpp", "calibrated", "rules"])
def model(request):
    made = {"mmr": MMR, "dpp": DPP, "calibrated": Calibrated}
    kind = made.get(request.param)
    return (Rules(make_config(RulesConfig, RULES)) if kind is None else kind()).fit(kinds())


def test_a_folder_comes_back_through_the_registry(model, tmp_path):
    assert RERANKERS.get(model.name) is type(model)
    again = load_reranker(model.save(tmp_path / "model"))
    assert type(again) is type(model)
    queries, candidates = Queries.from_histories([(0, 1), (4,)]), ranked([5, 4, 3, 2, 1, 0, 6], [0, 1, 2])
    assert_same(again.rank(queries, candidates), model.rank(queries, candidates))


def test_damaged_folders(model, tmp_path):
    folder = model.save(tmp_path / "model")
    kind, about = type(model), json.loads((folder / "config.json").read_text())
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    expect_error(ModelError, lambda: kind.load(folder), WEIGHTS, "whole file")
    (folder / WEIGHTS).write_bytes(whole)
    arrays = load_file(folder / WEIGHTS)
    save_file({}, folder / WEIGHTS)
    expect_error(ModelError, lambda: kind.load(folder), "does not fit")
    save_file({**arrays, "more": np.array([np.nan])}, folder / WEIGHTS)
    expect_error(ModelError, lambda: kind.load(folder), "NaN or infinity")
    (folder / WEIGHTS).unlink()
    expect_error(ModelError, lambda: kind.load(folder), "no file", WEIGHTS)
    for key, value, words in (
        ("kind", "recommender", ["kind 'recommender'", "'re-ranker'"]),
        ("schema_version", 99, ["schema_version 99"]),
        ("name", "other", ["re-ranker 'other'", repr(model.name)]),
        ("n_items", None, ["which items"]),
    ):
        (folder / "config.json").write_text(json.dumps({**about, key: value}))
        expect_error(ModelError, lambda: kind.load(folder), *words)
    (folder / "config.json").write_text(json.dumps({**about, "name": "other"}))
    expect_error(ModelError, lambda: load_reranker(folder), "re-ranker 'other'", "registered")
    expect_error(ModelError, lambda: load_reranker(tmp_path), "saved re-ranker")


def test_calls_that_cannot_be(model, tmp_path):
    new = type(model)(model.config)
    expect_error(ModelError, lambda: new.rank(nobody(1), ranked([0])), model.name, "call fit")
    expect_error(ModelError, lambda: new.save(tmp_path / "model"), "call fit")
    expect_error(DataError, lambda: model.rank(nobody(2), ranked([0])), "1 rows of candidates", "2 rows")
    expect_error(DataError, lambda: model.rank(nobody(1), ranked([7])), "item number 7", "0 to 6")
    expect_error(DataError, lambda: model.rank(Queries.from_histories([(9,)]), ranked([0])), "item number 9", "history")


def test_many_lists_are_ranked_in_blocks_as_they_are_alone(model, monkeypatch):
    rng = np.random.default_rng(0)
    queries = Queries.from_histories([rng.permutation(7)[: rng.integers(0, 5)].tolist() for _ in range(40)])
    candidates = ranked(*(rng.permutation(7)[: rng.integers(1, 8)] for _ in range(40)))
    whole = model.rank(queries, candidates)
    monkeypatch.setattr("llmrec.classic.recall.base.history.BLOCK_FLOATS", 1)
    monkeypatch.setattr("llmrec.classic.recall.base.history.BLOCK_ROWS", 1)
    assert_same(model.rank(queries, candidates), whole)
